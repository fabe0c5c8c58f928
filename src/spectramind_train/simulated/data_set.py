"""A simulated data set in the challenge's layout, for machines that do not have the real one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spectramind_config import ConfigError, Problem, Simulation
from spectramind_train.ariel.constants import N_CHANNELS, WAVELENGTHS_UM, FloatArray
from spectramind_train.ariel.dataset import ADC_TABLE, AXIS_TABLE, TRAIN_TABLE, Dataset, Split, Star
from spectramind_train.ariel.detector import AIRS, CALIBRATION_FRAMES, FGS1, Detector, Instrument
from spectramind_train.ariel.spectra import Spectra
from spectramind_train.ariel.submission import SAMPLE_TABLE, Layout
from spectramind_train.ariel.tables import by_channel, write_csv
from spectramind_train.run.atomic_files import making, replacing, sweep, write_atomically
from spectramind_train.run.pools import spread
from spectramind_train.run.sources import source_digest
from spectramind_train.run.turns import alone
from spectramind_train.simulated.observation import ADC, frame_axis, observe
from spectramind_train.simulated.population import System, draw_system, generator

TEST_PLANETS: Final = 2
VISITS_REPEAT_EVERY: Final = 24
"""One planet in so many is visited twice, as a few of the challenge's are."""

_FIRST_ID: Final[dict[Split, int]] = {"train": 1_000_001, "test": 9_000_001}
_RECORD: Final = "simulation.json"

_PRIOR_MEAN, _PRIOR_SIGMA = 0.0147, 0.0107


def version() -> str:
    """What the planets of a seed depend on besides the settings: a digest of the code that makes them.

    Data sets never mix two versions.
    """
    return source_digest(__name__)[:16]


def simulate(
    root: Path,
    settings: Simulation,
    *,
    spectra: Spectra | None = None,
    planets: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    waiting: Callable[[], None] | None = None,
    workers: int = 2,
) -> Dataset:
    """Write a simulated data set to ``root``, or extend the one that is there.

    A planet depends on the seed and its number only: a folder made in two goes equals one made at once, and planets
    that are there are kept. Each planet's folder appears complete, by a rename; the tables follow, and last of them
    ``axis_info.parquet``, so that ``Dataset.present`` holds once everything is there. Of several processes that
    simulate the same folder one does it, and the others wait for it.

    Args:
        root: The folder; made where absent.
        settings: Number of planets and frames, and the seed.
        spectra: The planets' spectra, by default drawn from physics. The first rows are those of the labelled planets,
            in their order, and the last ones those of the planets of ``test/``.
        planets: Number of labelled planets, instead of the settings' number; a folder with more keeps them.
        progress: Called with (planets done, planets to do) after each planet.
        waiting: Called where another process simulates the folder and this one waits for it.
        workers: Processes to use; 1 works in this process.

    Returns:
        The data set.

    Raises:
        ConfigError: If ``root`` holds real data or a simulation with other settings or spectra, if it cannot be
            written, if the number of frames is odd, or if the spectra are fewer than the planets or no depths.
    """
    if settings.airs_frames % 2:
        raise ConfigError(
            f"data.simulation.airs_frames = {settings.airs_frames} is odd, but frames come in pairs; "
            f"use {settings.airs_frames + 1}"
        )
    labelled = settings.planets if planets is None else planets
    wanted = [*_numbered("train", labelled), *_numbered("test", TEST_PLANETS)]
    if spectra:
        _require_depths(spectra, labelled)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with alone(root / ".lock", waiting):
            sweep(root, *(root / split for split in _FIRST_ID))
            _claim(root, settings, spectra)
            missing = [planet for planet in wanted if not _folder(root, *planet).is_dir()]
            jobs = [(root, settings, *planet, _given(spectra, *planet)) for planet in missing]
            with closing(spread(write_planet, jobs, workers, purpose="simulates")) as written:
                for done, _ in enumerate(written, 1):
                    if progress:
                        progress(done, len(missing))
            _write_tables(root, settings, spectra)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or root}: the simulated data set cannot be written ({error.strerror or error}); "
            "free some space, or choose a folder that can be written (paths.cache_dir for a training)"
        ) from error
    return Dataset(root)


def write_planet(
    root: Path, settings: Simulation, split: Split, index: int, spectrum: FloatArray | None = None
) -> None:
    """Simulate one planet and write its folder, by a rename at the end; a folder that is there stays."""
    folder = _folder(root, split, index)
    system = draw_system(settings.seed, split, index, spectrum)
    # Another process may be faster; its planet is the same.
    with suppress(FileExistsError), making(folder) as unfinished:
        twice = split == "train" and index % VISITS_REPEAT_EVERY == 2
        for number in range(2 if twice else 1):
            rng = generator(settings.seed, split, index, purpose=2 + number)
            visit = observe(system, folder.name, number, settings.airs_frames // 2, rng, noise=True)
            write_detector(AIRS, visit.airs, unfinished, number)
            write_detector(FGS1, visit.fgs1, unfinished, number)


def write_detector(instrument: Instrument, detector: Detector, folder: Path, visit: int) -> None:
    """Write the signal and the calibration frames of one instrument and visit, in the challenge's files."""
    frames = np.moveaxis(detector.frames, 0, -1).reshape(-1, len(detector.frames))
    _write_columns(instrument.signal_path(folder, visit), frames)
    for frame in CALIBRATION_FRAMES:
        path = instrument.calibration_path(folder, visit, frame)
        path.parent.mkdir(exist_ok=True)
        values: NDArray[Any] = getattr(detector, frame)
        _write_columns(path, np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T))


def _write_columns(path: Path, columns: NDArray[Any]) -> None:
    """Write the rows of ``columns`` as the columns ``column_0``, ``column_1``, … of a parquet file.

    The encoding is the fastest to write among those that shrink the frames: a dictionary of the few counts that a
    pixel shows, one row group, and neither statistics nor compression, which cost more time than the rest.
    """
    table = pa.table([pa.array(column) for column in columns], names=[f"column_{i}" for i in range(len(columns))])
    pq.write_table(
        table,
        path,
        row_group_size=len(table),
        compression="none",
        use_dictionary=columns.dtype == np.uint16,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    )


def _numbered(split: Split, count: int) -> list[tuple[Split, int]]:
    return [(split, index) for index in range(count)]


def _folder(root: Path, split: Split, index: int) -> Path:
    return root / split / str(_FIRST_ID[split] + index)


def _given(spectra: Spectra | None, split: Split, index: int) -> FloatArray | None:
    """The spectrum (283,) of a planet where a table gives it."""
    if spectra is None:
        return None
    return np.asarray(spectra.values["wl"][index if split == "train" else -1 - index])


def _require_depths(spectra: Spectra, labelled: int) -> None:
    """Refuse a table that has too few spectra, or values that no transit has.

    No spectrum is used twice: its planets could stand on both sides of a split, and a model be scored on what it knows.
    """
    values = spectra.values["wl"]
    problems = []
    if (rows := len(values)) < labelled + TEST_PLANETS:
        enough = f"data.simulation.planets={rows - TEST_PLANETS}"
        least = "more rows" if rows < 4 + TEST_PLANETS else f"more rows, or {enough}"
        problems.append(
            Problem(
                what=f"{spectra.path}: {rows} spectra are too few for {labelled} labelled planets and the "
                f"{TEST_PLANETS} of test/, each of which has a spectrum of its own",
                expected=least,
            )
        )
    wrong = np.argwhere((values <= 0.0) | (values >= 1.0))
    if wrong.size:
        row, channel = wrong[0]
        more = (
            ""
            if len(wrong) == 1
            else "; so is another value"
            if len(wrong) == 2
            else f"; so are {len(wrong) - 1} others"
        )
        problems.append(
            Problem(
                what=f"{spectra.path}: planet {spectra.planet_ids[row]}, column wl_{channel + 1}: "
                f"{values[row, channel]:g} is no depth of a transit{more}",
                expected="(Rp/Rs)^2, above 0 and below 1",
            )
        )
    if problems:
        raise ConfigError(problems)


def _claim(root: Path, settings: Simulation, spectra: Spectra | None) -> None:
    """Make ``root`` a simulation with these settings, or make sure that it is one."""
    record = {"airs_frames": settings.airs_frames, "seed": settings.seed, "version": version()}
    if spectra:
        record["spectra"] = hashlib.sha256(np.ascontiguousarray(spectra.values["wl"]).tobytes()).hexdigest()
    path = root / _RECORD
    if not path.is_file():
        if any((root / name).exists() for name in ("train", "test", TRAIN_TABLE, AXIS_TABLE)):
            raise ConfigError(
                f"{root}: holds a data set that was not simulated; nothing is simulated into it. "
                "Set paths.data_root to another folder, or complete the data that is there"
            )
        write_atomically(path, f"{json.dumps(record)}\n".encode())
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if found != record:
        raise ConfigError(
            f"{path}: the folder was simulated with {found}, now asked for {record}; "
            "set paths.data_root to another folder, or delete this one"
        )
    for split in _FIRST_ID:
        (root / split).mkdir(exist_ok=True)


def _write_tables(root: Path, settings: Simulation, spectra: Spectra | None) -> None:
    """Write the tables of all planets that have a folder."""
    written: dict[Split, list[int]] = {}
    while (present := _present(root)) != written:
        # Another process may have added planets, or written shorter tables, in the meantime.
        written = present
        for split, indices in present.items():
            systems = {
                _FIRST_ID[split] + index: draw_system(settings.seed, split, index, _given(spectra, split, index))
                for index in indices
            }
            _write_split_tables(root, split, systems)
    gains = {"FGS1_adc_offset": ADC.fgs1_offset, "FGS1_adc_gain": ADC.fgs1_gain}
    gains |= {"AIRS-CH0_adc_offset": ADC.airs_offset, "AIRS-CH0_adc_gain": ADC.airs_gain}
    write_csv(root / ADC_TABLE, {name: [value] for name, value in gains.items()})
    write_csv(root / "wavelengths.csv", by_channel("wl", WAVELENGTHS_UM[None]))
    axis = frame_axis(settings.airs_frames // 2)
    columns = {
        "AIRS-CH0-axis0-h": axis.airs_time,
        "AIRS-CH0-axis2-um": axis.airs_wavelength,
        "AIRS-CH0-integration_time": axis.airs_integration,
        "FGS1-axis0-h": axis.fgs1_time,
    }
    rows = len(axis.fgs1_time)
    padded = {name: pa.array([*values.tolist(), *[None] * (rows - len(values))]) for name, values in columns.items()}
    with replacing(root / AXIS_TABLE) as file:
        pq.write_table(pa.table(padded), file)


def _present(root: Path) -> dict[Split, list[int]]:
    return {
        split: sorted(int(path.name) - first for path in (root / split).iterdir() if path.name.isdecimal())
        for split, first in _FIRST_ID.items()
    }


def _write_split_tables(root: Path, split: Split, systems: Mapping[int, System]) -> None:
    stars = {field.name: [float(getattr(one.star, field.name)) for one in systems.values()] for field in fields(Star)}
    write_csv(root / f"{split}_star_info.csv", {"planet_id": list(systems), **stars})
    if split == "train":
        labels = np.array([system.spectrum for system in systems.values()]).reshape(-1, N_CHANNELS)
        write_csv(root / TRAIN_TABLE, {"planet_id": list(systems), **by_channel("wl", labels)})
    else:
        mean, sigma = (np.full((len(systems), N_CHANNELS), value) for value in (_PRIOR_MEAN, _PRIOR_SIGMA))
        Layout().write(root / SAMPLE_TABLE, [str(one) for one in systems], mean, sigma)
