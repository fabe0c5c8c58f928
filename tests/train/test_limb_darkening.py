"""The law of limb darkening: learnt from fits of planets with labels, and what it does to other planets' depths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Planet
from spectramind_train.transit.spectrum_fit import fit_transit, limb_prior
from spectramind_train.v50.limb_darkening import LimbDarkeningLaw
from spectramind_train.v50.network import Batch

from .synthetic import visit

MakeBatch = Callable[..., Batch]


def fitted(seeds: range) -> Batch:
    """Fits of light curves whose limb darkening scatters by 0.05 around a law that is not what the fit assumes."""
    planets = []
    for seed in seeds:
        curves, star, spectrum = visit(seed)
        planets.append(Planet(f"{seed}", curves, fit_transit(curves, star), spectrum, star))
    return to_batch(planets)


def test_before_it_has_learnt_it_changes_nothing(make_batch: MakeBatch) -> None:
    """Then it is what the fit assumes."""
    batch = make_batch(3)
    batch["shared_errors"][:, :5] = 2e-5
    batch["limb_darkening"] += 0.3
    same = LimbDarkeningLaw()(batch)
    assert set(batch) - set(same) == {"limb_darkening", "limb_covariance"}
    for name, values in same.items():
        torch.testing.assert_close(values, batch[name])


def test_it_is_learnt_and_makes_depths_better_and_their_sigma_honest() -> None:
    """Learnt from 40 planets, and applied to 16 others."""
    law = LimbDarkeningLaw()
    law.take_up(fitted(range(100, 140)))
    before = fitted(range(16))
    found = before["star"][0, [0, 2]] @ law.coefficients
    np.testing.assert_allclose(found, [0.4, 0.25, 0.17, 0.15, -0.07], atol=0.04)
    assert 0.02 < float(law.scatter[:2].mean()) < 0.08
    after = law(before)
    for channels in (slice(0, 1), slice(1, None)):
        errors = [(one["fit_depth"] - one["target"])[:, channels].mean(dim=1) for one in (before, after)]
        assert errors[1].square().mean() < errors[0].square().mean()
    residuals = (after["fit_depth"] - after["target"]) / after["fit_sigma"]
    assert 0.5 < float(residuals[:, 0].square().mean().sqrt()) < 1.5
    assert torch.all(after["fit_sigma"] <= before["fit_sigma"] * (1 + 1e-6))
    own = [one["fit_sigma"].square() - one["shared_errors"].square().sum(dim=1) for one in (before, after)]
    torch.testing.assert_close(own[1], own[0], rtol=1e-3, atol=1e-12)


def taught() -> LimbDarkeningLaw:
    """A law that has learnt something."""
    law = LimbDarkeningLaw()
    law.coefficients += 0.2
    law.scatter.fill_(0.02)
    return law


def test_a_planet_without_a_star_keeps_what_the_fit_says(make_batch: MakeBatch) -> None:
    """Nothing is known of its temperature."""
    law, batch = taught(), make_batch(2)
    batch["shared_errors"][:, :5] = 1e-4
    batch["star"][1] = 0.0
    changed = law(batch)
    assert not torch.allclose(changed["fit_depth"][0], batch["fit_depth"][0])
    torch.testing.assert_close(changed["fit_depth"][1], batch["fit_depth"][1])


def test_a_star_of_the_typical_temperature_is_known(make_batch: MakeBatch) -> None:
    """At 5200 K the feature of the temperature is 0, as it is where nothing is known."""
    law = LimbDarkeningLaw()
    law.scatter.fill_(0.02)
    batch = make_batch(1)
    batch["shared_errors"][:, :5] = 1e-4
    batch["star"][:, 2] = 0.0
    assert not torch.allclose(law(batch)["fit_depth"], batch["fit_depth"])


def test_it_is_learnt_without_a_copy_of_the_light_curves(make_batch: MakeBatch) -> None:
    """Those of 1100 planets would be 700 MB."""
    batch = make_batch(24)
    batch["flux"] = torch.empty(0)  # Who takes rows of these fails.
    law = LimbDarkeningLaw()
    law.take_up(batch)
    assert not torch.equal(law.coefficients[1], torch.zeros(5))


def test_it_is_applied_in_full_precision_whatever_autocast_does(make_batch: MakeBatch) -> None:
    """A GPU's autocast would leave products of matrices in half precision, which its solver refuses."""
    law, batch = taught(), make_batch(2)
    batch["shared_errors"][:, :5] = 1e-4
    expected = law(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = law(batch)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=0.0, atol=0.0)


def test_too_few_planets_teach_nothing(make_batch: MakeBatch) -> None:
    """Nor do those without a star."""
    batch = make_batch(40)
    for few in ({name: values[:23] for name, values in batch.items()}, {**batch, "star": 0 * batch["star"]}):
        law = LimbDarkeningLaw()
        law.take_up(few)
        np.testing.assert_allclose(law.coefficients[0], limb_prior()[0], rtol=1e-6)
