"""Several processes of one run, started and watched by torch's own elastic agent."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.events.api import Event, EventSource
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousParameters, registry

from spectramind_config import ConfigError, Problem
from spectramind_train.run import signals
from spectramind_train.run.children import ProcessFailedError

MISTAKE: Final = 2
"""Exit code of a process that ends with a mistake of the user's, as that of a run."""

LOST: Final = 3
"""Exit code of a process that ends because another one has: it has nothing to tell."""

_AGENT: Final = "TORCHELASTIC_SIGNALS_TO_HANDLE"
_LOOK_EVERY_S: Final = 0.1


class _Agent(LocalElasticAgent):
    """Torch's agent, whose processes start with our signals blocked: none can hit them before they heed one.

    It starts them again only after a fault, and says so. What the user or the scheduler did would come again, or is not
    to be undone.
    """

    def __init__(self, spec: WorkerSpec, folder: str, warn: Callable[[str], None]) -> None:
        super().__init__(spec, DefaultLogsSpecs(folder), shutdown_timeout=round(signals.PATIENCE_S))
        self._warn = warn

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
        result: RunResult = super()._monitor_workers(worker_group)  # pyright: ignore[reportCallIssue]
        if result.failures and self._remaining_restarts:
            most = worker_group.spec.max_restarts
            reason = _reason(result.failures, len(worker_group.workers))
            if isinstance(reason, ProcessFailedError):
                number = most - self._remaining_restarts + 1
                self._warn(f"{reason}; all start again from the newest checkpoint ({number} of {most} restarts)")
            else:
                self._remaining_restarts = 0
        return result

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
        with signals.blocked():
            started: dict[int, Any] = super()._start_workers(worker_group)  # pyright: ignore[reportCallIssue]
        return started

    def _construct_event(self, state: str, source: EventSource, *_: Any, **__: Any) -> Event:
        # Nobody reads events, and torch's own ask a name server for the host's name each time.
        return Event(state, source)


def launch(
    module: str, arguments: Sequence[str], processes: int, *, restarts: int, warn: Callable[[str], None]
) -> None:
    """Run ``python -m module`` in several processes that form a group of ``torch.distributed``, and wait for them.

    They get RANK, WORLD_SIZE and the like from the agent. A signal to this process ends them by SIGTERM, and whoever is
    not done ``signals.PATIENCE_S`` later is killed; when one fails, so are the others.

    Args:
        module: What to run; it has to call ``signals.of_rank`` first, and to leave its exceptions where the agent finds
            them (``torch.distributed.elastic.multiprocessing.errors``).
        arguments: Its command line, after this process's number.
        processes: How many.
        restarts: How often all are started again when one fails by itself, or is killed.
        warn: Where that is told.

    Raises:
        ConfigError: A process found a mistake of the user's.
        ProcessFailedError: A process failed by itself, or was killed, and once too often; of several, the first.
        Interrupted: A signal came, to this process or to one of the others before it had anything to save.
    """
    _quieten()
    # The agent's own handlers would take the place of ours, which know of a second signal.
    before, os.environ[_AGENT] = os.environ.get(_AGENT), ""
    try:
        with tempfile.TemporaryDirectory(prefix="spectramind-") as folder:
            here = "127.0.0.1"
            meeting = RendezvousParameters("c10d", f"{here}:0", "spectramind", 1, 1, local_addr=here)
            spec = WorkerSpec(
                role="spectramind",
                local_world_size=processes,
                rdzv_handler=registry.get_rendezvous_handler(meeting),
                entrypoint=sys.executable,
                args=("-m", module, str(os.getpid()), *arguments),
                max_restarts=restarts,
                monitor_interval=_LOOK_EVERY_S,
                local_addr=here,
            )
            agent = _Agent(spec, folder, warn)
            try:
                with signals.raising(signals.PATIENCE_S + signals.CLEANING_S):
                    result: Any = agent.run()
            finally:
                spec.rdzv_handler.shutdown()
    finally:
        if before is None:
            del os.environ[_AGENT]
        else:
            os.environ[_AGENT] = before
    if result.failures:
        raise _reason(result.failures, processes)


def _reason(failures: dict[int, ProcessFailure], processes: int) -> Exception | signals.Interrupted:
    """What to tell of processes that failed, in the order in which the agent noticed them."""

    def late(failure: ProcessFailure) -> tuple[bool, bool, int]:
        return failure.exitcode == LOST, failure.exitcode < 0, failure.timestamp

    rank, first = min(failures.items(), key=lambda item: late(item[1]))
    message: Any = first.message
    name, text, trace = "", "", ""
    if isinstance(message, dict):
        name, _, text = message["message"].partition(": ")
        trace = message["extraInfo"]["py_callstack"].rstrip()
    if first.exitcode == MISTAKE:
        what, _, more = text.partition("\n")
        return ConfigError(Problem(what=what, more=more))
    if -first.exitcode in signals.SIGNALS:
        return signals.Interrupted(-first.exitcode)
    who = f"process {rank} of {processes}"
    if first.exitcode == -signal.SIGKILL:
        return ProcessFailedError(f"{who} was killed (SIGKILL), most likely for lack of memory")
    if first.exitcode < 0:
        return ProcessFailedError(f"{who} was killed by {first.signal_name()}")
    return ProcessFailedError(f"{who}: {text}" if name == ProcessFailedError.__name__ else f"{who} failed\n{trace}")


def _quieten() -> None:
    """What the agent has to say of processes that end stands in our own messages."""
    log = logging.getLogger("torch.distributed.elastic")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
