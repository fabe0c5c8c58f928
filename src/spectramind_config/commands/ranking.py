"""What became of the jobs of a sweep: a record that each leaves, and the table that ranks them at the end."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from spectramind_config.errors import hidden_in, quoted

_STOP = "stop"


@dataclass(frozen=True)
class Finished:
    """How a job ended: its exit code, the value that a sweeper optimises, its end in a word, and its own folder."""

    exit_code: int = 0
    value: float | None = None
    status: str = ""
    folder: str = ""

    @classmethod
    def of(cls, result: object) -> Finished:
        """What a function of a config returned: nothing, an exit code (an int), or a value (a float)."""
        if isinstance(result, Finished):
            return result
        return cls(value=result) if isinstance(result, float) else cls(int(result) if isinstance(result, int) else 0)


class Stop(SystemExit):
    """Ends a job, and with it the sweep: the jobs that would follow are not wanted either."""

    def __init__(self, finished: Finished) -> None:
        super().__init__(finished.exit_code)
        self.finished = finished


class Record(msgspec.Struct, kw_only=True):
    """A job that has begun, and until its end as one leaves it whose process ends without a word."""

    number: int
    process: int = 0
    overrides: list[str]
    folder: str
    exit_code: int = 1
    value: float | None = None
    status: str = "unfinished"

    def end(self, finished: Finished) -> None:
        """Take down how it ended."""
        value, code = finished.value, finished.exit_code
        self.exit_code, self.folder = code, finished.folder or self.folder
        self.value = value if value is not None and math.isfinite(value) else None
        self.status = finished.status or (f"exit code {code}" if code else "done")

    def write(self, folder: Path) -> None:
        """Leave it where the process that started the sweep finds it, whole or not at all, if that still waits."""
        file = folder / f"{self.number}-{self.process}"
        unfinished = file.with_suffix(".new")
        with suppress(OSError):
            unfinished.write_bytes(msgspec.json.encode(self))
            unfinished.replace(file)


def read(folder: Path) -> list[Record]:
    """The records of all jobs that have begun, by number: of several processes the first one's, and all exit codes."""
    files = [file for file in folder.iterdir() if re.fullmatch("[0-9]+-[0-9]+", file.name)]
    records = [msgspec.json.decode(file.read_bytes(), type=Record) for file in files]
    found: dict[int, Record] = {}
    for one in sorted(records, key=lambda one: (one.number, one.process)):
        first = found.setdefault(one.number, one)
        first.exit_code = max(first.exit_code, one.exit_code)
    return list(found.values())


def stop(folder: Path) -> None:
    """Have no further job begin."""
    with suppress(OSError):
        (folder / _STOP).touch()


def is_stopped(folder: Path) -> bool:
    """Whether no further job is to begin."""
    return (folder / _STOP).exists()


def table(records: Sequence[Record], points: Sequence[Sequence[str]]) -> Iterator[str]:
    """The jobs, the largest value first, each with the overrides in which it differs from some other.

    Args:
        records: Those that have begun.
        points: The overrides of all, by their numbers, as far as they are known.
    """
    begun = {one.number for one in records}
    rest = (
        Record(number=number, overrides=list(point), folder="-", status="not started")
        for number, point in enumerate(points)
        if number not in begun
    )
    found = [*records, *rest]
    if not found:
        return
    found.sort(key=lambda one: (-math.inf if one.value is None else -one.value, one.number))
    found.sort(key=lambda one: one.value is None)
    common = set.intersection(*(set(one.overrides) for one in found))
    rows = [("value", "overrides", "status", "folder")]
    for one in found:
        differs = " ".join(quoted(hidden_in(word)) for word in one.overrides if word not in common)
        rows.append(("-" if one.value is None else f"{one.value:.6g}", differs or "-", one.status, _near(one.folder)))
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    jobs = "1 job" if len(found) == 1 else f"{len(found)} jobs"
    yield f"{jobs}, the largest value first" if any(one.value is not None for one in found) else jobs
    for value, *words in rows:
        texts = (text.ljust(size) for text, size in zip(words, sizes[1:], strict=True))
        yield "  ".join((value.rjust(sizes[0]), *texts)).rstrip()


def _near(folder: str) -> str:
    """A folder as a path below the working directory, where it lies there."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder
