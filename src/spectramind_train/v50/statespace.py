"""A selective state-space encoder of a time series (Mamba: Gu & Dao 2023, arXiv:2312.00752)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from spectramind_train.v50.precision import full_precision

CONVOLUTION_WIDTH = 4
STEP_RANGE = (1e-3, 1e-1)
"""Initial step sizes are spread log-uniformly over this range, as in Mamba."""


class _Recurrence(torch.autograd.Function):
    """The scan with its adjoint, each one fused multiply-add per step instead of a graph node per step."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor) -> Tensor:
        states = torch.empty_like(drive)
        state = torch.zeros_like(drive[0])
        for t in range(len(drive)):
            state = torch.addcmul(drive[t], decay[t], state, out=states[t])
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        decay, states = ctx.saved_tensors
        adjoint = grads[0].clone(memory_format=torch.contiguous_format)
        for t in range(len(adjoint) - 2, -1, -1):
            adjoint[t].addcmul_(decay[t + 1], adjoint[t + 1])
        decay_grad = torch.zeros_like(decay)
        torch.mul(adjoint[1:], states[:-1], out=decay_grad[1:])
        return decay_grad, adjoint


def selective_scan(decay: Tensor, drive: Tensor) -> Tensor:
    """Solve h[t] = decay[t] * h[t - 1] + drive[t] with h[-1] = 0.

    A plain recurrence: unlike a division by cumulative products it neither under- nor overflows, however long the
    series, as long as the decays lie in [0, 1].

    Args:
        decay: (T, ...) in [0, 1].
        drive: (T, ...), the same shape and dtype.

    Returns:
        All states, (T, ...).
    """
    result: Tensor = _Recurrence.apply(decay.contiguous(), drive.contiguous())  # type: ignore[no-untyped-call]
    return result


class StateSpaceLayer(nn.Module):
    """One gated selective state-space layer with a residual connection, (B, T, width) to the same shape.

    Step size, input and output vectors depend on the input; the state matrix is diagonal and negative. The layer runs
    over the series in both directions with the same weights and adds the two, so that reversing its input in time
    reverses its output.
    """

    def __init__(self, width: int, state_size: int, dropout: float) -> None:
        super().__init__()
        self.step_rank = math.ceil(width / 16)
        self.state_size = state_size
        self.norm = nn.LayerNorm(width)
        self.inlet = nn.Linear(width, 2 * width)
        self.convolution = nn.Conv1d(width, width, CONVOLUTION_WIDTH, groups=width)
        self.selection = nn.Linear(width, self.step_rank + 2 * state_size, bias=False)
        self.step = nn.Linear(self.step_rank, width)
        rates = torch.arange(1, state_size + 1, dtype=torch.float32).log()
        self.log_rate = nn.Parameter(rates.unsqueeze(1).repeat(1, width))
        self.skip = nn.Parameter(torch.ones(width))
        self.outlet = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        with torch.no_grad():
            low, high = (math.log(edge) for edge in STEP_RANGE)
            steps = torch.exp(low + (high - low) * torch.rand(width))
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor) -> Tensor:
        """Update a sequence (B, T, width)."""
        u, gate = self.inlet(self.norm(x)).chunk(2, dim=-1)
        both = self._scan(torch.cat([u, u.flip(1)]))
        forward, backward = both.chunk(2)
        y = 0.5 * (forward + backward.flip(1))
        update: Tensor = self.dropout(self.outlet(y * F.silu(gate)))
        return x + update

    def _scan(self, u: Tensor) -> Tensor:
        padded = F.pad(u.transpose(1, 2), (CONVOLUTION_WIDTH - 1, 0))
        u = F.silu(self.convolution(padded)).transpose(1, 2)
        sizes = [self.step_rank, self.state_size, self.state_size]
        low_rank, inward, outward = self.selection(u).split(sizes, dim=-1)
        step = self.step(low_rank)
        # Products of many decays need full precision, whatever autocast does to the layers around them.
        with full_precision(u.device):
            u, inward, outward, step = (v.float().transpose(0, 1) for v in (u, inward, outward, step))
            step = F.softplus(step)
            decay = torch.exp(-step.unsqueeze(2) * self.log_rate.float().exp())
            drive = (step * u).unsqueeze(2) * inward.unsqueeze(3)
            states = selective_scan(decay, drive)
            y = (states * outward.unsqueeze(3)).sum(dim=2) + self.skip.float() * u
            return y.transpose(0, 1)


class StateSpaceEncoder(nn.Module):
    """Encodes a scalar time series (B, T) into tokens (B, T, width); any T >= 1."""

    def __init__(self, width: int, layers: int, state_size: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Linear(1, width)
        self.layers = nn.ModuleList(StateSpaceLayer(width, state_size, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, series: Tensor) -> Tensor:
        """Encode series (B, T)."""
        x = self.embedding(series.unsqueeze(-1))
        for layer in self.layers:
            x = layer(x)
        tokens: Tensor = self.norm(x)
        return tokens
