"""Stops that come during a validation: it is cut short, and done again, as if nothing had happened."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spectramind_config import EffectiveConfig, compose
from spectramind_train.learning.module import SpectrumModule
from spectramind_train.learning.stopping import Stop
from spectramind_train.run import signals
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run
from spectramind_train.training import Outcome
from spectramind_train.v50.network import V50

from .stopping import NO_LOADERS, TWO, Started, stopped
from .test_resume import TINY, VARIANTS, end_of, require_same, run_of, uninterrupted

SLOW = """
import os
import time
from dataclasses import dataclass
from pathlib import Path

import spectramind_config as sc
from spectramind_train.v50.network import V50, build_model

@sc.profile("model", "slow")
@dataclass(kw_only=True)
class SlowConfig(sc.V50Config):
    \"\"\"V50 whose validation waits, at its first batch, until a file is there.\"\"\"

@build_model.register
def _(config: SlowConfig) -> V50:
    return Slow(config)

class Slow(V50):
    def forward(self, batch):
        folder = Path(os.environ["SLOW"])
        if not self.training and os.environ.get("RANK", "0") in os.environ["SLOW_RANKS"]:
            with (folder / "batches").open("a") as file:
                file.write("a batch\\n")
            while not (folder / "told").exists():
                time.sleep(0.01)
        return super().forward(batch)
"""
STOPS = {
    "plain": ([3], [6, 9], [3, 3]),
    "early stopping": ([3, 6],),
    "max_steps": ([3, 7],),
    "sparse validation": ([6],),
    "overfit": ([2],),
    "workers": ([3, 6],),
}


class Stopper:
    """Stops a training in the validation after a given step, at its first batch, by a signal or for want of time.

    Attributes:
        step: The step.
        told: The signal; None for want of time.
        early: Whether the signal comes while the step is being done, before the validation.
        batches: Batches that were validated.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.step: int | None = None
        self.told: signal.Signals | None = signal.SIGTERM
        self.early = False
        self.batches = 0
        train, validate = SpectrumModule.training_step, SpectrumModule.validation_step

        def training(module: SpectrumModule, batch: Any, batch_idx: int) -> Any:
            if self.early and self.told and module.trainer.global_step + 1 == self.step:
                signal.raise_signal(self.told)
                self.early = False
            return train(module, batch, batch_idx)

        def stopping(module: SpectrumModule, batch: Any, batch_idx: int) -> None:
            self.batches += 1
            validate(module, batch, batch_idx)
            if module.trainer.global_step != self.step or batch_idx:
                return
            if self.told is not None:
                signal.raise_signal(self.told)
            else:
                (stop,) = (one for one in module.trainer.callbacks if isinstance(one, Stop))  # type: ignore[attr-defined]
                stop.deadline = time.time()

        patch.setattr(SpectrumModule, "training_step", training)
        patch.setattr(SpectrumModule, "validation_step", stopping)


@pytest.fixture
def stopper(monkeypatch: pytest.MonkeyPatch) -> Stopper:
    """Stops trainings in this process."""
    return Stopper(monkeypatch)


def stopped_in_validations(config: EffectiveConfig, stopper: Stopper, steps: Sequence[int]) -> Run:
    """A run that is stopped in the validation after each of the steps, and resumed every time."""
    run: Run | None = None
    for step in steps:
        stopper.step, stopper.batches = step, 0
        outcome = run_of(config, run)
        run = Run.open(outcome.run.path)
        assert outcome.exit_code == (75 if stopper.told is None else 143)
        position = end_of(run)["callbacks"]["Progress"]
        assert (position["step"], position["validates"], position["ended"]) == (step, True, False)
    stopper.step = None
    outcome = run_of(config, run)
    assert outcome.exit_code == 0
    return outcome.run


def best_of(run: Run) -> list[tuple[int, int, float | None]]:
    """The checkpoints that are kept for their score."""
    return [(one.epoch, one.step, one.score) for one in Index.read(run.checkpoints).entries if "best" in one.kept]


@pytest.fixture(scope="module")
def whole(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Runs that nothing interrupts."""
    return uninterrupted(small, tmp_path_factory.mktemp("whole"))


@pytest.mark.fault("a signal, or the end of the time, during a validation")
@pytest.mark.parametrize(("name", "steps"), [(name, steps) for name in STOPS for steps in STOPS[name]])
def test_a_validation_that_was_cut_short_is_done_again(
    small: list[str], tmp_path: Path, stopper: Stopper, whole: dict[str, Outcome], name: str, steps: list[int]
) -> None:
    """Weights, scores, early stopping, metrics and the best checkpoints are those of a run that nothing stopped."""
    expected = whole[name].run
    config = compose([*small, *TINY, *VARIANTS[name], f"local.output_dir={tmp_path}"])
    run = stopped_in_validations(config, stopper, steps)
    require_same(run, expected)
    assert best_of(run) == best_of(expected)
    assert [one.step for one in run.manifest.resumed] == steps


@pytest.mark.fault("a signal, or the end of the time, during a validation")
def test_a_stop_in_the_last_step_of_an_epoch_does_not_begin_its_validation(
    small: list[str], tmp_path: Path, stopper: Stopper, whole: dict[str, Outcome]
) -> None:
    """It is done by whoever goes on."""
    config = compose([*small, *TINY, f"local.output_dir={tmp_path}"])
    stopper.step, stopper.early = 3, True
    outcome = run_of(config)
    assert (outcome.exit_code, stopper.batches) == (143, 0)
    stopper.step = None
    require_same(run_of(config, Run.open(outcome.run.path)).run, whole["plain"].run)


@pytest.mark.fault("a signal, or the end of the time, during a validation")
def test_a_stop_costs_no_further_batch_of_a_validation(small: list[str], tmp_path: Path, stopper: Stopper) -> None:
    """Also where it is the time that is up; the run is scored then, and goes on to the same end."""
    config = compose([*small, *TINY, "data.batch_size=1", "local.max_epochs=1", f"local.output_dir={tmp_path}"])
    stopper.step, stopper.told = 5, None
    outcome = run_of(config)
    assert outcome.exit_code == 75
    assert stopper.batches == 1
    assert "val_loss_first" not in outcome.run.manifest.metrics
    assert outcome.run.manifest.metrics["test_score"] >= 0.0
    stopper.step = None
    resumed = run_of(config, Run.open(outcome.run.path)).run
    assert stopper.batches > 2
    stopper.batches = 0
    require_same(resumed, run_of(config.with_overrides([f"local.output_dir={tmp_path / 'whole'}"])).run)


@pytest.mark.fault("a signal, or the end of the time, during a validation")
def test_a_stop_while_test_planets_are_scored_ends_at_once(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Outcome]
) -> None:
    """The training is done and saved, and whoever goes on only scores."""
    config = compose([*small, *TINY, f"local.output_dir={tmp_path}"])
    with monkeypatch.context() as patch:
        patch.setattr(V50, "eval", lambda model: (signal.raise_signal(signal.SIGTERM), model)[1])
        with pytest.raises(signals.Interrupted):
            run_of(config)
    (path,) = tmp_path.glob("*/")
    run = Run.open(path)
    assert run.manifest.status == "interrupted"
    assert end_of(run)["callbacks"]["Progress"]["ended"]
    require_same(run_of(config, run).run, whole["plain"].run)


@pytest.mark.fault("a signal, or the end of the time, during a validation")
@pytest.mark.parametrize(("processes", "target"), [(NO_LOADERS, "parent"), (TWO, "rank1")], ids=["one", "two"])
def test_a_validation_that_takes_long_delays_no_end(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: tuple[str, ...], target: str
) -> None:
    """A run of one process or two is told in its first batch and ends after it, to the same weights in the end."""
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.setenv("SM_PROFILES", str(tmp_path / "slow.py"))
    monkeypatch.setenv("SLOW", str(tmp_path))
    monkeypatch.setenv("SLOW_RANKS", "1" if target == "rank1" else "0")
    settings = (*small, *TINY, "model=slow", "data.batch_size=1", "local.max_epochs=1", *processes)
    run = Started(tmp_path / "outputs", *settings)
    try:
        run.await_that((tmp_path / "batches").exists)
        run.send(signal.SIGTERM, target)
        (tmp_path / "told").touch()
        stopped(run, signal.SIGTERM, begun=True)
    finally:
        run.kill()
    assert run.checkpoint()["callbacks"]["Progress"]["validates"]
    assert len((tmp_path / "batches").read_text().splitlines()) <= 2
    (path,) = run.runs()
    again = Started(tmp_path / "outputs", *settings, "--resume", str(path))
    expected = Started(tmp_path / "whole", *settings)
    assert (again.end(), expected.end()) == (0, 0), again.output + expected.output
    require_same(Run.open(path), Run.open(*expected.runs()))
