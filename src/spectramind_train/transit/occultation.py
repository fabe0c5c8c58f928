"""The transit of a planet across a limb-darkened star: its geometry and its light curve."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from spectramind_train.ariel.constants import FloatArray

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)
_ANGLES: Final = 0.25 * np.pi * (_NODES + 1.0)
_ANGLE_WEIGHTS: Final = 0.25 * np.pi * _NODE_WEIGHTS
_SIN2: Final = np.sin(_ANGLES) ** 2
_COS: Final = np.cos(_ANGLES)


def separation(time_h: ArrayLike, mid_time_h: float, period_d: float, sma: float, inclination_deg: float) -> FloatArray:
    """Sky-projected distance between the centres of planet and star on a circular orbit.

    Args:
        time_h: Times of any shape, in hours.
        mid_time_h: Time of inferior conjunction, in hours.
        period_d: Orbital period, in days.
        sma: Semi-major axis, in stellar radii.
        inclination_deg: Inclination of the orbit, in degrees; 90 is edge-on.

    Returns:
        The separation in stellar radii, of the shape of ``time_h``. Half a period from mid-time the planet passes
        behind the star and the separation is small again; callers keep to times within a quarter of a period.
    """
    phase = 2.0 * np.pi * (np.asarray(time_h, dtype=np.float64) - mid_time_h) / (24.0 * period_d)
    along = np.sin(phase)
    across = np.cos(np.deg2rad(inclination_deg)) * np.cos(phase)
    return np.asarray(sma * np.hypot(along, across), dtype=np.float64)


def light_curve(separation: ArrayLike, radius_ratio: float, u1: float, u2: float) -> FloatArray:
    """Relative flux of a star with quadratic limb darkening while a planet crosses it.

    The intensity law is I(mu) = 1 - u1 (1 - mu) - u2 (1 - mu)^2 (Mandel & Agol 2002, ApJ 580, L171). The blocked
    flux is the boundary integral of Green's theorem (as in Agol, Luger & Foreman-Mackey 2020, AJ 159, 123) around
    the part of the planet's disc that lies on the star. Written so that the terms polynomial in the position are
    closed forms, only a term in mu^3 / (1 + mu) is left for quadrature; it vanishes at the limb and the substitution
    sin(psi) = k sin(theta) makes it analytic there. Accurate to better than 1e-7 of the stellar flux.

    Args:
        separation: Distance between the centres in stellar radii, non-negative, of any shape.
        radius_ratio: Rp/Rs, positive.
        u1: Linear coefficient of limb darkening.
        u2: Quadratic coefficient of limb darkening; 1 - u1/3 - u2/6 must be positive.

    Returns:
        Flux relative to the unobscured star, of the shape of ``separation``.
    """
    distance = np.asarray(separation, dtype=np.float64)
    flux = np.ones(distance.shape)
    r = float(radius_ratio)
    flux[distance <= r - 1.0] = 0.0
    touching = (distance < 1.0 + r) & (distance > r - 1.0)
    if touching.any():
        stellar_flux = np.pi * (1.0 - u1 / 3.0 - u2 / 6.0)
        flux[touching] = 1.0 - _blocked_flux(distance[touching], r, u1, u2) / stellar_flux
    return flux


def _blocked_flux(b: FloatArray, r: float, u1: float, u2: float) -> FloatArray:
    """Flux behind the planet for separations ``b`` (n,) at which the discs overlap, in units of central intensity."""
    product = b * r
    inside = b + r <= 1.0
    denominator = np.where(inside, 1.0, product)
    # The planet's arc on the star is |t| <= planet_angle, t counted from the point nearest to the star's centre;
    # the star's arc behind the planet is |t| <= star_angle.
    planet_angle = np.where(inside, np.pi, np.arccos(np.clip((r * r + b * b - 1.0) / (2.0 * denominator), -1.0, 1.0)))
    star_angle = np.where(
        inside, 0.0, np.arccos(np.clip((1.0 + b * b - r * r) / (2.0 * np.where(inside, 1.0, b)), -1.0, 1.0))
    )
    sine = np.sin(planet_angle)
    area = 2.0 * (r * r * planet_angle - product * sine)
    moment = 2.0 * (
        (b * b + r * r) * (r * r * planet_angle - product * sine)
        - 2.0 * product * r * r * sine
        + product * product * (planet_angle + sine * np.cos(planet_angle))
    )

    height = np.maximum(1.0 - (b - r) ** 2, 0.0)
    k2 = np.where(inside, 1.0, np.minimum(height / (4.0 * denominator), 1.0))
    swept = k2[:, None] * _SIN2
    mu = np.sqrt(np.maximum(height[:, None] - 4.0 * product[:, None] * swept, 0.0))
    angle_rate = np.where(inside[:, None], 2.0, 2.0 * np.sqrt(k2)[:, None] * _COS / np.sqrt(1.0 - swept))
    leverage = r * r - product[:, None] * (1.0 - 2.0 * swept)
    limb = 2.0 * ((mu**3 / (1.0 + mu) * angle_rate * leverage) @ _ANGLE_WEIGHTS)

    constant, linear = 1.0 - u1 - 2.0 * u2, u1 + 2.0 * u2
    uniform_term = 0.5 * area + star_angle
    linear_term = (2.0 * area - moment - limb) / 3.0 + 2.0 * star_angle / 3.0
    quadratic_term = 0.25 * moment + 0.5 * star_angle
    return np.asarray(constant * uniform_term + linear * linear_term + u2 * quadratic_term, dtype=np.float64)
