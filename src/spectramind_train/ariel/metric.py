"""The official score of the Ariel Data Challenge 2025.

Every predicted value is a Gaussian; the score compares its log-likelihood with that of a naive prediction (0) and that
of an ideal one (1), element by element, and averages with a weight that makes FGS1 count as much as 58 AIRS channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectramind_train.ariel.constants import N_CHANNELS, FloatArray

FGS1_WEIGHT = 57.846
"""Weight of FGS1 (column 0) against 1 of each AIRS channel."""
FGS1_TRUE_SIGMA = 1e-6
"""Uncertainty of the ideal prediction of FGS1, (Rp/Rs)^2."""
AIRS_TRUE_SIGMA = 1e-5
"""Uncertainty of the ideal prediction of an AIRS channel, (Rp/Rs)^2."""
SMALLEST_SIGMA = 1e-15
"""Predicted uncertainties are clipped to this from below."""
WEIGHTS: FloatArray = np.concatenate([[FGS1_WEIGHT], np.ones(N_CHANNELS - 1)])
"""Weight of each channel (283,)."""
_TRUE_SIGMA: FloatArray = np.concatenate([[FGS1_TRUE_SIGMA], np.full(N_CHANNELS - 1, AIRS_TRUE_SIGMA)])


def ariel_score(
    mu: NDArray[Any],
    sigma: NDArray[Any],
    target: NDArray[Any],
    *,
    naive_mean: float,
    naive_sigma: float,
) -> float:
    """Score a prediction as the organisers do: the weighted mean of ``score_by_element``, clipped to [0, 1].

    See https://www.kaggle.com/competitions/ariel-data-challenge-2025/overview/evaluation.

    Args:
        mu: predicted spectra, (N, 283), (Rp/Rs)^2; column 0 is FGS1.
        sigma: their uncertainties, (N, 283), not negative.
        target: true spectra, (N, 283).
        naive_mean: mean of all training labels.
        naive_sigma: standard deviation of all training labels, positive.

    Returns:
        The score, from 0 (no better than the naive prediction) to 1 (ideal); higher is better.

    Raises:
        ValueError: as ``score_by_element`` does.
    """
    ratio = score_by_element(mu, sigma, target, naive_mean=naive_mean, naive_sigma=naive_sigma)
    return float(np.clip(np.average(ratio, weights=np.broadcast_to(WEIGHTS, ratio.shape)), 0.0, 1.0))


def score_by_element(
    mu: NDArray[Any],
    sigma: NDArray[Any],
    target: NDArray[Any],
    *,
    naive_mean: float,
    naive_sigma: float,
) -> FloatArray:
    """What each predicted value adds to the score, before weights and clipping.

    With g(m, s) = -(ln 2 pi + ln s^2 + (y - m)^2 / s^2) / 2 it is (g(mu, sigma) - g_naive) / (g_ideal - g_naive).

    Args:
        mu: predicted spectra, (N, 283), (Rp/Rs)^2; column 0 is FGS1.
        sigma: their uncertainties, (N, 283), not negative.
        target: true spectra, (N, 283).
        naive_mean: mean of all training labels.
        naive_sigma: standard deviation of all training labels, positive.

    Returns:
        The ratios (N, 283): 0 as good as the naive prediction, 1 ideal, and without a lower limit.

    Raises:
        ValueError: on unequal or wrong shapes, values that are not finite, negative predictions or uncertainties, or a
            naive sigma that is not positive or below the ideal one.
    """
    y = _spectra("target", target)
    m = _spectra("mu", mu)
    s = _spectra("sigma", sigma)
    if not m.shape == s.shape == y.shape:
        raise ValueError(f"mu {m.shape}, sigma {s.shape} and target {y.shape} must have the same shape")
    for name, values in (("mu", m), ("sigma", s)):
        if (values < 0).any():
            raise ValueError(f"{name} must not be negative; its smallest value is {values.min():g}")
    if not (np.isfinite(naive_mean) and np.isfinite(naive_sigma) and naive_sigma > 0):
        raise ValueError(
            f"the naive prediction must be finite with a positive sigma, not {naive_mean} +- {naive_sigma}"
        )

    predicted = _log_likelihood(y, m, np.maximum(s, SMALLEST_SIGMA))
    ideal = _log_likelihood(y, y, _TRUE_SIGMA)
    naive = _log_likelihood(y, np.float64(naive_mean), np.float64(naive_sigma))
    if not (ideal > naive).all():
        raise ValueError(f"a naive sigma of {naive_sigma:g} is beyond the ideal one: no score can lie between them")
    ratio: FloatArray = (predicted - naive) / (ideal - naive)
    return ratio


def naive_statistics(train_labels: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation over all elements of the training labels, (N, 283).

    Raises:
        ValueError: on a wrong shape, values that are not finite, or labels that do not vary.
    """
    labels = _spectra("train_labels", train_labels)
    mean, sigma = float(labels.mean()), float(labels.std())
    if labels.min() == labels.max():
        raise ValueError(f"the training labels are all {mean:g}: no naive sigma can be taken from them")
    return mean, sigma


def _log_likelihood(y: FloatArray, mean: FloatArray | np.float64, sigma: FloatArray | np.float64) -> FloatArray:
    result: FloatArray = -0.5 * (np.log(2 * np.pi) + 2 * np.log(sigma) + ((y - mean) / sigma) ** 2)
    return result


def _spectra(name: str, values: NDArray[Any]) -> FloatArray:
    spectra = np.asarray(values, dtype=np.float64)
    if spectra.ndim != 2 or spectra.shape[1] != N_CHANNELS or len(spectra) == 0:
        raise ValueError(f"{name} must have shape (N, {N_CHANNELS}) with N >= 1, not {spectra.shape}")
    if not np.isfinite(spectra).all():
        raise ValueError(f"{name} has {np.count_nonzero(~np.isfinite(spectra))} values that are not finite")
    return spectra
