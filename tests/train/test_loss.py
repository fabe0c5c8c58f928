"""The training objective."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectramind_config import CompositeLoss as CompositeLossConfig
from spectramind_config import LossConfig
from spectramind_train.learning.loss import build_loss, high_frequency_power

U = 1e-4


def terms(mu: torch.Tensor, **weights: float) -> dict[str, torch.Tensor]:
    """All terms for a mean, with sigma of 100 ppm and a target of 1 %."""
    config = CompositeLossConfig(**weights)
    return build_loss(config)(mu, torch.full_like(mu, U), torch.full_like(mu, 0.01))


def flat() -> torch.Tensor:
    """Two spectra equal to the target."""
    return torch.full((2, 283), 0.01)


def test_perfect_flat_spectrum_costs_nothing() -> None:
    """With sigma equal to the unit all terms vanish."""
    for name, value in terms(flat()).items():
        assert value.item() == pytest.approx(0.0, abs=1e-6), name


def test_likelihood_by_hand() -> None:
    """An error of 2 sigma in FGS1 costs 2, weighted; sigma costs its logarithm."""
    mu = flat()
    mu[:, 0] += 2 * U
    share = 57.846 / (57.846 + 282)
    assert terms(mu)["nll"].item() == pytest.approx(2 * share, rel=1e-3)
    loss = build_loss(CompositeLossConfig())(flat(), torch.full((2, 283), 3 * U), flat())
    assert loss["nll"].item() == pytest.approx(math.log(3), rel=1e-5)


def test_likelihood_weight_is_configurable() -> None:
    """FGS1 with weight 282 counts as much as all of AIRS."""
    mu = flat()
    mu[:, 0] += 2 * U
    assert terms(mu, fgs1_weight=282.0)["nll"].item() == pytest.approx(1.0, rel=1e-3)


def test_smoothness_by_hand() -> None:
    """One channel 100 ppm high has second differences 1, -2, 1; a slope has none; FGS1 has no neighbours."""
    mu = flat()
    mu[:, 100] += U
    assert terms(mu)["smoothness"].item() == pytest.approx(6 / 280, rel=1e-3)
    slope = flat() + torch.linspace(0, 10 * U, 283)
    assert terms(slope)["smoothness"].item() == pytest.approx(0.0, abs=1e-6)
    fgs1 = flat()
    fgs1[:, 0] += 100 * U
    assert terms(fgs1)["smoothness"].item() == pytest.approx(0.0, abs=1e-6)


def test_nonnegativity_by_hand() -> None:
    """One of 283 values at -300 ppm costs 3 / 283."""
    mu = flat()
    mu[:, 5] = -3 * U
    assert terms(mu)["nonnegativity"].item() == pytest.approx(3 / 283, rel=1e-5)
    assert terms(flat())["nonnegativity"].item() == 0.0


def test_high_frequency_power_by_hand() -> None:
    """Channels that alternate by +-1 have power 1, all of it high; slow waves and slopes have next to none."""
    channel = torch.arange(282, dtype=torch.float32)
    alternating = torch.where(channel % 2 == 0, 1.0, -1.0)[None]
    assert high_frequency_power(alternating).item() == pytest.approx(1.0, abs=0.01)
    wave = torch.cos(2 * math.pi * (channel + 0.5) / 47)[None]
    assert high_frequency_power(wave).item() == pytest.approx(0.0, abs=1e-6)
    assert high_frequency_power(torch.linspace(-1, 1, 282)[None]).item() < 1e-4


def test_high_frequency_power_of_white_noise() -> None:
    """White noise has the share of its variance that lies above one cycle in 8 channels, three quarters."""
    noise = torch.tensor(np.random.default_rng(0).normal(size=(400, 282)), dtype=torch.float32)
    assert high_frequency_power(noise).item() == pytest.approx(0.75, abs=0.02)


def test_real_bands_are_almost_free() -> None:
    """A band of 100 ppm costs under a hundredth of channel noise of the same height."""
    x = torch.arange(283, dtype=torch.float32)
    band = flat() + U * torch.exp(-0.5 * ((x - 140) / 12) ** 2)
    noise = flat() + U * torch.tensor(np.random.default_rng(0).normal(size=(2, 283)), dtype=torch.float32)
    for name in ("smoothness", "high_frequency"):
        assert terms(band)[name] < 0.01 * terms(noise)[name]


@pytest.mark.parametrize("name", ["nll", "smoothness", "nonnegativity", "high_frequency"])
def test_loss_is_the_weighted_sum(name: str) -> None:
    """A term alone, with a weight of 2, is half of the loss."""
    weights = dict.fromkeys(("nll", "smoothness", "nonnegativity", "high_frequency"), 0.0) | {name: 2.0}
    mu = flat() * torch.tensor(np.random.default_rng(1).normal(size=(2, 283)), dtype=torch.float32)
    result = terms(mu, **weights)
    assert result["loss"].item() == pytest.approx(2 * result[name].item())
    assert result[name].item() > 0


def test_half_precision_input_is_computed_in_full() -> None:
    """Terms of bfloat16 input are float32."""
    result = terms(flat().bfloat16())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in result.values())


def test_unknown_config_is_refused_by_name() -> None:
    """The error says what is missing and how to add it."""
    with pytest.raises(TypeError, match=r"LossConfig.*register"):
        build_loss(LossConfig())
