"""The selective state-space encoder."""

from __future__ import annotations

import math

import pytest
import torch

from spectramind_train.v50.statespace import (
    StateSpaceEncoder,
    StateSpaceLayer,
    causal_convolution,
    recur,
    selective_scan,
)

LENGTHS = [1, 2, 3, 4, 5, 31, 187]


def naive_scan(decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
    """The recurrence as autograd sees it written out."""
    state, states = torch.zeros_like(drive[0]), []
    for a, b in zip(decay, drive, strict=True):
        state = a * state + b
        states.append(state)
    return torch.stack(states)


def naive_selective_scan(
    drive: torch.Tensor, step: torch.Tensor, rate: torch.Tensor, inward: torch.Tensor, outward: torch.Tensor
) -> torch.Tensor:
    """The systems as their definition has them."""
    decay = torch.exp(-step[:, None] * rate[:, None])
    return (naive_scan(decay, drive[:, None] * inward[..., None]) * outward[..., None]).sum(dim=1)


def inputs(steps: int) -> tuple[torch.Tensor, ...]:
    """Drives, steps, rates, inward and outward vectors of two systems of three states over four series."""
    generator = torch.Generator().manual_seed(steps)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    drive, step, rate = normal(steps, 4, 2), normal(steps, 4, 2).exp(), normal(3, 2).exp()
    found = (drive, step, rate, normal(steps, 3, 4), normal(steps, 3, 4))
    return tuple(one.requires_grad_() for one in found)


@pytest.mark.parametrize("steps", LENGTHS)
def test_scan_is_the_recurrence(steps: int) -> None:
    """Outputs and all gradients equal those of the sequential recurrence."""
    given = inputs(steps)
    weight = torch.randn(steps, 4, 2, dtype=torch.float64)
    expected, actual = naive_selective_scan(*given), selective_scan(*given)
    torch.testing.assert_close(actual, expected)
    gradients = torch.autograd.grad((expected * weight).sum(), given, allow_unused=True)
    for a, e in zip(torch.autograd.grad((actual * weight).sum(), given), gradients, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if e is None else e)


def test_scan_gradient_is_right() -> None:
    """Finite differences agree with the hand-written adjoint."""
    assert torch.autograd.gradcheck(selective_scan, inputs(5))


@pytest.mark.parametrize("steps", LENGTHS)
def test_recurrence_in_both_directions(steps: int) -> None:
    """States of pairs of pairs are those of one after the other, and backwards is the series turned around."""
    generator = torch.Generator().manual_seed(steps)
    decay = torch.rand(steps, 3, generator=generator, dtype=torch.float64)
    drive = torch.randn(steps, 3, generator=generator, dtype=torch.float64)
    states = drive.clone()
    recur(decay[1:], states)
    torch.testing.assert_close(states, naive_scan(decay, drive))
    adjoint = drive.clone()
    recur(decay[1:], adjoint, backwards=True)
    turned = torch.cat([decay[:1], decay[1:].flip(0)])
    torch.testing.assert_close(adjoint.flip(0), naive_scan(turned, drive.flip(0)))


@pytest.mark.parametrize("decay", [0.0, 1e-30, 1.0])
def test_scan_of_a_long_series_is_finite(decay: float) -> None:
    """Decays whose product underflows, and ones that never forget, stay finite over 10 000 steps."""
    one = torch.ones(10_000, 1, 1)
    step = torch.full_like(one, -math.log(decay) if decay else 1e4, requires_grad=True)
    states = selective_scan(one, step, torch.ones(1, 1), one, one)
    states.sum().backward()  # type: ignore[no-untyped-call]
    assert states.isfinite().all()
    assert step.grad is not None
    assert step.grad.isfinite().all()
    assert states[-1].item() == pytest.approx(10_000 if decay == 1.0 else 1.0)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 40])
def test_convolution_is_torchs_of_each_channel(steps: int) -> None:
    """Values and gradients equal those of a padded convolution with a group for every channel."""
    generator = torch.Generator().manual_seed(steps)
    shapes = ((steps, 2, 3), (3, 4), (3,))
    given = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    series, weight, bias = given
    padded = torch.nn.functional.pad(series.permute(1, 2, 0), (3, 0))
    expected = torch.nn.functional.conv1d(padded, weight.unsqueeze(1), bias, groups=3).permute(2, 0, 1)
    actual = causal_convolution(series, weight, bias)
    torch.testing.assert_close(actual, expected)
    factor = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = (torch.autograd.grad((result * factor).sum(), given) for result in (actual, expected))
    for a, e in zip(*gradients, strict=True):
        torch.testing.assert_close(a, e)


def test_reversing_the_input_reverses_the_output() -> None:
    """The layer treats both directions of time alike."""
    layer = StateSpaceLayer(8, 4, dropout=0.0)
    x = torch.randn(2, 50, 8)
    torch.testing.assert_close(layer(x.flip(1)), layer(x).flip(1), atol=1e-5, rtol=1e-5)


def test_one_direction_is_causal() -> None:
    """A change at one time leaves the states before it alone."""
    layer = StateSpaceLayer(8, 4, dropout=0.0)
    u = torch.randn(40, 1, 8)
    changed = u.clone()
    changed[25] += 1.0
    before, after = layer._scan(u), layer._scan(changed)
    torch.testing.assert_close(before[:25], after[:25])
    assert not torch.allclose(before[25:], after[25:])


def test_selection_depends_on_the_input() -> None:
    """The layer is not a fixed linear filter: the response to a pulse depends on its height."""
    layer = StateSpaceLayer(8, 4, dropout=0.0)
    pulse = torch.zeros(30, 1, 8)
    pulse[10] = 1.0
    rest = layer._scan(torch.zeros(30, 1, 8))
    single, double = layer._scan(pulse) - rest, layer._scan(2 * pulse) - rest
    assert not torch.allclose(double, 2 * single, rtol=1e-2)


@pytest.mark.parametrize("steps", [1, 16, 375])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_encoder_is_finite(steps: int, scale: float) -> None:
    """Tokens and gradients are finite for short and long series of any height, under autocast too."""
    encoder = StateSpaceEncoder(16, layers=2, state_size=4, dropout=0.0)
    series = scale * torch.randn(2, steps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = encoder(series)
    assert tokens.shape == (2, steps, 16)
    tokens.float().square().sum().backward()
    assert tokens.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
