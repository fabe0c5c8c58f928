"""A selective state-space encoder of a time series (Mamba: Gu & Dao 2023, arXiv:2312.00752)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812

from spectramind_train.v50.dropout import Dropout
from spectramind_train.v50.precision import full_precision

CONVOLUTION_WIDTH = 4
STEP_RANGE = (1e-3, 1e-1)
"""Initial step sizes are spread log-uniformly over this range, as in Mamba."""


def recur(links: Tensor, states: Tensor, *, backwards: bool = False) -> None:
    """Solve h[t + 1] = links[t] * h[t] + drive[t + 1] in place, or h[t] = links[t] * h[t + 1] + drive[t] backwards.

    A scan over pairs (Blelloch 1990, CMU-CS-90-190): every second state takes in the one before it, these are solved as
    a series of half the length, and those between follow from them. That is three operations a state, in a number of
    kernels that grows with the logarithm of T. Links are multiplied and never divided by, so that nothing under- or
    overflows, however long the series, as long as they lie in [0, 1].

    Args:
        links: (T - 1, ...) in [0, 1].
        states: (T, ...), on entry the drives, on return the states.
        backwards: from the last time to the first.
    """
    if len(states) < 2:
        return
    even, odd = states[::2], states[1::2]
    # From an even time to the odd one after it, and from that one on.
    upwards, onwards = links[::2], links[1::2]
    count = len(onwards)
    if backwards:
        even[: len(odd)].addcmul_(upwards, odd)
    else:
        even[1:].addcmul_(onwards, odd[:count])
    recur(upwards[:count] * onwards, even, backwards=backwards)
    if backwards:
        odd[:count].addcmul_(onwards, even[1:])
    else:
        odd.addcmul_(upwards, even[: len(odd)])


class _SelectiveScan(torch.autograd.Function):
    """The scan with its adjoint, which keeps two arrays of (T, N, B, C) for it instead of six."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, step: Tensor, rate: Tensor, inward: Tensor, outward: Tensor) -> Tensor:
        inward, outward = inward.unsqueeze(3), outward.unsqueeze(3)
        decay = (step.unsqueeze(1) * _each(-rate, step)).exp_()
        states = drive.unsqueeze(1) * inward
        recur(decay[1:], states)
        ctx.save_for_backward(drive, step, rate, inward, outward, decay, states)
        return (states * outward).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        drive, step, rate, inward, outward, decay, states = ctx.saved_tensors
        grad = grads[0].unsqueeze(1)
        work = states * grad
        outward_grad = work.sum(dim=3)
        adjoint = grad * outward
        recur(decay[1:], adjoint, backwards=True)
        inward_grad = torch.mul(adjoint, drive.unsqueeze(1), out=work).sum(dim=3)
        drive_grad = torch.mul(adjoint, inward, out=work).sum(dim=1)
        # Of the exponent of each decay, but for the first, with which no state is multiplied.
        exponent = torch.mul(adjoint[1:], states[:-1], out=work[1:]).mul_(decay[1:])
        step_grad = torch.zeros_like(step)
        torch.sum(exponent * _each(-rate, step), dim=1, out=step_grad[1:])
        rate_grad = -exponent.mul_(step[1:].unsqueeze(1)).sum(dim=0).sum(dim=1)
        return drive_grad, step_grad, rate_grad, inward_grad, outward_grad


def _each(rate: Tensor, step: Tensor) -> Tensor:
    """Rates (N, C) for every series, (N, B, C) in memory: a kernel then works on B * C numbers at once, not on C."""
    return rate.unsqueeze(1).expand(-1, step.shape[1], -1).contiguous()


def selective_scan(drive: Tensor, step: Tensor, rate: Tensor, inward: Tensor, outward: Tensor) -> Tensor:
    """The output of C systems of N states each over B series, (T, B, C).

    y[t, b, c] = sum over n of outward[t, n, b] * h[t, n, b, c], where h[-1] = 0 and
    h[t, n, b, c] = exp(-step[t, b, c] * rate[n, c]) * h[t - 1, n, b, c] + inward[t, n, b] * drive[t, b, c].

    Args:
        drive: (T, B, C).
        step: (T, B, C), not negative.
        rate: (N, C), not negative.
        inward: (T, N, B).
        outward: (T, N, B).
    """
    result: Tensor = _SelectiveScan.apply(drive, step, rate, inward, outward)  # type: ignore[no-untyped-call]
    return result


class _CausalConvolution(torch.autograd.Function):
    """A sum of a few delayed series, which takes half of the time of torch's convolution and its transpositions."""

    @staticmethod
    def forward(ctx: Any, series: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(series, weight)
        result = torch.addcmul(bias, series, weight[:, -1])
        for delay in range(1, weight.shape[1]):
            result[delay:].addcmul_(series[:-delay], weight[:, -1 - delay])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (series, weight), (grad,) = ctx.saved_tensors, grads
        series_grad = grad * weight[:, -1]
        weight_grads = [(grad * series).sum(dim=(0, 1))]
        for delay in range(1, weight.shape[1]):
            series_grad[:-delay].addcmul_(grad[delay:], weight[:, -1 - delay])
            weight_grads.append((grad[delay:] * series[:-delay]).sum(dim=(0, 1)))
        return series_grad, torch.stack(weight_grads[::-1], dim=1), grad.sum(dim=(0, 1))


def causal_convolution(series: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each channel of series (T, B, C) with its own kernel (C, W), which ends at the time it gives; (T, B, C).

    Before the first time lie zeros, as in a padded ``torch.nn.Conv1d`` with a group for every channel.
    """
    result: Tensor = _CausalConvolution.apply(series, weight, bias)  # type: ignore[no-untyped-call]
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
        self.dropout = Dropout(dropout)
        with torch.no_grad():
            low, high = (math.log(edge) for edge in STEP_RANGE)
            steps = torch.exp(low + (high - low) * torch.rand(width))
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor) -> Tensor:
        """Update a sequence (B, T, width)."""
        u, gate = self.inlet(self.norm(x)).chunk(2, dim=-1)
        u = u.transpose(0, 1)
        both = self._scan(torch.cat([u, u.flip(0)], dim=1))
        forward, backward = both.chunk(2, dim=1)
        y = 0.5 * (forward + backward.flip(0)).transpose(0, 1)
        update: Tensor = self.dropout(self.outlet(y * F.silu(gate)))
        return x + update

    def _scan(self, u: Tensor) -> Tensor:
        """Scan series (T, B, width) from the first time to the last."""
        weight, bias = (self.convolution.get_parameter(name) for name in ("weight", "bias"))
        u = F.silu(causal_convolution(u, weight.squeeze(1), bias))
        sizes = [self.step_rank, self.state_size, self.state_size]
        low_rank, inward, outward = self.selection(u).split(sizes, dim=-1)
        step = self.step(low_rank)
        # Products of many decays need full precision, whatever autocast does to the layers around them.
        with full_precision(u.device):
            u, step = u.float(), F.softplus(step.float())
            inward, outward = (v.float().transpose(1, 2).contiguous() for v in (inward, outward))
            y = selective_scan(step * u, step, self.log_rate.float().exp(), inward, outward)
            return y + self.skip.float() * u


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
