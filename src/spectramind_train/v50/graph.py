"""The graph of the AIRS wavelengths and attention along its edges.

Nodes are the 282 channels. Edges are of seven relations: neighbours in wavelength, a shared absorption band of one of
five molecules, and a shared region of the detector. A band or region of n nodes is not joined all to all: its members
are linked where their ranks within it differ by a power of two, which keeps n log n edges and puts any two members a
few hops apart.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectramind_train.v50.attention import Attention, FeedForward
from spectramind_train.v50.edges import Edges, edges_of, neighbours_of

BANDS_UM: dict[str, tuple[tuple[float, float], ...]] = {
    "H2O": ((1.75, 2.05), (2.50, 2.95)),
    "CO2": ((1.94, 2.10), (2.65, 2.85)),
    "CH4": ((2.15, 2.45), (3.10, 3.60)),
    "CO": ((2.29, 2.42),),
    "NH3": ((1.92, 2.08), (2.15, 2.35), (2.85, 3.15)),
}
"""Near-infrared absorption bands within reach of AIRS-CH0, in micrometres.

Band centres from Tinetti, Encrenaz & Coustenis 2013 (A&A Rev 21:63) and HITRAN: H2O 1.87 and 2.66-2.73, CO2 2.01 and
2.69-2.77, CH4 2.3 and 3.31, CO 2.35 (first overtone), NH3 2.0, 2.2-2.3 and 2.9-3.0; the windows are their half-maximum
extents at moderate resolution, rounded outwards.
"""

REGION_COLUMNS = 47
"""Detector columns of one region: six equal regions make up the 282 AIRS columns."""

SPARSE = 0.5
"""Largest share of all nodes that are neighbours of one where attention along the edges is the faster, on a CPU."""

RELATIONS = ("proximity", *BANDS_UM, "region")


def in_band(wavelengths_um: NDArray[np.float64], molecule: str) -> NDArray[np.bool_]:
    """Which wavelengths lie in a band of the molecule, (N,) bool."""
    inside = np.zeros(wavelengths_um.shape, dtype=np.bool_)
    for low, high in BANDS_UM[molecule]:
        inside |= (low <= wavelengths_um) & (wavelengths_um <= high)
    return inside


def wavelength_graph(wavelengths_um: NDArray[np.float64], neighbours: int) -> NDArray[np.bool_]:
    """The adjacency of every relation.

    Args:
        wavelengths_um: (N,) ascending.
        neighbours: nodes on each side that count as near.

    Returns:
        (7, N, N) bool in the order of ``RELATIONS``, each symmetric and without self-loops.
    """
    count = len(wavelengths_um)
    index = np.arange(count)
    distance = np.abs(index[:, None] - index[None, :])
    groups = [[index[in_band(wavelengths_um, molecule)]] for molecule in BANDS_UM]
    groups.append([index[start : start + REGION_COLUMNS] for start in range(0, count, REGION_COLUMNS)])
    relations = np.zeros((len(RELATIONS), count, count), dtype=np.bool_)
    relations[0] = (distance > 0) & (distance <= neighbours)
    for relation, members_of_group in zip(relations[1:], groups, strict=True):
        for members in members_of_group:
            rank = np.arange(len(members))
            gap = np.abs(rank[:, None] - rank[None, :])
            relation[np.ix_(members, members)] = (gap > 0) & ((gap & (gap - 1)) == 0)
    return relations


class Graph(nn.Module):
    """The graph as attention takes it: by its edges, or as all pairs of nodes with a ban on those that are not linked.

    Args:
        relations: (7, N, N), see :func:`wavelength_graph`; every node is linked to itself besides.
        heads: attention heads.
        by_edges: which of the two.
    """

    def __init__(self, relations: NDArray[np.bool_], heads: int, *, by_edges: bool) -> None:
        super().__init__()
        linked = relations.any(axis=0) | np.eye(relations.shape[1], dtype=np.bool_)
        self.edges: Edges | None = None
        if by_edges:
            nodes, linked = neighbours_of(linked)
            relations = np.take_along_axis(relations, nodes[None], axis=2) & linked
            self.edges = edges_of(nodes, linked, heads)
        self.relations: Tensor
        self.forbidden: Tensor
        self.register_buffer("relations", torch.tensor(relations, dtype=torch.float32), persistent=False)
        self.register_buffer("forbidden", torch.where(torch.tensor(linked), 0.0, -torch.inf), persistent=False)

    def bias(self, of_relations: Tensor) -> Tensor:
        """What to add to logits, by the bias (heads, 7) of every relation: (heads, N, N), or (N, heads, K) of edges."""
        bias = torch.einsum("hr,rij->ihj", of_relations, self.relations) + self.forbidden.unsqueeze(1)
        return bias if self.edges else bias.transpose(0, 1)


class GraphAttentionLayer(nn.Module):
    """Attention of every node over itself and its neighbours, then a feed-forward block; (B, N, width) throughout.

    The logit of an edge is the scaled product of query and key (Vaswani et al. 2017) plus one learned bias per head for
    each relation the edge belongs to, and a learned multiple of the neighbour's log precision, so that a head can
    average noisy channels as a weighted mean would.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.relation_bias = nn.Parameter(torch.zeros(heads, len(RELATIONS)))
        self.precision_bias = nn.Parameter(torch.linspace(0.0, 0.5, heads))
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, graph: Graph, log_precision: Tensor) -> Tensor:
        """Update nodes, given their log precisions (B, N)."""
        bias = graph.bias(self.relation_bias)
        key_bias = log_precision.unsqueeze(-1) * self.precision_bias
        normed = self.norm(x)
        if graph.edges is None:
            x = x + self.attention(normed, normed, bias, key_bias)
        else:
            x = x + self.attention.along(graph.edges, normed, bias, key_bias)
        result: Tensor = self.feed_forward(x)
        return result


class GraphEncoder(nn.Module):
    """Layers of graph attention over the wavelengths.

    Args:
        wavelengths_um: the nodes' wavelengths, (N,) ascending.
        width: channels of a node.
        layers: number of layers.
        heads: attention heads; divides the width.
        neighbours: wavelengths on each side that a node is linked to.
        dropout: dropout probability.
    """

    def __init__(
        self,
        wavelengths_um: NDArray[np.float64],
        *,
        width: int,
        layers: int,
        heads: int,
        neighbours: int,
        dropout: float,
    ) -> None:
        super().__init__()
        relations = wavelength_graph(wavelengths_um, neighbours)
        self.pairs = Graph(relations, heads, by_edges=False)
        most = int(relations.any(axis=0).sum(axis=1).max()) + 1
        self.edges = Graph(relations, heads, by_edges=True) if most < SPARSE * len(wavelengths_um) else None
        self.layers = nn.ModuleList(GraphAttentionLayer(width, heads, dropout) for _ in range(layers))

    def forward(self, nodes: Tensor, log_precision: Tensor) -> Tensor:
        """Encode nodes (B, N, width), given their standardised log precisions (B, N)."""
        # A tensor without memory, by which a model's room is counted, is as one of the CPU.
        on_cpu = nodes.device.type in ("cpu", "meta")
        graph = self.edges if on_cpu and self.edges is not None else self.pairs
        for layer in self.layers:
            nodes = layer(nodes, graph, log_precision)
        return nodes
