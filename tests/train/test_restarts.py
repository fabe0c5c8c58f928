"""Runs whose processes die and are started again: by our own agent, and by torchrun on one machine or two."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from spectramind_train.run.directory import Run

from .stopping import NO_LOADERS, TWO, Started, wait_for
from .test_resume import require_same

FEW = ("model.width=8", "data.batch_size=4", "local.max_epochs=4", "trainer.early_stopping.enabled=false")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


@pytest.fixture(scope="module")
def started(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Starts runs of two processes, each in a folder of its own, and leaves none."""
    runs: list[Started] = []

    def start(name: str, *more: str, by: tuple[str, ...] = ()) -> Started:
        settings = [*small, *FEW, *TWO, *NO_LOADERS, *more]
        runs.append(Started(tmp_path_factory.mktemp(name), *settings, by=by))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def saved(run: Started) -> bool:
    """Whether there is a checkpoint to go on from."""
    return bool(list(run.folder.glob("*/checkpoints/index.json")))


@pytest.fixture(scope="module")
def whole(started: Any) -> Run:
    """A run that nothing happened to."""
    run = started("whole")
    assert run.end() == 0, run.output
    return Run.open(run.runs()[0])


@pytest.mark.fault("a process of several dies, and may be started again")
def test_a_run_goes_on_when_a_process_is_killed(started: Any, whole: Run) -> None:
    """All of its processes start again from the newest checkpoint, and it ends as if nothing had happened."""
    run = started("killed", "trainer.max_restarts=1")
    run.await_that(lambda: saved(run))
    run.send(signal.SIGKILL, "rank1")
    assert run.end() == 0, run.output
    words = " ".join(run.output.split())
    assert "process 1 of 2 was killed (SIGKILL)" in words
    assert "all start again from the newest checkpoint (1 of 1 restarts)" in words
    assert run.manifest()["status"] == "completed"
    require_same(Run.open(run.runs()[0]), whole)


@pytest.mark.fault("a process of several dies, and may be started again")
def test_torchrun_starts_a_run_and_starts_it_again(started: Any, whole: Run) -> None:
    """Each of its processes is one of the run; one display, one directory, the same weights."""
    run = started("torchrun", by=(*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1"))
    run.await_that(lambda: saved(run))
    run.send(signal.SIGKILL, "rank1")
    assert run.end() == 0, run.output
    assert run.output.count("resuming") == 1
    assert run.output.count("Test planets") == 1
    assert run.manifest()["status"] == "completed"
    require_same(Run.open(run.runs()[0]), whole)


@pytest.mark.fault("SIGKILL of the parent, of a rank, of a loader's worker")
def test_a_killed_agent_leaves_no_process(started: Any, small: list[str]) -> None:
    """And a run that can be resumed, by one process too."""
    run = started("agent", by=(*TORCHRUN, "--nproc-per-node=2"))
    run.await_that(lambda: saved(run))
    run.send(signal.SIGKILL, "parent")
    run.end()
    (path,) = run.runs()
    wait_for(lambda: Run.open(path).manifest.state() == "lost", lambda: True, lambda: run.output)
    alone = [word for word in FEW if not word.startswith("data.batch_size")]
    again = Started(run.folder, *small, *alone, *NO_LOADERS, "data.batch_size=8", "--resume", "auto")
    assert again.end() == 0, again.output
    assert f"resuming {path}" in " ".join(again.output.split())
    assert "2 process(es) trained the run, and now 1 do" in " ".join(again.output.split())


@pytest.mark.fault("SIGINT, SIGTERM, SIGHUP, SIGUSR1 to the parent, a rank or all, at any phase")
def test_a_signal_to_torchrun_leaves_a_checkpoint(started: Any) -> None:
    """Torch's agent passes it on, and ends when its processes have saved."""
    run = started("stopped", "local.max_epochs=100000", by=(*TORCHRUN, "--nproc-per-node=2"))
    run.await_that(lambda: saved(run))
    run.send(signal.SIGTERM, "parent")
    assert run.end() != 0
    assert run.manifest()["status"] == "interrupted", run.output
    assert "state_dict" in run.checkpoint()


@pytest.mark.parametrize("more", [["data.batch_size=0"], ["trainer.num_nodes=3"], ["-m", "local.seed=1,2"]])
def test_a_mistake_is_told_once(started: Any, more: list[str]) -> None:
    """By the first process; the others end without a word."""
    run = started("mistake", *more, by=(*TORCHRUN, "--nproc-per-node=2"))
    assert run.end() != 0
    assert run.output.count("error: ") == 1, run.output
    assert not run.runs()
