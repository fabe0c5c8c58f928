"""How the commands print: values, places, and tables as wide as the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spectramind_config.compose.provenance import Setter
from spectramind_config.errors import WIDTH, wrapped
from spectramind_config.schema.values import plain


def width() -> int:
    """Columns that a line may fill."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(sys.__stdout__.fileno()).columns)  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        columns = WIDTH
    return max(40, min(WIDTH, columns))


def out(*lines: str) -> None:
    """Print lines, whatever the terminal can show."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "backslashreplace").decode(encoding))


def out_json(data: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2))


def shown(value: object) -> str:
    """A value as JSON writes it, which shows its type."""
    return json.dumps(plain(value), ensure_ascii=False)


def short(source: str) -> str:
    """A source as a reader recognizes it: the path below the working directory, or the file's name alone."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def setter(one: Setter) -> str:
    """Who says something: the profile with its class, or the override, and where that stands."""
    named = one.owner if one.owner != str(one) else ""
    return ", ".join(part for part in (str(one), named, short(one.source)) if part)


def rows(table: Sequence[Sequence[str]], indent: int = 2) -> Iterator[str]:
    """A table: its last column wraps; where even that has no room, it stands below the others."""
    if not table:
        return
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    left = sum(widths) + 2 * len(widths)
    for row in table:
        cells = "  ".join(text.ljust(size) for text, size in zip(row, widths, strict=False))
        if left + 30 <= width():
            yield wrapped(f"{cells}  ", row[-1], width()).rstrip()
        else:
            yield "  ".join(row[:-1]).rstrip()
            yield wrapped(" " * (indent + 2), row[-1], width()).rstrip()
