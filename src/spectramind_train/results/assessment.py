"""What predicted spectra are worth beside true ones: the official score, errors, and whether sigma tells their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.metric import SMALLEST_SIGMA, WEIGHTS, ariel_score, score_by_element
from spectramind_train.transit.diagnosis import INSTRUMENTS

PARTS: Final = {name.lower(): channels for name, channels in INSTRUMENTS.items()}
"""The channels of each instrument."""
_HALF_WIDTHS: Final = [NormalDist().inv_cdf(0.5 + share / 2) for share in (0.68, 0.95)]
"""How many sigmas to each side the interval reaches that holds 68 % of a Gaussian, and that of 95 %."""


@dataclass(frozen=True)
class Part:
    """The channels of one instrument.

    Attributes:
        score: Their share of the official score: its mean over them, not clipped, so that it may be below 0.
        rmse_ppm: Root of the mean squared error, in ppm of (Rp/Rs)^2.
        coverage_68: Share of true values within the central interval that should hold 68 %.
        coverage_95: Share within the one that should hold 95 %.
        residual_std: Standard deviation of (truth - mu) / sigma; 1 where sigma is right, more where it is too small.
    """

    score: float
    rmse_ppm: float
    coverage_68: float
    coverage_95: float
    residual_std: float


@dataclass(frozen=True)
class PlanetScore:
    """One planet.

    Attributes:
        planet_id: Its name.
        score: Its part of the official score, not clipped; the mean over planets is the score.
        rmse_fgs1_ppm: Error of FGS1, in ppm of (Rp/Rs)^2.
        rmse_airs_ppm: Root of the mean squared error of AIRS.
        chi2: Sum of ((truth - mu) / sigma)^2 over its 283 channels; about 283 where sigma is right.
    """

    planet_id: str
    score: float
    rmse_fgs1_ppm: float
    rmse_airs_ppm: float
    chi2: float


@dataclass(frozen=True)
class Assessment:
    """A prediction of some planets.

    Attributes:
        score: The official score, from 0 to 1; higher is better.
        fgs1: FGS1, the first channel.
        airs: AIRS, the other 282.
        planets: Each planet, the worst first.
    """

    score: float
    fgs1: Part
    airs: Part
    planets: tuple[PlanetScore, ...]


def assess(
    planet_ids: Sequence[str],
    mu: NDArray[Any],
    sigma: NDArray[Any],
    truth: NDArray[Any],
    *,
    naive_mean: float,
    naive_sigma: float,
) -> Assessment:
    """Compare a prediction of N planets with the truth.

    Args:
        planet_ids: Their names (N,).
        mu: Predicted spectra (N, 283), in (Rp/Rs)^2, not negative; column 0 is FGS1.
        sigma: Their standard deviations (N, 283), not negative.
        truth: True spectra (N, 283).
        naive_mean: Mean of the training labels.
        naive_sigma: Their standard deviation, positive.

    Raises:
        ValueError: As ``ariel_score`` does.
    """
    ratio = score_by_element(mu, sigma, truth, naive_mean=naive_mean, naive_sigma=naive_sigma)
    error = (mu - truth) * 1e6
    residual = (truth - mu) / np.maximum(sigma, SMALLEST_SIGMA)
    parts = {name: _part(ratio[:, part], error[:, part], residual[:, part]) for name, part in PARTS.items()}
    fgs1, airs = (np.sqrt(np.mean(error[:, part] ** 2, axis=1)) for part in PARTS.values())
    columns = (np.average(ratio, axis=1, weights=WEIGHTS), fgs1, airs, np.sum(residual**2, axis=1))
    planets = [PlanetScore(name, *map(float, row)) for name, *row in zip(planet_ids, *columns, strict=True)]
    score = ariel_score(mu, sigma, truth, naive_mean=naive_mean, naive_sigma=naive_sigma)
    return Assessment(score, **parts, planets=tuple(sorted(planets, key=lambda one: (one.score, one.planet_id))))


def _part(ratio: FloatArray, error: FloatArray, residual: FloatArray) -> Part:
    within_68, within_95 = (float(np.mean(np.abs(residual) <= width)) for width in _HALF_WIDTHS)
    rmse = float(np.sqrt(np.mean(error**2)))
    return Part(float(ratio.mean()), rmse, within_68, within_95, float(residual.std()))
