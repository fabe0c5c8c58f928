"""Several processes of one run: started, told about signals, waited for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

_PATIENCE_S = 20.0


class ProcessFailedError(Exception):
    """A process ended with an exit code other than 0; its own message is on stderr."""

    def __init__(self, rank: int, processes: int) -> None:
        super().__init__(f"process {rank} of {processes} failed, see above")


def launch(module: str, arguments: Sequence[str], processes: int) -> None:
    """Run ``python -m module`` in several processes that form a group of ``torch.distributed``, and wait for them.

    SIGINT and SIGTERM are passed on to all of them; when one fails, the others are ended.

    Raises:
        ProcessFailedError: A process failed by itself.
        KeyboardInterrupt: SIGINT came, and a process did not end well.
        SystemExit: SIGTERM came, and a process did not end well.
    """
    port = _free_port()
    started: list[subprocess.Popen[bytes]] = []
    for rank in range(processes):
        environment = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(processes),
            "NODE_RANK": "0",
            "LOCAL_RANK": str(rank),
        }
        started.append(subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment))  # noqa: S603

    received: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        for process in started:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    running, failed = True, list[int]()
    try:
        while running and not failed:
            time.sleep(0.1)
            codes = [process.poll() for process in started]
            running, failed = None in codes, [rank for rank, code in enumerate(codes) if code]
    finally:
        for process in started:
            _end(process)
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed and received:
        raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0])
    if failed:
        raise ProcessFailedError(failed[0], processes)


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
