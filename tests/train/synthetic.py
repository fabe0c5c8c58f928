"""Synthetic visits with a known spectrum, independent of the simulated data set."""

from __future__ import annotations

import numpy as np

from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.dataset import Star
from spectramind_train.ariel.lightcurves import LightCurves, bin_times
from spectramind_train.transit.occultation import light_curve, separation


def visit(
    seed: int, bins: int = 187, noise: float = 1.0, mid_time: float | None = None
) -> tuple[LightCurves, Star, FloatArray]:
    """Light curves with drift, limb darkening and noise as on a real planet; the star; the true spectrum (283,)."""
    rng = np.random.default_rng(seed)
    time = bin_times(bins)
    period = rng.uniform(2.0, 10.0)
    sma = 4.2 * period ** (2.0 / 3.0)
    inclination = float(np.degrees(np.arccos(rng.uniform(0.0, 0.6) / sma)))
    middle = 3.75 + 0.3 * rng.normal() if mid_time is None else mid_time
    place = np.linspace(-1.0, 1.0, 282)
    spectrum = np.empty(283)
    spectrum[1:] = np.exp(rng.uniform(np.log(0.005), np.log(0.04))) + 1e-4 * np.sin(5.0 * place + rng.uniform(0.0, 6.0))
    spectrum[0] = spectrum[1:].mean() + 2e-4 * rng.normal()
    level = np.concatenate([[1.6e6], np.geomspace(4.9e5, 2.5e4, 282)])
    scatter = (
        np.concatenate([[3e-4], 2.8e-3 * np.sqrt(level[141] / level[1:])]) * noise * np.sqrt(bins / 187) / np.sqrt(6.0)
    )
    x = 2.0 * time / 7.5 - 1.0
    drifts = 1.0 + 1e-3 * rng.normal(size=(2, 3)) * (1.0, 0.5, 0.3) @ np.stack([x, x**2, x**3])
    distance = separation(time, middle, period, sma, inclination)
    u1 = np.concatenate([[0.4], 0.17 - 0.07 * place]) + 0.05 * rng.normal()
    u2 = np.concatenate([[0.25], 0.15 - 0.03 * place]) + 0.05 * rng.normal()
    transits = [
        light_curve(distance, float(np.sqrt(d)), float(a), float(b)) for d, a, b in zip(spectrum, u1, u2, strict=True)
    ]
    tilt = 1.0 + 5e-4 * rng.normal() * np.outer(x, np.concatenate([[0.0], place]))
    flux = level * np.column_stack([drifts[0], np.tile(drifts[1][:, None], 282)]) * tilt * np.stack(transits, axis=1)
    star = Star(Rs=1.0, Ms=1.0, Ts=5700.0, Mp=1.0, e=0.0, P=period, sma=sma, i=inclination)
    return LightCurves(f"{seed}", time, flux * (1.0 + scatter * rng.normal(size=flux.shape))), star, spectrum
