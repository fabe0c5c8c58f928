"""Several processes that train one model together: started with a frozen config, never with a command line.

Each process reads the run's manifest. None of them composes a config or starts Hydra, so none can read a changed
environment or replay a sweep. How processes are started is a matter of the floor ``run``; what each of them does needs
the planets and the learner, and so stands here, above both.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from spectramind_config import ConfigError, from_dict
from spectramind_train.learning.learner import Learned, learn
from spectramind_train.learning.module import NonFiniteLossError
from spectramind_train.planets.splits import build_splits
from spectramind_train.run import signals
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.directory import Run
from spectramind_train.run.launching import LOST, MISTAKE, launch
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.ranks import Ranks, Start
from spectramind_train.run.terminal import Terminal

_RESULT = "learned.json"


def learn_in_processes(
    run: Run, plan: RunPlan, *, deadline: float | None, restarts: int, warn: Callable[[str], None]
) -> Learned:
    """Train a run's model in ``plan.devices`` processes and wait for them.

    Args:
        run: The run, whose manifest they read.
        plan: How this host does it.
        deadline: ``time.time()`` by which all has to be done; None for no limit.
        restarts: How often all go on from the newest checkpoint when one fails by itself, or is killed.
        warn: Where that is told.

    Raises:
        ConfigError: A process found a mistake of the user's.
        ProcessFailedError: A process failed by itself, or was killed.
        Interrupted: A signal came before the processes could save anything.
    """
    result = run.path / _RESULT
    number: int | None = None
    try:
        arguments = [str(run.path), str(deadline or "")]
        launch("spectramind_train.learning.rank", arguments, plan.devices, restarts=restarts, warn=warn)
    except signals.Interrupted as interrupted:
        if not result.exists():
            raise
        number = interrupted.number
    found = msgspec.json.decode(result.read_bytes(), type=Learned)
    result.unlink()
    return found if number is None else msgspec.structs.replace(found, status="interrupted", signal=number)


def train_as_one(ranks: Ranks, start: Start) -> int:
    """Train as one process of several, as the run's manifest says; returns the exit code.

    What goes wrong is left where the agent that started this process reads it.
    """
    errors = get_error_handler()
    try:
        _train(ranks, start)
    except (ConfigError, NonFiniteLossError) as mistake:
        errors.record_exception(mistake)
        return MISTAKE
    except Exception as error:  # noqa: BLE001 - whatever it is, the process that started this one tells it.
        if _lost(error):
            return LOST
        errors.record_exception(error)
        if "TORCHELASTIC_ERROR_FILE" not in os.environ:  # No agent of torch's tells it.
            traceback.print_exc()
        return 1
    return 0


def _train(ranks: Ranks, start: Start) -> None:
    directory = Path(start.run)
    run = Run.open(directory)
    config = from_dict(run.manifest.config, str(directory / "manifest.json"))
    plan = msgspec.convert(run.manifest.plan, RunPlan)
    terminal = Terminal.of(config, rank=ranks.rank)
    splits = build_splits(config.data, config, plan, Terminal(silent=True))
    ranks.join(start.group, plan.accelerator)
    result = learn(config, plan, splits, directory, terminal, deadline=start.deadline)
    if ranks.rank == 0:
        _leave(directory, result)


def _leave(directory: Path, result: Learned) -> None:
    """Leave the result where the process that started this one finds it.

    Raises:
        ConfigError: There is no room for it.
    """
    try:
        write_atomically(directory / _RESULT, msgspec.json.encode(result))
    except OSError as error:
        raise ConfigError(
            f"{directory}: the run cannot write any more ({error.strerror or error}); its training is saved. Free some "
            f"space, then: spectramind train --resume {directory}"
        ) from error


def _lost(error: Exception) -> bool:
    """Whether an error is only that another process has gone."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
