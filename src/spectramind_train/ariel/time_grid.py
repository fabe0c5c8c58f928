"""One time grid for two instruments that were binned in time each for itself."""

from __future__ import annotations

from typing import Final

import numpy as np

from spectramind_train.ariel.constants import FloatArray

_LONGEST_STEP: Final = 1.5
"""Samples that are further apart than so many median steps have a gap between them."""
_OFF_CENTRE: Final = 0.125
"""How far the instruments' mean times in a bin may lie apart, in widths of the bin."""
_LONGEST_BIN: Final = 8
_ENOUGH: Final = 0.9
"""Share of the samples that longer bins could use, with which shorter ones are preferred."""


def joined(
    fgs1_time: FloatArray, fgs1: FloatArray, airs_time: FloatArray, airs: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Average both instruments in the same time bins.

    A bin is one sample of the instrument with the longer steps, or as few successive ones, up to eight, as are needed
    for the other's samples to lie evenly about its middle. Each sample counts in one bin or in none: noise stays
    independent from bin to bin, which it would not after an interpolation. Bins that one of the two does not fill are
    left out.

    Args:
        fgs1_time: Middles of FGS1's samples (T1,), in hours, ascending, at least two.
        fgs1: Its flux (T1,).
        airs_time: Middles of AIRS's samples (T2,), likewise.
        airs: Flux (T2, C) of its channels.

    Returns:
        Middles (T,) of the bins, in hours, and the mean flux (T, 1 + C) in each, FGS1 first. T is 0 where the two were
        never taken at the same time.
    """
    if np.array_equal(fgs1_time, airs_time):
        return airs_time, np.column_stack([fgs1, airs])
    slower = max(fgs1_time, airs_time, key=lambda time: float(np.median(np.diff(time))))
    found = [_filled(_bins(slower, length), fgs1_time, airs_time) for length in range(1, _LONGEST_BIN + 1)]
    used = [length * len(bins) for length, bins in enumerate(found, 1)]
    bins = next(bins for bins, samples in zip(found, used, strict=True) if samples >= _ENOUGH * max(used))
    flux = [_means(bins, fgs1_time, fgs1[:, None]), _means(bins, airs_time, airs)]
    return _means(bins, slower, slower[:, None])[:, 0], np.concatenate(flux, axis=1)


def _bins(time: FloatArray, length: int) -> FloatArray:
    """Start and end (n, 2) of bins of ``length`` successive samples each, without a gap in one."""
    steps = np.diff(time)
    step = np.median(steps)
    apart = steps > _LONGEST_STEP * step
    reach = np.concatenate([[step], np.where(apart, step, steps), [step]]) / 2.0
    stretch = np.concatenate([[0], np.cumsum(apart)])
    place = np.arange(time.size) - np.searchsorted(stretch, stretch)
    first = np.flatnonzero(place % length == 0)
    first = first[first + length <= time.size]
    first = first[stretch[first] == stretch[first + length - 1]]
    last = first + length - 1
    return np.column_stack([time[first] - reach[first], time[last] + reach[last + 1]])


def _filled(bins: FloatArray, *times: FloatArray) -> FloatArray:
    """Those bins (n, 2) in which all samples lie about the same middle."""
    bins = bins[np.all([np.diff(np.searchsorted(time, bins), axis=1)[:, 0] > 0 for time in times], axis=0)]
    middles = np.stack([_means(bins, time, time[:, None])[:, 0] for time in times])
    return np.asarray(bins[np.ptp(middles, axis=0) <= _OFF_CENTRE * (bins[:, 1] - bins[:, 0])], dtype=np.float64)


def _means(bins: FloatArray, time: FloatArray, values: FloatArray) -> FloatArray:
    """Means (n, C) of the samples (T, C) in each of the bins (n, 2), none of which is empty."""
    ends = np.searchsorted(time, bins)
    if not len(bins):
        return np.empty((0, values.shape[1]))
    # The sums from one end to the next, of which every second one is a bin's.
    padded = np.concatenate([values, np.zeros((1, values.shape[1]))])
    sums = np.add.reduceat(padded, ends.ravel(), axis=0)[::2]
    return np.asarray(sums / np.diff(ends, axis=1), dtype=np.float64)
