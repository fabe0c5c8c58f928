"""What a model is worth on the test planets, beside what needs no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from spectramind_train.v50.network import SpectrumModel

Contender = Literal["test", "fit", "mean"]
"""The model, the classical transit fit, and the training planets' mean."""


def evaluate(
    config: EffectiveConfig, plan: RunPlan, splits: Splits, model: SpectrumModel
) -> tuple[Sequence[Planet], Prediction, dict[str, float]]:
    """Predict and score the test planets that the caps on batches leave.

    Returns:
        The planets, their predicted spectra, and of each contender the official score and the rms error of FGS1 and of
        AIRS in ppm: ``test_…`` is the model, ``fit_…`` the classical transit fit, ``mean_…`` the training planets'
        mean.
    """
    planets = within_caps(config, splits.test)
    batches = loader(
        PlanetDataset(planets),
        batch_size=config.data.batch_size,
        num_workers=plan.num_workers[2],
        prefetch_factor=plan.prefetch_factor,
    )
    prediction = predict(model, planets, batches)
    return planets, prediction, scores(splits, planets, prediction)


def within_caps(config: EffectiveConfig, planets: Sequence[Planet]) -> Sequence[Planet]:
    """The test planets that the caps on batches leave, at least one; a quick run takes one batch."""
    limit = 1 if config.dev.fast_dev_run else config.dev.limit_test_batches
    if limit is None:
        return planets
    batches = limit if isinstance(limit, int) else math.ceil(limit * len(planets) / config.data.batch_size)
    return planets[: max(1, batches * config.data.batch_size)]


def scores(splits: Splits, planets: Sequence[Planet], prediction: Prediction) -> dict[str, float]:
    """Score and rms errors of a prediction of labelled planets and of its two rivals, see :func:`evaluate`."""
    found = {}
    for name, one in assessed(planets, prediction, splits.naive_mean, splits.naive_sigma).items():
        found[f"{name}_score"] = one.score
        found[f"{name}_rmse_fgs1_ppm"] = one.fgs1.rmse_ppm
        found[f"{name}_rmse_airs_ppm"] = one.airs.rmse_ppm
    return found


def assessed(
    planets: Sequence[Planet], prediction: Prediction, naive_mean: float, naive_sigma: float
) -> dict[Contender, Assessment]:
    """What a prediction of labelled planets is worth, and what its rivals are that need no model.

    Args:
        planets: N planets with labels.
        prediction: Their spectra, in the same order.
        naive_mean: Mean of the training labels, in (Rp/Rs)^2.
        naive_sigma: Their standard deviation.
    """
    target = np.stack([planet.label for planet in planets if planet.label is not None])
    contenders: dict[Contender, tuple[FloatArray, FloatArray]] = {
        "test": (prediction.mu, prediction.sigma),
        "fit": (
            np.stack([np.maximum(planet.fit.depth, 0.0) for planet in planets]),
            np.stack([planet.fit.sigma for planet in planets]),
        ),
        "mean": (np.full_like(target, naive_mean), np.full_like(target, naive_sigma)),
    }
    return {
        name: assess(prediction.planet_ids, mu, sigma, target, naive_mean=naive_mean, naive_sigma=naive_sigma)
        for name, (mu, sigma) in contenders.items()
    }
