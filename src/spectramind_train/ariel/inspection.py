"""A data set looked through before hours are spent on it: what is wrong with its tables and with each planet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectramind_config import ConfigError
from spectramind_train.ariel.constants import AIRS_COLUMNS
from spectramind_train.ariel.dataset import AXIS_TABLE, WAVELENGTH_COLUMNS, Dataset, Fault, Split
from spectramind_train.ariel.detector import AIRS, FGS1, SAMPLED_PIXELS
from spectramind_train.ariel.submission import SAMPLE_TABLE, layout_of, planets_to_predict, unlisted
from spectramind_train.ariel.tables import read_rows
from spectramind_train.run.pools import spread

WAVELENGTHS_TABLE = "wavelengths.csv"
UNREAD = f"of the signals {SAMPLED_PIXELS} pixels each were read; damage to others shows when they are calibrated"

_TOLERANCE_UM = 1e-3
_FEW = 8
"""Planets that are looked through before as many processes could be started."""


@dataclass(frozen=True)
class PlanetReport:
    """What was found of one planet.

    Attributes:
        planet_id: Its name.
        split: ``train`` or ``test``.
        visits: Numbers of its visits, by their files.
        faults: What is wrong with it, a sentence each.
        signals: Bytes of its raw frames.
    """

    planet_id: str
    split: Split
    visits: tuple[int, ...]
    faults: tuple[str, ...]
    signals: int


@dataclass(frozen=True)
class Inspection:
    """What was found of a data set.

    Attributes:
        folder: The data set.
        labelled: How many planets of ``train/`` have a label.
        tables: What is wrong with its tables, and with folders that are no planet's.
        planets: All planets of both splits, with a folder or listed for one; none where a table that all need is bad.
    """

    folder: str
    labelled: int
    tables: tuple[Fault, ...]
    planets: tuple[PlanetReport, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.tables and not any(one.faults for one in self.planets)


def inspect(root: Path, *, progress: Callable[[int, int], None] = lambda *_: None, workers: int = 1) -> Inspection:
    """Look through a data set: all tables, all calibration frames, and of the raw frames what ``UNREAD`` says.

    What is wrong is in the words of whoever else would find it later.

    Args:
        root: Its folder.
        progress: Called with (planets done, planets in all) after each planet.
        workers: Processes to use.

    Raises:
        ProcessFailedError: A worker process died.
    """
    found: dict[Split, list[str]] = {}
    try:
        dataset = Dataset(root)
        faults = dataset.strays()
        for split in ("train", "test"):
            found[split] = dataset.planets(split)
    except ConfigError as error:
        return Inspection(str(root), 0, (Fault(str(error)),), ())
    try:
        labelled = len(dataset.planet_ids("train"))
    except ConfigError:  # That is among the faults.
        labelled = 0
    try:
        faults += dataset.star_faults([*found["train"], *found["test"]])
    except ConfigError as error:
        faults.append(Fault(str(error)))
    faults += _of_wavelengths(dataset)
    try:
        faults += unlisted(root, layout_of(root), found["test"])
        found["test"] = planets_to_predict(dataset)
    except ConfigError as error:
        faults.append(Fault(str(error)))
    if found["test"] and not (root / SAMPLE_TABLE).exists():
        faults.append(Fault(f"{root / SAMPLE_TABLE}: missing; download or simulate the data set again"))
    jobs = [(dataset, split, planet_id) for split, planet_ids in found.items() for planet_id in planet_ids]
    if not jobs:
        faults.append(Fault(f"{root}: no planet in train/ or test/"))
    reports: dict[int, PlanetReport] = {}
    with closing(spread(_look, jobs, workers if len(jobs) > _FEW else 1, purpose="checks")) as looked:
        for number, report in looked:
            reports[number] = report
            progress(len(reports), len(jobs))
    return Inspection(str(root), labelled, tuple(faults), tuple(reports[number] for number in range(len(jobs))))


def _look(dataset: Dataset, split: Split, planet_id: str) -> PlanetReport:
    """Look through the files of one planet."""
    faults: list[str] = []
    visits: list[int] = []
    signals = 0
    try:
        folder, visits = dataset.folder(planet_id), dataset.visits(planet_id)
        for visit in visits:
            for instrument, times in ((AIRS, dataset.axis.airs_time), (FGS1, dataset.axis.fgs1_time)):
                faults += instrument.problems(folder, visit, len(times))
                file = instrument.signal_path(folder, visit)
                signals += file.stat().st_size if file.is_file() else 0
    except ConfigError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"{error.filename}: cannot be read ({error.strerror})")
    return PlanetReport(planet_id, split, tuple(visits), tuple(faults), signals)


def _of_wavelengths(dataset: Dataset) -> list[Fault]:
    """What is wrong with the table of wavelengths, which has to agree with the axis of the detector."""
    path = dataset.root / WAVELENGTHS_TABLE
    try:
        rows = read_rows(path, WAVELENGTH_COLUMNS)
    except ConfigError as error:
        return [Fault(str(error))]
    expected = dataset.axis.airs_wavelength[AIRS_COLUMNS][::-1]
    if len(rows) != 1 or np.abs(rows[0, 1:] - expected).max() > _TOLERANCE_UM:
        return [Fault(f"{path}: is not one row with the wavelengths of {AXIS_TABLE}; download it again")]
    return []
