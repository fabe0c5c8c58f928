"""Multi-head attention with an additive bias, and the feed-forward block that follows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Scaled dot-product attention of queries (B, Q, width) over a context (B, K, width), softmax in float32."""

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

    def forward(
        self, queries: Tensor, context: Tensor, bias: Tensor | None = None, key_bias: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            queries: (B, Q, width).
            context: (B, K, width).
            bias: added to the logits; broadcasts to (B, heads, Q, K).
            key_bias: added to the logits of all queries alike, (B, heads, K).
        """
        query = self._split(self.query(queries)) * self.scale
        key = self._split(self.key(context))
        if key_bias is not None:
            # One more dimension of the product costs far less than adding (B, heads, Q, K) and reducing its gradient.
            query = torch.cat([query, torch.ones_like(query[..., :1])], dim=-1)
            key = torch.cat([key, key_bias.unsqueeze(-1).to(key.dtype)], dim=-1)
        logits = query @ key.transpose(-1, -2)
        if bias is not None:
            logits = logits + bias
        weights = torch.softmax(logits.float(), dim=-1)
        value = self._split(self.value(context))
        mixed = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        result: Tensor = self.dropout(self.outlet(mixed))
        return result

    def _split(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        return x.reshape(batch, count, self.heads, width // self.heads).transpose(1, 2)


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
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Update x (..., width)."""
        result: Tensor = x + self.block(x)
        return result
