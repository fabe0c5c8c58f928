"""A run's journal: what happened, in lines that are only ever added, so that nothing that happens later can harm them.

Everything else about metrics follows from it: ``metrics.csv``, and what MLflow is told.
"""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from spectramind_train.run.atomic_files import write_atomically

JOURNAL = "journal.jsonl"
TABLE = "metrics.csv"
_LONGEST = 1 << 22  # Bytes of a line; what is longer was not written here.
Number = float | Literal["nan", "inf", "-inf"]
"""A float as JSON has it, which knows no NaN and no infinity; ``float`` of it is the number again."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A line of the journal; ``time`` is in seconds since 1970."""

    time: float = msgspec.field(default_factory=lambda: round(time.time(), 3))


class Start(Entry, frozen=True, kw_only=True, tag="start"):
    """A process began to train, anew or where an earlier one had stopped.

    Attributes:
        id: Tells this line from any other in the world.
        run: The run's identifier.
        uri: The MLflow server, without its password; None where nothing is tracked.
        experiment: The MLflow experiment.
        tags: More that names the run.
        parameters: The effective config, by dotted path.
    """

    id: str
    run: str
    uri: str | None
    experiment: str
    tags: dict[str, str]
    parameters: dict[str, str]


class Metrics(Entry, frozen=True, kw_only=True, tag="metrics"):
    """Values after an optimizer step; ``step`` counts the steps of the run from 0, ``epoch`` its epochs."""

    step: int
    epoch: int
    values: dict[str, Number]


class Resumed(Entry, frozen=True, kw_only=True, tag="resumed"):
    """Training goes on from a checkpoint after ``step`` steps; what stands above of later ones no longer counts."""

    step: int


class End(Entry, frozen=True, kw_only=True, tag="end"):
    """The run ended: its status, as in the manifest, and its final metrics."""

    status: str
    metrics: dict[str, Number]


_DECODER = msgspec.json.Decoder(Start | Metrics | Resumed | End)


class Journal:
    """The journal of the run in a directory, to be written.

    A disk that is full costs no step: what cannot be written is kept, and written before the next line that can.

    Args:
        directory: The run's directory.
        warn: Tells the user, once, that it cannot be written.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None] | None = None) -> None:
        self.path = directory / JOURNAL
        self.warn = warn
        self._waiting = b""

    def append(self, entry: Start | Metrics | Resumed | End) -> None:
        """Add a line; it is in the file when this returns, and survives whatever happens to the process."""
        first = not self._waiting
        self._waiting += msgspec.json.encode(entry) + b"\n"
        try:
            self._write(self._waiting)
        except OSError as error:
            if first and self.warn is not None:
                reason = os.strerror(error.errno or errno.EIO)
                self.warn(f"{self.path}: cannot be written ({reason}); its lines are kept until it can")
        else:
            self._waiting = b""

    @property
    def whole(self) -> bool:
        """Whether every line is in the file."""
        return not self._waiting

    def flush(self) -> None:
        """Have the lines on the disk itself, so that they survive a loss of power too."""
        try:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError:
            pass  # The checkpoint that is written beside it says so.

    def _write(self, data: bytes) -> None:
        with self.path.open("ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # A process was killed in the middle of a line.
                    data = b"\n" + data
            if file.write(data) < len(data):  # Of a disk that is nearly full.
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def entries(path: Path, position: int = 0) -> Iterator[tuple[int, Start | Metrics | Resumed | End]]:
    """The lines of a journal from a position on, each with the position behind it.

    A line that is not whole yet ends them; one that cannot be read is passed over, since a process that is killed may
    leave half of one.
    """
    with path.open("rb") as file:
        file.seek(position)
        while (line := file.readline(_LONGEST)).endswith(b"\n"):
            position += len(line)
            try:
                entry = _DECODER.decode(line)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                continue
            yield position, entry


def numbers(values: Mapping[str, float]) -> dict[str, Number]:
    """Floats as the journal has them."""
    return {name: value if math.isfinite(value) else repr(float(value)) for name, value in values.items()}  # type: ignore[misc]


def rows(path: Path) -> list[dict[str, float]]:
    """The metrics of a journal, a row for each line with ``step`` and ``epoch``; what was trained again counts once."""
    found: list[dict[str, float]] = []
    for _, entry in entries(path):
        if isinstance(entry, Metrics):
            found.append(_row(entry))
        elif isinstance(entry, Resumed):
            found = [row for row in found if row["step"] < entry.step]
    return found


def _row(entry: Metrics) -> dict[str, float]:
    values = {name: float(value) for name, value in entry.values.items()}
    return {**values, "step": entry.step, "epoch": entry.epoch}


class Table:
    """``metrics.csv``, which follows the journal row by row.

    It is written anew where a column is missing, and so at the first row of every process.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / TABLE
        self.journal = directory / JOURNAL
        self.columns: list[str] = []

    def add(self, entry: Metrics) -> None:
        """Write the row of the journal's last line; whatever is wrong with the table can be mended from the journal."""
        row = _row(entry)
        try:
            if row.keys() <= set(self.columns):
                with self.path.open("a", newline="") as file:
                    file.write(_csv([row], self.columns))
            else:
                self.write()
        except OSError:
            self.columns = []

    def write(self) -> None:
        """Write the whole table from the journal.

        Raises:
            OSError: One cannot be read, or the other not be written.
        """
        found = rows(self.journal)
        self.columns = sorted({name for row in found for name in row})
        head = ",".join(self.columns)
        write_atomically(self.path, f"{head}\r\n{_csv(found, self.columns)}".encode())


def _csv(found: list[dict[str, float]], columns: list[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns).writerows(found)
    return text.getvalue()
