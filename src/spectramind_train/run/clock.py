"""By when a run must be done, and whether long work can be."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from spectramind_config import ConfigError

_SEEN: Final = 8
_SEEN_S: Final = 5.0
_SLOW_S: Final = 1.0
_REMEDY: Final = (
    "Those done are kept: start again with a longer trainer.max_time, on more CPU cores, or with fewer planets"
)
_imported = time.time()
_within: ContextVar[float | None] = ContextVar("within", default=None)


def process_start() -> float:
    """``time.time()`` when this process started; where only Linux could tell, when this module was imported."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return _imported
    return min(_imported, time.time() - age_s)


_process: list[float] = [process_start()]
"""When this process started; empty once a run has counted from it."""


def deadline(limit: timedelta | None) -> float | None:
    """``time.time()`` by which a run has to be done, asked for once by each run; None without a limit.

    The first run of a process counts from the start of the process, imports included, because that is what a scheduler
    counts. A later one, as in a sweep, counts from now: the time of the runs before it is not its own.
    """
    start = _process.pop() if _process else time.time()
    return None if limit is None else start + limit.total_seconds()


@contextmanager
def within(deadline: float | None) -> Iterator[None]:
    """Inside, long work ends early where it cannot be done by ``deadline``, as of ``time.time()``; see ``Forecast``."""
    token = _within.set(deadline)
    try:
        yield
    finally:
        _within.reset(token)


class Forecast:
    """Ends long work early that cannot be done in time, as soon as some of it shows how long the rest will take.

    What is estimated from is the pace of the last steps: as many as took five seconds, and eight at least. So neither
    the start of worker processes counts, nor for long the planets that came from a cache at first. Where the time is up
    already, one slow step is enough. It is called as work is reported: with what is done, and all.

    By when it has to be done is what ``within`` says around it.

    Args:
        task: What is done, such as ``calibrating planets``.
        report: Called likewise.
        remedy: What to do where there is not time enough.
    """

    def __init__(self, task: str, report: Callable[[int, int], None], remedy: str = _REMEDY) -> None:
        self.task = task
        self.remedy = remedy
        self.deadline = _within.get()
        self.report = report
        self._before = (time.time(), 0)
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, done: int, total: int) -> None:
        """Report progress.

        Raises:
            ConfigError: The work would not be done in time.
        """
        self.report(done, total)
        now = time.time()
        slow = now - self._before[0] > _SLOW_S
        then, before = self._seen[0] if self._seen else self._before
        self._before = (now, done)
        self._seen.append(self._before)
        while len(self._seen) > _SEEN + 1 and now - self._seen[1][0] > _SEEN_S:
            self._seen.popleft()
            then, before = self._seen[0]
        if self.deadline is None or done in (before, total):
            return
        seconds = (total - done) * (now - then) / (done - before)
        telling = len(self._seen) > _SEEN and now - then > _SEEN_S
        if (telling and now + seconds > self.deadline) or (slow and now > self.deadline):
            ends = datetime.fromtimestamp(self.deadline).astimezone().strftime("%H:%M:%S")
            raise ConfigError(
                f"{self.task}: {done} of {total} are done, and the rest needs about {words(seconds)}, but by "
                f"trainer.max_time the run ends in {words(self.deadline - now)}, at {ends}. {self.remedy}"
            )


def words(seconds: float) -> str:
    """A span of time, as in 1:30:00."""
    return str(timedelta(seconds=round(max(seconds, 0.0))))
