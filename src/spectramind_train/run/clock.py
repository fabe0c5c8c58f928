"""Since when a run counts its time, and how much it may take."""

from __future__ import annotations

import time
from datetime import timedelta

_process = [time.monotonic()]
"""When this process started, as near as an import can tell; empty once a run has counted from it."""


def run_start() -> float:
    """``time.monotonic()`` of a run's start, asked for once by each run.

    The first run of a process counts from the start of the process, imports included, because that is what a scheduler
    counts. A later one, as in a sweep, counts from now: the time of the runs before it is not its own.
    """
    return _process.pop() if _process else time.monotonic()


def seconds(limit: timedelta | None) -> float | None:
    """A wall-clock limit in seconds; None where there is none."""
    return None if limit is None else limit.total_seconds()
