"""Attention along the edges of a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spectramind_train.ariel.constants import WAVELENGTHS_UM
from spectramind_train.v50.attention import Attention
from spectramind_train.v50.edges import edge_attention, edges_of, neighbours_of
from spectramind_train.v50.graph import RELATIONS, Graph, GraphEncoder, wavelength_graph

AIRS = np.asarray(WAVELENGTHS_UM[1:])


def some_graph(nodes: int, seed: int) -> NDArray[np.bool_]:
    """Relations (7, N, N), symmetric, with nodes of one to many edges."""
    rng = np.random.default_rng(seed)
    relations = rng.random((len(RELATIONS), nodes, nodes)) < 0.05
    relations[:, 0] = relations[:, :, 0] = False
    relations |= relations.transpose(0, 2, 1)
    relations[:, np.arange(nodes), np.arange(nodes)] = False
    return relations


def test_neighbours_are_those_of_the_adjacency() -> None:
    """Every edge stands once, and once more seen from its other end; places without one point to the node itself."""
    linked = some_graph(20, 1).any(axis=0) | np.eye(20, dtype=np.bool_)
    nodes, exists = neighbours_of(linked)
    for node in range(20):
        assert nodes[node, exists[node]].tolist() == np.flatnonzero(linked[node]).tolist()
        assert (nodes[node, ~exists[node]] == node).all()
    edges = edges_of(nodes, exists, heads=3)
    ends, places = edges.rows.numpy(), np.arange(edges.rows.numel()).reshape(edges.rows.shape)
    owner = np.broadcast_to(np.arange(60).reshape(20, 3, 1), ends.shape)
    reverse = edges.reverse.numpy()
    assert (owner.flatten()[reverse] == np.where(exists[:, None], ends, owner).flatten()).all()
    assert (reverse[reverse] == places.flatten()).all()


@pytest.mark.parametrize("kind", ["some graph", "AIRS"])
def test_attention_along_edges_is_masked_attention(kind: str) -> None:
    """Values and the gradients of all that enters equal those of dense attention, in double precision."""
    relations = some_graph(30, 2) if kind == "some graph" else wavelength_graph(AIRS, 4)
    heads, count = 2, relations.shape[1]
    torch.manual_seed(0)
    attention = Attention(8, heads, dropout=0.0).double()
    nodes = torch.randn(3, count, 8, dtype=torch.float64, requires_grad=True)
    key_bias = torch.randn(3, count, heads, dtype=torch.float64, requires_grad=True)
    of_relations = torch.randn(heads, len(RELATIONS), dtype=torch.float64, requires_grad=True)
    given = (nodes, key_bias, of_relations, *attention.parameters())
    weight = torch.randn(3, count, 8, dtype=torch.float64)
    pairs, edges = (Graph(relations, heads, by_edges=one).double() for one in (False, True))
    assert edges.edges is not None
    dense = attention(nodes, nodes, pairs.bias(of_relations), key_bias)
    along = attention.along(edges.edges, nodes, edges.bias(of_relations), key_bias)
    torch.testing.assert_close(along, dense)
    gradients = (torch.autograd.grad((one * weight).sum(), given) for one in (along, dense))
    for a, e in zip(*gradients, strict=True):
        torch.testing.assert_close(a, e)


def test_gradient_is_right() -> None:
    """Finite differences agree, and tensors without memory have the shapes of those with it."""
    edges = edges_of(*neighbours_of(some_graph(9, 3).any(axis=0) | np.eye(9, dtype=np.bool_)), heads=2)
    bias = torch.zeros(edges.rows.shape, dtype=torch.float64, requires_grad=True)
    sizes = (3, 3, 4)
    given = [*(torch.randn(2, 9, 2, size, dtype=torch.float64, requires_grad=True) for size in sizes), bias]
    assert torch.autograd.gradcheck(lambda *one: edge_attention(*one, edges), given)
    unseen = [one.detach().to("meta").requires_grad_() for one in given]
    result = edge_attention(*unseen, edges)
    assert result.shape == (2, 9, 2, 4)
    result.sum().backward()  # type: ignore[no-untyped-call]
    for one in unseen:
        assert one.grad is not None
        assert one.grad.shape == one.shape


def test_memory_of_old_results_is_no_result() -> None:
    """What freed memory holds, NaN above all, does not reach a product."""
    encoder = GraphEncoder(AIRS, width=8, layers=1, heads=2, neighbours=4, dropout=0.0)
    nodes, precision = torch.randn(2, 282, 8), torch.zeros(2, 282)
    expected = encoder(nodes, precision)
    for _ in range(20):
        torch.full((2, 282, 2, 26), torch.nan)
        assert torch.equal(encoder(nodes, precision), expected)
