"""Signals at every phase of a run, to every process of it: one checkpoint, one status, one exit code, no orphan."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..train.stopping import (
    CODES,
    ENDLESS,
    LOADERS,
    NO_LOADERS,
    TWO,
    Started,
    has_loaded,
    stopped,
    takes_signals,
    try_kill,
)
from .conftest import Fault

Condition = Callable[[Started], object]
Start = Callable[..., Started]

COLD = ("data.simulation.planets=60", "data.simulation.airs_frames=100", "local.devices=cpu")
LABELLED = ("data.simulation.planets=60", "data.simulation.airs_frames=40", "local.devices=cpu")
EARLY: dict[str, Condition] = {
    "the first import": lambda run: takes_signals(run.process.pid),
    "the import of torch": lambda run: has_loaded(run.process.pid, "libtorch_cpu"),
    "simulation": lambda run: list(run.folder.parent.glob("cache/simulated-*/train/*")),
    "calibration": lambda run: list(run.folder.parent.glob("cache/planets/*.npz")),
}
RANKS: dict[str, Condition] = {
    "the start of ranks": lambda run: len(run.ranks()) == 2,
    "the import in ranks": lambda run: loaded(run) == 2,
    "the first step": lambda run: loaded(run) == 2 and all(map(takes_signals, run.ranks())),
}
TRAINING: dict[str, Condition] = {
    "training": Started.trains,
    "training, later": lambda run: "epoch   5" in run.output,
}
NUMBERS = pytest.mark.parametrize("number", list(CODES), ids=lambda number: number.name)

SIGNAL = "SIGINT, SIGTERM, SIGHUP, SIGUSR1 to the parent, a rank or all, at any phase"
LEARNING = "a signal, or the end of the time, while the model learns from labels"
KILL = "SIGKILL of the parent, of a rank, of a loader's worker"

pytestmark = pytest.mark.timeout(3600)


def loaded(run: Started) -> int:
    """How many ranks have imported torch."""
    return sum(has_loaded(pid, "libtorch_cpu") for pid in run.ranks())


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Start]:
    """Starts runs in the test's folder, and leaves none."""
    runs: list[Started] = []

    def start(*overrides: str) -> Started:
        runs.append(Started(tmp_path / f"outputs{len(runs)}", *overrides))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def after(run: Started, reached: Condition) -> None:
    """Wait until a run has reached a phase."""
    run.await_that(lambda: reached(run))


@NUMBERS
def test_before_the_training(number: signal.Signals, started: Start, tmp_path: Path, fault: Fault) -> None:
    """No run is left, and no process, half-written planet or message."""
    targets = itertools.cycle(["parent", "group", "everyone"])
    for _ in range(next(index for index, one in enumerate(CODES) if one == number)):
        next(targets)
    for (phase, reached), target in zip(EARLY.items(), targets, strict=False):
        with fault(SIGNAL, f"{number.name} in {phase}"):
            run = started(*COLD, *ENDLESS, f"local.cache_dir='{tmp_path}/cache'")
            after(run, reached)
            run.send(number, target)
            stopped(run, number, begun=False)
            assert not run.folder.exists()
            assert not list(tmp_path.glob("cache/*/.*"))


@NUMBERS
def test_one_process(number: signal.Signals, started: Start, tiny: list[str], fault: Fault) -> None:
    """A checkpoint and the status ``interrupted``, whoever of the run gets the signal."""
    cases = zip(itertools.cycle([LOADERS, NO_LOADERS, LOADERS]), ("everyone", "parent", "group"), strict=False)
    for loaders, target in cases:
        with fault(SIGNAL, f"{number.name} in training"):
            run = started(*tiny[1:-1], *ENDLESS, *loaders)
            after(run, Started.trains)
            run.send(number, target)
            stopped(run, number, begun=True)


@NUMBERS
@pytest.mark.parametrize("target", ["parent", "rank0", "rank1", "ranks", "everyone"])
def test_two_processes(number: signal.Signals, target: str, started: Start, tiny: list[str], fault: Fault) -> None:
    """The same in two ranks, with loader workers in each, at one phase before the training and in it."""
    early = list(RANKS)[(number + len(target)) % len(RANKS)]
    later = list(TRAINING)[(number + len(target)) % len(TRAINING)]
    for phase, reached in ((early, RANKS[early]), (later, TRAINING[later])):
        with fault(SIGNAL, f"{number.name} in {phase} of two"):
            run = started(*tiny[1:-1], *ENDLESS, *TWO, *LOADERS)
            after(run, reached)
            run.send(number, target)
            stopped(run, number, begun=phase in TRAINING)


@pytest.mark.parametrize(
    ("processes", "targets"),
    [((), ("parent", "everyone", "group", "parent")), (TWO, ("parent", "rank0", "rank1", "everyone"))],
    ids=["one", "two"],
)
def test_while_the_model_learns_from_labels(
    processes: tuple[str, ...], targets: tuple[str, ...], started: Start, tmp_path: Path, fault: Fault
) -> None:
    """It ends at once, with no checkpoint, and with one where the machine was so fast that it trains already."""
    for number, target in zip(CODES, targets, strict=True):
        with fault(LEARNING, f"{number.name} to {target}"):
            run = started(*LABELLED, *ENDLESS, *processes, f"local.cache_dir='{tmp_path}/cache'")
            after(run, lambda run: "learning what spectra look like:" in run.output or run.trains())
            trains = run.trains()
            run.send(number, target)
            stopped(run, number, begun=trains)
            assert run.manifest()["status"] == "interrupted"


@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_a_second_signal(processes: tuple[str, ...], started: Start, tiny: list[str], fault: Fault) -> None:
    """What hangs is given up at once when asked twice: nothing is left, and nothing is said."""
    for number in CODES:
        with fault("a second signal", f"{number.name} with a loader that hangs"):
            run = started(*tiny[1:-1], *ENDLESS, *processes, *LOADERS)
            after(run, lambda run: run.trains() and run.workers())
            for worker in run.workers():
                try_kill(worker, signal.SIGSTOP)
            run.send(number, "parent")
            run.pause(1.0)  # A signal that comes again at once is the same.
            assert run.process.poll() is None
            run.send(number, "parent")
            assert run.end() == CODES[number]
            assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("processes", "who"), [((), "loader"), (TWO, "loader"), (TWO, "rank")], ids=["loader", "loader of two", "rank"]
)
def test_a_process_that_hangs(
    processes: tuple[str, ...], who: str, started: Start, tiny: list[str], fault: Fault
) -> None:
    """The end comes all the same, with the checkpoints that there are."""
    with fault("a rank or loader that hangs", who):
        run = started(*tiny[1:-1], *ENDLESS, *processes, *LOADERS)
        after(run, lambda run: run.trains() and run.workers())
        for pid in run.workers() if who == "loader" else run.ranks()[1:]:
            try_kill(pid, signal.SIGSTOP)
        run.send(signal.SIGTERM, "parent")
        assert run.end() == 143
        assert run.manifest()["status"] == "interrupted"
        assert "Traceback" not in run.output


@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_a_parent_that_is_killed(processes: tuple[str, ...], started: Start, tiny: list[str], fault: Fault) -> None:
    """Everything that it had started goes with it."""
    with fault(KILL, "parent in training"):
        run = started(*tiny[1:-1], *ENDLESS, *processes, *LOADERS)
        after(run, lambda run: run.trains() and run.workers())
        run.send(signal.SIGKILL, "parent")
        assert run.end() == -signal.SIGKILL


@pytest.mark.parametrize("phase", ["simulation", "calibration"])
def test_a_parent_that_is_killed_early(phase: str, started: Start, tmp_path: Path, fault: Fault) -> None:
    """So do the workers of a pool."""
    with fault(KILL, f"parent in {phase}"):
        run = started(*COLD, *ENDLESS, f"local.cache_dir='{tmp_path}/cache'")
        after(run, EARLY[phase])
        run.send(signal.SIGKILL, "parent")
        assert run.end() == -signal.SIGKILL


def test_a_process_that_is_killed(started: Start, tiny: list[str], fault: Fault) -> None:
    """As for lack of memory: it is no mistake of the user's, and the message says which process it was."""
    for who, words in (
        ("rank", "process 1 of 2 was killed (SIGKILL)"),
        ("loader", "a process that loads planets died"),
    ):
        with fault(KILL, who):
            run = started(*tiny[1:-1], *ENDLESS, *(TWO if who == "rank" else ()), *LOADERS)
            after(run, lambda run: run.trains() and run.workers())
            try_kill(run.ranks()[1] if who == "rank" else run.workers()[0], signal.SIGKILL)
            assert run.end() == 1
            assert words in run.output
            assert "Traceback" not in run.output
            assert run.manifest()["status"] == "failed"
