"""Runs that are stopped and resumed end as if nothing had happened."""

from __future__ import annotations

import csv
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from spectramind_config import EffectiveConfig, compose
from spectramind_config.host import Host
from spectramind_train.learning.progress import Progress
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import Outcome, train

# Fifteen planets in batches of two are eight batches, the last a single planet, and with three to a step three steps
# an epoch, the last of two batches. Dropout, shuffling and augmentation are on.
TINY = (
    "model.width=8",
    "model.state_size=2",
    "model.dropout=0.1",
    "data.batch_size=2",
    "local.max_epochs=3",
    "local.accumulate_grad_batches=3",
    "local.dev.log_every_n_steps=2",
    "local.num_workers={train: 0, val: 0, test: 0}",
    "local.persistent_workers=false",
    "optimizer.schedule=cosine",
)


class Stopper:
    """Asks a training to stop before given optimizer steps, one in each process's life."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.step: int | None = None
        start = Progress.on_train_batch_start

        def stopping(progress: Progress, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == self.step:
                progress.stop.requested = progress.stop.out_of_time = True
            start(progress, trainer, module, batch, batch_idx)

        patch.setattr(Progress, "on_train_batch_start", stopping)


@pytest.fixture
def stopper(monkeypatch: pytest.MonkeyPatch) -> Stopper:
    """Stops trainings in this process."""
    return Stopper(monkeypatch)


def run_of(config: EffectiveConfig, resumed: Run | None = None, **changes: Any) -> Outcome:
    """Train a config in silence, with changes of the plan."""
    host = Host.detect()
    how = dataclasses.replace(plan(config, host), **changes)
    return train(config, how, host, Terminal(silent=True), started=time.monotonic(), resumed=resumed)


def interrupted(config: EffectiveConfig, stopper: Stopper, steps: Sequence[int], **changes: Any) -> Outcome:
    """A run that is stopped before each of the steps, and resumed every time."""
    run: Run | None = None
    for step in (*steps, None):
        stopper.step = step
        outcome = run_of(config, run, **changes)
        assert outcome.exit_code == (0 if step is None else 75)
        run = Run.open(outcome.run.path)
    return outcome


def end_of(run: Run) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    index = Index.read(run.checkpoints)
    assert index.newest is not None
    found: dict[str, Any] = torch.load(run.checkpoints / index.newest.file, weights_only=True)
    return found


def rows_of(run: Run) -> list[tuple[str, ...]]:
    """The rows of ``metrics.csv``."""
    with (run.path / "metrics.csv").open() as file:
        return [tuple(sorted(row.items())) for row in csv.DictReader(file)]


def require_same(one: Run, other: Run) -> None:
    """Require the same weights, optimizer, validations, metrics and record, bit for bit."""
    left, right = end_of(one), end_of(other)
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks"):
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=0, equal_nan=True)
    assert one.manifest.metrics == other.manifest.metrics
    assert rows_of(one) == rows_of(other)
    assert (one.path / "test_predictions.csv").read_bytes() == (other.path / "test_predictions.csv").read_bytes()


VARIANTS = {
    "plain": (),
    "early stopping": ("optimizer.lr=1e-5", "trainer.early_stopping.patience=1", "local.max_epochs=6"),
    "max_steps": ("trainer.max_steps=7",),
    "sparse validation": ("local.dev.check_val_every_n_epoch=2", "trainer.checkpoint.every_n_epochs=3"),
    "no validation": ("local.dev.limit_val_batches=0",),
    "overfit": ("local.dev.overfit_batches=0.6",),
    "workers": ("local.num_workers={train: 1, val: 0, test: 0}",),
}
STOPS = {
    "plain": ([1, 2, 3, 4, 5, 6, 7, 8], [2, 6]),
    "early stopping": ([2, 3],),
    "max_steps": ([3, 5],),
    "sparse validation": ([4, 6],),
    "no validation": ([2],),
    "overfit": ([1, 3],),
    "workers": ([3, 7],),
}


@pytest.fixture(scope="module")
def whole(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Runs of each variant that nothing interrupts, made when they are asked for."""
    outputs = tmp_path_factory.mktemp("whole")

    class Whole(dict[str, Outcome]):
        def __missing__(self, name: str) -> Outcome:
            self[name] = run_of(compose([*small, *TINY, *VARIANTS[name], f"local.output_dir={outputs}"]))
            return self[name]

    return Whole()


@pytest.mark.parametrize(("name", "steps"), [(name, steps) for name in STOPS for steps in STOPS[name]])
def test_a_resumed_run_ends_as_if_never_stopped(
    small: list[str], tmp_path: Path, stopper: Stopper, whole: dict[str, Outcome], name: str, steps: list[int]
) -> None:
    """Stopped at any steps, within epochs and at their ends: the same weights, scores and metrics, bit for bit."""
    expected = whole[name]
    assert expected.exit_code == 0
    config = compose([*small, *TINY, *VARIANTS[name], f"local.output_dir={tmp_path}"])
    outcome = interrupted(config, stopper, steps)
    require_same(outcome.run, expected.run)
    assert [one.step for one in outcome.run.manifest.resumed] == steps
    assert len(list(tmp_path.glob("*/"))) == 1
