"""Random changes of training batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from spectramind_config import Augmentation
from spectramind_train.learning.augmentation import augment, flip_in_time
from spectramind_train.v50.network import Batch

MakeBatch = Callable[..., Batch]
NOTHING = Augmentation(time_flip=False, fresh_noise=0.0, extra_noise=0.0, depth_scale=1.0)


def seeded(seed: int) -> torch.Generator:
    """A generator at its start."""
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_changes_nothing(make_batch: MakeBatch) -> None:
    """With all switched off the batch is the same."""
    data = make_batch()
    assert all(torch.equal(value, data[name]) for name, value in augment(data, NOTHING, seeded(0)).items())


def test_draws_come_from_the_generator_only(make_batch: MakeBatch) -> None:
    """The same seed gives the same batch, another seed another, and the input is left alone."""
    data = make_batch()
    before = {name: values.clone() for name, values in data.items()}
    torch.manual_seed(0)
    first = augment(data, Augmentation(), seeded(1))
    torch.manual_seed(99)
    again = augment(data, Augmentation(), seeded(1))
    other = augment(data, Augmentation(), seeded(2))
    kept = {"star", "limb_darkening", "limb_covariance"}
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
        assert torch.equal(value, other[name]) == (name in kept), name
        assert torch.equal(data[name], before[name]), name


def test_flip_is_a_coin_per_planet() -> None:
    """Each light curve is either as it was or reversed, about half of them each."""
    flux = torch.arange(16.0)[None, :, None].expand(400, 16, 3)
    flipped = flip_in_time(flux, seeded(0))
    reversed_ = flipped[:, 0, 0] == 15
    assert torch.equal(flipped[reversed_], flux[reversed_].flip(1))
    assert torch.equal(flipped[~reversed_], flux[~reversed_])
    assert 150 < int(reversed_.sum()) < 250


def test_fresh_noise_is_what_the_fit_says_of_its_errors(make_batch: MakeBatch) -> None:
    """A spectrum measured anew misses the truth by errors of its own and by those that channels share."""
    data = make_batch(2000, 16)
    settings = Augmentation(time_flip=False, fresh_noise=1.0, extra_noise=0.0, depth_scale=1.0)
    errors = augment(data, settings, seeded(0))["fit_depth"] - data["target"]
    assert (errors / data["fit_sigma"]).square().mean().item() == pytest.approx(1.0, abs=0.03)
    assert errors.mean(dim=1).square().mean() > 10 * data["fit_sigma"].square().mean() / 283
    half = augment(data, Augmentation(time_flip=False, fresh_noise=0.5, extra_noise=0.0, depth_scale=1.0), seeded(0))
    kept = (half["fit_depth"] == data["fit_depth"]).all(dim=1).float().mean().item()
    assert kept == pytest.approx(0.5, abs=0.05)


def test_extra_noise_keeps_uncertainties_honest(make_batch: MakeBatch) -> None:
    """After noise is added the fit's errors still have the size that its sigma says."""
    data = make_batch(200, 16)
    noisy = augment(data, Augmentation(time_flip=False, fresh_noise=0.5, extra_noise=2.0, depth_scale=1.0), seeded(0))
    for batch in (data, noisy):
        chi2 = ((batch["fit_depth"] - batch["target"]) / batch["fit_sigma"]).square().mean().item()
        assert chi2 == pytest.approx(1.0, abs=0.03)
    assert (noisy["fit_sigma"] >= data["fit_sigma"]).all()
    assert (noisy["fit_sigma"] / data["fit_sigma"]).max() > 1.9
    outside = noisy["flux"][:, 0] * noisy["white_depth"] / noisy["noise"]
    assert outside.square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_depth_scale_changes_all_depths_alike(make_batch: MakeBatch) -> None:
    """Everything in units of (Rp/Rs)^2 is multiplied by one factor per planet, within the limit."""
    data = make_batch(50)
    scaled = augment(data, Augmentation(time_flip=False, fresh_noise=0.0, extra_noise=0.0, depth_scale=2.0), seeded(0))
    factor = scaled["white_depth"] / data["white_depth"]
    assert 0.5 <= factor.min() < 0.7
    assert 1.4 < factor.max() <= 2.0
    for name in ("fit_depth", "fit_sigma", "noise", "target"):
        torch.testing.assert_close(scaled[name], factor * data[name])
    assert torch.equal(scaled["flux"], data["flux"])
