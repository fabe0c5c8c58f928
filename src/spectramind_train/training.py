"""One training run, top to bottom: planets, directory, fit, best checkpoint, score, pictures, manifest."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_config.host import Host
from spectramind_train.ariel.metric import ariel_score
from spectramind_train.learning.learner import FitResult, fit
from spectramind_train.learning.module import NonFiniteLossError
from spectramind_train.learning.processes import fit_in_processes
from spectramind_train.planets.preparation import Planet
from spectramind_train.planets.splits import Splits, build_splits
from spectramind_train.results.figures import draw_learning, draw_spectra
from spectramind_train.results.prediction import Prediction, load_model, predict, write_submission
from spectramind_train.run.directory import LAST_CHECKPOINT, Run
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Console
from spectramind_train.run.tracking import Tracker

EXIT_WALLTIME = 75
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, and its directory with the manifest."""

    exit_code: int
    run: Run


def train(config: EffectiveConfig, plan: RunPlan, host: Host, console: Console, *, started: float) -> Outcome:
    """Train, choose the best checkpoint, score the test planets, and leave a manifest behind.

    Args:
        config: What to train.
        plan: How this host does it.
        host: This host, for the manifest.
        console: Where to report.
        started: ``time.monotonic()`` when the process started; the wall-clock limit counts from there.

    Returns:
        Exit code 0, 75 when the wall-clock limit ended the training, or 128 + the signal that did.

    Raises:
        ConfigError: The data or a directory are at fault, and no run directory is left behind; or the loss is not
            finite or the disk full, and the run's manifest says so.
    """
    splits = build_splits(config.data, config, plan, console)
    run = Run.create(config, plan, host, splits.record)
    counts = f"{len(splits.train)} planets to train on, {len(splits.val)} to validate, {len(splits.test)} to test"
    console.say(f"run {run.path}: {counts}")
    tracker = Tracker.of(config, console)
    try:
        result = _fit(config, plan, splits, run, console, tracker, started)
        best = run.checkpoints / (result.best or LAST_CHECKPOINT)
        model = load_model(config, best)
        planets = _tested(config, splits.test)
        prediction = predict(model, planets, config.data.batch_size)
        run.manifest.metrics = _scores(splits, planets, prediction)
        write_submission(prediction, run.path / "test_predictions.csv")
        draw_spectra(planets, prediction, run.path / "test_spectra.png")
        if result.validations:
            draw_learning(result.validations, run.manifest.metrics["fit_score"], run.path / "learning.png")
            run.manifest.metrics |= _validation_metrics(result)
        run.finish(result.status, best)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        with suppress(OSError):
            run.finish("interrupted" if interrupted else "failed", error=f"{type(error).__name__}: {error}")
        if isinstance(error, NonFiniteLossError):
            raise ConfigError(str(error)) from error
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise ConfigError(
                f"{run.path}: the run cannot write any more ({error.strerror}); free some space or set "
                "paths.output_dir to another folder"
            ) from error
        raise
    finally:
        if tracker is not None:
            tracker.finish(run.manifest)
    _report(run, console)
    codes = {"completed": 0, "walltime": EXIT_WALLTIME, "interrupted": 128 + (result.signal or 0)}
    return Outcome(codes[result.status], run)


def _fit(
    config: EffectiveConfig,
    plan: RunPlan,
    splits: Splits,
    run: Run,
    console: Console,
    tracker: Tracker | None,
    started: float,
) -> FitResult:
    if plan.world_size > 1:
        result = fit_in_processes(run, plan, started=started)
        if tracker is not None:
            tracker.resume(result.tracked)
        return result
    if tracker is not None:
        tracker.start(run.manifest)
    return fit(config, plan, splits, run.path, console, tracker, started=started)


def _tested(config: EffectiveConfig, planets: Sequence[Planet]) -> Sequence[Planet]:
    """The test planets that the caps on batches leave."""
    limit = 1 if config.dev.fast_dev_run else config.dev.limit_test_batches
    if limit is None:
        return planets
    batches = limit if isinstance(limit, int) else math.ceil(limit * len(planets) / config.data.batch_size)
    return planets[: max(1, batches * config.data.batch_size)]


def _scores(splits: Splits, planets: Sequence[Planet], prediction: Prediction) -> dict[str, float]:
    """Official score and rms error of the model, of the classical transit fit, and of the training planets' mean."""
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


def _validation_metrics(result: FitResult) -> dict[str, float]:
    losses = [row["val_loss"] for row in result.validations]
    return {
        "val_loss_first": losses[0],
        "val_loss_best": min(losses),
        "val_score_best": max(row["val_score"] for row in result.validations),
    }


def _report(run: Run, console: Console) -> None:
    metrics = run.manifest.metrics
    names = {"test": run.manifest.profiles["model"], "fit": "classical transit fit", "mean": "training mean"}
    rows = [
        (
            words,
            f"{metrics[f'{name}_score']:.4f}",
            f"{metrics[f'{name}_rmse_fgs1_ppm']:.0f}",
            f"{metrics[f'{name}_rmse_airs_ppm']:.0f}",
        )
        for name, words in names.items()
    ]
    console.table("Test planets", ("prediction", "score", "FGS1 rms (ppm)", "AIRS rms (ppm)"), rows)
    console.say(f"{run.manifest.status}: see {run.path} for manifest.json, checkpoints, predictions and pictures")
