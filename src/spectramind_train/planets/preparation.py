"""From raw files to fitted light curves, a planet at a time, each result kept in a cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.dataset import TRAIN_TABLE, Dataset, Fault, Star
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.planets.cache import entry_key, read_entry, write_entry
from spectramind_train.planets.remarks import Remarks, read_remarks, write_remarks
from spectramind_train.planets.visits import average_visits
from spectramind_train.run.atomic_files import sweep
from spectramind_train.run.pools import spread
from spectramind_train.run.sources import source_digest
from spectramind_train.run.turns import alone, claimed
from spectramind_train.transit.diagnosis import Diagnosis, diagnose
from spectramind_train.transit.spectrum_fit import TransitFit, fit_transit

T = TypeVar("T")


WAITING: Final = "another process calibrates the last of these planets; waiting for it"
"""What a user is told who waits for another process."""


@dataclass(frozen=True)
class Planet:
    """A planet ready for the model.

    Attributes:
        planet_id: Its name in the data set.
        curves: Its light curves, the average where it was visited several times.
        fit: The classical transit fit to them.
        label: The true spectrum (283,) in (Rp/Rs)^2, or None where it is not known.
        star: The star and the planet's orbit, or None where they are not known.
    """

    planet_id: str
    curves: LightCurves
    fit: TransitFit
    label: FloatArray | None
    star: Star | None = None

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What the fit does not explain of the light curves."""
        return diagnose(self.curves, self.fit)


@dataclass(frozen=True)
class Failure:
    """A planet that cannot be used.

    Attributes:
        planet_id: Its name in the data set.
        error: What is wrong with it: a ConfigError, or what its numbers have led to in a calibration or a fit.
    """

    planet_id: str
    error: Exception

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        return _words(self.planet_id, self.error)


@dataclass(frozen=True)
class Entry:
    """A planet that is in the cache.

    Attributes:
        planet_id: Its name in the data set.
        path: Its entry.
        star: The star and the planet's orbit, or None where the data set's table has no row of it.
    """

    planet_id: str
    path: Path
    star: Star | None = None

    def read(self, label: FloatArray | None = None) -> Planet | Failure:
        """The planet; a failure where the entry has gone or been damaged since."""
        found = read_entry(self.path, self.planet_id)
        if found is None:
            return Failure(self.planet_id, ConfigError(f"{self.path}: the entry is gone or damaged; start again"))
        return Planet(self.planet_id, *found, label, self.star)

    @property
    def remarks(self) -> Remarks:
        """What is wrong with the planet, though it can be used."""
        return read_remarks(self.path)


class Filling:
    """Planets on their way into the cache: whoever iterates does the work, and gets each one's outcome once.

    The cache holds one entry per planet and state of what it depends on: the calibration settings, size and time of
    modification of every raw file, the star, and the code from here down to the detectors. An entry that cannot be
    read is made anew. Processes that fill a cache at the same time, on one machine or on several, share the work:
    whoever begins a planet locks it, and the others take the next. Where a process dies, its lock is free.

    Args:
        dataset: Where the raw files are.
        planet_ids: Which planets.
        settings: How to calibrate.
        cache_dir: Folder of the cache, made where absent.
        waiting: Called, once, where all planets left are those that other processes have begun.
        workers: Processes to use. With more than one, a script must guard its entry point by
            ``if __name__ == "__main__"``, as always with spawned processes.

    Attributes:
        planets: How many planets there are.
        done: How many of them have an outcome.
        size: Bytes of raw files of all planets that can be found.
        read: Bytes of those whose planets are done.

    Raises:
        ConfigError: The cache cannot be made, or a table of the data set is damaged. What is wrong with one planet
            is its outcome; so is that it cannot be written.
        ProcessFailedError: A worker process died.
    """

    def __init__(
        self,
        dataset: Dataset,
        planet_ids: Sequence[str],
        settings: Calibration,
        cache_dir: Path,
        *,
        waiting: Callable[[], None] | None = None,
        workers: int = 1,
    ) -> None:
        _make(cache_dir)
        self.cache_dir, self.waiting, self.workers = cache_dir, waiting, workers
        self.planets, self.done, self.size, self.read = len(planet_ids), 0, 0, 0
        self._job = (dataset, settings)
        self._entries: list[Entry] = []
        self._sizes: dict[str, int] = {}
        self._failures: list[Failure] = []
        self._began, self._found = time.monotonic(), 0
        code = source_digest(__name__)
        dataset.starless(planet_ids)  # A damaged table is no fault of the planets'.
        for planet_id in planet_ids:
            try:
                path = entry_path(dataset, planet_id, settings, cache_dir, code)
                self._sizes[planet_id] = sum(file.stat().st_size for file in dataset.raw_files(planet_id))
                self._entries.append(Entry(planet_id, path, dataset.star(planet_id)))
            except (ConfigError, OSError) as error:
                self._failures.append(Failure(planet_id, error))
        self.size = sum(self._sizes.values())

    def __iter__(self) -> Generator[Entry | Failure]:
        """Entries that are there come first, then the others as they are made."""
        for failure in self._failures:
            yield self._counted(failure)
        missing = []
        for entry in self._entries:
            if read_entry(entry.path, entry.planet_id) is None:
                missing.append(entry)
            else:
                yield self._counted(entry)
        self._began, self._found = time.monotonic(), self.read
        sweep(self.cache_dir)
        begun: list[Entry] = []
        for entry, outcome in self._spread(missing, _make_entry):
            if outcome is None:
                begun.append(entry)
            else:
                yield self._counted(outcome)
        if begun and self.waiting:
            self.waiting()
        for _, outcome in self._spread(begun, _await_entry):
            yield self._counted(outcome)

    def words(self) -> str:
        """How much has been read, and how long the rest will take at this pace."""
        amount = f"{self.read / 1e9:.2f} of {self.size / 1e9:.2f} GB"
        if (made := self.read - self._found) <= 0 or self.done == self.planets:
            return amount
        seconds = (self.size - self.read) * (time.monotonic() - self._began) / made
        return f"{amount}, {timedelta(seconds=round(seconds))} left"

    def _spread(self, entries: Sequence[Entry], task: Callable[..., T]) -> Iterator[tuple[Entry, T]]:
        jobs = [(*self._job, entry) for entry in entries]
        with closing(spread(task, jobs, self.workers, purpose="prepares")) as made:
            for number, outcome in made:
                yield entries[number], outcome

    def _counted(self, outcome: Entry | Failure) -> Entry | Failure:
        self.done += 1
        self.read += self._sizes.get(outcome.planet_id, 0)
        return outcome


def prepare(
    dataset: Dataset,
    planet_ids: Sequence[str],
    settings: Calibration,
    cache_dir: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    waiting: Callable[[], None] | None = None,
    warn: Callable[[str], None] | None = None,
    workers: int = 1,
) -> list[Planet]:
    """Calibrate and fit planets, or read them from the cache: all of them, in the order given.

    Args:
        dataset: Where the raw files are.
        planet_ids: Which planets.
        settings: How to calibrate.
        cache_dir: Folder of the cache, see :class:`Filling`, made where absent.
        progress: Called with (planets done, planets in all) whenever a planet is done.
        waiting: As for :class:`Filling`.
        warn: Called, once, where calibration frames of some planets say nothing of some pixels.
        workers: As for :class:`Filling`.

    Raises:
        ConfigError: What is wrong with the first planet that cannot be used, be it for one of its visits only, or
            with the cache.
        Exception: What the numbers of such a planet have led to.
        ProcessFailedError: A worker process died.
    """
    labels = dataset.labels() if (dataset.root / TRAIN_TABLE).is_file() else {}
    ready: dict[str, Planet] = {}
    doubted: set[str] = set()
    filling = Filling(dataset, planet_ids, settings, cache_dir, waiting=waiting, workers=workers)
    with closing(iter(filling)) as outcomes:
        for outcome in outcomes:
            planet = outcome.read(labels.get(outcome.planet_id)) if isinstance(outcome, Entry) else outcome
            if isinstance(planet, Failure):
                raise planet.error
            if isinstance(outcome, Entry) and (remarks := outcome.remarks) != Remarks():
                if remarks.visits:
                    raise ConfigError(f"planet {planet.planet_id}: {remarks.visits[0]}")
                doubted.add(planet.planet_id)
            ready[planet.planet_id] = planet
            if progress:
                progress(filling.done, filling.planets)
    if warn and doubted:
        what = f"{dataset.root}: some pixels lack calibration ('spectramind data check' lists them) of planets"
        warn(Fault.of(what, filter(doubted.__contains__, planet_ids))[0].text)
    return [ready[planet_id] for planet_id in planet_ids]


def entry_path(dataset: Dataset, planet_id: str, settings: Calibration, cache_dir: Path, code: str = "") -> Path:
    """The file of a planet's entry in a cache.

    Raises:
        ConfigError: A raw file cannot be read.
    """
    key = entry_key(dataset, planet_id, settings, code or source_digest(__name__))
    return cache_dir / f"{planet_id}-{key}.npz"


def lock_file(entry: Path) -> Path:
    """The file that a process locks while it makes an entry of a cache."""
    return entry.with_name(f".{entry.stem}.lock")


def _make_entry(dataset: Dataset, settings: Calibration, entry: Entry) -> Entry | Failure | None:
    """Make the entry of a planet; None where another process is about it."""
    with claimed(lock_file(entry.path)) as ours:
        return _prepare_planet(dataset, settings, entry) if ours else None


def _await_entry(dataset: Dataset, settings: Calibration, entry: Entry) -> Entry | Failure:
    """Wait for the process that makes the entry of a planet; make it where that one has not."""
    with alone(lock_file(entry.path), None):
        return _prepare_planet(dataset, settings, entry)


def _prepare_planet(dataset: Dataset, settings: Calibration, entry: Entry) -> Entry | Failure:
    """Calibrate, fit and store one planet, unless another process has by now."""
    if read_entry(entry.path, entry.planet_id) is not None:
        return entry
    try:
        visits, remarks = _visits(dataset, settings, entry.planet_id)
        curves, fit = average_visits(visits)
        _require_finite(curves, fit)
    except Exception as error:  # noqa: BLE001 - what a fit raises depends on the numbers in the files.
        return Failure(entry.planet_id, error)
    try:
        write_remarks(entry.path, remarks)
        write_entry(entry.path, curves, fit)
    except ConfigError as error:  # The next may find room again.
        return Failure(entry.planet_id, error)
    return entry


def _visits(
    dataset: Dataset, settings: Calibration, planet_id: str
) -> tuple[list[tuple[LightCurves, TransitFit]], Remarks]:
    """The visits that can be used; raises what is wrong where none can."""
    star, numbers = dataset.star(planet_id), dataset.visits(planet_id)
    made: list[tuple[LightCurves, TransitFit]] = []
    lost: list[str] = []
    pixels: list[str] = []
    for number in numbers:
        try:
            visit = dataset.read_visit(planet_id, number, settings)
            with np.errstate(over="ignore", invalid="ignore"):  # The fit refuses what is not finite.
                curves = LightCurves(planet_id, *calibrate(visit, dataset.axis, dataset.adc, settings))
            fit = fit_transit(curves, star)
            _require_finite(curves, fit)
        except MemoryError:
            raise
        except Exception as error:
            if len(numbers) == 1:
                raise
            lost.append(f"visit {number} is left out: {_words(planet_id, error)}")
        else:
            made.append((curves, fit))
            pixels += dataset.doubts(visit)
    if not made:
        raise ConfigError("; ".join(lost))
    return made, Remarks(tuple(lost), tuple(pixels))


def _words(planet_id: str, error: Exception) -> str:
    """What is wrong with a planet, in words."""
    text = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    return text.removeprefix(f"planet {planet_id}: ")


def _require_finite(curves: LightCurves, fit: TransitFit) -> None:
    numbers = (
        curves.flux,
        fit.depth,
        fit.sigma,
        fit.shared_errors,
        fit.limb_darkening,
        fit.limb_covariance,
        fit.baseline,
        fit.shape,
        fit.fgs1_shape,
        fit.white_depth,
        fit.mid_time,
    )
    if not all(np.isfinite(one).all() for one in numbers):
        raise ConfigError(f"planet {curves.planet_id}: its transit fit is not finite; check its raw files")


def _make(cache_dir: Path) -> None:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{cache_dir}: the cache folder cannot be made ({error.strerror or error}); set paths.cache_dir to another"
        ) from error
