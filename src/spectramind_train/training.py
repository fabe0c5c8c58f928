"""One training run, top to bottom: directory, planets, learning, best checkpoint, score, pictures, manifest."""

from __future__ import annotations

import errno
import math
from contextlib import suppress
from dataclasses import dataclass
from signal import Signals

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_config.host import Host
from spectramind_train.ariel.submission import Layout
from spectramind_train.learning.batches import to_batch
from spectramind_train.learning.callbacks import Prunes, Pruning
from spectramind_train.learning.learner import Learned, learn
from spectramind_train.learning.module import NonFiniteLossError
from spectramind_train.learning.processes import learn_in_processes
from spectramind_train.planets.splits import Splits, build_splits
from spectramind_train.results.evaluation import evaluate, fit_score
from spectramind_train.results.figures import draw_learning, draw_spectra
from spectramind_train.results.prediction import load_model
from spectramind_train.results.report import report_scores
from spectramind_train.run import clock, signals
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run
from spectramind_train.run.journal import JOURNAL, rows
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.ranks import Ranks
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import Tracker
from spectramind_train.v50.room import TRAINED, USED, require_room, require_training_room

EXIT_WALLTIME = 75
_UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO),
    *(errno.ENOENT, errno.ENOTDIR, errno.ESTALE),  # The run's directory has gone.
)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        exit_code: 0, 75 when the wall-clock limit ended the training, or that of the signal that did.
        run: Its directory with the manifest.
        score: The best validation score, from 0 to 1, higher is better; None where nothing was validated.
    """

    exit_code: int
    run: Run
    score: float | None


def train(
    config: EffectiveConfig,
    plan: RunPlan,
    host: Host,
    terminal: Terminal,
    *,
    deadline: float | None = None,
    resumed: Run | None = None,
    ranks: Ranks | None = None,
    prunes: Prunes | None = None,
) -> Outcome:
    """Train, choose the best checkpoint, score the test planets, and leave a manifest behind.

    The run's directory is made first, so that a place that cannot be written is found before any long work. A run
    whose planets cannot be prepared, for whatever reason, leaves no directory; from then on every end leaves one. A
    signal before the training begins or after it has ended raises; while it goes on, the run stops at the next step
    with a checkpoint and is not scored, for whoever sends a signal does not wait long.

    Args:
        config: What to train.
        plan: How this host does it.
        host: This host, for the manifest.
        terminal: Where to report.
        deadline: ``time.time()`` by which the run has to be done, see ``run.clock``; None for no limit.
        resumed: A run to go on with, whose science is the config's, instead of a new one.
        ranks: The processes that train together with this one, their first, where something else has started them.
        prunes: Where it says so after a validation, the training ends and nothing is scored. It is not asked where
            several processes train.

    Raises:
        ConfigError: The data or a directory are at fault, and no run directory is left behind, or that of the run to
            go on with is as it was; or the loss is not finite or the disk full, and the run's manifest says so.
        ProcessFailedError: A process of the run's died, and it was no mistake of the user's.
        Interrupted: A signal came, and there was nothing to save.
    """
    require_room(config.model, TRAINED if plan.accelerator == "cpu" else USED)
    with signals.raising():
        return _train(config, plan, host, terminal, deadline, resumed, ranks, prunes)


def _train(
    config: EffectiveConfig,
    plan: RunPlan,
    host: Host,
    terminal: Terminal,
    deadline: float | None,
    resumed: Run | None,
    ranks: Ranks | None,
    prunes: Prunes | None,
) -> Outcome:
    with clock.within(deadline):
        run, splits = _prepared(config, plan, host, terminal, resumed)
    counts = f"{len(splits.train)} planets to train on, {len(splits.val)} to validate, {len(splits.test)} to test"
    terminal.say(f"run {run.path}: {counts}")
    tracker = Tracker.start(config, run, terminal)
    if prunes and plan.world_size > 1:
        terminal.say("a trial of several processes is not pruned: it is trained to its end")
    pruning = Pruning(prunes) if prunes and plan.world_size == 1 else None
    try:
        learned = _learn(config, plan, splits, run, terminal, deadline, ranks, pruning)
        if learned.signal is not None:
            run.manifest.metrics |= _validation_metrics(learned)
            run.finish("interrupted")
            name = Signals(learned.signal).name
            terminal.say(f"stopped by {name}; to go on: spectramind train --resume {run.path}")
            return _outcome(run, learned)
        if pruning is not None and pruning.pruned and learned.status == "completed":
            run.manifest.metrics |= _validation_metrics(learned)
            run.finish("pruned")
            terminal.say(f"pruned after {len(learned.validations)} validations: see {run.path}")
            return _outcome(run, learned)
        best = run.checkpoint(terminal.warn)
        found = evaluate(config, plan, splits, load_model(config, best))
        run.manifest.metrics = found.metrics
        prediction = found.prediction
        Layout().write(run.path / "test_predictions.csv", prediction.planet_ids, prediction.mu, prediction.sigma)
        scores = {one.planet_id: one.score for one in found.worth["test"].planets}
        draw_spectra(found.planets, prediction, run.path / "test_spectra.png", scores=scores)
        if learned.validations:
            run.manifest.metrics["fit_val_score"] = fit_score(splits.val, splits.naive_mean, splits.naive_sigma)
            draw_learning(
                rows(run.path / JOURNAL),
                run.path / "learning.png",
                chosen=Index.read(run.checkpoints).epochs(best.name),
                fit_score=run.manifest.metrics["fit_val_score"],
            )
        run.manifest.metrics |= _validation_metrics(learned)
        run.finish(learned.status)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        with suppress(OSError):
            run.finish("interrupted" if interrupted else "failed", error=f"{type(error).__name__}: {error}")
        if isinstance(error, signals.Interrupted):
            terminal.say(f"{error}; to go on: spectramind train --resume {run.path}")
        if isinstance(error, NonFiniteLossError):
            raise ConfigError(str(error)) from error
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise ConfigError(
                f"{run.path}: the run cannot write any more ({error.strerror}); free some space or set "
                "paths.output_dir to another folder"
            ) from error
        raise
    finally:
        tracker.finish()
    report_scores(run, terminal)
    if learned.status == "walltime":
        terminal.say(f"out of time; to go on: spectramind train --resume {run.path}")
    return _outcome(run, learned)


def _prepared(
    config: EffectiveConfig, plan: RunPlan, host: Host, terminal: Terminal, resumed: Run | None
) -> tuple[Run, Splits]:
    """The run, new or to go on with, and its planets."""
    if resumed is not None:
        splits = build_splits(config.data, config, plan, terminal)
        _require_room(config, plan, splits)
        resumed.resume(config, plan, host, splits.record, terminal.warn)
        return resumed, splits
    run = Run.create(config, plan, host)
    try:
        splits = build_splits(config.data, config, plan, terminal)
        _require_room(config, plan, splits)
        run.begin(splits.record)
    except BaseException:
        run.discard()
        raise
    return run, splits


def _require_room(config: EffectiveConfig, plan: RunPlan, splits: Splits) -> None:
    """Refuse a batch that does not fit into memory, before the first step; how much a planet takes is known now."""
    if plan.accelerator == "cpu":
        sample = {name: values[0] for name, values in to_batch(splits.train[:1]).items()}
        planets = min(config.data.batch_size, math.ceil(len(splits.train) / plan.world_size))
        require_training_room(config.model, sample, planets, half=plan.precision != "32", processes=plan.devices)


def _outcome(run: Run, learned: Learned) -> Outcome:
    exit_code = EXIT_WALLTIME if learned.status == "walltime" else 0
    if learned.signal is not None:
        exit_code = signals.SIGNALS[Signals(learned.signal)]
    return Outcome(exit_code, run, run.manifest.metrics.get("val_score_best"))


def _learn(
    config: EffectiveConfig,
    plan: RunPlan,
    splits: Splits,
    run: Run,
    terminal: Terminal,
    deadline: float | None,
    ranks: Ranks | None,
    pruning: Pruning | None,
) -> Learned:
    if ranks is not None and ranks.size > 1:
        ranks.join(ranks.begin(run.path, deadline), plan.accelerator)
    elif plan.world_size > 1:
        return learn_in_processes(run, plan, deadline=deadline, restarts=config.max_restarts, warn=terminal.warn)
    more = [pruning] if pruning is not None else []
    return learn(config, plan, splits, run.path, terminal, deadline=deadline, more=more)


def _validation_metrics(learned: Learned) -> dict[str, float]:
    if not learned.validations:
        return {}
    losses = [row["val_loss"] for row in learned.validations]
    return {
        "val_loss_first": losses[0],
        "val_loss_best": min(losses),
        "val_score_best": max(row["val_score"] for row in learned.validations),
    }
