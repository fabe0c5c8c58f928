"""What no transit explains is flagged, sigma follows from it, and ordinary planets are left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectramind_train.ariel.lightcurves import LightCurves, read_binned
from spectramind_train.planets.visits import average_visits
from spectramind_train.transit.diagnosis import Kind, diagnose
from spectramind_train.transit.spectrum_fit import fit_transit

from .synthetic import visit

REAL_PLANET = Path(__file__).parents[3] / "shared" / "data" / "planet_1103775_binned.npy"
BINS = 96
SEED = 8
Fault = Callable[[LightCurves], LightCurves]


def fgs1(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """A change of FGS1's light curve relative to its baseline, whose drift is small beside a transit."""

    def fault(curves: LightCurves) -> LightCurves:
        flux = curves.flux.copy()
        level = np.quantile(flux[:, 0], 0.9)
        flux[:, 0] = level * change(flux[:, 0] / level)
        return replace(curves, flux=flux)

    return fault


def kept(choose: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """Only some of the bins."""

    def fault(curves: LightCurves) -> LightCurves:
        chosen = choose(curves.time)
        return LightCurves(curves.planet_id, curves.time[chosen], curves.flux[chosen])

    return fault


def flat(curves: LightCurves) -> LightCurves:
    """A star without a planet."""
    rng = np.random.default_rng(3)
    return replace(curves, flux=curves.flux[0] * (1.0 + 1e-3 * rng.normal(size=curves.flux.shape)))


def jump(size: float, channels: slice) -> Fault:
    """A detector that gains light half an hour before mid-transit."""

    def fault(curves: LightCurves) -> LightCurves:
        flux = curves.flux.copy()
        flux[curves.time > 3.2, channels] *= 1.0 + size
        return replace(curves, flux=flux)

    return fault


def wave(curves: LightCurves) -> LightCurves:
    """A star that pulsates every 50 minutes."""
    return replace(curves, flux=curves.flux * (1.0 + 1e-3 * np.sin(7.5 * curves.time))[:, None])


FAULTS: dict[str, tuple[Fault, Kind, str]] = {
    "no transit": (flat, "no transit", "no certain transit in FGS1 and AIRS: "),
    "no transit of FGS1": (
        fgs1(lambda one: 1.0 + 1e-4 * np.random.default_rng(5).normal(size=one.size)),
        "no transit",
        "no certain transit in FGS1: ",
    ),
    "10 min late": (fgs1(lambda one: np.roll(one, 2)), "mid-time", "FGS1 transits 9 min later than AIRS: "),
    "47 min early": (fgs1(lambda one: np.roll(one, -10)), "mid-time", "FGS1 transits 47 min earlier than AIRS: "),
    "a quarter of the depth": (fgs1(lambda one: 1.0 - 0.25 * (1.0 - one)), "depth", "FGS1 differs from AIRS by -"),
    "half as deep again": (fgs1(lambda one: 1.0 - 1.5 * (1.0 - one)), "depth", "FGS1 differs from AIRS by +"),
    "a jump of FGS1": (jump(1e-3, slice(0, 1)), "residuals", "residuals of FGS1 are "),
    "a jump of both": (jump(3e-3, slice(None)), "residuals", "times its noise"),
    "a wave": (wave, "residuals", "times its noise"),
    "only half": (kept(lambda time: time < 3.7), "half a transit", "the visit ends within the transit"),
    "no beginning": (kept(lambda time: time > 3.7), "half a transit", "the visit begins within the transit"),
    "a gap": (kept(lambda time: abs(time - 4.5) > 0.5), "gap", "a gap at 3.9 h: 1.0 h are missing"),
    "two gaps": (kept(lambda time: abs(abs(time - 3.7) - 2.0) > 0.3), "gap", "2 gaps, the first at 1.4 h: "),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_sigma_covers_what_it_does(name: str) -> None:
    """Its kind and its words; errors of FGS1 and of AIRS's mean are within two of the sigmas that follow."""
    fault, kind, words = FAULTS[name]
    curves, _, spectrum = visit(SEED, bins=BINS, mid_time=3.7)
    curves = fault(curves)
    fit = fit_transit(curves, None)
    found = diagnose(curves, fit)
    (flag,) = (flag for flag in found.flags if flag.kind == kind)
    assert words in flag.words
    assert words in found.words
    assert np.isfinite(flag.number)
    assert (found.least_sigma >= fit.sigma).all()
    error = fit.depth - spectrum
    assert abs(error[0]) < 2.0 * found.least_sigma[0]
    assert abs(error[1:].mean()) < 2.0 * found.least_sigma[1:].mean()
    if kind == "no transit":
        assert np.isinf(found.least_sigma[0])


def test_without_a_baseline_nothing_is_certain() -> None:
    """Where all bins but a few lie within the transit, a drift explains it as well."""
    curves, star, _ = visit(SEED, mid_time=3.7)
    outside = fit_transit(curves, star).shape == 0.0
    short = kept(lambda time: ~outside | (abs(time - 3.7) < 0.1))(curves)
    found = diagnose(short, fit_transit(short, star))
    assert {flag.kind for flag in found.flags} & {"no transit", "no baseline"}
    assert found.least_sigma.min() > 3e-4


@pytest.mark.parametrize("known_orbit", [True, False])
def test_ordinary_planets_have_no_flag(known_orbit: bool) -> None:
    """Nothing is said about them, and sigma is left as it is."""
    for seed in range(20, 26):
        curves, star, _ = visit(seed, bins=BINS)
        found = diagnose(curves, fit_transit(curves, star if known_orbit else None))
        assert found.words == ""
        assert not found.least_sigma.any()


@pytest.mark.parametrize("bins", [20, 375])
def test_the_number_of_bins_is_no_fault(bins: int) -> None:
    """Few and many bins of an ordinary planet are as unsuspicious."""
    curves, star, _ = visit(8, bins=bins)
    assert diagnose(curves, fit_transit(curves, star)).flags == ()


def test_an_average_of_visits_is_no_fault() -> None:
    """Visits are moved by whole bins, which smears ingress and egress by up to half of one."""
    visits = []
    for middle in (3.7, 3.7 + 1.5 * 7.5 / 187):
        curves, star, _ = visit(6, mid_time=middle)
        visits.append((curves, fit_transit(curves, star)))
    assert diagnose(*average_visits(visits)).flags == ()


def test_numbers_that_no_star_has_are_hopeless_and_no_error() -> None:
    """A baseline of zeros, for one: nothing that follows may meet NaN."""
    curves, star, _ = visit(1, bins=BINS)
    fit = fit_transit(curves, star)
    found = diagnose(curves, replace(fit, baseline=np.zeros_like(fit.baseline), shape=np.zeros_like(fit.shape)))
    assert found.flags
    assert np.isinf(found.least_sigma[1:]).all()
    assert not np.isnan(found.least_sigma).any()


@pytest.mark.skipif(not REAL_PLANET.is_file(), reason="the real planet's light curves are not on this machine")
def test_a_real_planet_has_no_flag() -> None:
    """Real noise and real drifts are no fault."""
    (curves,) = read_binned(REAL_PLANET)
    assert diagnose(curves, fit_transit(curves, None)).flags == ()
