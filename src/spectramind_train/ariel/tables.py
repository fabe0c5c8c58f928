"""Parquet and CSV tables: what is wrong with a file becomes one message that names it."""

from __future__ import annotations

import codecs
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spectramind_config import ConfigError, files
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.run.atomic_files import replacing

LARGEST_TABLE = 50_000_000
"""Bytes of a CSV table; the challenge's labels have 6 million."""
_DECODED = 3_000_000
"""Values that are decoded at once."""
MOST_PLANETS = 500_000
"""Rows of a table that has one for each planet; the challenge has 1100."""
MOST_BAD_ROWS = 5000
"""Damaged rows of a table that has one for each planet; with more it is damaged as a whole."""
MOST_ROWS = 10_000_000
"""Rows of a parquet file; a visit of the challenge has 135 000 frames."""


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file and read its footer.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    try:
        files.require_regular(path)
        return pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing; download or simulate the data set again") from None
    except (pa.ArrowException, OSError, EOFError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ConfigError:
    """The error to raise for a parquet file that cannot be read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ConfigError(f"{path}: damaged, not a readable parquet file ({reason}); delete it and download it again")


def require_shape(path: Path, found: tuple[int, int], expected: tuple[int, int]) -> None:
    """Raise ConfigError unless a table has the (rows, columns) that it should have."""
    if found != expected:
        raise ConfigError(
            f"{path}: {found[0]} rows x {found[1]} columns, expected {expected[0]} x {expected[1]} "
            f"(the number of frames is set by axis_info.parquet); the file is incomplete or of another data set"
        )


def read_columns(
    path: Path, shape: tuple[int, int], columns: NDArray[np.intp], *, counts: bool = False
) -> NDArray[Any]:
    """Read the chosen columns of a parquet file, by position.

    Args:
        path: The file.
        shape: Rows and columns that it must have.
        columns: Indices of the columns (n,).
        counts: Whether all its columns, read or not, must be of 16-bit counts.

    Returns:
        The values (n, rows), one column after the other in memory.

    Raises:
        ConfigError: If the file is missing, damaged or of another shape.
    """
    file = open_parquet(path)
    require_shape(path, (file.metadata.num_rows, file.metadata.num_columns), shape)
    names = file.schema_arrow.names
    if len(set(names)) < shape[1]:
        raise ConfigError(f"{path}: several columns have one name; download it again")
    require_plain(path, file)
    types = {str(one) for one in set(file.schema_arrow.types)}
    if counts and types != {"uint16"}:
        raise ConfigError(f"{path}: holds {min(types - {'uint16'})} values, expected uint16 counts; download it again")
    # A part of the columns at a time, since what is decoded takes several times the room of the values.
    part = max(1, _DECODED // shape[0])
    values: NDArray[Any] | None = None
    for start in range(0, len(columns), part):
        place = slice(start, start + part)
        try:
            table = file.read(columns=[names[i] for i in columns[place]], use_threads=False)
            if counts and any(column.null_count for column in table.columns):
                raise ConfigError(f"{path}: lacks values, expected uint16 counts; download it again")
            found = [column.to_numpy() for column in table.columns]
        except (pa.ArrowException, OSError, EOFError) as error:
            raise damaged(path, error) from error
        require_shape(path, (table.num_rows, shape[1]), shape)
        for number, column in enumerate(found, start):
            require_numbers(path, column)
            if values is None:
                values = np.empty((len(columns), shape[0]), column.dtype)
            if column.dtype != values.dtype:
                values = values.astype(np.result_type(values, column))
            values[number] = column
    if values is None:
        raise ValueError("no column is chosen")
    return values


def require_plain(path: Path, file: pq.ParquetFile) -> None:
    """Raise ConfigError where a value of a table, to judge by its footer, may take more memory than a number does.

    One text can be as large as the memory, and a dictionary repeats it in every row without a byte more.
    """
    for kind in dict.fromkeys(file.schema_arrow.types):
        if not (pa.types.is_primitive(kind) or pa.types.is_null(kind)):
            raise ConfigError(f"{path}: holds values of type {kind}, expected numbers; download it again")
    if file.metadata.num_rows > MOST_ROWS:
        raise ConfigError(f"{path}: holds {file.metadata.num_rows} rows, and no data set has more than {MOST_ROWS}")


def require_numbers(path: Path, values: NDArray[Any]) -> None:
    """Raise ConfigError unless values of a table are numbers or truth values."""
    if values.dtype.kind not in "biuf":
        raise ConfigError(f"{path}: holds values of type {values.dtype}, expected numbers; download it again")


def read_rows(path: Path, columns: Sequence[str]) -> FloatArray:
    """Read the named columns of a CSV file, in that order: (rows, columns).

    Raises:
        ConfigError: If the file is missing, lacks a column or holds anything but finite numbers in them.
    """
    numbers = pacsv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.float64()), null_values=[]
    )
    try:
        content = pa.BufferReader(files.read(path, LARGEST_TABLE))
        table = pacsv.read_csv(content, convert_options=numbers, read_options=pacsv.ReadOptions(use_threads=False))
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing; download or simulate the data set again") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); download it again") from error
    except KeyError as error:
        missing = str(error).partition("'")[2].partition("'")[0]
        raise ConfigError(f"{path}: column {missing} is missing; download it again") from None
    except pa.ArrowException as error:
        # Arrow quotes the whole row, which may have hundreds of numbers.
        reason = textwrap.shorten(str(error), 100)
        broken = "a row is cut short or holds no number" if "Row #" in reason else "not readable as CSV"
        raise ConfigError(f"{path}: {broken} ({reason}); download it again") from error
    rows = np.stack([column.to_numpy() for column in table.columns], axis=1)
    if not np.isfinite(rows).all():
        raise ConfigError(f"{path}: holds values that are not finite; download it again")
    return rows


@dataclass(frozen=True)
class PlanetRows:
    """The rows of a table that has one for each planet.

    Attributes:
        rows: By planet, the values of a row that can be used.
        bad: By planet, what is wrong with its row.
        nameless: What is wrong with rows of which nobody can tell whose they are.
    """

    rows: dict[str, FloatArray]
    bad: dict[str, str]
    nameless: list[str]


def read_planets(path: Path, columns: Sequence[str]) -> PlanetRows:
    """Read ``planet_id`` and the named columns of a CSV file; a row that is damaged costs the others nothing.

    Raises:
        ConfigError: If the file is missing, is no table or lacks a column, or has more rows than ``MOST_PLANETS``
            or more damaged ones than ``MOST_BAD_ROWS``.
    """
    try:
        lines = io.BytesIO(files.read(path, LARGEST_TABLE).removeprefix(codecs.BOM_UTF8))
        header = _cells(lines.readline().decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing; download or simulate the data set again") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); download it again") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not readable as CSV ({error}); download it again") from error
    if missing := [name for name in ("planet_id", *columns) if name not in header]:
        raise ConfigError(f"{path}: column {missing[0]} is missing; download it again")
    found, places = PlanetRows({}, {}, []), [header.index(name) for name in columns]
    for number, line in enumerate(lines, 2):
        if number > MOST_PLANETS:
            raise ConfigError(f"{path}: more than {MOST_PLANETS} rows, and no data set has as many planets")
        if not line.strip():
            continue
        cells = _cells(line.decode(errors="replace"))
        place = header.index("planet_id")
        name = number_of(cells[place]) if place < len(cells) else math.nan
        if not (name >= 0 and name.is_integer()):
            found.nameless.append(f"{path}:{number}: its planet_id is no number; download it again")
            _require_few(path, found)
            continue
        planet_id, values, reason = str(int(name)), np.empty(0), ""
        if planet_id in found.rows or planet_id in found.bad:
            reason = "is listed twice"
        elif len(cells) != len(header):
            reason = f"has {len(cells)} values in its row, expected {len(header)}"
        else:
            values = np.array([number_of(cells[one]) for one in places])
            if wrong := [place for place, value in zip(places, values, strict=True) if not math.isfinite(value)]:
                reason = f"has {cells[wrong[0]]!r:.40} as {header[wrong[0]]}, which is no finite number"
        if reason:
            found.rows.pop(planet_id, None)
            found.bad[planet_id] = f"{path}:{number}: planet {planet_id} {reason}; download it again"
            _require_few(path, found)
        else:
            found.rows[planet_id] = values
    return found


def _require_few(path: Path, found: PlanetRows) -> None:
    if len(found.bad) + len(found.nameless) > MOST_BAD_ROWS:
        first = [*found.nameless, *found.bad.values()][0]
        raise ConfigError(f"{path}: more than {MOST_BAD_ROWS} rows are damaged, one of them: {first}")


def _cells(line: str) -> list[str]:
    """The values of a line. Names and numbers hold neither commas nor quotes: no line can run on into the next."""
    return [cell.strip().removeprefix('"').removesuffix('"') for cell in line.split(",")]


def number_of(text: str) -> float:
    """A text as a number; NaN for what is none."""
    try:
        return float(text if "_" not in text else "nan")
    except ValueError:
        return math.nan


def write_csv(path: Path, columns: Mapping[str, Sequence[str] | Sequence[int] | Sequence[float] | FloatArray]) -> None:
    """Write a CSV file of equally long columns, whole or not at all; numbers keep their last bit."""
    with replacing(path) as file:
        pacsv.write_csv(pa.table({name: pa.array(values) for name, values in columns.items()}), file)


def by_channel(name: str, spectra: FloatArray) -> dict[str, FloatArray]:
    """Spectra (N, 283) as 283 columns ``name_1``, ``name_2``, … of a table."""
    return {f"{name}_{channel}": column for channel, column in enumerate(spectra.T, 1)}
