"""Each calibration step by itself, and whole visits against what was injected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel import calibration
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import AIRS_COLUMNS
from spectramind_train.ariel.dataset import Axis, Visit
from spectramind_train.ariel.detector import Detector
from spectramind_train.simulated.observation import ADC, flux, frame_axis, observe
from spectramind_train.simulated.population import System, draw_system, generator

PAIRS = 187
REAL_AXIS = Path(__file__).parents[3] / "shared" / "data" / "axis_info.parquet"


def record(system: System, *, noise: bool) -> Visit:
    """A visit whose drifts, detectors and noise are always the same."""
    return observe(system, "1", 0, PAIRS, generator(11, "train", 0, 2), noise)


def without_planet(system: System) -> System:
    """The same star with a planet too small to see."""
    return replace(system, depth=np.full_like(system.depth, 1e-12))


@pytest.fixture(scope="module")
def system() -> System:
    """A star with a planet."""
    return draw_system(2025, "train", 3)


@pytest.fixture(scope="module")
def quiet_noise() -> tuple[np.ndarray, np.ndarray]:
    """Light curves of a typical star without a transit: time and flux."""
    system = replace(without_planet(draw_system(2025, "train", 1)), brightness=1.0)
    system = replace(system, star=replace(system.star, Ts=5500.0))
    return calibrate(record(system, noise=True), frame_axis(PAIRS), ADC, Calibration())


def detector(**maps: Any) -> Detector:
    """A perfect 4 x 6 detector, but for the maps given."""
    shape = (4, 6)
    linear = np.zeros((6, *shape))
    linear[1] = 1.0
    defaults: dict[str, Any] = {
        "dark": np.random.default_rng(1).uniform(0.005, 0.02, shape),
        "dead": np.zeros(shape, bool),
        "flat": np.ones(shape),
        "read": np.ones(shape),
        "linear_corr": linear,
    }
    return Detector(np.zeros((2, *shape), np.uint16), (slice(0, 4), slice(0, 6)), **{**defaults, **maps})


def test_convert_undoes_the_converter() -> None:
    """437 counts at gain 0.4369 and offset -1000 are an unlit pixel; 'multiply' applies the other reading."""
    frames = np.array([[[437, 1000]]], np.uint16)
    assert calibration.convert(frames, 0.4369, -1000.0, "divide") == pytest.approx(frames / 0.4369 - 1000.0, abs=1e-3)
    assert calibration.convert(frames, 0.4369, -1000.0, "multiply") == pytest.approx(frames * 0.4369 - 1000.0, abs=1e-3)


def test_bad_pixels_are_dead_hot_or_not_calibrated() -> None:
    """Dead pixels, dark currents 5 sigma out (found one after the other) and values that are not finite are masked."""
    perfect = detector()
    assert not calibration.bad_pixels(perfect, 5.0).any()
    dark = np.tile(perfect.dark, (8, 8))
    dark[0, 1], dark[0, 2] = 25.0, 0.4
    big = {
        "dark": dark,
        "dead": np.tile(perfect.dead, (8, 8)),
        "flat": np.tile(perfect.flat, (8, 8)),
        "read": dark,
        "linear_corr": np.tile(perfect.linear_corr, (1, 8, 8)),
    }
    big["dead"][1, 1] = True
    big["flat"][2, 2] = np.nan
    big["linear_corr"][3, 3, 3] = np.inf
    bad = calibration.bad_pixels(detector(**big), 5.0)
    assert sorted(map(tuple, np.argwhere(bad).tolist())) == [(0, 1), (0, 2), (1, 1), (2, 2), (3, 3)]


def test_linearize_is_a_polynomial_per_pixel() -> None:
    """Every pixel's counts go through its own polynomial."""
    rng = np.random.default_rng(2)
    counts = rng.uniform(0.0, 2.0, (5, 2, 3)).astype(np.float32)
    coefficients = rng.normal(size=(6, 2, 3))
    expected = sum(coefficients[k] * counts.astype(float) ** k for k in range(6))
    assert calibration.linearize(counts, coefficients) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_dark_and_double_sampling() -> None:
    """The dark current of both exposures goes, then the short exposure is taken from the long one."""
    dark = np.array([[0.5, 2.0]])
    signal = np.array([[[10.0, 20.0]], [[300.0, 400.0]]] * 3)
    seen = (signal + np.array([0.1, 4.6] * 3)[:, None, None] * dark).astype(np.float32)
    short = calibration.subtract_dark(seen[::2].copy(), dark, 0.1)
    long = calibration.subtract_dark(seen[1::2].copy(), dark, 4.6)
    assert short == pytest.approx(signal[::2], rel=1e-6)
    assert long == pytest.approx(signal[1::2], rel=1e-6)
    pairs = calibration.correlated_double_sample(short, long)
    assert pairs == pytest.approx(np.array([[[290.0, 380.0]]] * 3), rel=1e-6)


def test_an_outlier_is_told_by_the_median_of_all_steps() -> None:
    """For even and odd numbers of steps alike, samples are replaced where the textbook's formula replaces them."""
    rng = np.random.default_rng(7)
    for count in (40, 41):
        pairs = rng.normal(0.0, 1.0, (count, 2, 3)).astype(np.float32)
        limit = 1.5 * 1.4826 / np.sqrt(2.0) * np.median(np.abs(np.diff(pairs, axis=0)), axis=0)
        expected = pairs.copy()
        for here in range(1, count - 1):
            middle = np.median(pairs[here - 1 : here + 2], axis=0)
            expected[here] = np.where(np.abs(pairs[here] - middle) > limit, middle, pairs[here])
        cleaned = calibration.reject_outliers(pairs.copy(), 1.5)
        assert (cleaned != pairs).any()
        assert (cleaned == expected).all()


def test_outliers_in_time_are_replaced() -> None:
    """A cosmic ray becomes the median of its neighbours; a deep transit, and everything at 0 sigma, stays."""
    rng = np.random.default_rng(3)
    curve = 1000.0 + rng.normal(0.0, 1.0, (300, 1, 1))
    curve[120:180] -= 80.0
    hit = curve.copy()
    hit[50] += 500.0
    cleaned = calibration.reject_outliers(hit.astype(np.float32), 8.0)
    changed = np.flatnonzero(cleaned != hit.astype(np.float32))
    assert changed.tolist() == [50]
    assert abs(cleaned[50, 0, 0] - 1000.0) < 4.0
    hit[50] += 500.0
    kept = calibration.reject_outliers(hit.astype(np.float32), 0.0)
    assert (kept == hit.astype(np.float32)).all()


def test_binning_averages_and_leaves_the_remainder_out() -> None:
    """Seven samples in bins of three give two means."""
    pairs = np.arange(7.0, dtype=np.float32)[:, None, None]
    assert calibration.bin_in_time(pairs, 3).ravel().tolist() == [1.0, 4.0]


def test_bad_pixels_are_interpolated_along_their_row() -> None:
    """A linear ramp is restored exactly, an edge repeats its neighbour, and a row of bad pixels is zero."""
    ramp = np.tile(np.arange(6.0), (2, 3, 1))
    bad = np.zeros((3, 6), bool)
    bad[0, [2, 3]] = bad[1, [0, 5]] = True
    bad[2] = True
    values = np.where(bad, 1e9, ramp)
    filled = calibration.fill_bad_pixels(values, bad)
    assert filled[1, 0] == pytest.approx(ramp[1, 0])
    assert filled[1, 1].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert not filled[:, 2].any()


def test_noise_free_visit_gives_back_the_injected_transit(system: System) -> None:
    """Without noise every channel's light curve gives the injected depth within 3 ppm, most within 0.1 ppm."""
    axis, settings = frame_axis(PAIRS), Calibration()
    _, transit = calibrate(record(system, noise=False), axis, ADC, settings)
    _, star = calibrate(record(without_planet(system), noise=False), axis, ADC, settings)
    airs, fgs1 = flux(system, PAIRS)
    airs_star, fgs1_star = flux(without_planet(system), PAIRS)
    curve = np.column_stack(
        [(fgs1 / fgs1_star).reshape(PAIRS, 12).mean(axis=1), (airs / airs_star)[AIRS_COLUMNS][::-1].T]
    )
    inside, outside = curve[:, 1:].mean(axis=1) < 1.0 - 0.9 * system.spectrum.mean(), (curve == 1.0).all(axis=1)
    assert inside.sum() > 10
    assert outside.sum() > 40
    relative = transit / star
    depth = 1.0 - relative[inside].mean(axis=0) / relative[outside].mean(axis=0)
    injected = 1.0 - curve[inside].mean(axis=0) / curve[outside].mean(axis=0)
    assert abs(depth - injected)[0] < 0.1e-6
    # A column with a bad pixel borrows its neighbours' light, whose transit differs by some ppm.
    assert np.abs(depth - injected).max() < 3e-6
    assert np.median(np.abs(depth - injected)) < 0.1e-6


def test_flux_is_that_of_a_pair_of_exposures(quiet_noise: tuple[np.ndarray, np.ndarray]) -> None:
    """Levels are those of ARIEL.md: FGS1 2.7e5, AIRS 8.2e4 at 1.95 um falling to 4.1e3 at 3.9 um."""
    _, curves = quiet_noise
    level = curves.mean(axis=0)
    assert level[0] == pytest.approx(2.7e5, rel=0.05)
    assert level[1] == pytest.approx(8.2e4, rel=0.05)
    assert level[-1] == pytest.approx(4.1e3, rel=0.08)


def test_default_settings_give_187_bins(quiet_noise: tuple[np.ndarray, np.ndarray]) -> None:
    """A default simulation has 187 bins, evenly over the 7.5 h."""
    time, curves = quiet_noise
    assert curves.shape == (187, 283)
    assert np.diff(time) == pytest.approx(np.full(186, 7.5 / 187))
    assert 0.0 < time[0] < time[-1] < 7.5


def test_real_exposures_make_bins_of_30_and_360_pairs() -> None:
    """The real visit of 11250 frames has 30 AIRS pairs to 144 s, 5 to 24 s, and at least one."""
    axis = frame_axis(5625)
    assert [calibration.pairs_per_bin(axis, seconds) for seconds in (144.0, 24.0, 0.1)] == [30, 5, 1]
    assert 5625 // 30 == 187


@pytest.mark.skipif(not REAL_AXIS.is_file(), reason="the challenge's axis_info.parquet is not here")
def test_simulated_times_are_the_challenges() -> None:
    """With all frames, the simulated exposure and integration times are those of the real axis_info.parquet."""
    table = pq.read_table(REAL_AXIS)
    real = {name: table.column(name).drop_null().to_numpy() for name in table.column_names}
    axis: Axis = frame_axis(5625)
    assert axis.airs_time == pytest.approx(real["AIRS-CH0-axis0-h"], abs=1e-9)
    assert axis.fgs1_time == pytest.approx(real["FGS1-axis0-h"], abs=1e-9)
    assert (axis.airs_integration == real["AIRS-CH0-integration_time"]).all()
    assert axis.airs_wavelength == pytest.approx(real["AIRS-CH0-axis2-um"], abs=1e-4)


def test_bins_of_several_pairs_keep_the_mean_flux(system: System) -> None:
    """Twice the bin length halves the number of bins and leaves the level, with the same T for both instruments."""
    visit, axis = record(system, noise=True), frame_axis(PAIRS)
    time, fine = calibrate(visit, axis, ADC, Calibration())
    coarse_time, coarse = calibrate(visit, axis, ADC, Calibration(bin_seconds=288.0))
    assert coarse.shape == (93, 283)
    assert coarse == pytest.approx(fine[:186].reshape(93, 2, 283).mean(axis=1), rel=1e-9)
    assert coarse_time == pytest.approx(time[:186].reshape(93, 2).mean(axis=1))


def test_dark_current_is_counted_for_the_seconds_of_the_settings(system: System) -> None:
    """The times of axis_info.parquet may be given; without any, the dark current of a pair is left in."""
    visit, axis = record(system, noise=False), frame_axis(PAIRS)
    _, usual = calibrate(visit, axis, ADC, Calibration())
    given = Calibration(airs_dark_seconds=calibration.airs_exposures(axis), fgs1_dark_seconds=(0.1, 0.2))
    assert (calibrate(visit, axis, ADC, given)[1] == usual).all()
    assert calibration.airs_exposures(axis) == pytest.approx((0.1, 4.6))
    none = Calibration(airs_dark_seconds=(0.0, 0.0), fgs1_dark_seconds=(0.0, 0.0))
    left = calibrate(visit, axis, ADC, none)[1] - usual
    for device, seconds, rows, columns in (
        (visit.airs, 4.5, slice(8, 24), AIRS_COLUMNS),
        (visit.fgs1, 0.1, slice(10, 22), slice(10, 22)),
    ):
        bad = calibration.bad_pixels(device, 5.0)[rows, columns]
        dark = (device.dark * seconds / device.flat)[rows, columns][None]
        expected = calibration.fill_bad_pixels(dark, bad)[0].sum(axis=0)
        if device is visit.airs:
            assert left[:, 1:] == pytest.approx(np.tile(expected[::-1], (len(left), 1)), rel=0.02)
        else:
            assert left[:, 0] == pytest.approx(expected.sum(), rel=0.1)


def test_the_sign_of_the_offset_matters_through_the_linearity(system: System) -> None:
    """Subtracted, it shifts where on its curve a pixel is read by 2000 counts, and the flux by a part in a thousand."""
    visit, axis = record(system, noise=False), frame_axis(PAIRS)
    _, added = calibrate(visit, axis, ADC, Calibration())
    _, subtracted = calibrate(visit, axis, ADC, Calibration(adc_offset="subtract"))
    opposite = replace(ADC, airs_offset=-ADC.airs_offset, fgs1_offset=-ADC.fgs1_offset)
    assert (calibrate(visit, axis, opposite, Calibration(adc_offset="subtract"))[1] == added).all()
    assert 1e-4 < np.abs(subtracted / added - 1.0).mean() < 1e-2


def test_settings_that_cannot_work_are_refused(system: System) -> None:
    """A bin longer than the visit and an aperture off the detector are the user's mistakes."""
    visit, axis = record(system, noise=False), frame_axis(PAIRS)
    with pytest.raises(ConfigError, match=r"bin_seconds = 1e\+06 needs .* pairs a bin, a visit has 187"):
        calibrate(visit, axis, ADC, Calibration(bin_seconds=1e6))
    with pytest.raises(ConfigError, match=r"airs_rows = \(8, 40\) is no aperture"):
        calibrate(visit, axis, ADC, Calibration(airs_rows=(8, 40)))
