"""The table that the challenge takes: which columns in which order, and which planets."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectramind_config import ConfigError, files
from spectramind_train.ariel.constants import N_CHANNELS, FloatArray
from spectramind_train.ariel.dataset import Dataset, Fault
from spectramind_train.ariel.tables import LARGEST_TABLE, by_channel, write_csv

SAMPLE_TABLE: Final = "sample_submission.csv"
COLUMNS: Final = ("planet_id", *(f"{name}_{i}" for name in ("wl", "sigma") for i in range(1, N_CHANNELS + 1)))
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
"""A planet's name that a column of whole numbers keeps as it is."""


@dataclass(frozen=True)
class Layout:
    """How a table of predictions is laid out.

    Attributes:
        columns: ``planet_id``, ``wl_1`` to ``wl_283`` and ``sigma_1`` to ``sigma_283``, in the order of the table.
        planet_ids: The planets of its rows; None where nobody has said.
    """

    columns: tuple[str, ...] = COLUMNS
    planet_ids: tuple[str, ...] | None = None

    def write(self, path: Path, planet_ids: Sequence[str], mu: FloatArray, sigma: FloatArray) -> None:
        """Write the table, whole or not at all.

        Args:
            path: The file.
            planet_ids: Names of N planets.
            mu: Their spectra (N, 283), in (Rp/Rs)^2.
            sigma: The spectra's standard deviations (N, 283).

        Raises:
            OSError: It cannot be written.
        """
        numbers = all(_NUMBER.fullmatch(one) for one in planet_ids)
        names = [int(one) for one in planet_ids] if numbers else planet_ids
        spectra = {**by_channel("wl", mu), **by_channel("sigma", sigma)}
        write_csv(path, {name: names if name == COLUMNS[0] else spectra[name] for name in self.columns})


def layout_of(root: Path) -> Layout:
    """The layout that ``sample_submission.csv`` of a data set shows, or the challenge's where there is none.

    Raises:
        ConfigError: It is no table, its columns are not those of the challenge, or it lists a planet twice.
    """
    path = root / SAMPLE_TABLE
    try:
        text = files.read(path, LARGEST_TABLE).decode("utf-8-sig")
        table = (row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row)
        header = next(table, [])
        # No more is kept of a row than its length and its planet.
        place = header.index("planet_id") if "planet_id" in header else 0
        rows = [(len(row), row[place] if len(row) > place else "") for row in table]
    except FileNotFoundError:
        return Layout()
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror or error})") from error
    except (ValueError, csv.Error) as error:
        raise _refused(path, f"is no table ({error})") from error
    if wrong := sorted(set(header) - set(COLUMNS)):
        raise _refused(path, f"has a column {wrong[0]!r:.60}, which is none of the challenge's")
    if missing := [name for name in COLUMNS if name not in header]:
        raise _refused(path, f"lacks {len(missing)} of the challenge's columns, the first is {missing[0]}")
    if len(header) > len(COLUMNS):
        raise _refused(path, f"has the column {Counter(header).most_common(1)[0][0]} twice")
    if short := next((number for number, (values, _) in enumerate(rows, 1) if values != len(header)), 0):
        raise _refused(path, f"is cut short: row {short} has {rows[short - 1][0]} of {len(header)} values")
    counts = Counter(planet_id for _, planet_id in rows)
    if strange := [one for one in counts if not _NUMBER.fullmatch(one)]:
        raise _refused(path, f"lists the planet {strange[0]!r:.60}, which is no number")
    if twice := [one for one, count in counts.items() if count > 1]:
        raise _refused(path, f"lists planet {twice[0]} twice")
    return Layout(tuple(header), tuple(counts) or None)


def planets_to_predict(dataset: Dataset) -> list[str]:
    """The planets of ``test/``, where there is one: those with a folder, and those that the sample lists for one.

    Raises:
        ConfigError: As :func:`layout_of` does.
    """
    listed = layout_of(dataset.root).planet_ids if (dataset.root / "test").is_dir() else None
    return sorted({*dataset.planets("test"), *(listed or ())}, key=int)


def unlisted(root: Path, layout: Layout, planet_ids: Collection[str]) -> list[Fault]:
    """That ``sample_submission.csv`` of a data set does not list some of these planets, where it is so."""
    listed = set(layout.planet_ids or planet_ids)
    others = [planet_id for planet_id in planet_ids if planet_id not in listed]
    return Fault.of(f"{root / SAMPLE_TABLE}: does not list planets of test/, which get no row", others)


def _refused(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what}; download it again, or move it away for a table of planet_id, wl_1, …, sigma_283"
    )
