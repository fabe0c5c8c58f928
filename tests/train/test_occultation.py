"""Transit geometry and limb-darkened light curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectramind_train.transit.occultation import light_curve, separation


def brute_force(distance: float, radius_ratio: float, u1: float, u2: float) -> float:
    """Relative flux from a two-dimensional sum over the planet's disc, in polar coordinates around its centre."""
    radial, radial_weights = np.polynomial.legendre.leggauss(600)
    rho = 0.5 * radius_ratio * (radial + 1.0)
    phi = (np.arange(2500) + 0.5) * np.pi / 2500
    x = distance + rho[:, None] * np.cos(phi)
    y = rho[:, None] * np.sin(phi)
    mu2 = 1.0 - x**2 - y**2
    mu = np.sqrt(np.maximum(mu2, 0.0))
    intensity = np.where(mu2 > 0.0, 1.0 - u1 * (1.0 - mu) - u2 * (1.0 - mu) ** 2, 0.0)
    weights = 0.5 * radius_ratio * radial_weights * rho
    blocked = 2.0 * (weights @ intensity.sum(axis=1)) * np.pi / 2500
    return float(1.0 - blocked / (np.pi * (1.0 - u1 / 3.0 - u2 / 6.0)))


@pytest.mark.parametrize(("radius_ratio", "u1", "u2"), [(0.12, 0.4, 0.25), (0.06, 0.1, 0.2), (0.28, 0.7, -0.1)])
def test_light_curve_agrees_with_a_sum_over_the_planets_disc(radius_ratio: float, u1: float, u2: float) -> None:
    """Full, grazing and contact positions agree with a two-dimensional sum to 1 ppm."""
    positions = [0.0, radius_ratio, 0.3, 0.7, 1.0 - radius_ratio, 0.95, 1.0, 1.0 + 0.5 * radius_ratio]
    expected = [brute_force(position, radius_ratio, u1, u2) for position in positions]
    np.testing.assert_allclose(light_curve(positions, radius_ratio, u1, u2), expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    "impact",
    [0.0, 0.35, 0.7, 0.9, 0.97, 1.0, 1.05],
    ids=["central", "inclined", "strongly inclined", "near the limb", "grazing", "half hidden", "barely touching"],
)
@pytest.mark.parametrize("radius_ratio", [0.01, 0.06, 0.12, 0.2, 0.28, 0.45])
def test_whole_transits_agree_with_batman(radius_ratio: float, impact: float) -> None:
    """Orbit and light curve of every inclination agree with Kreidberg's (2015) independent code to 0.1 ppm."""
    batman = pytest.importorskip("batman", reason="batman-package has no wheel for this Python or machine")
    time, period, sma = np.linspace(0.0, 7.5, 1125), 3.2, 8.5
    inclination = float(np.rad2deg(np.arccos(impact / sma)))
    orbit = batman.TransitParams()
    orbit.t0, orbit.per, orbit.a, orbit.inc, orbit.ecc, orbit.w = 3.7 / 24.0, period, sma, inclination, 0.0, 90.0
    orbit.rp, orbit.limb_dark = radius_ratio, "quadratic"
    distance = separation(time, 3.7, period, sma, inclination)
    for law in ([0.0, 0.0], [0.4, 0.25], [0.1, 0.2], [0.7, -0.1]):
        orbit.u = law
        expected = batman.TransitModel(orbit, time / 24.0).light_curve(orbit)
        assert (expected < 1.0).any() == (impact < 1.0 + radius_ratio)
        np.testing.assert_allclose(light_curve(distance, radius_ratio, *law), expected, rtol=0.0, atol=1e-7)


@given(st.floats(0.005, 0.45), st.floats(0.0, 1.0))
def test_without_limb_darkening_a_full_transit_blocks_the_ratio_of_areas(radius_ratio: float, place: float) -> None:
    """With u1 = u2 = 0 the loss is the squared radius ratio wherever the whole planet is on the star."""
    loss = 1.0 - light_curve(place * (1.0 - radius_ratio), radius_ratio, 0.0, 0.0)
    assert float(loss) == pytest.approx(radius_ratio**2, abs=1e-12)


@given(st.floats(0.01, 0.4), st.floats(0.0, 0.8), st.floats(0.0, 0.2))
def test_light_curve_is_continuous_and_falls_towards_the_centre(radius_ratio: float, u1: float, u2: float) -> None:
    """Flux is 1 apart from the star, never rises on the way in and has no jump at the contacts."""
    distance = np.linspace(0.0, 1.2 + radius_ratio, 3001)
    flux = light_curve(distance, radius_ratio, u1, u2)
    assert np.all(flux[distance >= 1.0 + radius_ratio] == 1.0)
    assert np.all(np.diff(flux) > -1e-9)
    assert np.abs(np.diff(flux)).max() < 0.01 * radius_ratio


def test_a_planet_larger_than_the_star_hides_it() -> None:
    """The flux of a covered star is zero, and half-covered stars are in between."""
    flux = light_curve([0.0, 0.4, 1.5, 3.0], 1.5, 0.3, 0.2)
    assert flux[0] == flux[1] == 0.0
    assert 0.0 < flux[2] < 1.0
    assert flux[3] == 1.0


def test_separation_at_mid_time_and_at_quadrature() -> None:
    """The separation is the impact parameter at mid-time and the semi-major axis a quarter of a period later."""
    period, sma, inclination = 3.0, 9.0, 87.0
    times = np.array([[3.7], [3.7 + 6.0 * period]])
    result = separation(times, 3.7, period, sma, inclination)
    assert result.shape == (2, 1)
    np.testing.assert_allclose(result[:, 0], [sma * np.cos(np.deg2rad(inclination)), sma], rtol=1e-12)


def test_light_curve_keeps_the_shape_of_its_argument() -> None:
    """Scalars and arrays of two axes come back in their own shape."""
    assert light_curve(0.2, 0.1, 0.1, 0.1).shape == ()
    assert light_curve(np.full((4, 3), 0.2), 0.1, 0.1, 0.1).shape == (4, 3)
