"""Multi-head attention with an additive bias, and the feed-forward block that follows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectramind_train.v50.dropout import Dropout
from spectramind_train.v50.edges import Edges, edge_attention


class Attention(nn.Module):
    """Scaled dot-product attention of queries (B, Q, width) over a context (B, K, width).

    The softmax is computed in float32, whatever autocast does around it.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of heads {heads}")
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        # A bias of the keys would shift all logits of a query alike, which the softmax removes.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.outlet = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(
        self, queries: Tensor, context: Tensor, bias: Tensor | None = None, key_bias: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, width).
            context: (B, K, width).
            bias: added to the logits; broadcasts to (B, heads, Q, K).
            key_bias: added to the logits of all queries alike, (B, K, heads).
        """
        query, key, value = (x.transpose(1, 2) for x in self._project(queries, context, key_bias))
        logits = query @ key.transpose(-1, -2)
        if bias is not None:
            logits = logits + bias
        weights = torch.softmax(logits, dim=-1, dtype=_precise(logits.dtype))
        return self._mix((weights.to(value.dtype) @ value).transpose(1, 2))

    def along(self, edges: Edges, nodes: Tensor, bias: Tensor, key_bias: Tensor) -> Tensor:
        """Let nodes attend to their neighbours alone, as ``forward`` does with a bias of -inf for all others.

        Args:
            edges: the graph.
            nodes: (B, N, width).
            bias: added to the logits, (N, heads, K); -inf where there is no neighbour.
            key_bias: added to the logits of all queries alike, (B, N, heads).
        """
        precise = _precise(nodes.dtype)
        query, key, value = (x.to(precise) for x in self._project(nodes, nodes, key_bias))
        return self._mix(edge_attention(query, key, value, bias, edges))

    def _project(self, queries: Tensor, context: Tensor, key_bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled query (B, Q, heads, D), key and value, (B, K, heads, D) each."""
        query = self._split(self.query(queries)) * self.scale
        key, value = self._split(self.key(context)), self._split(self.value(context))
        if key_bias is not None:
            # One more dimension of the product costs far less than adding (B, heads, Q, K) and reducing its gradient.
            query = torch.cat([query, torch.ones_like(query[..., :1])], dim=-1)
            key = torch.cat([key, key_bias.unsqueeze(-1).to(key.dtype)], dim=-1)
        return query, key, value

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1)

    def _mix(self, mixed: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.outlet(mixed.flatten(2)))
        return result


def _precise(dtype: torch.dtype) -> torch.dtype:
    """Single precision, or double where that is what there is."""
    return torch.promote_types(dtype, torch.float32)


class CrossAttention(nn.Module):
    """Pre-normalised attention of one sequence over another with a residual connection, then a feed-forward block."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Update x (B, Q, width) from a context (B, K, width)."""
        x = x + self.attention(self.norm(x), context)
        result: Tensor = self.feed_forward(x)
        return result


class FeedForward(nn.Module):
    """Two linear layers with a GELU between, pre-normalised, with a residual connection."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Update x (..., width)."""
        result: Tensor = x + self.block(x)
        return result
