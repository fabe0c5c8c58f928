"""Reading parquet and CSV tables: what is wrong with a file becomes one message that names it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spectramind_config import ConfigError


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file and read its footer.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    try:
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


def read_columns(path: Path, shape: tuple[int, int], columns: NDArray[np.intp]) -> NDArray[Any]:
    """Read the chosen columns of a parquet file, by position.

    Args:
        path: The file.
        shape: Rows and columns that it must have.
        columns: Indices of the columns (n,).

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
    try:
        table = file.read(columns=[names[i] for i in columns], use_threads=False)
        values = np.stack([column.to_numpy() for column in table.columns])
    except (pa.ArrowException, OSError, EOFError) as error:
        raise damaged(path, error) from error
    require_numbers(path, values)
    return values


def require_numbers(path: Path, values: NDArray[Any]) -> None:
    """Raise ConfigError unless values of a table are numbers or truth values."""
    if values.dtype.kind not in "biuf":
        raise ConfigError(f"{path}: holds values of type {values.dtype}, expected numbers; download it again")


def read_rows(path: Path, columns: Sequence[str]) -> list[list[float]]:
    """Read the named columns of a CSV file, in that order.

    Raises:
        ConfigError: If the file is missing, lacks a column or holds anything but finite numbers in them.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.reader(stream))
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing; download or simulate the data set again") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: not readable as CSV ({error}); download it again") from error
    header = lines[0] if lines else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise ConfigError(f"{path}: column {missing[0]} is missing; download it again")
    order = [header.index(name) for name in columns]
    try:
        rows = [[float(line[i]) for i in order] for line in lines[1:] if line]
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path}: a row is cut short or holds no number ({error}); download it again") from error
    if not np.isfinite(rows).all():
        raise ConfigError(f"{path}: holds values that are not finite; download it again")
    return rows
