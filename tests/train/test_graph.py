"""The graph of the AIRS wavelengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectramind_train.ariel.constants import WAVELENGTHS_UM
from spectramind_train.v50.graph import (
    BANDS_UM,
    REGION_COLUMNS,
    RELATIONS,
    Graph,
    GraphAttentionLayer,
    GraphEncoder,
    in_band,
    wavelength_graph,
)

AIRS = np.asarray(WAVELENGTHS_UM[1:])
GRAPH = wavelength_graph(AIRS, neighbours=4)


def test_relations_are_symmetric_without_loops() -> None:
    """Every relation is an undirected graph on the 282 channels."""
    assert GRAPH.shape == (len(RELATIONS), 282, 282)
    assert (GRAPH.transpose(0, 2, 1) == GRAPH).all()
    assert not np.diagonal(GRAPH, axis1=1, axis2=2).any()


@pytest.mark.parametrize("neighbours", [1, 4])
def test_proximity_links_the_nearest(neighbours: int) -> None:
    """A node is linked to exactly its neighbours on each side, fewer at the ends."""
    proximity = wavelength_graph(AIRS, neighbours)[0]
    assert np.flatnonzero(proximity[100]).tolist() == [
        *range(100 - neighbours, 100),
        *range(101, 101 + neighbours),
    ]
    assert proximity[0].sum() == neighbours


@pytest.mark.parametrize("molecule", list(BANDS_UM))
def test_band_edges_stay_within_the_molecules_bands(molecule: str) -> None:
    """Both ends of an edge lie in a band of the molecule, every such node has edges, and all are connected."""
    relation = GRAPH[RELATIONS.index(molecule)]
    inside = in_band(AIRS, molecule)
    assert inside.any()
    assert (relation.any(axis=1) == inside).all()
    reach = np.eye(282, dtype=bool)
    for _ in range(8):
        reach = reach | (reach.astype(int) @ relation.astype(int) > 0)
    assert reach[np.ix_(inside, inside)].all()


def test_bands_are_where_spectroscopy_puts_them() -> None:
    """Band centres fall in their own windows, and a transparent window near 3.75 um in none but itself."""
    for centre, molecule in ((2.70, "H2O"), (2.01, "CO2"), (2.77, "CO2"), (3.31, "CH4"), (2.35, "CO"), (3.0, "NH3")):
        assert in_band(np.array([centre]), molecule).all()
    assert not any(in_band(np.array([3.75]), molecule).any() for molecule in BANDS_UM)


def test_a_molecules_separate_bands_are_linked() -> None:
    """CO2's bands at 2.0 and 2.7 um share edges."""
    relation = GRAPH[RELATIONS.index("CO2")]
    assert relation[np.ix_(AIRS < 2.2, AIRS > 2.6)].any()


def test_region_edges_stay_within_a_region() -> None:
    """Edges join channels of the same block of detector columns."""
    i, j = np.nonzero(GRAPH[RELATIONS.index("region")])
    assert len(i) > 0
    assert (i // REGION_COLUMNS == j // REGION_COLUMNS).all()


def test_graph_is_sparse() -> None:
    """A node has some tens of neighbours, not all."""
    degree = GRAPH.any(axis=0).sum(axis=1)
    assert degree.min() > 4
    assert degree.max() < 60


def test_attention_follows_edges_only() -> None:
    """One layer carries a change to a node's neighbours and nowhere else."""
    torch.manual_seed(0)
    encoder = GraphEncoder(AIRS, width=8, layers=1, heads=2, neighbours=4, dropout=0.0)
    nodes = torch.randn(1, 282, 8)
    changed = nodes.clone()
    changed[:, 150] += torch.randn(8)
    precision = torch.zeros(1, 282)
    moved = (encoder(nodes, precision) != encoder(changed, precision)).any(dim=-1)[0].numpy()
    linked = GRAPH.any(axis=0)[150]
    linked[150] = True
    assert (moved == linked).all()


def test_many_neighbours_are_no_sparse_graph() -> None:
    """Where a node is linked to most others, the encoder takes all pairs."""
    sizes = {"width": 8, "layers": 1, "heads": 2, "dropout": 0.0}
    few, many = (GraphEncoder(AIRS, neighbours=count, **sizes) for count in (4, 100))  # type: ignore[arg-type]
    assert few.edges is not None
    assert many.edges is None
    assert many(torch.randn(1, 282, 8), torch.zeros(1, 282)).shape == (1, 282, 8)


@pytest.mark.parametrize("by_edges", [True, False])
def test_heads_prefer_precise_neighbours(by_edges: bool) -> None:
    """A node's precision raises its pull where the bias is positive."""
    torch.manual_seed(0)
    layer = GraphAttentionLayer(8, 1, dropout=0.0)
    with torch.no_grad():
        layer.precision_bias.fill_(1.0)
    everything = Graph(np.ones((len(RELATIONS), 3, 3), dtype=np.bool_), 1, by_edges=by_edges)
    x, precision = torch.randn(1, 3, 8), torch.tensor([[0.0, 60.0, 0.0]])
    pulled = layer(x, everything, precision)
    # Beside a neighbour whose precision is that much higher, others count for nothing.
    mean = layer.attention.outlet(layer.attention.value(layer.norm(x[:, 1:2])))
    torch.testing.assert_close(pulled, layer.feed_forward(x + mean))
