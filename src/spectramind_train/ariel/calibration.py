"""From raw detector frames to binned light curves, in the order that the challenge's organisers give."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.constants import FGS1_FRAMES_PER_AIRS_FRAME, N_CHANNELS, FloatArray
from spectramind_train.ariel.dataset import Adc, Axis, Visit
from spectramind_train.ariel.detector import Detector, RawFrames, Window, apertures

Counts = NDArray[np.float32]
"""Detector values (T, R, C). Time is the innermost axis in memory; every step keeps it so."""

_CLIP_ITERATIONS: Final = 5
_BLOCK: Final = 200_000
"""Samples that go through the steps together: few enough to stay in a core's cache, many enough to be worth a call."""


def calibrate(visit: Visit, axis: Axis, adc: Adc, settings: Calibration) -> tuple[FloatArray, FloatArray]:
    """Turn the raw frames of a visit into light curves.

    Args:
        visit: Raw and calibration frames; at least the pixels inside the apertures.
        axis: When the frames were taken.
        adc: Gain and offset of the converters.
        settings: Apertures, length of a time bin and rejection limits.

    Returns:
        The times of the bins' centres (T,), in hours since the visit's start, and the mean flux of a pair of
        exposures (T, 283) in detector counts: FGS1 first, then AIRS ascending in wavelength. A remainder of pairs
        that fills no bin is left out.

    Raises:
        ConfigError: If the time bin is longer than the visit or an aperture is not on the detector.
    """
    airs_window, fgs1_window = apertures(settings)
    airs_pairs = pairs_per_bin(axis, settings.bin_seconds)
    airs_dark, fgs1_dark = settings.airs_dark_seconds or airs_exposures(axis), settings.fgs1_dark_seconds
    airs = _expose(visit.airs, airs_window, _Steps(adc.airs_gain, adc.airs_offset, airs_dark, airs_pairs), settings)
    fgs1_pairs = airs_pairs * FGS1_FRAMES_PER_AIRS_FRAME
    fgs1 = _expose(visit.fgs1, fgs1_window, _Steps(adc.fgs1_gain, adc.fgs1_offset, fgs1_dark, fgs1_pairs), settings)
    spectra = _extract(visit.airs, airs_window, airs, settings).sum(axis=1)[:, ::-1]
    photometry = _extract(visit.fgs1, fgs1_window, fgs1, settings).sum(axis=(1, 2))
    bins = min(len(spectra), len(photometry))
    flux = np.empty((bins, N_CHANNELS))
    flux[:, 0] = photometry[:bins]
    flux[:, 1:] = spectra[:bins]
    time = float(axis.airs_time[0]) + (np.arange(bins, dtype=np.float64) + 0.5) * (airs_pairs * _cadence_h(axis))
    return np.asarray(time, dtype=np.float64), flux


def airs_exposures(axis: Axis) -> tuple[float, float]:
    """When the two frames of an AIRS pair are read, in s after the reset.

    The integration time counts from the first read of a pair, which comes a short exposure after the reset.
    """
    short, integration = (float(np.median(axis.airs_integration[parity::2])) for parity in (0, 1))
    return short, short + integration


def pairs_per_bin(axis: Axis, bin_seconds: float) -> int:
    """How many AIRS pairs make a time bin: the nearest whole number, at least one.

    Raises:
        ConfigError: If that is more than the visit has.
    """
    pairs = max(1, round(bin_seconds / (3600.0 * _cadence_h(axis))))
    available = len(axis.airs_time) // 2
    if pairs > available:
        raise ConfigError(
            f"data.calibration.bin_seconds = {bin_seconds:g} needs {pairs} AIRS pairs a bin, a visit has {available}: "
            "choose shorter bins"
        )
    return pairs


def convert(frames: RawFrames, gain: float, offset: float, adc_gain: Literal["divide", "multiply"]) -> Counts:
    """Undo the analogue-to-digital converter: raw / gain + offset, or raw * gain + offset."""
    counts = frames.astype(np.float32)
    counts *= np.float32(1.0 / gain if adc_gain == "divide" else gain)
    counts += np.float32(offset)
    return counts


def bad_pixels(detector: Detector, hot_pixel_sigma: float) -> NDArray[np.bool_]:
    """Find the pixels (R, C) that cannot be used: dead, hot, or without a usable calibration value.

    Hot pixels lie more than ``hot_pixel_sigma`` standard deviations from the median of the dark frame, where
    the two are those of the pixels not yet found, in five passes as the organisers' ``sigma_clip`` does.
    """
    unusable = ~np.isfinite(detector.dark) | ~np.isfinite(detector.flat) | (detector.flat <= 0.0)
    bad = detector.dead | unusable | ~np.isfinite(detector.linear_corr).all(axis=0)
    for _ in range(_CLIP_ITERATIONS):
        dark = detector.dark[~bad]
        if dark.size == 0:
            break
        hot = np.abs(detector.dark - np.median(dark)) > hot_pixel_sigma * dark.std()
        if not (hot & ~bad).any():
            break
        bad |= hot
    return bad


def linearize(counts: Counts, coefficients: FloatArray) -> Counts:
    """Correct the non-linear response: sum of c_k x^k with ``coefficients`` (6, R, C), ascending."""
    powers = coefficients.astype(np.float32)
    linear: Counts = counts * powers[-1]
    for coefficient in powers[-2:0:-1]:
        linear += coefficient
        linear *= counts
    linear += powers[0]
    return linear


def subtract_dark(counts: Counts, dark: FloatArray, exposure_s: float) -> Counts:
    """Subtract in place what the dark current (R, C) adds until an exposure is read, so long after the reset."""
    counts -= (dark * exposure_s).astype(np.float32)
    return counts


def correlated_double_sample(short: Counts, long: Counts) -> Counts:
    """Subtract in place the short exposure of each pair from the long one: (T / 2, R, C) all."""
    long -= short
    return long


def reject_outliers(pairs: Counts, sigma: float) -> Counts:
    """Replace, in place, samples far from their neighbours in time by the median of the three.

    The median of three is exact on any monotone stretch, so a deep transit is no outlier. The noise of a pixel
    is estimated from the median absolute difference of successive samples.

    Args:
        pairs: Values (T, R, C).
        sigma: How many standard deviations a sample may lie from the median of it and its two neighbours; 0 keeps
            every sample.
    """
    if sigma == 0.0 or len(pairs) < 3:
        return pairs
    steps = np.abs(np.diff(pairs, axis=0))
    scale = 1.4826 / np.sqrt(2.0) * _median(steps)
    limit = np.where(scale > 0.0, sigma * scale, np.inf).astype(np.float32)
    # What lies far from the median of three lies as far from both of its neighbours; hardly a sample does.
    far = steps > limit
    far = np.moveaxis(far[:-1] & far[1:], 0, -1)
    *pixel, time = np.unravel_index(np.flatnonzero(far), far.shape)
    place = time, *pixel
    before, here, after = pairs[:-2][place], pairs[1:-1][place], pairs[2:][place]
    middle = np.maximum(np.minimum(before, here), np.minimum(np.maximum(before, here), after))
    pairs[1:-1][place] = np.where(np.abs(here - middle) > limit[*pixel], middle, here)
    return pairs


def bin_in_time(pairs: Counts, count: int) -> FloatArray:
    """Average ``count`` successive samples: (T, R, C) to (T // count, R, C); a remainder is left out."""
    bins = len(pairs) // count
    blocks = pairs[: bins * count].reshape(bins, count, *pairs.shape[1:])
    return np.asarray(blocks.mean(axis=1, dtype=np.float64))


def fill_bad_pixels(values: FloatArray, bad: NDArray[np.bool_]) -> FloatArray:
    """Interpolate bad pixels (R, C) linearly along their row, in place; rows without any good pixel become zero.

    Along a row of AIRS the light varies as smoothly as the spectrum, and a neighbour has nearly the same transit, so
    that the sum over the aperture keeps both its level and its relative depth.
    """
    for row in np.flatnonzero(bad.any(axis=1)):
        lost, good = np.flatnonzero(bad[row]), np.flatnonzero(~bad[row])
        if good.size == 0:
            values[:, row] = 0.0
            continue
        right = np.searchsorted(good, lost)
        left = good[np.maximum(right - 1, 0)]
        right = good[np.minimum(right, good.size - 1)]
        weight = np.where(right > left, (lost - left) / np.maximum(right - left, 1), 0.0)
        values[:, row, lost] = (1.0 - weight) * values[:, row, left] + weight * values[:, row, right]
    return values


@dataclass(frozen=True)
class _Steps:
    """What steps 1 to 6 take of an instrument: its converter, s of dark current in a pair's frames, pairs of a bin."""

    gain: float
    offset: float
    dark_seconds: tuple[float, float]
    pairs: int


def _expose(detector: Detector, window: Window, steps: _Steps, settings: Calibration) -> FloatArray:
    """Steps 1 to 6: the linear signal (T, r, c) of a pair of exposures in the window, the mean of each time bin."""
    frames = _crop(detector, window)
    linear_corr, dark = np.nan_to_num(detector.linear_corr[:, *window]), np.nan_to_num(detector.dark[window])
    offset = steps.offset if settings.adc_offset == "add" else -steps.offset
    rows, columns = frames.shape[1:]
    binned = np.moveaxis(np.empty((rows, columns, len(frames) // 2 // steps.pairs)), -1, 0)
    width = max(1, _BLOCK // len(frames))
    for row, first in itertools.product(range(rows), range(0, columns, width)):
        block = slice(row, row + 1), slice(first, first + width)
        exposures = []
        for parity, seconds in enumerate(steps.dark_seconds):
            counts = convert(frames[parity::2, *block], steps.gain, offset, settings.adc_gain)
            counts = linearize(counts, linear_corr[:, *block])
            exposures.append(subtract_dark(counts, dark[block], seconds))
        pairs = reject_outliers(correlated_double_sample(*exposures), settings.outlier_sigma)
        binned[:, *block] = bin_in_time(pairs, steps.pairs)
    return binned


def _extract(detector: Detector, window: Window, values: FloatArray, settings: Calibration) -> FloatArray:
    """Step 7 without the sum: flat-fielded values (T, r, c) with bad pixels filled."""
    bad = bad_pixels(detector, settings.hot_pixel_sigma)[window]
    values /= np.where(bad, 1.0, detector.flat[window])
    return fill_bad_pixels(values, bad)


def _crop(detector: Detector, window: Window) -> RawFrames:
    held = detector.window
    if any(want.start < have.start or want.stop > have.stop for want, have in zip(window, held, strict=True)):
        raise ValueError(f"the visit was read for the pixels {held}, the aperture is {window}")
    rows, columns = (slice(w.start - h.start, w.stop - h.start) for w, h in zip(window, held, strict=True))
    return detector.frames[:, rows, columns]


def _median(values: Counts) -> Counts:
    """``np.median`` along the first axis, with one partition: numpy is an order of magnitude slower at two."""
    middle = len(values) // 2
    parted = np.partition(values, middle, axis=0)
    upper: Counts = parted[middle]
    return upper if len(values) % 2 else (parted[:middle].max(axis=0) + upper) / np.float32(2.0)


def _cadence_h(axis: Axis) -> float:
    """Time from one AIRS pair to the next, in hours; the whole visit where it has one pair only."""
    starts = axis.airs_time[::2]
    return float((starts[-1] - starts[0]) / (len(starts) - 1)) if len(starts) > 1 else float("inf")
