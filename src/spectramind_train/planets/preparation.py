"""From raw files to fitted light curves, a planet at a time, each result kept in a cache."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import N_CHANNELS, FloatArray
from spectramind_train.ariel.dataset import ADC_TABLE, AXIS_TABLE, TRAIN_TABLE, Dataset
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.transit.spectrum_fit import TransitFit, fit_transit

CACHE_FORMAT: Final = 1
"""Part of every cache key: raised when calibration, fit or the stored arrays change."""


@dataclass(frozen=True)
class Planet:
    """A planet ready for the model.

    Attributes:
        planet_id: Its name in the data set.
        curves: Its light curves, the average where it was visited several times.
        fit: The classical transit fit to them.
        label: The true spectrum (283,) in (Rp/Rs)^2, or None where it is not known.
    """

    planet_id: str
    curves: LightCurves
    fit: TransitFit
    label: FloatArray | None


def prepare(
    dataset: Dataset,
    planet_ids: Sequence[str],
    settings: Calibration,
    cache_dir: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> list[Planet]:
    """Calibrate and fit planets, or read them from the cache.

    The cache holds one npz file per planet and state of its inputs: the calibration settings, size and time of
    modification of every raw file, and the star. An entry that cannot be read is made anew.

    Args:
        dataset: Where the raw files are.
        planet_ids: Which planets, in the order of the result.
        settings: How to calibrate.
        cache_dir: Folder of the cache, made where absent.
        progress: Called with (planets done, planets in all) whenever a planet is done.
        workers: Processes to use. With more than one, a script must guard its entry point by
            ``if __name__ == "__main__"``, as always with spawned processes.

    Raises:
        ConfigError: A raw file is missing or damaged, the cache cannot be written, or a worker process died.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{cache_dir}: the cache folder cannot be made ({error.strerror or error}); set paths.cache_dir to another"
        ) from error
    labels = dataset.labels() if (dataset.root / TRAIN_TABLE).is_file() else {}
    ready: dict[str, tuple[LightCurves, TransitFit]] = {}
    jobs: list[tuple[str, Path]] = []
    for planet_id in dict.fromkeys(planet_ids):
        path = cache_dir / f"{planet_id}-{_key(dataset, planet_id, settings)}.npz"
        cached = _read_entry(path, planet_id)
        if cached is None:
            jobs.append((planet_id, path))
        else:
            ready[planet_id] = cached
            if progress:
                progress(len(ready), len(planet_ids))
    for planet_id, result in _prepared(dataset, jobs, settings, workers):
        ready[planet_id] = result
        if progress:
            progress(len(ready), len(planet_ids))
    return [Planet(planet_id, *ready[planet_id], labels.get(planet_id)) for planet_id in planet_ids]


def average_visits(visits: Sequence[tuple[LightCurves, TransitFit]]) -> tuple[LightCurves, TransitFit]:
    """Combine repeated visits of a planet into one, weighted by the inverse variance of each channel's depth.

    Depths are averaged as they are. Light curves are divided by their own baselines, moved by whole time bins so
    that mid-transits fall together, averaged where visits overlap, and set on the first visit's times and baseline.
    """
    first_curves, first = visits[0]
    if len(visits) == 1:
        return first_curves, first
    step = float(np.median(np.diff(first_curves.time)))
    weight_sum = np.zeros_like(first_curves.flux)
    flux_sum = np.zeros_like(first_curves.flux)
    for curves, fit in visits:
        moved = curves.time - fit.mid_time + first.mid_time
        source = np.rint((first_curves.time - moved[0]) / step).astype(int)
        target = np.flatnonzero((source >= 0) & (source < curves.time.size))
        weight_sum[target] += fit.sigma**-2
        flux_sum[target] += (curves.flux / fit.baseline)[source[target]] * fit.sigma**-2
    precision = np.array([fit.sigma**-2 for _, fit in visits])
    white_weights = precision[:, 1:].mean(axis=1)
    fit = TransitFit(
        depth=(precision * np.array([fit.depth for _, fit in visits])).sum(axis=0) / precision.sum(axis=0),
        sigma=1.0 / np.sqrt(precision.sum(axis=0)),
        white_depth=float(np.average([fit.white_depth for _, fit in visits], weights=white_weights)),
        mid_time=first.mid_time,
        baseline=first.baseline,
        shape=first.shape,
    )
    return LightCurves(first_curves.planet_id, first_curves.time, flux_sum / weight_sum * first.baseline), fit


def _key(dataset: Dataset, planet_id: str, settings: Calibration) -> str:
    """Hash of all that a planet's entry depends on."""
    files: list[tuple[str, int, int]] = []
    for path in [dataset.root / AXIS_TABLE, dataset.root / ADC_TABLE, *dataset.raw_files(planet_id)]:
        try:
            state = path.stat()
        except OSError as error:
            raise ConfigError(
                f"{path}: this file of planet {planet_id} cannot be read ({error.strerror or error}); "
                "'spectramind data check' lists all that is missing"
            ) from error
        files.append((path.relative_to(dataset.root).as_posix(), state.st_size, state.st_mtime_ns))
    star = dataset.star(planet_id)
    parts = [CACHE_FORMAT, asdict(settings), files, asdict(star) if star else None]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:24]


def _prepared(
    dataset: Dataset, jobs: Sequence[tuple[str, Path]], settings: Calibration, workers: int
) -> Iterator[tuple[str, tuple[LightCurves, TransitFit]]]:
    """Prepare planets, here or in worker processes, in the order in which they finish."""
    if workers <= 1 or len(jobs) <= 1:
        for planet_id, path in jobs:
            yield planet_id, _prepare_planet(dataset, planet_id, settings, path)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = {pool.submit(_work, dataset.root, name, settings, path): name for name, path in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise ConfigError(
                f"a process that prepares planets died, most likely for lack of memory; {workers} worked at once: "
                "use fewer, those already prepared are kept"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=1)
def _open(root: Path) -> Dataset:
    """The data set, opened once in each worker process."""
    return Dataset(root)


def _work(root: Path, planet_id: str, settings: Calibration, path: Path) -> tuple[LightCurves, TransitFit]:
    """Prepare a planet in a worker process."""
    return _prepare_planet(_open(root), planet_id, settings, path)


def _prepare_planet(
    dataset: Dataset, planet_id: str, settings: Calibration, path: Path
) -> tuple[LightCurves, TransitFit]:
    """Calibrate, fit and store one planet."""
    star = dataset.star(planet_id)
    visits = []
    for number in dataset.visits(planet_id):
        visit = dataset.read_visit(planet_id, number, settings)
        curves = LightCurves(planet_id, *calibrate(visit, dataset.axis, dataset.adc, settings))
        visits.append((curves, fit_transit(curves, star)))
    curves, fit = average_visits(visits)
    _write_entry(path, curves, fit)
    return curves, fit


def _write_entry(path: Path, curves: LightCurves, fit: TransitFit) -> None:
    """Write a cache entry beside its final name and rename it."""
    arrays = {"time": curves.time, "flux": curves.flux, "depth": fit.depth, "sigma": fit.sigma}
    arrays |= {"baseline": fit.baseline, "shape": fit.shape, "white": np.array([fit.white_depth, fit.mid_time])}
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the cache entry cannot be written ({error.strerror or error}); free some space or set "
            "paths.cache_dir to another folder"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _read_entry(path: Path, planet_id: str) -> tuple[LightCurves, TransitFit] | None:
    """Read a cache entry; None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as entry:
            arrays = {name: np.asarray(entry[name], dtype=np.float64) for name in entry.files}
        white_depth, mid_time = (float(value) for value in arrays["white"])
        curves = LightCurves(planet_id, arrays["time"], arrays["flux"])
        fit = TransitFit(arrays["depth"], arrays["sigma"], white_depth, mid_time, arrays["baseline"], arrays["shape"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    bins = curves.time.size
    expected = [(N_CHANNELS,), (N_CHANNELS,), (bins, N_CHANNELS), (bins,)]
    complete = [array.shape for array in (fit.depth, fit.sigma, fit.baseline, fit.shape)] == expected
    return (curves, fit) if complete and all(np.isfinite(array).all() for array in arrays.values()) else None
