"""Transmission spectra of exoplanets: molecular bands, Rayleigh scattering and clouds above a scale height."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import constants

from spectramind_train.ariel.constants import FloatArray

ATOMIC_MASS: Final = 1.66053907e-27
"""CODATA 2018; the newer value in scipy would change the last digits of every simulated label."""

SOLAR_RADIUS: Final = 6.957e8
JUPITER_MASS: Final = 1.898e27

MEAN_WEIGHT: Final = 2.35
"""Mean molecular weight of a hydrogen atmosphere with solar helium, in atomic mass units."""

REFERENCE_PRESSURE: Final = 1e6
"""Pressure at a planet's reference radius, in Pa (10 bar)."""

BANDS: Final[Mapping[str, tuple[tuple[float, float, float], ...]]] = {
    "H2O": (
        (0.72, -23.3, 0.015),
        (0.94, -22.0, 0.02),
        (1.13, -21.9, 0.025),
        (1.38, -20.7, 0.035),
        (1.87, -20.4, 0.045),
        (2.67, -19.4, 0.075),
        (3.20, -21.3, 0.10),
    ),
    "CO2": ((1.44, -23.0, 0.01), (1.60, -23.0, 0.01), (2.01, -21.2, 0.02), (2.73, -19.4, 0.035), (4.26, -17.8, 0.055)),
    "CH4": ((1.66, -21.0, 0.03), (2.31, -20.2, 0.06), (3.31, -18.9, 0.075)),
    "CO": ((1.57, -22.9, 0.012), (2.34, -20.8, 0.025), (4.67, -18.8, 0.06)),
    "NH3": ((1.51, -20.9, 0.025), (1.97, -20.7, 0.03), (2.25, -20.8, 0.04), (2.96, -19.7, 0.065)),
}
"""Bands of each molecule: centre in um, log10 of the peak cross-section in cm^2 per molecule, scale width in um.

Centres from Tinetti, Encrenaz & Coustenis 2013 (A&A Rev. 21, 63); strengths and widths are the orders of magnitude
of the ExoMol cross-sections near 1000 K at low resolution (Tennyson & Yurchenko 2012, MNRAS 425, 21).
"""


@dataclass(frozen=True)
class Atmosphere:
    """What shapes a transmission spectrum.

    Attributes:
        temperature: Temperature of the limb, in K.
        gravity: Surface gravity, in m/s^2.
        abundances: log10 of the volume mixing ratio of each molecule in ``BANDS``.
        haze: Scattering relative to that of pure hydrogen; 1 is a clear atmosphere.
        cloud_pressure: Pressure of the grey cloud deck's top, in Pa.
    """

    temperature: float
    gravity: float
    abundances: Mapping[str, float]
    haze: float
    cloud_pressure: float


def scale_height(temperature: float, gravity: float, mean_weight: float = MEAN_WEIGHT) -> float:
    """Pressure scale height H = k T / (mu g), in m, of an ideal gas in hydrostatic equilibrium."""
    return constants.k * temperature / (mean_weight * ATOMIC_MASS * gravity)


def equilibrium_temperature(star_temperature: float, sma: float) -> float:
    """Temperature in K of a black planet that spreads its heat: T (1 / (2 a))^(1/2), ``sma`` in stellar radii."""
    return float(star_temperature / np.sqrt(2.0 * sma))


def cross_section(molecule: str, wavelength_um: FloatArray) -> FloatArray:
    """Absorption cross-section in cm^2 per molecule, without the lines.

    Each band falls off exponentially from its centre, as in the exponential wide-band model (Edwards & Menard 1964,
    Appl. Opt. 3, 621), rounded at the top.
    """
    total = np.zeros_like(wavelength_um)
    for centre, log_peak, width in BANDS[molecule]:
        offset = (wavelength_um - centre) / width
        total += 10.0**log_peak * np.exp(1.0 - np.sqrt(1.0 + offset**2))
    return total


def rayleigh_cross_section(wavelength_um: FloatArray) -> FloatArray:
    """Rayleigh scattering by H2, 2.52e-28 cm^2 at 0.75 um (Lecavelier des Etangs et al. 2008, A&A 485, 865)."""
    return np.asarray(2.52e-28 * (wavelength_um / 0.75) ** -4.0)


def effective_height(wavelength_um: FloatArray, atmosphere: Atmosphere, radius: float) -> FloatArray:
    """Height above the reference radius up to which the limb is opaque, in scale heights.

    For an isothermal atmosphere z / H = ln(sigma P0 / tau sqrt(2 pi R / (k T mu g))), where sigma is the cross-section
    per molecule of air and tau = 0.56 (Lecavelier des Etangs et al. 2008, A&A 481, L83, eq. 1). The cloud deck is
    opaque below its top, so that its term in the logarithm is P0 / P_cloud.

    Args:
        wavelength_um: Wavelengths of any shape, in um.
        atmosphere: Its composition, temperature, gravity and clouds.
        radius: Radius of the planet, in m.
    """
    opacity = atmosphere.haze * rayleigh_cross_section(wavelength_um)
    for molecule, log_ratio in atmosphere.abundances.items():
        opacity = opacity + 10.0**log_ratio * cross_section(molecule, wavelength_um)
    molecule_weight = constants.k * atmosphere.temperature * MEAN_WEIGHT * ATOMIC_MASS * atmosphere.gravity
    column = REFERENCE_PRESSURE / 0.56 * np.sqrt(2.0 * np.pi * radius / molecule_weight)
    return np.asarray(np.log(1e-4 * opacity * column + REFERENCE_PRESSURE / atmosphere.cloud_pressure))


def transmission_spectrum(
    wavelength_um: FloatArray, atmosphere: Atmosphere, radius: float, star_radius: float
) -> FloatArray:
    """Transit depth (Rp/Rs)^2 with Rp the radius up to which the limb is opaque.

    Args:
        wavelength_um: Wavelengths of any shape, in um.
        atmosphere: The planet's atmosphere.
        radius: Radius of the planet at the reference pressure, in m.
        star_radius: Radius of the star, in m.
    """
    height = scale_height(atmosphere.temperature, atmosphere.gravity)
    opaque = radius + height * effective_height(wavelength_um, atmosphere, radius)
    return np.asarray((opaque / star_radius) ** 2)


def photon_radiance(wavelength_um: FloatArray, temperature: float) -> FloatArray:
    """Photons that a black body emits per unit of time, area, solid angle and wavelength, in SI units."""
    wavelength = 1e-6 * np.asarray(wavelength_um)
    energy = constants.h * constants.c / wavelength
    return np.asarray(2.0 * constants.c / wavelength**4 / np.expm1(energy / (constants.k * temperature)))


def stellar_contamination(
    wavelength_um: FloatArray, star_temperature: float, region_temperature: float, filling: float
) -> FloatArray:
    """Factor by which spots or faculae off the transit chord change the depth.

    1 / (1 - f (1 - F_region / F_star)) with black-body fluxes (Rackham, Apai & Giampapa 2018, ApJ 853, 122, eq. 2).

    Args:
        wavelength_um: Wavelengths of any shape, in um.
        star_temperature: Temperature of the photosphere, in K.
        region_temperature: Temperature of the spots (cooler) or faculae (hotter), in K.
        filling: Share f of the stellar disc that they cover, 0 to 1.
    """
    contrast = photon_radiance(wavelength_um, region_temperature) / photon_radiance(wavelength_um, star_temperature)
    return np.asarray(1.0 / (1.0 - filling * (1.0 - contrast)))


def limb_darkening(wavelength_um: FloatArray, star_temperature: float) -> tuple[FloatArray, FloatArray]:
    """Coefficients u1 and u2 of the quadratic law, falling with wavelength and with temperature.

    Power laws through the values for dwarfs in the R and K bands (Claret & Bloemen 2011, A&A 529, A75).
    """
    relative = np.asarray(wavelength_um) / 0.7
    coolness = 5772.0 / star_temperature
    return np.asarray(0.38 * coolness**0.5 * relative**-1.1), np.asarray(0.27 * relative**-0.4)
