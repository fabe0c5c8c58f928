"""Transmission spectra against textbook values and limiting cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spectramind_train.simulated import spectra
from spectramind_train.simulated.spectra import BANDS, Atmosphere

CLEAR = Atmosphere(
    temperature=1000.0, gravity=20.0, abundances=dict.fromkeys(BANDS, -4.0), haze=1.0, cloud_pressure=1e7
)
WAVELENGTH = np.linspace(1.9, 4.0, 400)
RADIUS = 7e7


def test_scale_height_of_the_earth() -> None:
    """Air at 288 K on the Earth has a scale height of 8.4 km."""
    assert spectra.scale_height(288.0, 9.81, 28.97) == pytest.approx(8430.0, rel=0.002)


def test_equilibrium_temperature_of_the_earth() -> None:
    """A black Earth, 215 solar radii out, has 278 K."""
    assert spectra.equilibrium_temperature(5772.0, 215.03) == pytest.approx(278.3, abs=0.5)


@pytest.mark.parametrize("molecule", BANDS)
def test_bands_peak_at_their_centres(molecule: str) -> None:
    """The cross-section's highest point is the strongest band's centre, with its strength."""
    centre, log_peak, _ = max(BANDS[molecule], key=lambda band: band[1])
    grid = np.linspace(0.6, 5.0, 4401)
    section = spectra.cross_section(molecule, grid)
    assert grid[section.argmax()] == pytest.approx(centre, abs=0.01)
    assert section.max() == pytest.approx(10.0**log_peak, rel=0.05)


def test_rayleigh_slope() -> None:
    """Where scattering rules, the radius falls by four scale heights for each e-fold in wavelength."""
    haze = replace(CLEAR, abundances={}, haze=1e4)
    blue, red = spectra.effective_height(np.array([0.4, 0.4 * np.e]), haze, RADIUS)
    assert blue - red == pytest.approx(4.0, abs=0.01)


def test_amplitude_scales_with_the_scale_height() -> None:
    """The spectrum's relief is 2 R H / Rs^2 for each scale height, so half the gravity nearly doubles it."""
    star = 7e8
    heights = spectra.effective_height(WAVELENGTH, CLEAR, RADIUS)
    depth = spectra.transmission_spectrum(WAVELENGTH, CLEAR, RADIUS, star)
    per_height = 2.0 * RADIUS * spectra.scale_height(1000.0, 20.0) / star**2
    assert np.ptp(depth) == pytest.approx(np.ptp(heights) * per_height, rel=0.1)
    light = spectra.transmission_spectrum(WAVELENGTH, replace(CLEAR, gravity=10.0), RADIUS, star)
    assert np.ptp(light) == pytest.approx(2.0 * np.ptp(depth), rel=0.1)


def test_clouds_flatten_the_spectrum() -> None:
    """The higher the cloud deck, the less is seen of the bands; a deck never lowers the spectrum."""
    clear, low, high = (
        spectra.effective_height(WAVELENGTH, replace(CLEAR, cloud_pressure=pressure), RADIUS)
        for pressure in (1e7, 1e3, 1.0)
    )
    assert np.ptp(clear) > np.ptp(low) > np.ptp(high)
    assert (low >= clear).all()
    assert high.min() == pytest.approx(np.log(spectra.REFERENCE_PRESSURE / 1.0), abs=0.5)


def test_more_of_a_molecule_deepens_its_band_only() -> None:
    """Ten times the methane raises the spectrum at 3.31 um by up to ln(10) scale heights, and CO2's band hardly."""
    rich = replace(CLEAR, abundances={**CLEAR.abundances, "CH4": -3.0})
    at = np.array([3.31, 4.26])
    methane, dioxide = spectra.effective_height(at, rich, RADIUS) - spectra.effective_height(at, CLEAR, RADIUS)
    assert methane == pytest.approx(np.log(10.0), abs=0.05)
    assert dioxide < 0.05


def test_black_body_peaks_by_wiens_law() -> None:
    """The photon spectrum peaks where wavelength times temperature is 3670 um K."""
    grid = np.linspace(0.3, 2.0, 20001)
    assert grid[spectra.photon_radiance(grid, 5000.0).argmax()] * 5000.0 == pytest.approx(3669.7, rel=1e-3)


def test_contamination() -> None:
    """Without spots nothing changes; cool spots deepen and faculae fill the transit, most in the visible."""
    at = np.array([0.7, 3.0])
    assert spectra.stellar_contamination(at, 5000.0, 4000.0, 0.0) == pytest.approx([1.0, 1.0])
    visible, infrared = spectra.stellar_contamination(at, 5000.0, 4000.0, 0.05)
    assert visible > infrared > 1.0
    visible, infrared = spectra.stellar_contamination(at, 5000.0, 5300.0, 0.05)
    assert visible < infrared < 1.0


@pytest.mark.parametrize("temperature", [3300.0, 5772.0, 6800.0])
def test_limb_darkening_is_physical_and_strongest_in_the_visible(temperature: float) -> None:
    """The limb stays bright (u1 + u2 < 1) and the visible has the darkest one."""
    u1, u2 = spectra.limb_darkening(np.array([0.7, 1.95, 3.9]), temperature)
    total = u1 + u2
    assert (np.diff(total) < 0.0).all()
    assert total.min() > 0.0
    assert total.max() < 1.0
