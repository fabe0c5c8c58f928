"""What a model is worth on planets whose truth is known, beside what needs no model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spectramind_config import EffectiveConfig
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.learning.batches import PlanetDataset, loader
from spectramind_train.planets.preparation import Planet
from spectramind_train.planets.splits import Splits
from spectramind_train.results.assessment import Assessment, assess
from spectramind_train.results.prediction import Prediction, predict
from spectramind_train.run.plan import RunPlan
from spectramind_train.v50.network import Batch, SpectrumModel

Contender = Literal["test", "fit", "mean"]
"""The model, the classical transit fit, and the training planets' mean."""


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts of planets whose truth is known, and what that is worth.

    Attributes:
        planets: N planets.
        prediction: Their spectra.
        worth: The official score and errors of the model and its rivals.
    """

    planets: Sequence[Planet]
    prediction: Prediction
    worth: dict[Contender, Assessment]

    @property
    def metrics(self) -> dict[str, float]:
        """Of each contender the official score, and the rms error of FGS1 and of AIRS in ppm."""
        found = {}
        for name, one in self.worth.items():
            found[f"{name}_score"] = one.score
            found[f"{name}_rmse_fgs1_ppm"] = one.fgs1.rmse_ppm
            found[f"{name}_rmse_airs_ppm"] = one.airs.rmse_ppm
        return found


def evaluate(config: EffectiveConfig, plan: RunPlan, splits: Splits, model: SpectrumModel) -> Evaluation:
    """Evaluate a model on the test planets that the caps on batches leave, see :func:`evaluate_planets`."""
    planets = within_caps(config, splits.test)
    batches = loader(
        PlanetDataset(planets),
        batch_size=config.data.batch_size,
        num_workers=plan.num_workers[2],
        prefetch_factor=plan.prefetch_factor,
    )
    return evaluate_planets(model, planets, batches, splits.naive_mean, splits.naive_sigma)


def evaluate_planets(
    model: SpectrumModel, planets: Sequence[Planet], batches: Iterable[Batch], naive_mean: float, naive_sigma: float
) -> Evaluation:
    """Predict planets with labels, and compare that with the truth.

    Args:
        model: The model, on the CPU.
        planets: N planets.
        batches: The same planets in the same order, as a loader gives them.
        naive_mean: Mean of the training labels, in (Rp/Rs)^2.
        naive_sigma: Their standard deviation.

    Raises:
        ConfigError: A prediction is not finite.
        ValueError: The labels have no score, see ``ariel_score``.
    """
    prediction = predict(model, planets, batches, naive=(naive_mean, naive_sigma))
    fit = fitted(planets)
    shape = prediction.mu.shape
    contenders: dict[Contender, tuple[FloatArray, FloatArray]] = {
        "test": (prediction.mu, prediction.sigma),
        "fit": (fit.mu, fit.sigma),
        "mean": (np.full(shape, naive_mean), np.full(shape, naive_sigma)),
    }
    worth: dict[Contender, Assessment] = {
        name: _assess(planets, *one, naive_mean, naive_sigma) for name, one in contenders.items()
    }
    return Evaluation(planets, prediction, worth)


def fitted(planets: Sequence[Planet]) -> Prediction:
    """What the classical fit alone says of planets."""
    mu = np.stack([np.maximum(planet.fit.depth, 0.0) for planet in planets])
    return Prediction(tuple(planet.planet_id for planet in planets), mu, np.stack([one.fit.sigma for one in planets]))


def fit_score(planets: Sequence[Planet], naive_mean: float, naive_sigma: float) -> float:
    """The official score of the classical fit of planets with labels."""
    fit = fitted(planets)
    return _assess(planets, fit.mu, fit.sigma, naive_mean, naive_sigma).score


def _assess(
    planets: Sequence[Planet], mu: FloatArray, sigma: FloatArray, naive_mean: float, naive_sigma: float
) -> Assessment:
    truth = np.stack([planet.label for planet in planets if planet.label is not None])
    names = [planet.planet_id for planet in planets]
    return assess(names, mu, sigma, truth, naive_mean=naive_mean, naive_sigma=naive_sigma)


def within_caps(config: EffectiveConfig, planets: Sequence[Planet]) -> Sequence[Planet]:
    """The test planets that the caps on batches leave, at least one; a quick run takes one batch."""
    limit = 1 if config.dev.fast_dev_run else config.dev.limit_test_batches
    if limit is None:
        return planets
    batches = limit if isinstance(limit, int) else math.ceil(limit * len(planets) / config.data.batch_size)
    return planets[: max(1, batches * config.data.batch_size)]
