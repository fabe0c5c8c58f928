"""The population of simulated planets against the statistics of the challenge's labels."""

from __future__ import annotations

import numpy as np
import pytest

from spectramind_train.simulated.population import System, draw_system


@pytest.fixture(scope="module")
def systems() -> list[System]:
    """Four hundred planets."""
    return [draw_system(2025, "train", index) for index in range(400)]


def test_labels_have_the_challenges_mean_and_spread(systems: list[System]) -> None:
    """Depths have mean 0.0147 and standard deviation 0.0107, between 0.0037 and 0.080."""
    labels = np.array([system.spectrum for system in systems])
    assert labels.shape == (400, 283)
    assert labels.mean() == pytest.approx(0.014689, rel=0.08)
    assert labels.std() == pytest.approx(0.010661, rel=0.10)
    assert labels.min() > 0.0035
    assert labels.max() < 0.081


def test_a_few_planets_cover_the_distribution() -> None:
    """Any 72 successive planets have nearly the mean of all."""
    labels = np.array([draw_system(7, "train", index).spectrum for index in range(30, 102)])
    assert labels.mean() == pytest.approx(0.0150, rel=0.1)


def test_spectra_vary_as_the_challenges_do(systems: list[System]) -> None:
    """AIRS spectra vary by 65 to 170 ppm, FGS1 differs from their mean by up to 500 ppm, to either side."""
    labels = 1e6 * np.array([system.spectrum for system in systems])
    spread = labels[:, 1:].std(axis=1)
    assert 60.0 < spread.min() < 80.0
    assert 155.0 < spread.max() < 180.0
    offset = labels[:, 0] - labels[:, 1:].mean(axis=1)
    assert np.mean(np.abs(offset) < 500.0) > 0.97
    assert np.abs(offset).max() > 300.0
    assert (offset > 50.0).sum() > 20
    assert (offset < -50.0).sum() > 20


def test_stars_and_orbits_are_physical(systems: list[System]) -> None:
    """Kepler's third law holds, planets are not denser than brown dwarfs and the whole transit is in the visit."""
    for system in systems:
        star = system.star
        au = (star.Ms * (star.P / 365.25) ** 2) ** (1.0 / 3.0)
        assert star.sma == pytest.approx(au * 215.03 / star.Rs, rel=1e-6)
        assert 0.02 < star.Mp < 13.0
        impact = star.sma * np.cos(np.deg2rad(star.i))
        half_chord = np.sqrt((1.0 + np.sqrt(system.depth.max())) ** 2 - impact**2)
        half_duration = 12.0 * star.P / np.pi * np.arcsin(half_chord / star.sma)
        assert half_duration < min(system.mid_time, 7.5 - system.mid_time) - 0.3


def test_a_planet_depends_on_seed_split_and_number_only() -> None:
    """Drawing a planet again gives the same one; another seed, split or number gives another."""
    system = draw_system(1, "train", 5)
    assert (draw_system(1, "train", 5).depth == system.depth).all()
    for other in (draw_system(2, "train", 5), draw_system(1, "test", 5), draw_system(1, "train", 6)):
        assert other.star != system.star
        assert (other.depth != system.depth).all()


@pytest.mark.parametrize("depth", [1e-6, 4e-4, 0.0147, 0.3, 0.9])
def test_a_given_spectrum_is_the_label_and_has_a_star_that_fits(depth: float) -> None:
    """The label is the spectrum to the last bit, columns beyond it are continuous, star and transit are possible."""
    spectrum = depth * (1.0 + 0.01 * np.sin(np.linspace(0.0, 20.0, 283)))
    for index in range(20):
        system = draw_system(2025, "train", index, spectrum)
        assert (system.spectrum == spectrum).all()
        assert np.abs(np.diff(system.depth[1:])).max() < 0.001 * depth
        assert 0.4 <= system.star.Rs <= 1.3
        assert 1e-6 < system.star.Mp < 100.0
        assert 4.0 < system.star.sma < 60.0
    assert draw_system(2025, "train", 3, spectrum).star != draw_system(2025, "train", 4, spectrum).star


def test_planets_of_a_seed_stay_what_they_are() -> None:
    """Figures that are quoted are of these very planets."""
    system = draw_system(2025, "train", 3)
    drawn = (system.star.Rs, system.star.P, system.mid_time, system.brightness)
    assert drawn == pytest.approx((0.531751558777563, 8.810654994219643, 3.6559079155638368, 0.9630531186751311), 1e-12)
    assert system.spectrum[[0, -1]] == pytest.approx([0.008842242043898208, 0.008589615924343175], rel=1e-12)
