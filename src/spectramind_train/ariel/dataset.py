"""The challenge's files on disk: detector frames, calibration frames and tables, in the 2025 layout."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from spectramind_config import Calibration, ConfigError, Problem
from spectramind_train.ariel.constants import AIRS_SHAPE, FGS1_FRAMES_PER_AIRS_FRAME, N_CHANNELS, FloatArray
from spectramind_train.ariel.detector import AIRS, CALIBRATION_FRAMES, FGS1, Detector, apertures
from spectramind_train.ariel.spectra import few
from spectramind_train.ariel.tables import (
    PlanetRows,
    damaged,
    open_parquet,
    read_planets,
    read_rows,
    require_numbers,
    require_plain,
)

Split = Literal["train", "test"]

TRAIN_TABLE: Final = "train.csv"
AXIS_TABLE: Final = "axis_info.parquet"
ADC_TABLE: Final = "adc_info.csv"
WAVELENGTH_COLUMNS: Final = tuple(f"wl_{i}" for i in range(1, N_CHANNELS + 1))
_OF_VISIT: Final = re.compile(rf"(?:{AIRS.name}|{FGS1.name})_(?:signal_(\d+)\.parquet|calibration_(\d+))")
_NAMED = 10


@dataclass(frozen=True)
class Fault:
    """What is wrong with a data set's tables or folders.

    Attributes:
        text: A sentence.
        planet_ids: The planets that it is about, all of them.
    """

    text: str
    planet_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, what: str, planet_ids: Iterable[str]) -> list[Fault]:
        """The fault of these planets, of which the sentence names a few; none where there are none."""
        names = tuple(planet_ids)
        return [cls(f"{what}: {few(names, _NAMED)}", names)] if names else []


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
        ids = self.planets(split)
        return [planet_id for planet_id in ids if planet_id in self._labels.rows] if split == "train" else ids

    def planets(self, split: Split) -> list[str]:
        """The planets whose folders are here, in ascending order, with or without a label."""
        return sorted((name for name in self.entries(split) if name.isdecimal()), key=int)

    def entries(self, split: Split) -> list[str]:
        """All names in ``train/`` or ``test/`` that are not hidden, in alphabetical order."""
        folder = self.root / split
        try:
            found = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read ({error.strerror or error})") from error
        return sorted(name for name in found if not name.startswith("."))

    def labels(self) -> dict[str, FloatArray]:
        """The true spectra (283,) in (Rp/Rs)^2 of every planet in ``train.csv``, with or without a folder.

        Raises:
            ConfigError: One of the rows is damaged: what is learned or scored is of all labels or none.
        """
        if faults := _of_rows(self._labels):
            raise ConfigError([Problem(what=fault.text) for fault in faults])
        return dict(self._labels.rows)

    def star(self, planet_id: str) -> Star | None:
        """The planet's star and orbit, or None where no star table has a row for it.

        Raises:
            ConfigError: The planet's row is damaged, or one of the tables as a whole.
        """
        for table in self._stars:
            if planet_id in table.bad:
                raise ConfigError(table.bad[planet_id])
        rows = [table.rows[planet_id] for table in self._stars if planet_id in table.rows]
        return Star(*rows[-1].tolist()) if rows else None

    def star_faults(self, planet_ids: Iterable[str]) -> list[Fault]:
        """What is wrong with rows of the star tables, as :meth:`star` says it too."""
        faults = [fault for table in self._stars for fault in _of_rows(table)]
        return faults + self.starless(planet_ids)

    def starless(self, planet_ids: Iterable[str]) -> list[Fault]:
        """That no star table has a row for some of these planets, where it is so."""
        known = {planet_id for table in self._stars for planet_id in (*table.rows, *table.bad)}
        missing = [planet_id for planet_id in dict.fromkeys(planet_ids) if planet_id not in known]
        return Fault.of(f"{self.root}: no star table has a row for planets", missing)

    def strays(self) -> list[Fault]:
        """Training planets that cannot be used for lack of a label or of a folder, and folders that are no planet's."""
        faults = []
        for split in ("train", "test"):
            others = [name for name in self.entries(split) if not name.isdecimal()]
            faults += Fault.of(f"{self.root / split}: names that are no planet's", others)
        folders, test = self.planets("train"), set(self.planets("test"))
        twice = [name for name in folders if name in test]
        faults += Fault.of(f"{self.root}: planets in both train/ and test/, of which train/ is taken", twice)
        table = self.root / TRAIN_TABLE
        if not folders and not table.exists():
            return faults
        try:
            labels = self._labels
        except ConfigError as error:
            return [*faults, Fault(str(error))]
        labelled = {*labels.rows, *labels.bad}
        faults += _of_rows(labels)
        faults += Fault.of(
            f"{table}: has no row for planets of train/", [one for one in folders if one not in labelled]
        )
        gone = sorted(labelled - set(folders), key=int)
        return faults + Fault.of(f"{table}: lists planets without a folder in train/", gone)

    def folder(self, planet_id: str) -> Path:
        """The planet's folder, in ``train/`` or ``test/``."""
        for split in ("train", "test"):
            folder = self.root / split / planet_id
            if folder.is_dir():
                return folder
        raise ConfigError(f"{self.root}: no folder train/{planet_id} or test/{planet_id}; is the download complete?")

    def visits(self, planet_id: str) -> list[int]:
        """The numbers of the planet's visits, ascending, by all files of either instrument; most planets have one."""
        folder = self.folder(planet_id)
        try:
            matches = [_OF_VISIT.fullmatch(path.name) for path in folder.iterdir()]
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read ({error.strerror or error})") from error
        visits = sorted({int(match[1] or match[2]) for match in matches if match})
        if not visits:
            raise ConfigError(f"{folder}: no AIRS-CH0_signal_<k>.parquet; download this planet again")
        return visits

    def raw_files(self, planet_id: str) -> list[Path]:
        """Every file that the planet's visits need and that is there, in a fixed order."""
        folder = self.folder(planet_id)
        paths = []
        for visit in self.visits(planet_id):
            for instrument in (AIRS, FGS1):
                paths.append(instrument.signal_path(folder, visit))
                paths += [instrument.calibration_path(folder, visit, frame) for frame in CALIBRATION_FRAMES]
        return [path for path in paths if path.exists()]

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

    def doubts(self, visit: Visit) -> list[str]:
        """What is wrong with the calibration frames of a visit in some pixels, a sentence each."""
        folder = self.folder(visit.planet_id)
        both = ((AIRS, visit.airs), (FGS1, visit.fgs1))
        return [text for one, detector in both for text in one.doubts(folder, visit.number, vars(detector))]

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
    def _labels(self) -> PlanetRows:
        return read_planets(self.root / TRAIN_TABLE, WAVELENGTH_COLUMNS)

    @cached_property
    def _stars(self) -> list[PlanetRows]:
        paths = [self.root / f"{split}_star_info.csv" for split in ("train", "test")]
        return [_read_stars(path) for path in paths if path.is_file()]


@lru_cache(maxsize=1)
def _opened(root: Path) -> Dataset:
    return Dataset(root)


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


def _of_rows(table: PlanetRows) -> list[Fault]:
    return [*map(Fault, table.nameless), *(Fault(text, (planet_id,)) for planet_id, text in table.bad.items())]


def _read_stars(path: Path) -> PlanetRows:
    names = [field.name for field in fields(Star)]
    table = read_planets(path, names)
    for planet_id, row in list(table.rows.items()):
        star = Star(*row.tolist())
        if not (star.P > 0.0 and star.sma > 0.0 and 0.0 <= star.e < 1.0):
            del table.rows[planet_id]
            orbit = f"P = {star.P:g}, sma = {star.sma:g} and e = {star.e:g}"
            table.bad[planet_id] = f"{path}: planet {planet_id} has {orbit}, which no orbit has; download it again"
    return table
