"""What the transit model leaves unexplained in a visit's light curves, and how wrong its depths then are at least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from spectramind_train.ariel.constants import N_CHANNELS, FloatArray
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.transit.spectrum_fit import TransitFit
from spectramind_train.transit.white_light import DRIFT_ORDERS, red_noise, unit_time

Kind = Literal["no transit", "mid-time", "depth", "residuals", "half a transit", "no baseline", "gap"]
INSTRUMENTS: Final = {"FGS1": slice(0, 1), "AIRS": slice(1, N_CHANNELS)}
"""The channels of each."""

CERTAIN: Final = 10.0
"""Standard deviations of its depth from which a transit is there at all."""
LATEST: Final = 3.0
"""Standard deviations by which the mid-times of the instruments may differ."""
DEEPEST: Final = 3.0
"""Standard deviations by which their depths may differ, beyond what spectra do."""
SPECTRAL: Final = 500e-6
"""As much, in (Rp/Rs)^2, FGS1 differs from AIRS in the challenge's labels."""
LOUDEST: Final = 2.0
"""Scatter of the residuals, averaged over some bins, relative to what noise leaves of it."""
SHORTEST_BASELINE_H: Final = 0.25
LONGEST_STEP: Final = 3.5
"""Time from one bin to the next, in median steps, from which bins are missing."""
MISTIMED: Final = 1.0 / 3.0
"""How far, in steps, the time of a bin may be off, where visits are averaged or instruments binned each for itself."""

_FEW_BINS: Final = 40
"""With fewer, a drift of the highest order can look like a transit."""
_SHIFTS: Final = 401
_CLIP: Final = 5.0


@dataclass(frozen=True)
class Flag:
    """Something that the transit model does not explain.

    Attributes:
        kind: What, in a word or two.
        words: What, for people.
        number: How much: standard deviations for ``no transit``, ``mid-time`` and ``depth``, the scatter relative to
            the noise for ``residuals``, hours for the others.
    """

    kind: Kind
    words: str
    number: float


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a visit.

    Attributes:
        flags: Empty where the model explains the light curves.
        least_sigma: Standard deviation (283,) that each channel's depth has at least, in (Rp/Rs)^2: 0 where nothing is
            flagged, infinite where the light curves say nothing about it.
    """

    flags: tuple[Flag, ...]
    least_sigma: FloatArray

    @property
    def words(self) -> str:
        """All that is wrong, for people; empty where nothing is."""
        return "; ".join(flag.words for flag in self.flags)


@dataclass(frozen=True)
class _Alone:
    """What the white light curve of one instrument says without the other.

    Attributes:
        excess: Scatter of what the joint fit leaves of it, averaged over some bins, relative to what noise would leave.
        certainty: Depth in standard deviations.
        delay: Its mid-transit after that of the joint fit, in hours.
        delay_sigma: Standard deviation of that.
        depth: (Rp/Rs)^2.
        depth_sigma: Standard deviation of that, limb darkening and duration given.
    """

    excess: float
    certainty: float
    delay: float
    delay_sigma: float
    depth: float
    depth_sigma: float


def diagnose(curves: LightCurves, fit: TransitFit) -> Diagnosis:
    """Tell what the classical fit does not explain.

    The fit takes it that both instruments see one transit with baseline on both sides, and noise that averages out.
    Each is fitted by itself here, with the shape of the joint fit at any time, and the two are compared. The
    thresholds are such that hardly any of the simulated planets is flagged (``docs/training.md``).
    """
    time, flux = curves.time, curves.flux
    depths, shapes = (fit.depth[0], fit.white_depth), (fit.fgs1_shape, fit.shape)
    alone = []
    for part, depth, shape in zip(INSTRUMENTS.values(), depths, shapes, strict=True):
        white, baseline = flux[:, part].sum(axis=1), fit.baseline[:, part].sum(axis=1)
        with np.errstate(all="ignore"):  # Of numbers that no star has, nothing is certain.
            residuals = white / baseline - 1.0 + depth * shape
            # Where the instruments disagree, FGS1's own shape has been bent to fit what AIRS sees.
            found = [_fit_alone(time, white / np.median(white), residuals, one) for one in (shape, fit.shape)]
            alone.append(max(found, key=lambda one: one.certainty))
    flags, apart = _gaps(time), np.zeros(2)
    difference = abs(fit.depth[0] - fit.white_depth)
    absent = np.array([one.certainty < CERTAIN for one in alone])
    if not absent.all():
        flags += _baseline(time, fit.shape)
    if absent.any():
        names = [name for name, none in zip(INSTRUMENTS, absent, strict=True) if none]
        certainty = min(one.certainty for one in alone)
        words = f"no certain transit in {' and '.join(names)}: {certainty:.1f} sigma"
        flags.append(Flag("no transit", words, certainty))
        apart[:] = np.where(absent, np.inf, difference / np.sqrt(2.0))
    elif late := _mid_times(time, alone):
        # The joint fit follows one of them, and what it says of the other is worth nothing.
        flags += late
        apart[np.argmax([abs(one.delay) for one in alone])] = difference
    elif deep := _depths(alone, fit):
        # Either may be wrong: with this, their difference is one standard deviation.
        flags += deep
        apart[:] = difference / np.sqrt(2.0)
    flags += _residuals(alone)
    least = np.zeros(N_CHANNELS)
    if flags:
        for part, depth, one, more in zip(INSTRUMENTS.values(), depths, alone, apart, strict=True):
            own = fit.sigma[part] * max(1.0, one.excess)
            bound = np.sqrt(own**2 + (one.depth - depth) ** 2 + more**2)
            least[part] = np.where(np.isfinite(bound), bound, np.inf)
    return Diagnosis(tuple(flags), least)


def _fit_alone(time: FloatArray, flux: FloatArray, residuals: FloatArray, shape: FloatArray) -> _Alone:
    """Fit drift and a transit of the given shape at any time to relative flux (T,)."""
    order = max(DRIFT_ORDERS) if time.size >= _FEW_BINS else min(DRIFT_ORDERS)
    basis, _ = np.linalg.qr(np.polynomial.legendre.legvander(unit_time(time), order))
    rest = flux - basis @ (basis.T @ flux)

    def matched(delays: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Depth, its variance over the noise's, and the gain in chi^2, for a transit later by each of ``delays``."""
        moved = np.interp(time - delays[:, None], time, shape)
        moved -= (moved @ basis) @ basis.T
        power = np.maximum(np.einsum("dt,dt->d", moved, moved), 1e-9)
        depth = -(moved @ rest) / power
        return depth, 1.0 / power, np.where(depth > 0.0, depth**2 * power, 0.0)

    reach = float(time[-1] - time[0])
    delays = np.linspace(-reach, reach, _SHIFTS)
    middle = delays[np.argmax(matched(delays)[2])]
    step = 0.1 * (delays[1] - delays[0])
    fine = middle + step * np.arange(-20, 21)
    depth, variance, gain = matched(fine)
    best = int(np.clip(np.argmax(gain), 1, fine.size - 2))
    curvature = (2.0 * gain[best] - gain[best - 1] - gain[best + 1]) / step**2
    beside = (gain[best + 1] - gain[best - 1]) / (2.0 * step * curvature) if curvature > 0.0 else 0.0
    moved = np.interp(time - fine[best], time, shape)
    noise, excess = _scatter(rest + depth[best] * (moved - basis @ (basis.T @ moved)), depth[best] * moved)
    scale = noise * max(1.0, excess)
    return _Alone(
        excess=_scatter(residuals, depth[best] * shape)[1],
        certainty=float(np.nan_to_num(np.sqrt(gain[best]) / scale)),
        delay=float(fine[best] + np.clip(beside, -step, step)),
        delay_sigma=float(scale * np.sqrt(2.0 / curvature)) if curvature > 0.0 else np.inf,
        depth=float(depth[best]),
        depth_sigma=float(scale * np.sqrt(variance[best])),
    )


def _scatter(residuals: FloatArray, signal: FloatArray) -> tuple[float, float]:
    """Noise of residuals (T,) from one bin to the next, and their scatter, averaged over some bins, relative to it.

    Where the transit's signal (T,) changes, the times of the bins are allowed to be a little off.
    """
    steps = np.diff(residuals)
    noise = max(float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2.0)), 1e-9)
    clipped = np.clip(residuals / np.hypot(noise, MISTIMED * np.gradient(signal)), -_CLIP, _CLIP)
    return noise, float(np.sqrt(np.mean(clipped**2))) * red_noise(clipped)


def _residuals(alone: list[_Alone]) -> list[Flag]:
    found = [(name, one.excess) for name, one in zip(INSTRUMENTS, alone, strict=True) if one.excess > LOUDEST]
    if not found:
        return []
    name, excess = max(found, key=lambda one: one[1])
    return [Flag("residuals", f"residuals of {name} are {excess:.1f} times its noise", excess)]


def _gaps(time: FloatArray) -> list[Flag]:
    steps = np.diff(time)
    step = float(np.median(steps))
    missing = steps > LONGEST_STEP * step
    if not missing.any():
        return []
    hours = float(np.sum(steps[missing] - step))
    first = time[:-1][missing][0]
    many = f"{np.count_nonzero(missing)} gaps, the first" if np.count_nonzero(missing) > 1 else "a gap"
    return [Flag("gap", f"{many} at {first:.1f} h: {hours:.1f} h are missing", hours)]


def _baseline(time: FloatArray, shape: FloatArray) -> list[Flag]:
    inside = np.flatnonzero(shape > 0.0)
    if not inside.size:
        return []
    before, after = float(time[inside[0]] - time[0]), float(time[-1] - time[inside[-1]])
    if min(before, after) >= SHORTEST_BASELINE_H:
        return []
    if max(before, after) < SHORTEST_BASELINE_H:
        return [Flag("no baseline", f"hardly any baseline: {60 * (before + after):.0f} min", before + after)]
    side, verb = ("before", "begins") if before < after else ("after", "ends")
    hours = min(before, after)
    words = f"the visit {verb} within the transit" if hours == 0.0 else f"{60 * hours:.0f} min of baseline {side} it"
    return [Flag("half a transit", words, hours)]


def _mid_times(time: FloatArray, alone: list[_Alone]) -> list[Flag]:
    fgs1, airs = alone
    mistimed = MISTIMED * float(np.median(np.diff(time)))
    number = abs(fgs1.delay - airs.delay) / float(np.sqrt(fgs1.delay_sigma**2 + airs.delay_sigma**2 + mistimed**2))
    if number <= LATEST:
        return []
    minutes = 60.0 * (fgs1.delay - airs.delay)
    words = f"FGS1 transits {abs(minutes):.0f} min {'later' if minutes > 0.0 else 'earlier'} than AIRS"
    return [Flag("mid-time", f"{words}: {number:.0f} sigma", number)]


def _depths(alone: list[_Alone], fit: TransitFit) -> list[Flag]:
    difference = fit.depth[0] - fit.white_depth
    sigma = float(np.sqrt(fit.sigma[0] ** 2 + sum(one.depth_sigma**2 for one in alone)))
    number = float((abs(difference) - SPECTRAL) / sigma)
    if number <= DEEPEST:
        return []
    return [Flag("depth", f"FGS1 differs from AIRS by {1e6 * difference:+.0f} ppm: {number:.0f} sigma", number)]
