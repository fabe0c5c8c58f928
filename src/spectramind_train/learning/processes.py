"""Several processes that fit one model together: started with a frozen config, never with a command line.

Each process reads the run's manifest. None of them composes a config or starts Hydra, so none can read a changed
environment or replay a sweep.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from spectramind_config import ConfigError, from_dict
from spectramind_train.learning.learner import FitResult, fit
from spectramind_train.learning.module import NonFiniteLossError
from spectramind_train.planets.splits import build_splits
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Console
from spectramind_train.run.tracking import Tracker

_RESULT = "fit.json"
_PATIENCE_S = 20.0


def fit_in_processes(run: Run, plan: RunPlan, *, started: float) -> FitResult:
    """Fit a run's model in ``plan.devices`` processes and wait for them; signals are passed on.

    Raises:
        ConfigError: A process failed; its own message stands above.
        KeyboardInterrupt: SIGINT came before the processes could save anything.
        SystemExit: So did SIGTERM.
    """
    port = _free_port()
    processes: list[subprocess.Popen[bytes]] = []
    for rank in range(plan.devices):
        environment = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(plan.devices),
            "NODE_RANK": "0",
            "LOCAL_RANK": str(rank),
        }
        elapsed = time.monotonic() - started
        command = [sys.executable, "-m", "spectramind_train.learning.processes", str(run.path), f"{elapsed:.3f}"]
        processes.append(subprocess.Popen(command, env=environment))  # noqa: S603

    received: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    running, failed = True, list[int]()
    try:
        while running and not failed:
            time.sleep(0.1)
            codes = [process.poll() for process in processes]
            running, failed = None in codes, [rank for rank, code in enumerate(codes) if code]
    finally:
        for process in processes:
            _end(process)
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed and received:
        raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])
    if failed:
        raise ConfigError(f"{run.path}: process {failed[0]} of {len(processes)} failed, see above")
    result = run.path / _RESULT
    found = msgspec.json.decode(result.read_bytes(), type=FitResult)
    result.unlink()
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a process is gone; one that waits for a dead one in a collective call heeds no signal but KILL."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(directory: Path, elapsed: float) -> None:
    """Fit as one process of several, as the run's manifest says."""
    rank = int(os.environ["LOCAL_RANK"])
    started = time.monotonic() - elapsed
    run = Run.open(directory)
    config = from_dict(run.manifest.config, str(directory / "manifest.json"))
    plan = msgspec.convert(run.manifest.plan, RunPlan)
    console = Console.of(config, rank=rank)
    splits = build_splits(config.data, config, plan, Console(silent=True))
    tracker = Tracker.of(config, console) if rank == 0 else None
    if tracker is not None:
        tracker.start(run.manifest)
    try:
        result = fit(config, plan, splits, directory, console, tracker, started=started)
    except BaseException:
        if tracker is not None:
            tracker.finish(run.manifest)
        raise
    if rank == 0:
        tracked = tracker.leave() if tracker is not None else None
        (directory / _RESULT).write_bytes(msgspec.json.encode(msgspec.structs.replace(result, tracked=tracked)))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), float(sys.argv[2]))
    except (ConfigError, NonFiniteLossError) as failure:
        sys.exit(f"error: {failure}")
