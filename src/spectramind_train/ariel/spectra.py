"""Tables of spectra, predicted or true, as anybody may have written them: every mistake named by planet and column."""

from __future__ import annotations

import csv
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from spectramind_config import ConfigError, Problem, files
from spectramind_config.errors import nearest
from spectramind_train.ariel.constants import N_CHANNELS, FloatArray
from spectramind_train.ariel.tables import LARGEST_TABLE, number_of

Kind = Literal["wl", "sigma"]
MEANING: Final[dict[Kind, str]] = {"wl": "(Rp/Rs)^2", "sigma": "its standard deviation"}
LONGEST_HEADER: Final = 1_000_000
"""Characters of a header; that of a submission has 6000."""
LARGEST_VALUE: Final = 1e30
"""No depth is so large, and the square of any error below it is a number still."""
_PLANET: Final = "planet_id"
_NAMED = 8


@dataclass(frozen=True)
class Spectra:
    """Spectra of planets.

    Attributes:
        path: The file.
        planet_ids: Their names (N,), as the file writes them.
        values: By kind of column, ``wl`` and perhaps ``sigma``, the values (N, 283) in (Rp/Rs)^2.
    """

    path: Path
    planet_ids: tuple[str, ...]
    values: dict[Kind, FloatArray]

    def of(self, planet_ids: Sequence[str], kind: Kind) -> FloatArray:
        """The values of one kind for planets in another order, (n, 283)."""
        row = {name: number for number, name in enumerate(self.planet_ids)}
        return self.values[kind][[row[name] for name in planet_ids]]


def read_spectra(path: Path, kinds: Sequence[Kind], *, negative: bool = True) -> Spectra:
    """Read ``planet_id`` and, for each kind, the columns ``kind_1`` to ``kind_283`` of a CSV file, in any order.

    Args:
        path: The file; columns of other names are left alone.
        kinds: What to read.
        negative: Whether values may be negative.

    Raises:
        ConfigError: The file is missing or no table, lacks a column or has it twice, names a planet twice or none, or
            holds a value that is no finite number or must not be negative: all that is wrong, by planet and column.
    """
    expected = f"a CSV table with {_PLANET} and {', '.join(f'{kind}_1 … {kind}_{N_CHANNELS}' for kind in kinds)}"
    try:
        content = files.read(path, LARGEST_TABLE)
    except FileNotFoundError:
        raise ConfigError(Problem(what=f"{path}: no such file", expected=expected)) from None
    except OSError as error:
        raise ConfigError(Problem(what=f"{path}: cannot be read ({error.strerror})", expected=expected)) from None
    wanted = [_PLANET, *(f"{kind}_{channel}" for kind in kinds for channel in range(1, N_CHANNELS + 1))]
    if problems := _of_header(path, content, wanted, expected):
        raise ConfigError(problems)
    texts = pacsv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()))
    try:
        reading = pacsv.ReadOptions(use_threads=False)
        table = pacsv.read_csv(pa.BufferReader(content), convert_options=texts, read_options=reading)
    except pa.ArrowException as error:
        reason = textwrap.shorten(str(error), 100)  # Arrow quotes the whole row.
        raise ConfigError(Problem(what=f"{path}: not readable as CSV ({reason})", expected=expected)) from None
    planet_ids = tuple(str(name).strip() for name in table.column(0).to_pylist())
    problems = _of_planets(path, planet_ids)
    columns = [_numbers(column.combine_chunks()) for column in table.columns[1:]]
    values = np.stack(columns, axis=1)
    problems += _of_values(path, planet_ids, wanted[1:], values, table, negative=negative)
    if problems:
        raise ConfigError(problems)
    parts = np.split(values, len(kinds), axis=1)
    return Spectra(path, planet_ids, dict(zip(kinds, parts, strict=True)))


def require_same_planets(predicted: Spectra, truth: Spectra) -> None:
    """Refuse two tables that are not of the same planets, as the challenge does: a score is of all planets or none.

    Raises:
        ConfigError: With the planets that one of them lacks.
    """
    problems = []
    for one, other in ((predicted, truth), (truth, predicted)):
        if missing := [name for name in other.planet_ids if name not in set(one.planet_ids)]:
            close = nearest(missing[0], [name for name in one.planet_ids if name not in set(other.planet_ids)])
            problems.append(
                Problem(
                    what=f"{one.path}: {_counted(missing, 'planet')} of {other.path} "
                    f"{'is' if len(missing) == 1 else 'are'} not in it: {few(missing)}",
                    expected="the same planets in both, each once, in any order; the challenge takes nothing else",
                    nearest=close,
                )
            )
    if problems:
        raise ConfigError(problems)


def _of_header(path: Path, content: bytes, wanted: Sequence[str], expected: str) -> list[Problem]:
    line = content[:LONGEST_HEADER].split(b"\n", 1)[0]
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error):
        names = []
    if not names:
        return [Problem(what=f"{path}: its first line is no header", expected=expected)]
    if not content[len(line) :].strip():
        return [Problem(what=f"{path}: no planet is in it", expected="a row for each planet")]
    counts = Counter(names)
    problems = [
        Problem(what=f"{path}: column {name} is there {counts[name]} times", expected="each column once")
        for name in wanted
        if counts[name] > 1
    ]
    missing = [name for name in wanted if name not in counts]
    spare = [name for name in counts if name not in set(wanted)][:1000]
    for first in missing[:1] if len(missing) > _NAMED else missing:
        others = len(missing) - 1 if len(missing) > _NAMED else 0
        what = f"{path}: column {first} is missing" + (f", and {others} others: {few(missing[1:])}" if others else "")
        problems.append(Problem(what=what, expected=expected, nearest=nearest(first, spare)))
    return problems


def _of_planets(path: Path, planet_ids: Sequence[str]) -> list[Problem]:
    counts = Counter(planet_ids)
    twice = [name for name, count in counts.items() if count > 1]
    problems = []
    if "" in counts:
        rows = [number for number, name in enumerate(planet_ids, 2) if not name]
        problems.append(Problem(what=f"{path}:{rows[0]}: a row without {_PLANET}", expected="a name in each row"))
    if twice := [name for name in twice if name]:
        what = f"{path}: {_counted(twice, 'planet')} stand{'s' if len(twice) == 1 else ''} in several rows: "
        problems.append(Problem(what=what + few(twice), expected="each planet once"))
    return problems


def _numbers(texts: pa.Array) -> FloatArray:
    """A column of texts as numbers; NaN for what is none."""
    try:
        return np.asarray(texts.cast(pa.float64()), dtype=np.float64)
    except pa.ArrowException:
        return np.array([number_of(text or "") for text in texts.to_pylist()], dtype=np.float64)


def _of_values(
    path: Path,
    planet_ids: Sequence[str],
    columns: Sequence[str],
    values: FloatArray,
    table: pa.Table,
    *,
    negative: bool,
) -> list[Problem]:
    """What is wrong with values, the first of each sort with the number of all."""
    with np.errstate(invalid="ignore"):
        sorts: list[tuple[NDArray[np.bool_], str, str]] = [
            (~np.isfinite(values), "no finite number", "finite numbers"),
            (np.isfinite(values) & (np.abs(values) > LARGEST_VALUE), "beyond any depth", f"up to {LARGEST_VALUE:g}"),
        ]
        if not negative:
            sorts.append((values < 0, "negative", "0 or more: a depth and its uncertainty are never negative"))
    problems = []
    for wrong, what, expected in sorts:
        if not (count := int(np.count_nonzero(wrong))):
            continue
        row, column = (int(one) for one in np.argwhere(wrong)[0])
        text = str(table.column(column + 1)[row].as_py())[:40]
        more = f"; so are {count - 1} other values" if count > 2 else "; so is another value" if count > 1 else ""
        where = f"{path}: planet {planet_ids[row]}, column {columns[column]}: {text!r} is {what}{more}"
        problems.append(Problem(what=where, expected=expected))
    return problems


def _counted(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) != 1 else ''}"


def few(names: Sequence[str], most: int = _NAMED) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
