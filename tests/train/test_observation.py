"""What simulated detectors record, calibrated: against another's transit, and against the figures of real visits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spectramind_config import Calibration
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import AIRS_COLUMNS, VISIT_H, FloatArray
from spectramind_train.simulated.observation import ADC, frame_axis, observe
from spectramind_train.simulated.population import COLUMN_WAVELENGTHS_UM, System, draw_system, generator
from spectramind_train.simulated.spectra import limb_darkening


def light_curves(system: System, pairs: int, seconds: float, *, noise: bool, seed: int = 11) -> FloatArray:
    """Calibrated light curves (bins, 283) of a visit; a seed has its own detectors, drifts and noise."""
    visit = observe(system, "1", 0, pairs, generator(seed, "train", 0, 2), noise)
    return calibrate(visit, frame_axis(pairs), ADC, Calibration(bin_seconds=seconds))[1]


def without_planet(system: System) -> System:
    """The same star with a planet too small to see."""
    return replace(system, depth=np.full_like(system.depth, 1e-12))


@pytest.fixture(scope="module")
def typical() -> System:
    """A star of the challenge's typical brightness and temperature, without a planet."""
    system = without_planet(draw_system(2025, "train", 1))
    return replace(system, brightness=1.0, star=replace(system.star, Ts=5500.0))


@pytest.fixture(scope="module")
def binned(typical: System) -> FloatArray:
    """The typical star in bins of 24 s: each is the mean of the 5 AIRS and 60 FGS1 pairs of a visit of full size."""
    curves = light_curves(typical, 1125, 24.0, noise=True)
    assert curves.shape == (1125, 283)
    return curves


def batman_curves(system: System, pairs: int) -> FloatArray:
    """Relative flux (pairs, 283) that batman computes for the channels of a visit, averaged over each pair's time."""
    batman = pytest.importorskip("batman", reason="batman-package has no wheel for this Python or machine")
    star, orbit = system.star, batman.TransitParams()
    orbit.t0, orbit.per, orbit.a, orbit.inc = system.mid_time, 24.0 * star.P, star.sma, star.i
    orbit.ecc, orbit.w, orbit.rp, orbit.limb_dark, orbit.u = 0.0, 90.0, 0.1, "quadratic", [0.1, 0.1]
    moments = 36 * pairs
    model = batman.TransitModel(orbit, (np.arange(moments) + 0.5) * (VISIT_H / moments))
    columns = np.r_[0, 1 + np.arange(356)[AIRS_COLUMNS][::-1]]
    laws = np.stack(limb_darkening(COLUMN_WAVELENGTHS_UM, star.Ts), axis=1)
    curves = []
    for column in columns:
        orbit.rp, orbit.u = float(np.sqrt(system.depth[column])), laws[column].tolist()
        curves.append(model.light_curve(orbit).reshape(pairs, -1).mean(axis=1))
    return np.stack(curves, axis=1)


@pytest.mark.parametrize("index", [1, 3])
def test_a_visit_without_noise_shows_the_transit_of_batman(index: int) -> None:
    """Every calibrated channel is, relative to the star alone, what independent code computes, to 3 ppm; FGS1 to 0.5.

    What is left are the moments that stand for a frame's time, and columns that borrow a neighbour's light.
    """
    system = draw_system(2025, "train", index)
    transit, star = (light_curves(one, 187, 144.0, noise=False) for one in (system, without_planet(system)))
    difference = np.abs(transit / star - batman_curves(system, 187))
    assert difference[:, 0].max() < 0.5e-6
    assert difference.max() < 3e-6


def test_noise_is_that_of_a_real_planet(binned: FloatArray) -> None:
    """In bins of 50 FGS1 or 5 AIRS pairs within 20 %: FGS1 3.0e-4, an AIRS channel 2.8e-3, summed AIRS 1.5e-4."""
    white = binned[:, 1:].sum(axis=1, keepdims=True)
    noise = {
        name: np.median(np.diff(curves, axis=0).std(axis=0) / np.sqrt(2.0) / curves.mean(axis=0))
        for name, curves in (("FGS1", binned[:, :1]), ("channel", binned[:, 1:]), ("AIRS", white))
    }
    assert noise["FGS1"] * np.sqrt(60 / 50) == pytest.approx(3.0e-4, rel=0.2)
    assert noise["channel"] == pytest.approx(2.8e-3, rel=0.2)
    assert noise["AIRS"] == pytest.approx(1.5e-4, rel=0.2)


def test_drifts_are_those_of_a_real_planet(typical: System) -> None:
    """A visit drifts slowly, by some 1e-3 from end to end, FGS1 and AIRS each in its own way."""
    drifts = []
    for seed in range(8):
        curves = light_curves(typical, 20, 1350.0, noise=False, seed=seed)
        fgs1, airs = curves[:, 0], curves[:, 1:].sum(axis=1)
        drifts.append([np.ptp(one) / one.mean() for one in (fgs1, airs)])
        assert np.abs(np.diff(fgs1)).max() < 0.5 * np.ptp(fgs1)
    assert np.all((np.median(drifts, axis=0) > 3e-4) & (np.median(drifts, axis=0) < 3e-3))
    assert np.ptp(np.divide(*np.transpose(drifts))) > 0.5
