"""Several processes that train one model together: started with a frozen config, never with a command line.

Each process reads the run's manifest. None of them composes a config or starts Hydra, so none can read a changed
environment or replay a sweep. How processes are started is a matter of the floor ``run``; what each of them does needs
the planets and the learner, and so stands here, above both.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from spectramind_config import ConfigError, from_dict
from spectramind_train.learning.learner import Learned, learn
from spectramind_train.learning.module import NonFiniteLossError
from spectramind_train.planets.splits import build_splits
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.directory import Run
from spectramind_train.run.launching import ProcessFailedError, launch
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Terminal

_RESULT = "learned.json"


def learn_in_processes(run: Run, plan: RunPlan, *, started: float) -> Learned:
    """Train a run's model in ``plan.devices`` processes and wait for them; signals are passed on.

    Raises:
        ConfigError: A process failed; its own message stands above.
        KeyboardInterrupt: SIGINT came before the processes could save anything.
        SystemExit: So did SIGTERM.
    """
    arguments = [str(run.path), f"{time.monotonic() - started:.3f}"]
    try:
        launch("spectramind_train.learning.processes", arguments, plan.devices)
    except ProcessFailedError as error:
        raise ConfigError(f"{run.path}: {error}") from error
    result = run.path / _RESULT
    found = msgspec.json.decode(result.read_bytes(), type=Learned)
    result.unlink()
    return found


def main(directory: Path, elapsed: float) -> None:
    """Train as one process of several, as the run's manifest says."""
    rank = int(os.environ["LOCAL_RANK"])
    started = time.monotonic() - elapsed
    run = Run.open(directory)
    config = from_dict(run.manifest.config, str(directory / "manifest.json"))
    plan = msgspec.convert(run.manifest.plan, RunPlan)
    terminal = Terminal.of(config, rank=rank)
    splits = build_splits(config.data, config, plan, Terminal(silent=True))
    result = learn(config, plan, splits, directory, terminal, started=started)
    if rank == 0:
        write_atomically(directory / _RESULT, msgspec.json.encode(result))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), float(sys.argv[2]))
    except (ConfigError, NonFiniteLossError) as failure:
        sys.exit(f"error: {failure}")
