"""What a model is worth on the test planets, beside what needs no model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spectramind_config import EffectiveConfig
from spectramind_train.ariel.metric import ariel_score
from spectramind_train.learning.batches import PlanetDataset, loader
from spectramind_train.planets.preparation import Planet
from spectramind_train.planets.splits import Splits
from spectramind_train.results.prediction import Prediction, predict
from spectramind_train.run.plan import RunPlan
from spectramind_train.v50.network import SpectrumModel


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
    target = np.stack([planet.label for planet in planets if planet.label is not None])
    fit = Prediction(
        prediction.planet_ids,
        np.stack([np.maximum(planet.fit.depth, 0.0) for planet in planets]),
        np.stack([planet.fit.sigma for planet in planets]),
    )
    mean = Prediction(
        prediction.planet_ids, np.full_like(target, splits.naive_mean), np.full_like(target, splits.naive_sigma)
    )
    found = {}
    for name, contender in (("test", prediction), ("fit", fit), ("mean", mean)):
        found[f"{name}_score"] = ariel_score(
            contender.mu,
            contender.sigma,
            target,
            naive_mean=splits.naive_mean,
            naive_sigma=splits.naive_sigma,
        )
        error = (contender.mu - target) * 1e6
        found[f"{name}_rmse_fgs1_ppm"] = float(np.sqrt(np.mean(error[:, 0] ** 2)))
        found[f"{name}_rmse_airs_ppm"] = float(np.sqrt(np.mean(error[:, 1:] ** 2)))
    return found
