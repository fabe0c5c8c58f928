"""Simulated detectors: what FGS1 and AIRS record while a planet crosses its star."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectramind_train.ariel.constants import (
    AIRS_AXIS_UM,
    AIRS_SHAPE,
    FGS1_EXPOSURES_S,
    FGS1_FRAMES_PER_AIRS_FRAME,
    VISIT_H,
    FloatArray,
)
from spectramind_train.ariel.dataset import Adc, Axis, Visit
from spectramind_train.ariel.detector import AIRS, FGS1, LINEARITY_COEFFICIENTS, Detector, Instrument
from spectramind_train.simulated.population import COLUMN_WAVELENGTHS_UM, System
from spectramind_train.simulated.spectra import limb_darkening, photon_radiance
from spectramind_train.transit.occultation import light_curve, separation

NOMINAL_PAIRS: Final = 5625
"""Pairs of AIRS exposures in a real visit, one every 4.8 s."""

AIRS_EXPOSURES_S: Final = (0.1, 4.6)
AIRS_INTEGRATION_S: Final = (0.1, 4.5)
ADC: Final = Adc(airs_gain=0.4369, airs_offset=-1000.0, fgs1_gain=0.4369, fgs1_offset=-1000.0)

FGS1_FLUX: Final = 2.7e5
"""Electrons of a typical star in a pair of FGS1 exposures."""

_AIRS_FLUX: Final = ((1.95, 8.2e4), (2.85, 3.2e4), (3.90, 4.1e3))
"""Electrons of a typical star in a pair of AIRS exposures, per detector column, at three wavelengths in um."""

_MOMENT_H: Final = 0.01
"""Within so many hours a transit's flux changes little enough for one sample."""

_TYPICAL_STAR_K: Final = 5500.0
_READ_NOISE: Final = 8.0
_AIRS_PROFILE_ROWS: Final = 2.5
_FGS1_PROFILE_PIXELS: Final = 2.0


def frame_axis(pairs: int) -> Axis:
    """When the frames of a simulated visit with that many AIRS pairs are taken.

    The visit keeps its 7.5 h. With fewer pairs than a real visit's 5625, a frame is the mean of several successive
    exposures, as if co-added on board: levels, exposure times and the noise of a given stretch of time stay.
    """
    starts = np.arange(pairs) * (VISIT_H / pairs)
    fgs1_pairs = pairs * FGS1_FRAMES_PER_AIRS_FRAME
    fgs1_starts = np.arange(fgs1_pairs) * (VISIT_H / fgs1_pairs)
    reads = np.array(FGS1_EXPOSURES_S) / 3600.0
    return Axis(
        airs_time=np.asarray((starts[:, None] + reads).ravel()),
        fgs1_time=np.asarray((fgs1_starts[:, None] + reads).ravel()),
        airs_integration=np.tile(AIRS_INTEGRATION_S, pairs),
        airs_wavelength=AIRS_AXIS_UM,
    )


def observe(system: System, planet_id: str, number: int, pairs: int, rng: np.random.Generator, noise: bool) -> Visit:
    """Record a visit with ``pairs`` AIRS pairs.

    Args:
        system: What is observed.
        planet_id: Name of the planet.
        number: Number of the visit.
        pairs: AIRS pairs of exposures; there are 12 FGS1 pairs to each.
        rng: Source of the detectors' properties, the drifts and the noise.
        noise: Whether to add photon and read noise and to round to whole counts; without, frames are float32.
    """
    airs_flux, fgs1_flux = flux(system, pairs)
    airs_drift, fgs1_drift = _drift(rng, pairs), _drift(rng, pairs * FGS1_FRAMES_PER_AIRS_FRAME)
    # The slope of the drift with wavelength is of the order of the drift itself.
    slope = 1.0 + rng.normal(0.0, 0.2) * (AIRS_AXIS_UM[:, None] - 2.9)
    airs_flux *= 1.0 + slope * airs_drift
    fgs1_flux *= 1.0 + fgs1_drift
    profile = _profile(32, 15.5 + rng.normal(0.0, 0.05), _AIRS_PROFILE_ROWS)
    spot = np.outer(*(_profile(32, 15.5 + rng.normal(0.0, 0.05), _FGS1_PROFILE_PIXELS) for _ in range(2)))
    stacked = NOMINAL_PAIRS / pairs
    sensitivity = np.broadcast_to(profile[:, None], AIRS_SHAPE)
    airs_adc, fgs1_adc = (ADC.airs_gain, ADC.airs_offset), (ADC.fgs1_gain, ADC.fgs1_offset)
    airs = _record(AIRS, airs_flux[None], sensitivity, AIRS_EXPOSURES_S, airs_adc, stacked, rng, noise)
    fgs1 = _record(FGS1, fgs1_flux[None, None], spot, FGS1_EXPOSURES_S, fgs1_adc, stacked, rng, noise)
    return Visit(planet_id, number, airs, fgs1)


def flux(system: System, pairs: int) -> tuple[FloatArray, FloatArray]:
    """Electrons per pair of exposures without drifts: AIRS (356, pairs) by detector column, FGS1 (12 pairs,)."""
    star = system.star
    curves = []
    u1, u2 = limb_darkening(COLUMN_WAVELENGTHS_UM, star.Ts)
    ratio = np.sqrt(system.depth)
    fgs1_pairs = pairs * FGS1_FRAMES_PER_AIRS_FRAME
    for channel, count in enumerate([fgs1_pairs] + [pairs] * AIRS_SHAPE[1]):
        # A frame that stacks exposures sees the mean of the flux over all of them, ingress and egress included.
        moments = max(1, min(NOMINAL_PAIRS // pairs, math.ceil(VISIT_H / count / _MOMENT_H)))
        time = (np.arange(count * moments) + 0.5) * (VISIT_H / count / moments)
        distance = separation(time, system.mid_time, star.P, star.sma, star.i)
        curve = light_curve(distance, float(ratio[channel]), float(u1[channel]), float(u2[channel]))
        curves.append(curve.reshape(count, moments).mean(axis=1))
    spectrum = system.brightness * _airs_spectrum(star.Ts)
    return spectrum[:, None] * np.stack(curves[1:]), system.brightness * FGS1_FLUX * curves[0]


def _airs_spectrum(star_temperature: float) -> FloatArray:
    """Electrons per pair and detector column (356,) from a star of the temperature, without a planet.

    The throughput is the smoothest curve (log-quadratic) that turns a typical star's black body into the flux seen
    at three wavelengths, with the edges of the pass band beyond the channels in use.
    """
    anchors = np.array(_AIRS_FLUX)
    emitted = photon_radiance(anchors[:, 0], _TYPICAL_STAR_K)
    throughput = np.polynomial.Polynomial.fit(anchors[:, 0], np.log(anchors[:, 1] / emitted), 2)
    scale = photon_radiance(np.array([1.95]), _TYPICAL_STAR_K) / photon_radiance(np.array([1.95]), star_temperature)
    smooth = scale * photon_radiance(AIRS_AXIS_UM, star_temperature) * np.exp(throughput(AIRS_AXIS_UM))
    edges = 1.0 / (1.0 + np.exp((1.80 - AIRS_AXIS_UM) / 0.03)) / (1.0 + np.exp((AIRS_AXIS_UM - 4.00) / 0.02))
    return np.asarray(smooth * edges)


def _drift(rng: np.random.Generator, count: int) -> FloatArray:
    """A slow relative drift (count,) of order 1e-3 over the visit: a parabola and a wave longer than the transit."""
    x = np.linspace(-1.0, 1.0, count)
    linear, quadratic, wave = rng.normal(0.0, (5e-4, 3e-4, 1e-4))
    return np.asarray(linear * x + quadratic * x**2 + wave * np.sin(rng.uniform(2.0, 4.0) * x + rng.uniform(0.0, 6.28)))


def _profile(pixels: int, centre: float, width: float) -> FloatArray:
    shape = np.exp(-0.5 * ((np.arange(pixels) - centre) / width) ** 2)
    return np.asarray(shape / shape.sum())


def _record(
    instrument: Instrument,
    flux: FloatArray,
    sensitivity: FloatArray,
    exposures_s: tuple[float, float],
    adc: tuple[float, float],
    stacked: float,
    rng: np.random.Generator,
    noise: bool,
) -> Detector:
    """Read a detector out.

    Both reads of a pair see the same photons up to the first: their noise is drawn from the joint normal law, with
    variances of the mean of ``stacked`` exposures.

    Args:
        instrument: Which detector.
        flux: Electrons per pair, (1, C, pairs) or (1, 1, pairs).
        sensitivity: Share of the flux on each pixel (R, C).
        exposures_s: When, after the reset, a pair's frames are read.
        adc: Gain and offset of the converter.
        stacked: How many exposures a frame averages.
        rng: Source of the detector's properties and the noise.
        noise: Whether to add noise and to round.
    """
    height, width = instrument.shape
    dark, dead, flat, read, linear_corr = _detector_maps(rng, (height, width))
    share = np.where(dead, 0.0, sensitivity * flat)
    dark_current = np.where(dead, 0.0, dark)
    pairs = flux.shape[-1]
    spans = np.array(exposures_s) / (exposures_s[1] - exposures_s[0])
    level = share * flux.mean(axis=-1)[0]
    first, second = (level * span + dark_current * exposure for span, exposure in zip(spans, exposures_s, strict=True))
    own = np.sqrt((first + read**2) / stacked)
    common = first / stacked / own
    rest = np.sqrt(np.maximum((second + read**2) / stacked - common**2, 0.0))
    inverse = _inverse_series(linear_corr)
    counts = np.empty((height, width, pairs, 2), dtype=np.uint16 if noise else np.float32)
    curve = flux.astype(np.float32)[0]
    values = np.zeros((width, pairs, 2), dtype=np.float32)
    for row in range(height):
        if noise:
            rng.standard_normal(dtype=np.float32, out=values)
        else:
            values.fill(0.0)
        short, long = values[..., 0], values[..., 1]
        long *= _column(rest[row])
        long += _column(common[row]) * short
        short *= _column(own[row])
        for exposed, span, exposure in ((short, spans[0], exposures_s[0]), (long, spans[1], exposures_s[1])):
            exposed += _column(share[row] * span) * curve
            exposed += _column(dark_current[row] * exposure)
        raw = _distort(values, inverse[:, row])
        raw -= np.float32(adc[1])
        raw *= np.float32(adc[0])
        if noise:
            np.rint(raw, out=raw)
            np.clip(raw, 0.0, 65535.0, out=raw)
        counts[row] = raw
    frames = np.moveaxis(counts.reshape(height, width, 2 * pairs), -1, 0)
    return Detector(frames, instrument.whole, dark, dead, flat, read, linear_corr)


def _column(values: FloatArray) -> NDArray[np.float32]:
    return values.astype(np.float32)[:, None]


def _detector_maps(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[FloatArray, NDArray[np.bool_], FloatArray, FloatArray, FloatArray]:
    """Dark current, dead pixels, flat field, read noise and linearity of a detector, as ARIEL's are."""
    dark = rng.uniform(0.005, 0.02, shape)
    hot = rng.random(shape) < rng.uniform(0.008, 0.016)
    dark[hot] = np.exp(rng.uniform(np.log(0.5), np.log(25.0), shape))[hot]
    dead = rng.random(shape) < rng.uniform(0.004, 0.010)
    flat = np.clip(rng.normal(1.0, 0.04, shape), 0.8, 1.2)
    weak = rng.random(shape) < 0.005
    flat[weak] = rng.uniform(0.57, 0.8, shape)[weak]
    read = rng.normal(_READ_NOISE, 0.3, shape)
    linear_corr = np.zeros((LINEARITY_COEFFICIENTS, *shape))
    for power, (mean, spread) in enumerate(
        [(0.0, 0.0), (1.0, 2e-3), (2e-7, 5e-8), (2e-13, 1e-13), (1e-20, 1e-20), (1e-27, 1e-27)]
    ):
        linear_corr[power] = rng.normal(mean, spread, shape)
    return dark, dead, flat, read, linear_corr


def _inverse_series(linear_corr: FloatArray) -> NDArray[np.float32]:
    """Coefficients (4, R, C) of x = y (b0 + b1 y + b2 y^2 + b3 y^3) that inverts y = sum of c_k x^k with c_0 = 0.

    Reversion of a power series (Abramowitz & Stegun 1964, 3.6.25); enough for a correction of some per cent.
    """
    c1 = linear_corr[1]
    a2, a3, a4 = (linear_corr[power] / c1 for power in (2, 3, 4))
    series = (np.ones_like(a2), -a2, 2.0 * a2**2 - a3, 5.0 * a2 * a3 - a4 - 5.0 * a2**3)
    return np.stack([b / c1 ** (power + 1) for power, b in enumerate(series)]).astype(np.float32)


def _distort(values: NDArray[np.float32], inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """The non-linear response (C, T, 2) to linear ``values``, by the series (4, C)."""
    b0, b1, b2, b3 = (b[:, None, None] for b in inverse)
    response: NDArray[np.float32] = values * b3
    for coefficient in (b2, b1, b0):
        response += coefficient
        response *= values
    return response
