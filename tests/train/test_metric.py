"""The official score."""

from __future__ import annotations

import numpy as np
import pytest

from spectramind_train.ariel.metric import FGS1_WEIGHT, ariel_score, naive_statistics


def labels(planets: int = 400, seed: int = 0) -> np.ndarray:
    """Independent labels with about the real ones' mean and spread, none negative, as a depth cannot be."""
    return np.abs(np.random.default_rng(seed).normal(0.0147, 0.0107, (planets, 283)))


def ideal_sigma(y: np.ndarray) -> np.ndarray:
    """What the metric takes for a perfect uncertainty."""
    sigma = np.full_like(y, 1e-5)
    sigma[:, 0] = 1e-6
    return sigma


@pytest.mark.parametrize(
    ("ppm", "expected"),
    [(3000, 0.145), (1000, 0.289), (500, 0.381), (200, 0.500), (100, 0.592), (50, 0.682), (20, 0.803), (10, 0.893)],
)
def test_published_table(ppm: float, expected: float) -> None:
    """Errors of a known size with a matching sigma give the measured scores."""
    y = labels()
    x = ppm * 1e-6
    mean, sigma = naive_statistics(y)
    noise = np.random.default_rng(1).normal(0, x, y.shape)
    # The score depends on differences only; the shift keeps noisy predictions from being refused as negative.
    score = ariel_score(y + noise + 1.0, np.full_like(y, x), y + 1.0, naive_mean=mean + 1.0, naive_sigma=sigma)
    assert score == pytest.approx(expected, abs=0.005)


def test_perfect_prediction_scores_one() -> None:
    """The ideal prediction is the upper end of the scale."""
    y = labels(5)
    mean, sigma = naive_statistics(y)
    assert ariel_score(y, ideal_sigma(y), y, naive_mean=mean, naive_sigma=sigma) == pytest.approx(1.0)


def test_naive_prediction_scores_zero() -> None:
    """The naive prediction is the lower end, and worse ones are clipped to it."""
    y = labels(5)
    mean, sigma = naive_statistics(y)
    naive = np.full_like(y, mean), np.full_like(y, sigma)
    assert ariel_score(*naive, y, naive_mean=mean, naive_sigma=sigma) == pytest.approx(0.0, abs=1e-12)
    assert ariel_score(naive[0], np.zeros_like(y), y, naive_mean=mean, naive_sigma=sigma) == 0.0


def test_fgs1_counts_by_its_weight() -> None:
    """Perfect FGS1 with naive AIRS scores the share of FGS1's weight."""
    y = labels(5)
    mean, sigma = naive_statistics(y)
    mu, s = np.full_like(y, mean), np.full_like(y, sigma)
    mu[:, 0], s[:, 0] = y[:, 0], 1e-6
    expected = FGS1_WEIGHT / (FGS1_WEIGHT + 282)
    assert ariel_score(mu, s, y, naive_mean=mean, naive_sigma=sigma) == pytest.approx(expected)


def test_hand_computed_element() -> None:
    """One planet whose elements are all alike agrees with the formula written out."""
    y, mu, s = np.full((1, 283), 0.02), np.full((1, 283), 0.0202), np.full((1, 283), 1e-4)

    def g(m: float, sd: float) -> float:
        return -0.5 * (np.log(2 * np.pi) + np.log(sd**2) + (0.02 - m) ** 2 / sd**2)

    naive = g(0.0147, 0.0107)
    fgs1, airs = ((g(0.0202, 1e-4) - naive) / (g(0.02, true) - naive) for true in (1e-6, 1e-5))
    expected = (57.846 * fgs1 + 282 * airs) / (57.846 + 282)
    assert ariel_score(mu, s, y, naive_mean=0.0147, naive_sigma=0.0107) == pytest.approx(expected, rel=1e-12)


def test_well_calibrated_sigma_is_best() -> None:
    """Halving or doubling a calibrated sigma lowers the score."""
    y = labels(50) + 0.01
    mean, sigma = naive_statistics(y)
    mu = np.abs(y + np.random.default_rng(2).normal(0, 1e-4, y.shape))
    score = {f: ariel_score(mu, np.full_like(y, f * 1e-4), y, naive_mean=mean, naive_sigma=sigma) for f in (0.5, 1, 2)}
    assert score[1] > max(score[0.5], score[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": np.zeros((2, 282))}, "shape"),
        ({"mu": np.zeros((3, 283))}, "same shape"),
        ({"mu": np.full((2, 283), np.nan)}, "mu has 566 values"),
        ({"sigma": np.full((2, 283), -1e-5)}, "sigma must not be negative"),
        ({"mu": np.full((2, 283), -1e-5)}, "mu must not be negative"),
        ({"naive_sigma": 0.0}, "naive"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    """Wrong shapes, values that are not finite and negative numbers are refused by name."""
    good = {"mu": np.full((2, 283), 0.01), "sigma": np.full((2, 283), 1e-3), "target": np.full((2, 283), 0.01)}
    arguments = {**good, "naive_mean": 0.0147, "naive_sigma": 0.0107, **change}
    with pytest.raises(ValueError, match=message):
        ariel_score(**arguments)  # type: ignore[arg-type]


def test_constant_labels_have_no_naive_sigma() -> None:
    """A spread of zero is refused instead of dividing by it later."""
    with pytest.raises(ValueError, match="naive sigma"):
        naive_statistics(np.full((3, 283), 0.01))
