"""The challenge's files on disk: detector frames, calibration frames and tables, in the 2025 layout."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.constants import AIRS_SHAPE, FGS1_FRAMES_PER_AIRS_FRAME, N_CHANNELS, FloatArray
from spectramind_train.ariel.detector import AIRS, CALIBRATION_FRAMES, FGS1, Detector, apertures
from spectramind_train.ariel.tables import damaged, open_parquet, read_rows, require_numbers, require_plain

Split = Literal["train", "test"]

TRAIN_TABLE: Final = "train.csv"
AXIS_TABLE: Final = "axis_info.parquet"
ADC_TABLE: Final = "adc_info.csv"
WAVELENGTH_COLUMNS: Final = tuple(f"wl_{i}" for i in range(1, N_CHANNELS + 1))
_SIGNAL_FILE: Final = re.compile(rf"(?:{AIRS.name}|{FGS1.name})_signal_(\d+)\.parquet")


@dataclass(frozen=True)
class Star:
    """The star and the orbit, as the star tables name them.

    Attributes:
        Rs: Stellar radius, in solar radii.
        Ms: Stellar mass, in solar masses.
        Ts: Effective temperature of the star, in K.
        Mp: Mass of the planet, in Jupiter masses.
        e: Eccentricity of the orbit.
        P: Orbital period, in days.
        sma: Semi-major axis, in stellar radii.
        i: Inclination of the orbit, in degrees.
    """

    Rs: float
    Ms: float
    Ts: float
    Mp: float
    e: float
    P: float
    sma: float
    i: float


@dataclass(frozen=True)
class Adc:
    """Gain and offset of the analogue-to-digital converters."""

    airs_gain: float
    airs_offset: float
    fgs1_gain: float
    fgs1_offset: float


@dataclass(frozen=True)
class Axis:
    """When the frames of a visit were taken.

    Attributes:
        airs_time: Times of the AIRS frames (n,), in hours since the visit's start; frames come in pairs.
        fgs1_time: Times of the FGS1 frames (12 n,), in hours.
        airs_integration: Integration times of the AIRS frames (n,), in s, short and long alternating.
        airs_wavelength: Wavelengths of the AIRS detector columns (356,), in um, descending.
    """

    airs_time: FloatArray
    fgs1_time: FloatArray
    airs_integration: FloatArray
    airs_wavelength: FloatArray


@dataclass(frozen=True)
class Visit:
    """One observation of a transit by both instruments."""

    planet_id: str
    number: int
    airs: Detector
    fgs1: Detector


class Dataset:
    """A folder in the layout of the Ariel Data Challenge 2025.

    Opening it reads the small tables only. How many frames a visit has is read from ``axis_info.parquet``.

    Args:
        root: The folder that holds ``train/`` or ``test/`` and the tables.

    Raises:
        ConfigError: If the folder, or one of the tables that every use needs, is missing or damaged. All methods
            raise it for the files they read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not any((root / split).is_dir() for split in ("train", "test")):
            raise ConfigError(
                f"{root}: no data set here; expected a folder train/ or test/ beside {AXIS_TABLE}. "
                "Set paths.data_root to the challenge's data, or run 'spectramind data simulate'"
            )
        self.axis = _read_axis(root / AXIS_TABLE)
        self.adc = _read_adc(root / ADC_TABLE)

    def __reduce__(self) -> tuple[Callable[[Path], Dataset], tuple[Path]]:
        """A data set travels to another process as its folder, and is opened there once."""
        return _opened, (self.root,)

    @staticmethod
    def present(root: Path) -> bool:
        """Whether ``root`` looks like a complete data set; opens no file."""
        tables = all((root / name).is_file() for name in (AXIS_TABLE, ADC_TABLE))
        return tables and any((root / split).is_dir() for split in ("train", "test"))

    def planet_ids(self, split: Split) -> list[str]:
        """The planets whose folders are here, in ascending order; of the training planets those with a label."""
        folder = self.root / split
        found = (entry.name for entry in folder.iterdir()) if folder.is_dir() else iter(())
        ids = sorted((name for name in found if name.isdecimal()), key=int)
        return [planet_id for planet_id in ids if planet_id in self._labels] if split == "train" else ids

    def labels(self) -> dict[str, FloatArray]:
        """The true spectra (283,) in (Rp/Rs)^2 of every planet in ``train.csv``, with or without a folder."""
        return dict(self._labels)

    def star(self, planet_id: str) -> Star | None:
        """The planet's star and orbit, or None where no star table has a row for it."""
        return self._stars.get(planet_id)

    def folder(self, planet_id: str) -> Path:
        """The planet's folder, in ``train/`` or ``test/``."""
        for split in ("train", "test"):
            folder = self.root / split / planet_id
            if folder.is_dir():
                return folder
        raise ConfigError(f"{self.root}: no folder train/{planet_id} or test/{planet_id}; is the download complete?")

    def visits(self, planet_id: str) -> list[int]:
        """The numbers of the planet's visits, ascending, by the frames of either instrument; most planets have one."""
        folder = self.folder(planet_id)
        matches = (_SIGNAL_FILE.fullmatch(path.name) for path in folder.iterdir())
        visits = sorted({int(match[1]) for match in matches if match})
        if not visits:
            raise ConfigError(f"{folder}: no AIRS-CH0_signal_<k>.parquet; download this planet again")
        return visits

    def raw_files(self, planet_id: str) -> list[Path]:
        """Every file that the planet's visits need, whether it exists or not, in a fixed order."""
        folder = self.folder(planet_id)
        paths = []
        for visit in self.visits(planet_id):
            for instrument in (AIRS, FGS1):
                paths.append(instrument.signal_path(folder, visit))
                paths += [instrument.calibration_path(folder, visit, frame) for frame in CALIBRATION_FRAMES]
        return paths

    def read_visit(self, planet_id: str, visit: int, settings: Calibration | None = None) -> Visit:
        """Read the raw frames and the calibration frames of a visit.

        Args:
            planet_id: The planet.
            visit: Number of the visit.
            settings: Where given, only the pixels inside its apertures are read, which is several times faster and
                smaller; by default the whole detectors.
        """
        folder = self.folder(planet_id)
        airs, fgs1 = apertures(settings) if settings else (AIRS.whole, FGS1.whole)
        return Visit(
            planet_id,
            visit,
            AIRS.read(folder, visit, len(self.axis.airs_time), airs),
            FGS1.read(folder, visit, len(self.axis.fgs1_time), fgs1),
        )

    def fingerprint(self) -> str:
        """A sha256 in hex over all file names and sizes and over the contents of the tables."""
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(f"{path.relative_to(self.root).as_posix()}\0{path.stat().st_size}\n".encode())
            if path.parent == self.root:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _files(self) -> Iterator[Path]:
        yield from sorted(path for path in self.root.iterdir() if path.is_file() and not path.name.startswith("."))
        for split in ("train", "test"):
            for path in sorted((self.root / split).rglob("*.parquet")):
                if not any(part.startswith(".") for part in path.relative_to(self.root).parts):
                    yield path

    @cached_property
    def _labels(self) -> dict[str, FloatArray]:
        path = self.root / TRAIN_TABLE
        return _read_table(path, WAVELENGTH_COLUMNS)

    @cached_property
    def _stars(self) -> dict[str, Star]:
        names = [field.name for field in fields(Star)]
        paths = [self.root / f"{split}_star_info.csv" for split in ("train", "test")]
        tables = [_read_table(path, names) for path in paths if path.is_file()]
        return {key: Star(*values.tolist()) for table in tables for key, values in table.items()}


@lru_cache(maxsize=1)
def _opened(root: Path) -> Dataset:
    return Dataset(root)


def check(root: Path) -> list[str]:
    """What is wrong with the data set at ``root``, a sentence each; empty when nothing is.

    Opens every file's footer and compares shapes, but reads no frames.
    """
    try:
        dataset = Dataset(root)
        train = dataset.planet_ids("train") if (root / "train").is_dir() else []
        problems = [] if train or not (root / "train").is_dir() else [f"{root / 'train'}: no labelled planet"]
        planets = [*train, *dataset.planet_ids("test")]
        problems += [f"{root}: no star table has planet {name}" for name in planets if dataset.star(name) is None]
    except ConfigError as error:
        return [str(error)]
    for planet_id in planets:
        try:
            for visit in dataset.visits(planet_id):
                folder = dataset.folder(planet_id)
                problems += AIRS.problems(folder, visit, len(dataset.axis.airs_time))
                problems += FGS1.problems(folder, visit, len(dataset.axis.fgs1_time))
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _read_axis(path: Path) -> Axis:
    names = ("AIRS-CH0-axis0-h", "FGS1-axis0-h", "AIRS-CH0-integration_time", "AIRS-CH0-axis2-um")
    file = open_parquet(path)
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        raise ConfigError(f"{path}: column {missing[0]} is missing; download it again")
    require_plain(path, file)
    try:
        columns = [file.read(columns=[name]).column(0).to_numpy() for name in names]
    except (pa.ArrowException, OSError, EOFError) as error:
        raise damaged(path, error) from error
    for column in columns:
        require_numbers(path, column)
    numbers = [np.asarray(column, dtype=np.float64) for column in columns]
    airs, fgs1, integration, wavelength = (column[np.isfinite(column)] for column in numbers)
    consistent = len(airs) >= 2 and len(airs) % 2 == 0 and len(integration) == len(airs)
    if not consistent or len(fgs1) != FGS1_FRAMES_PER_AIRS_FRAME * len(airs) or len(wavelength) != AIRS_SHAPE[1]:
        raise ConfigError(
            f"{path}: {len(airs)} AIRS times, {len(integration)} integration times, {len(fgs1)} FGS1 times and "
            f"{len(wavelength)} wavelengths do not fit: expected pairs of AIRS frames, as many integration times, "
            f"{FGS1_FRAMES_PER_AIRS_FRAME} FGS1 frames for each and {AIRS_SHAPE[1]} wavelengths"
        )
    if np.any(np.diff(airs) <= 0.0) or np.any(np.diff(fgs1) <= 0.0):
        raise ConfigError(f"{path}: its times do not ascend; download it again")
    return Axis(airs, fgs1, integration, wavelength)


def _read_adc(path: Path) -> Adc:
    names = ("AIRS-CH0_adc_gain", "AIRS-CH0_adc_offset", "FGS1_adc_gain", "FGS1_adc_offset")
    rows = read_rows(path, names)
    if len(rows) != 1 or rows[0][0] <= 0 or rows[0][2] <= 0:
        raise ConfigError(f"{path}: expected one row with positive gains; download it again")
    return Adc(*rows[0].tolist())


def _read_table(path: Path, columns: Sequence[str]) -> dict[str, FloatArray]:
    rows = read_rows(path, ["planet_id", *columns])
    table = {str(int(row[0])): row[1:] for row in rows}
    if len(table) < len(rows):
        raise ConfigError(f"{path}: lists a planet twice; download it again")
    return table
