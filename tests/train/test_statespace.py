"""The selective state-space encoder."""

from __future__ import annotations

import pytest
import torch

from spectramind_train.v50.statespace import StateSpaceEncoder, StateSpaceLayer, selective_scan


def naive_scan(decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
    """The recurrence as autograd sees it written out."""
    state, states = torch.zeros_like(drive[0]), []
    for a, b in zip(decay, drive, strict=True):
        state = a * state + b
        states.append(state)
    return torch.stack(states)


def inputs(steps: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Random decays in (0, 1) and drives."""
    generator = torch.Generator().manual_seed(steps)
    decay = torch.rand(steps, 3, 4, 2, generator=generator, dtype=dtype).requires_grad_()
    drive = torch.randn(steps, 3, 4, 2, generator=generator, dtype=dtype).requires_grad_()
    return decay, drive


@pytest.mark.parametrize("steps", [1, 2, 187])
def test_scan_is_the_recurrence(steps: int) -> None:
    """States and both gradients equal those of the sequential recurrence."""
    decay, drive = inputs(steps)
    weight = torch.randn(decay.shape, dtype=decay.dtype)
    expected = torch.autograd.grad((naive_scan(decay, drive) * weight).sum(), (decay, drive), allow_unused=True)
    actual = torch.autograd.grad((selective_scan(decay, drive) * weight).sum(), (decay, drive))
    torch.testing.assert_close(selective_scan(decay, drive), naive_scan(decay, drive))
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if e is None else e)


def test_scan_gradient_is_right() -> None:
    """Finite differences agree with the hand-written adjoint."""
    assert torch.autograd.gradcheck(selective_scan, inputs(5))


@pytest.mark.parametrize("decay", [0.0, 1e-30, 1.0])
def test_scan_of_a_long_series_is_finite(decay: float) -> None:
    """Decays whose product underflows, and ones that never forget, stay finite over 10 000 steps."""
    decays = torch.full((10_000, 1), decay, requires_grad=True)
    states = selective_scan(decays, torch.ones(10_000, 1))
    states.sum().backward()
    assert states.isfinite().all()
    assert decays.grad is not None
    assert decays.grad.isfinite().all()
    assert states[-1].item() == pytest.approx(10_000 if decay == 1.0 else 1.0)


def test_reversing_the_input_reverses_the_output() -> None:
    """The layer treats both directions of time alike."""
    layer = StateSpaceLayer(8, 4, dropout=0.0)
    x = torch.randn(2, 50, 8)
    torch.testing.assert_close(layer(x.flip(1)), layer(x).flip(1), atol=1e-5, rtol=1e-5)


def test_one_direction_is_causal() -> None:
    """A change at one time leaves the states before it alone."""
    layer = StateSpaceLayer(8, 4, dropout=0.0)
    u = torch.randn(1, 40, 8)
    changed = u.clone()
    changed[:, 25] += 1.0
    before, after = layer._scan(u), layer._scan(changed)
    torch.testing.assert_close(before[:, :25], after[:, :25])
    assert not torch.allclose(before[:, 25:], after[:, 25:])


def test_selection_depends_on_the_input() -> None:
    """The layer is not a fixed linear filter: the response to a pulse depends on its height."""
    layer = StateSpaceLayer(8, 4, dropout=0.0)
    pulse = torch.zeros(1, 30, 8)
    pulse[:, 10] = 1.0
    rest = layer._scan(torch.zeros(1, 30, 8))
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
