"""The classical fit recovers spectra, says how well, and survives what real data hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from spectramind_config import ConfigError
from spectramind_train.ariel.lightcurves import LightCurves, read_binned
from spectramind_train.transit.spectrum_fit import N_LIMB, fit_transit
from spectramind_train.transit.white_light import fit_white_light, red_noise

from .synthetic import visit

REAL_PLANET = Path(__file__).parents[3] / "shared" / "data" / "planet_1103775_binned.npy"


@pytest.mark.parametrize("known_orbit", [True, False])
def test_fit_recovers_injected_spectra_and_its_sigma_is_honest(known_orbit: bool) -> None:
    """Over many planets, errors divided by sigma scatter by about one, for FGS1 and for AIRS."""
    normalised, white = [], []
    for seed in range(12):
        curves, star, spectrum = visit(seed)
        fit = fit_transit(curves, star if known_orbit else None)
        normalised.append((fit.depth - spectrum) / fit.sigma)
        white.append((fit.depth[1:] - spectrum[1:]).mean())
    errors = np.array(normalised)
    assert 0.85 < errors[:, 1:].std() < 1.15
    assert 0.4 < np.sqrt(np.mean(errors[:, 0] ** 2)) < 1.6
    assert np.sqrt(np.mean(np.square(white))) < 6e-5


def test_errors_that_channels_share_are_told_apart() -> None:
    """Level and slope of AIRS's errors have the size that the shared ones say, and channels' own are a part of all."""
    normalised = []
    for seed in range(16):
        curves, star, spectrum = visit(seed)
        fit = fit_transit(curves, star)
        own = np.sqrt(fit.sigma[1:] ** 2 - (fit.shared_errors[:, 1:] ** 2).sum(axis=0))
        assert (own > 0.0).all()
        assert (fit.shared_errors[N_LIMB, 1:] > 0.0).all()
        place = np.linspace(-1.0, 1.0, 282)
        errors = (fit.depth - spectrum)[1:]
        for pattern in (np.ones(282), place):
            weights = pattern / own**2
            weights -= own**-2 * np.average(pattern, weights=own**-2) * (pattern is place)
            size = np.sqrt((weights * own) @ (weights * own) + ((fit.shared_errors[:, 1:] @ weights) ** 2).sum())
            normalised.append(errors @ weights / size)
    assert 0.5 < np.sqrt(np.mean(np.square(normalised))) < 1.6


def test_a_drift_that_changes_with_wavelength_does_not_tilt_the_spectrum() -> None:
    """A drift of parts in a thousand, three times as large at one end as at the other, hardly tilts depths."""
    curves, star, _ = visit(4, noise=0.05)
    x = np.linspace(-1.0, 1.0, len(curves.time))
    drift = 2e-3 * x + 1e-3 * x**2 + 3e-4 * np.sin(3.0 * x + 1.0)
    factors = np.concatenate([[1.0], 1.0 + 0.5 * np.linspace(-1.0, 1.0, 282)])
    even, uneven = (
        fit_transit(replace(curves, flux=curves.flux * (1.0 + np.outer(drift, growth))), star)
        for growth in (np.ones(283), factors)
    )
    tilt = np.polyfit(np.linspace(-1.0, 1.0, 282), (uneven.depth - even.depth)[1:], 1)[0]
    assert abs(tilt) < 5e-5


def test_fit_without_noise_is_exact_to_a_few_ppm_of_the_star() -> None:
    """With next to no noise the mean depth is right to 20 ppm and mid-time to 5 s."""
    curves, star, spectrum = visit(3, noise=1e-3, mid_time=3.6)
    fit = fit_transit(curves, star)
    assert abs((fit.depth[1:] - spectrum[1:]).mean()) < 2e-5
    assert fit.mid_time == pytest.approx(3.6, abs=5.0 / 3600.0)


def test_baseline_and_shape_rebuild_the_light_curves() -> None:
    """Baseline x (1 - depth x shape) leaves white residuals of the size of the noise."""
    curves, star, _ = visit(5)
    fit = fit_transit(curves, star)
    relative = curves.flux[:, 1:] / fit.baseline[:, 1:]
    outside = fit.shape == 0.0
    assert 40 < outside.sum() < 170
    left = (relative - 1.0 + fit.depth[1:] * fit.shape[:, None]).mean(axis=1)
    assert left.std() < 3e-4
    assert abs(left[outside].mean()) < 5e-5
    assert abs(left[~outside].mean()) < 5e-5


def test_a_contradicted_orbit_is_given_up() -> None:
    """A star table whose transit lasts half as long again does not spoil the depth."""
    curves, star, spectrum = visit(7)
    fit = fit_transit(curves, replace(star, sma=star.sma / 1.5, i=89.9))
    assert (fit.depth[1:] / spectrum[1:]).mean() == pytest.approx(1.0, abs=0.03)


def test_outliers_in_time_change_little() -> None:
    """Bins hit in all channels, and single samples, move the mean depth by less than 2 %."""
    curves, star, _ = visit(9)
    flux = curves.flux.copy()
    flux[[20, 90, 91, 150]] *= 1.01
    flux[::9, 40] *= 1.2
    spoiled = fit_transit(replace(curves, flux=flux), star)
    clean = fit_transit(curves, star)
    assert spoiled.depth[1:].mean() == pytest.approx(clean.depth[1:].mean(), rel=0.02)
    assert spoiled.depth[40] == pytest.approx(clean.depth[40], rel=0.1)


@pytest.mark.parametrize("bins", [16, 40, 375])
def test_any_number_of_bins_from_16_gives_finite_results(bins: int) -> None:
    """Short and long light curves both give finite depths and positive sigmas of the right shapes."""
    curves, star, spectrum = visit(11, bins=bins)
    fit = fit_transit(curves, star)
    assert fit.depth.shape == fit.sigma.shape == (283,)
    assert fit.baseline.shape == (bins, 283)
    assert np.isfinite(fit.depth).all()
    assert (fit.sigma > 0.0).all()
    assert fit.depth[1:].mean() == pytest.approx(spectrum[1:].mean(), rel=0.15)


def test_light_curves_without_a_transit_give_finite_results() -> None:
    """Pure noise has no depth to find, but nothing that follows may meet NaN or a white depth of zero."""
    rng = np.random.default_rng(1)
    flux = 1e5 * (1.0 + 1e-3 * rng.normal(size=(60, 283)))
    fit = fit_transit(LightCurves("flat", np.linspace(0.1, 7.4, 60), flux), None)
    assert np.isfinite(fit.depth).all()
    assert np.isfinite(fit.baseline).all()
    assert 0.0 < fit.white_depth < 0.01


@pytest.mark.parametrize(
    ("value", "channel", "message"), [(np.nan, 5, "not finite"), (0.0, 7, "channel 7")], ids=["nan", "dark"]
)
def test_unusable_light_curves_are_refused_by_name(value: float, channel: int, message: str) -> None:
    """Values that are not finite and channels without light are the user's to mend."""
    curves, star, _ = visit(1)
    flux = curves.flux.copy()
    flux[:, channel] = value
    with pytest.raises(ConfigError, match=message):
        fit_transit(replace(curves, flux=flux), star)


def test_red_noise_is_one_for_white_noise_and_more_for_a_wave() -> None:
    """White noise averages out; a slow wave does not."""
    noise = np.random.default_rng(0).normal(size=(200, 100))
    assert red_noise(noise) < 1.1
    assert red_noise(noise + np.sin(np.arange(200) / 8.0)[:, None]) > 1.5


@pytest.mark.skipif(not REAL_PLANET.is_file(), reason="the real planet's light curves are not on this machine")
def test_a_real_planets_light_loss_is_reproduced() -> None:
    """Without a star, the fitted light loss at mid-transit is that read off the data without a model.

    Limb darkening deepens the middle of a transit, by a fifth at 0.7 um: the squared radius ratio is smaller.
    """
    (curves,) = read_binned(REAL_PLANET)
    fit = fit_transit(curves, None)
    away = np.abs(curves.time - fit.mid_time)
    outside, middle = (away > 1.15) & (away < 2.2), away < 0.25
    airs = curves.flux[:, 1:].sum(axis=1)
    drift = np.polynomial.Polynomial.fit(curves.time[outside], airs[outside], 2)(curves.time)
    seen = 1.0 - np.median((airs / drift)[middle])
    assert seen == pytest.approx(0.0169, abs=3e-4)
    assert fit.white_depth * np.median(fit.shape[middle]) == pytest.approx(seen, rel=0.02)
    assert 0.8 * seen < fit.depth[1:].mean() < seen
    assert fit.depth[0] == pytest.approx(fit.depth[1:].mean(), abs=6e-4)


@pytest.mark.skipif(not REAL_PLANET.is_file(), reason="the real planet's light curves are not on this machine")
@pytest.mark.parametrize(("part", "limb"), [(slice(0, 1), (0.38, 0.22)), (slice(1, None), (0.15, 0.15))])
def test_a_real_planets_white_depths_are_those_of_an_independent_fit(part: slice, limb: tuple[float, float]) -> None:
    """Each instrument by itself, batman's transit under a drift of the fourth order, agrees within the fit's sigma."""
    batman = pytest.importorskip("batman", reason="batman-package has no wheel for this Python or machine")
    (curves,) = read_binned(REAL_PLANET)
    time, flux = curves.time, curves.flux[:, part].sum(axis=1)
    flux = flux / np.median(flux)
    noise = 1.4826 * np.median(np.abs(np.diff(flux))) / np.sqrt(2.0)
    x = np.linspace(-1.0, 1.0, time.size)
    orbit = batman.TransitParams()
    orbit.per, orbit.ecc, orbit.w, orbit.limb_dark = 100.0, 0.0, 90.0, "quadratic"
    orbit.t0, orbit.rp, orbit.a, orbit.inc, orbit.u = 3.75, 0.1, 10.0, 90.0, list(limb)
    transit = batman.TransitModel(orbit, time, supersample_factor=3, exp_time=float(np.median(np.diff(time))))

    def residuals(p: np.ndarray) -> np.ndarray:
        orbit.t0, orbit.rp, orbit.a, orbit.u = p[0], p[1], np.exp(p[2]), list(p[4:6])
        orbit.inc = float(np.degrees(np.arccos(p[3] / np.exp(p[2]))))
        model = transit.light_curve(orbit) * np.polynomial.legendre.legval(x, p[6:])
        return np.r_[(model - flux) / noise, (p[3] - 0.35) / 0.35, (p[4:6] - limb) / 0.15]

    start = np.array([4.0, 0.1, np.log(10.0), 0.3, *limb, 1.0, 0.0, 0.0, 0.0, 0.0])
    lower = np.array([0.0, 0.01, 0.7, 0.0, -0.3, -0.4, *[-9.0] * 5])
    upper = np.array([7.5, 0.5, 4.0, 1.2, 1.0, 0.9, *[9.0] * 5])
    found = least_squares(residuals, start, bounds=(lower, upper), x_scale="jac")
    assert found.success
    fit = fit_transit(curves, None)
    airs = fit.white_depth, np.linalg.norm(fit.shared_errors[[0, 1, 2, 3, N_LIMB], 1])
    depth, sigma = airs if part.start else (fit.depth[0], fit.sigma[0])
    assert abs(found.x[1] ** 2 - depth) < sigma


def test_light_curves_without_noise_or_transit_give_finite_results() -> None:
    """Of constants nothing is left to judge a drift by, and so no noise."""
    time = np.linspace(0.01, 7.49, 5625)
    fit = fit_white_light(time, np.ones((2, time.size)), None)
    assert np.isfinite(fit.radius_ratio).all()
    assert np.isfinite(fit.covariance).all()


def test_an_average_over_drifts_stays_a_radius() -> None:
    """Without a transit the orders of the drift disagree by more than the smallest radius, which has no sign."""
    flux = 1.0 + 1e-3 * np.random.default_rng(0).normal(size=(2, 60))
    fit = fit_white_light(np.linspace(0.1, 7.4, 60), flux, None)
    assert 0.005 <= fit.radius_ratio.min() <= fit.radius_ratio.max() <= 0.6
    assert np.all(fit.shape >= 0.0)
