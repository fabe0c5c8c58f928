"""Multi-head attention with an additive bias, and the feed-forward block that follows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Scaled dot-product attention of queries (B, Q, width) over a context (B, K, width), with full-precision softmax."""

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
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend; ``bias`` is added to the logits and broadcasts to (B, heads, Q, K)."""
        query = self._split(self.query(queries)) * self.scale
        logits = query @ self._split(self.key(context)).transpose(-1, -2)
        if bias is not None:
            logits = logits + bias
        weights = torch.softmax(logits.float(), dim=-1)
        value = self._split(self.value(context))
        mixed = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        result: Tensor = self.dropout(self.outlet(mixed))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CrossAttention(nn.Module):
    """Pre-normalised attention of one sequence over another with a residual connection, then a feed-forward block."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x), context)
        result: Tensor = self.feed_forward(x)
        return result


class FeedForward(nn.Module):
    """Two linear layers with a GELU between, pre-normalised, with a residual connection."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.block(x)
        return result
