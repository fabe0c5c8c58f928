"""Attention along the edges of a sparse graph, on a CPU.

Dense attention computes and keeps a weight for every pair of nodes, and most of them are zero. Here logits are computed
where there is an edge, a sampled product of two matrices, and the mean of the neighbours is a weighted sum of gathered
rows; torch has a kernel for either. On V50's graph that takes a fifth of the time of dense attention.
``scaled_dot_product_attention`` takes as long as that, for its fused kernel computes no gradient of a bias. A GPU,
which gathers slowly and multiplies fast, is left the dense products.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812


class Edges(NamedTuple):
    """The edges of a graph of N nodes with up to K neighbours each, the same for every head.

    Attributes:
        rows: (N, heads, K) int32, rows of the neighbours in an array (N, heads, ...) whose first two axes are one; a
            node's own where it has fewer.
        reverse: (N * heads * K) int64, the place of the same edge seen from its other end; its own where there is none.
    """

    rows: Tensor
    reverse: Tensor


def neighbours_of(linked: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The neighbours of each node by an adjacency (N, N), and whether there is one; (N, K) each, in ascending order.

    K is the largest number that a node has. Those with fewer have themselves in the places that are left.
    """
    most = int(linked.sum(axis=1).max())
    nodes = np.argsort(~linked, axis=1, kind="stable")[:, :most]
    exists = np.take_along_axis(linked, nodes, axis=1)
    return np.where(exists, nodes, np.arange(len(linked))[:, None]), exists


def edges_of(nodes: NDArray[np.int64], exists: NDArray[np.bool_], heads: int) -> Edges:
    """The edges of the neighbours of each node, of a symmetric graph."""
    count, most = nodes.shape
    own = np.arange(count)[:, None]
    place = np.zeros((count, count), dtype=np.int64)
    node, slot = np.nonzero(exists)
    place[node, nodes[node, slot]] = slot
    slots = np.where(exists, place[nodes, own], np.arange(most))[:, None]
    rows = nodes[:, None] * heads + np.arange(heads)[:, None]
    _prepare()
    return Edges(torch.from_numpy(rows.astype(np.int32)), torch.from_numpy(rows * most + slots).flatten())


def edge_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, edges: Edges) -> Tensor:
    """The mean of every node's neighbours, weighted by the softmax of their logits, (B, N, heads, E).

    Args:
        query: (B, N, heads, D), scaled.
        key: (B, N, heads, D).
        value: (B, N, heads, E).
        bias: (N, heads, K), added to the logits; -inf where there is no neighbour.
        edges: the graph.
    """
    result: Tensor = _EdgeAttention.apply(query, key, value, bias, *edges)  # type: ignore[no-untyped-call]
    return result


class _EdgeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, rows: Tensor, reverse: Tensor
    ) -> Tensor:
        result, weights = torch.ops.spectramind.edge_attention(query, key, value, bias, rows)
        ctx.save_for_backward(query, key, value, weights, rows, reverse)
        return result  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return *torch.ops.spectramind.edge_attention_backward(grads[0].contiguous(), *ctx.saved_tensors), None, None


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The means, and the weights (B, N, heads, K)."""
    columns = _columns(rows, len(query))
    weights = torch.softmax(_products(columns, query, key).add_(bias), dim=-1)
    return _sums(columns, weights, value), weights


def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weights: Tensor, rows: Tensor, reverse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and bias."""

    def reversed_(edges: Tensor) -> Tensor:
        return edges.view(len(edges), -1).index_select(1, reverse).view(edges.shape)

    columns = _columns(rows, len(query))
    weights_grad = _products(columns, grad, value)
    logits_grad = torch.ops.aten._softmax_backward_data(weights_grad, weights, -1, weights.dtype)
    return (
        _sums(columns, logits_grad, key),
        _sums(columns, reversed_(logits_grad), query),
        _sums(columns, reversed_(weights), grad),
        logits_grad.sum(dim=0),
    )


def _columns(rows: Tensor, batch: int) -> Tensor:
    """Of every place of every node, head and graph of a batch, the row of its neighbour, (B, N, heads, K) int32."""
    each = rows.shape[0] * rows.shape[1]
    return rows + torch.arange(0, batch * each, each, dtype=rows.dtype).view(-1, 1, 1, 1)


def _products(columns: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Products of the rows of nodes (B, N, heads, D) with those of their neighbours, (B, N, heads, K)."""
    left, right = left.flatten(0, 2), right.flatten(0, 2)
    starts = torch.arange(0, columns.numel() + 1, columns.shape[-1], dtype=columns.dtype)
    zero = left.new_zeros(columns.numel())  # What is added to the products; a factor of 0 would not rid it of a NaN.
    pattern = torch.sparse_csr_tensor(starts, columns.flatten(), zero, (len(left), len(right)))
    torch.sparse.sampled_addmm(pattern, left, right.t(), out=pattern)
    return pattern.values().view(columns.shape)


def _sums(columns: Tensor, weights: Tensor, right: Tensor) -> Tensor:
    """Weighted sums of the neighbours' rows of (B, N, heads, D), the same shape."""
    starts = torch.arange(0, columns.numel(), columns.shape[-1], dtype=columns.dtype)
    rows, flat = right.flatten(0, 2), weights.flatten()
    return F.embedding_bag(columns.flatten(), rows, starts, mode="sum", per_sample_weights=flat).view(right.shape)


def _attend_unseen(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(value), value.new_empty((len(query), *rows.shape))


def _attend_backward_unseen(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weights: Tensor, rows: Tensor, reverse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one = torch.empty_like
    return one(query), one(key), one(value), weights.new_empty(weights.shape[1:])


# Operators to torch, so that it takes them as they are where it counts memory or compiles. ``torch.library.custom_op``
# would import a thousand modules at the first call.
_LIBRARY: Any = torch.library.Library("spectramind", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("edge_attention(Tensor query, Tensor key, Tensor value, Tensor bias, Tensor rows) -> (Tensor, Tensor)")
_LIBRARY.define(
    "edge_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor weights, Tensor rows, "
    "Tensor reverse) -> (Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.impl("edge_attention", _attend, "CPU")
_LIBRARY.impl("edge_attention", _attend_unseen, "Meta")
_LIBRARY.impl("edge_attention_backward", _attend_backward, "CPU")
_LIBRARY.impl("edge_attention_backward", _attend_backward_unseen, "Meta")


def _prepare() -> None:
    """Have torch say, once in a process and to nobody, that it may change how it holds sparse matrices."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        none = torch.empty(0, dtype=torch.int32, device="cpu")
        torch.sparse_csr_tensor(none.new_zeros(2), none, none, (1, 1))
