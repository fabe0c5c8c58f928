"""A population of transiting planets with the statistics of the challenge's labels, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import constants
from scipy.special import ndtr, ndtri

from spectramind_train.ariel.constants import AIRS_AXIS_UM, AIRS_COLUMNS, FloatArray
from spectramind_train.ariel.dataset import Split, Star
from spectramind_train.simulated.spectra import (
    ATOMIC_MASS,
    BANDS,
    JUPITER_MASS,
    MEAN_WEIGHT,
    SOLAR_RADIUS,
    Atmosphere,
    effective_height,
    equilibrium_temperature,
    scale_height,
    stellar_contamination,
    transmission_spectrum,
)

COLUMN_WAVELENGTHS_UM: Final[FloatArray] = np.concatenate([[0.7], AIRS_AXIS_UM])
"""Wavelengths of FGS1 and of every AIRS detector column (357,), in um."""

DEPTH_RANGE: Final = (0.0041, 0.079)
LOG_DEPTH_MEAN: Final = -4.431
LOG_DEPTH_SD: Final = 0.66
SPECTRUM_SD: Final = (65e-6, 170e-6)
"""Range of the standard deviation of a planet's AIRS spectrum."""

GRAVITY_RANGE: Final = (5.0, 80.0)
"""Surface gravities in m/s^2 of planets whose spectrum is given, as physics gives those of drawn ones."""

STAR_RADIUS_RANGE: Final = (0.4, 1.3)
PLANET_RADIUS_RANGE: Final = (5.0, 16.0)
"""In Earth radii; a given spectrum of a planet too small or too large for it has the largest or smallest star."""

LONGEST_TRANSIT_H: Final = 4.5
_EARTH_RADIUS: Final = 6.371e6
_AU_IN_SOLAR_RADII: Final = 215.03


@dataclass(frozen=True)
class System:
    """A star and its planet.

    Attributes:
        star: The star and the orbit.
        mid_time: Mid-transit in hours since the visit's start.
        depth: (Rp/Rs)^2 of FGS1 and every AIRS detector column (357,), at ``COLUMN_WAVELENGTHS_UM``.
        brightness: Flux relative to a typical star of the challenge.
    """

    star: Star
    mid_time: float
    depth: FloatArray
    brightness: float

    @property
    def spectrum(self) -> FloatArray:
        """The label (283,): FGS1, then the AIRS channels ascending in wavelength."""
        return np.concatenate([self.depth[:1], self.depth[1:][AIRS_COLUMNS][::-1]])


def generator(seed: int, split: Split, index: int, purpose: int) -> np.random.Generator:
    """A random generator that depends on nothing but its arguments."""
    entropy = (seed, ("train", "test").index(split), index, purpose)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))


def draw_system(seed: int, split: Split, index: int, spectrum: FloatArray | None = None) -> System:
    """Draw the star and planet number ``index``, which depend on the arguments only.

    Depths follow a truncated log-normal law with the mean and standard deviation of the 2025 labels; they are placed
    by a golden-ratio sequence, so that even a few planets cover the law evenly. Gravity is set so that the spectrum
    varies as much as the challenge's do.

    Args:
        seed: Of the data set.
        split: Which planets are counted.
        index: Number of the planet, from 0.
        spectrum: The planet's label (283,), each depth above 0 and below 1; star and orbit are drawn to it. Columns
            beyond the spectrum's ends mirror it. By default the spectrum is drawn, too.
    """
    rng = generator(seed, split, index, purpose=0)
    if spectrum is None:
        start = generator(seed, split, 0, purpose=1).random()
        white_depth = _depth_quantile((start + index * (constants.golden - 1.0)) % 1.0)
    else:
        white_depth = float(spectrum[1:].mean())
    ratio = float(np.sqrt(white_depth))
    star_radius, radius = _draw_radii(rng, ratio)
    star_temperature = 5772.0 * star_radius**0.6
    mass = star_radius**1.1
    period, sma = _draw_orbit(rng, star_radius, mass, ratio)
    impact = rng.uniform(0.0, 0.7)
    if spectrum is None:
        temperature = equilibrium_temperature(star_temperature, sma)
        atmosphere = _draw_atmosphere(rng, temperature, radius, white_depth)
        # The drawn radius is what the mean depth shows; the reference level lies below it.
        height = scale_height(temperature, atmosphere.gravity)
        reference = radius - height * float(_airs_height(atmosphere, radius).mean())
        depth = transmission_spectrum(COLUMN_WAVELENGTHS_UM, atmosphere, reference, star_radius * SOLAR_RADIUS)
        depth = depth * _draw_contamination(rng, star_temperature, white_depth)
        gravity = atmosphere.gravity
    else:
        depth = _on_all_columns(spectrum)
        gravity = float(np.exp(rng.uniform(*np.log(GRAVITY_RANGE))))
    star = Star(
        Rs=star_radius,
        Ms=mass,
        Ts=star_temperature,
        Mp=gravity * radius**2 / constants.G / JUPITER_MASS,
        e=0.0,
        P=period,
        sma=sma,
        i=float(np.rad2deg(np.arccos(impact / sma))),
    )
    return System(star, 3.75 + rng.uniform(-0.5, 0.5), depth, float(np.exp(rng.uniform(-0.15, 0.15))))


def _depth_quantile(share: float) -> float:
    low, high = ((np.log(limit) - LOG_DEPTH_MEAN) / LOG_DEPTH_SD for limit in DEPTH_RANGE)
    deviate = ndtri(ndtr(low) + share * (ndtr(high) - ndtr(low)))
    return float(np.exp(LOG_DEPTH_MEAN + LOG_DEPTH_SD * deviate))


def _on_all_columns(spectrum: FloatArray) -> FloatArray:
    """A label (283,) as the depths (357,) of FGS1 and every AIRS detector column, mirrored at its ends."""
    before, after = AIRS_COLUMNS.start, AIRS_AXIS_UM.size - AIRS_COLUMNS.stop
    return np.concatenate([spectrum[:1], np.pad(spectrum[:0:-1], (before, after), mode="reflect")])


def _draw_radii(rng: np.random.Generator, ratio: float) -> tuple[float, float]:
    """Radii of the star, a dwarf, in solar radii, and of the planet, a giant, in m."""
    earth = _EARTH_RADIUS / SOLAR_RADIUS / ratio
    low, high = (float(np.clip(radius * earth, *STAR_RADIUS_RANGE)) for radius in PLANET_RADIUS_RANGE)
    star_radius = rng.uniform(low, high)
    return star_radius, star_radius * ratio * SOLAR_RADIUS


def _draw_orbit(rng: np.random.Generator, star_radius: float, mass: float, ratio: float) -> tuple[float, float]:
    """Period in days and semi-major axis in stellar radii, by Kepler's third law, of a transit that fits the visit."""
    sma_of_a_year = _AU_IN_SOLAR_RADII * mass ** (1.0 / 3.0) / star_radius
    per_day = sma_of_a_year * 365.25 ** (-2.0 / 3.0)
    # A central transit lasts (1 + k) P / (pi a) and a grows as P^(2/3).
    longest = (LONGEST_TRANSIT_H / 24.0 * np.pi * per_day / (1.0 + ratio)) ** 3.0
    period = float(np.exp(rng.uniform(np.log(1.5), np.log(min(20.0, max(2.0, longest))))))
    return period, per_day * period ** (2.0 / 3.0)


def _draw_atmosphere(rng: np.random.Generator, temperature: float, radius: float, white_depth: float) -> Atmosphere:
    """Molecules, haze and clouds over the orders of magnitude of giant planets, with the challenge's relief."""
    abundances = {molecule: rng.uniform(-7.0, -3.0) for molecule in BANDS}
    abundances["H2O"] = rng.uniform(-5.0, -2.5)
    haze, cloud = 10.0 ** rng.uniform(1.0, 4.0), 10.0 ** rng.uniform(1.5, 5.0)
    relief = rng.uniform(*SPECTRUM_SD) / white_depth
    return _with_relief(Atmosphere(temperature, 10.0, abundances, haze, cloud), radius, relief)


def _with_relief(atmosphere: Atmosphere, radius: float, relief: float) -> Atmosphere:
    """The atmosphere with the gravity at which its AIRS depths vary by ``relief``, relative to their mean.

    The opaque height in scale heights depends on gravity by a logarithm only, so that the iteration is fast.
    """
    for _ in range(4):
        height = relief * radius / (2.0 * float(_airs_height(atmosphere, radius).std()))
        gravity = constants.k * atmosphere.temperature / (MEAN_WEIGHT * ATOMIC_MASS * height)
        atmosphere = replace(atmosphere, gravity=gravity)
    return atmosphere


def _airs_height(atmosphere: Atmosphere, radius: float) -> FloatArray:
    return effective_height(AIRS_AXIS_UM[AIRS_COLUMNS], atmosphere, radius)


def _draw_contamination(rng: np.random.Generator, star_temperature: float, white_depth: float) -> FloatArray:
    """Spots that deepen, or faculae that fill, the visible transit by up to some hundred ppm."""
    excess = rng.uniform(-200e-6, 300e-6)
    region = star_temperature * (0.82 if excess > 0.0 else 1.06)
    unit = 1.0 - 1.0 / stellar_contamination(COLUMN_WAVELENGTHS_UM[:1], star_temperature, region, 1.0)[0]
    filling = min(0.5, float((1.0 - 1.0 / (1.0 + excess / white_depth)) / unit))
    return stellar_contamination(COLUMN_WAVELENGTHS_UM, star_temperature, region, filling)
