"""Trainings that are stopped on purpose, as real processes; ``tests/faults`` tries many more moments."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .stopping import ENDLESS, LOADERS, NO_LOADERS, TWO, Started, has_loaded, stopped, try_kill

Start = Callable[..., Started]


@pytest.fixture
def started(small: list[str], tmp_path: Path) -> Iterator[Start]:
    """Starts runs, and leaves none."""
    runs: list[Started] = []

    def start(*overrides: str) -> Started:
        runs.append(Started(tmp_path / "outputs", *small, *ENDLESS, *overrides))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def test_a_signal_while_torch_is_imported_leaves_nothing(started: Start) -> None:
    """Ctrl-C before there is anything: exit code 130, no traceback, no directory."""
    run = started()
    run.await_that(lambda: has_loaded(run.process.pid, "libtorch_cpu"))
    run.send(signal.SIGINT, "parent")
    stopped(run, signal.SIGINT, begun=False)
    assert not run.folder.exists()


@pytest.mark.parametrize(
    ("number", "target", "options"),
    [(signal.SIGINT, "parent", NO_LOADERS), (signal.SIGUSR1, "everyone", LOADERS)],
    ids=["SIGINT", "SIGUSR1 to all"],
)
def test_a_signal_ends_the_training_with_a_checkpoint(
    started: Start, number: signal.Signals, target: str, options: tuple[str, ...]
) -> None:
    """Ctrl-C, and what a scheduler sends to every process, loader workers included."""
    run = started(*options)
    run.await_that(run.trains)
    run.send(number, target)
    stopped(run, number, begun=True)


@pytest.mark.parametrize(("number", "target"), [(signal.SIGHUP, "rank1"), (signal.SIGTERM, "everyone")])
def test_a_signal_to_any_of_two_processes_ends_both(started: Start, number: signal.Signals, target: str) -> None:
    """All of them agree on what one was told; it is no matter of the wall clock."""
    run = started(*TWO, *LOADERS)
    run.await_that(run.trains)
    run.send(number, target)
    stopped(run, number, begun=True)


def test_nothing_outlives_a_parent_that_is_killed(started: Start) -> None:
    """Ranks and their loader workers die with it."""
    run = started(*TWO, *LOADERS)
    run.await_that(lambda: run.trains() and run.workers())
    run.send(signal.SIGKILL, "parent")
    assert run.end() == -signal.SIGKILL


def test_a_rank_that_is_killed_is_no_mistake_of_the_users(started: Start) -> None:
    """As for lack of memory: exit code 1, and a message that says which one."""
    run = started(*TWO)
    run.await_that(run.trains)
    try_kill(run.ranks()[1], signal.SIGKILL)
    assert run.end() == 1
    assert "error: process 1 of 2 was killed (SIGKILL), most likely for lack of memory" in run.output
    assert "Traceback" not in run.output
    assert run.manifest()["status"] == "failed"


def test_a_signal_during_preparation_ends_every_process(tmp_path: Path) -> None:
    """SIGTERM while planets are simulated: exit code 143, and no process, half-written planet or run is left."""
    size = ("data.simulation.planets=200", "data.simulation.airs_frames=100")
    paths = (f"local.cache_dir={tmp_path}/cache", f"local.output_dir={tmp_path}/o")
    command = [sys.executable, "-m", "spectramind_train", "local.devices=cpu", *size, *paths]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not list(tmp_path.glob("cache/simulated-*/train/*")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    # The pipe closes only when every process that holds it has ended.
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert "Traceback" not in output
    assert not list(tmp_path.glob("cache/simulated-*/.*"))
    assert not (tmp_path / "o").exists()


@pytest.mark.fault("the wall-clock limit")
@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_the_wall_clock_ends_the_run_with_exit_code_75(started: Start, processes: tuple[str, ...]) -> None:
    """``trainer.max_time`` counts from the start of the process and leaves a scored run."""
    run = started("trainer.max_time=00:00:08", *processes)
    assert run.end() == 75, run.output
    manifest = run.manifest()
    assert manifest["status"] == "walltime"
    assert manifest["metrics"]["test_score"] > 0.0


@pytest.mark.fault("the wall-clock limit")
def test_planets_that_cannot_be_prepared_in_time_are_a_mistake_told_early(tmp_path: Path) -> None:
    """The numbers are named, and what is done is kept."""
    size = ("data.simulation.planets=4000", "data.simulation.airs_frames=100", "trainer.max_time=00:01:00")
    paths = (f"local.cache_dir={tmp_path}/cache", f"local.output_dir={tmp_path}/o")
    command = [sys.executable, "-m", "spectramind_train", "local.devices=cpu", *size, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 2
    assert "simulating planets: " in done.stderr
    assert "the rest needs about" in done.stderr
    assert list(tmp_path.glob("cache/simulated-*/train/*"))
    assert not (tmp_path / "o").exists()


def test_a_signal_ends_a_sweep(started: Start) -> None:
    """The runs that would follow are not wanted either."""
    run = started("local.seed=1,2,3", "--multirun", *NO_LOADERS)
    run.await_that(run.trains)
    run.send(signal.SIGTERM, "parent")
    assert run.end() == 143
    assert "Traceback" not in run.output
    (manifest,) = run.folder.glob("*/manifest.json")
    assert json.loads(manifest.read_text())["status"] == "interrupted"
