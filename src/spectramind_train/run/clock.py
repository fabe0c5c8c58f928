"""Since when a run counts its time."""

from __future__ import annotations

import time

_process = [time.monotonic()]
"""When this process started, as near as an import can tell; empty once a run has counted from it."""


def run_start() -> float:
    """``time.monotonic()`` of a run's start, asked for once by each run.

    The first run of a process counts from the start of the process, imports included, because that is what a scheduler
    counts. A later one, as in a sweep, counts from now: the time of the runs before it is not its own.
    """
    return _process.pop() if _process else time.monotonic()
