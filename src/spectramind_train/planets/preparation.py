"""From raw files to fitted light curves, a planet at a time, each result kept in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.dataset import TRAIN_TABLE, Dataset
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.planets.cache import entry_key, read_entry, write_entry
from spectramind_train.run.atomic_files import sweep
from spectramind_train.run.pools import spread
from spectramind_train.run.sources import source_digest
from spectramind_train.run.turns import alone
from spectramind_train.transit.spectrum_fit import TransitFit, fit_transit


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
    waiting: Callable[[], None] | None = None,
    workers: int = 1,
) -> list[Planet]:
    """Calibrate and fit planets, or read them from the cache.

    The cache holds one entry per planet and state of what it depends on: the calibration settings, size and time of
    modification of every raw file, the star, and the code from here down to the detectors. An entry that cannot be
    read is made anew. Of several processes that lack entries of the same data set one makes them, and the others wait
    for it.

    Args:
        dataset: Where the raw files are.
        planet_ids: Which planets, in the order of the result.
        settings: How to calibrate.
        cache_dir: Folder of the cache, made where absent.
        progress: Called with (planets done, planets in all) whenever a planet is done.
        waiting: Called where another process prepares planets of the data set and this one waits for it.
        workers: Processes to use. With more than one, a script must guard its entry point by
            ``if __name__ == "__main__"``, as always with spawned processes.

    Raises:
        ConfigError: A raw file is missing or damaged, or the cache cannot be written.
        ProcessFailedError: A worker process died.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{cache_dir}: the cache folder cannot be made ({error.strerror or error}); set paths.cache_dir to another"
        ) from error
    labels = dataset.labels() if (dataset.root / TRAIN_TABLE).is_file() else {}
    code = source_digest(__name__)
    paths = {one: cache_dir / f"{one}-{entry_key(dataset, one, settings, code)}.npz" for one in planet_ids}
    ready: dict[str, tuple[LightCurves, TransitFit]] = {}

    def done(planet_id: str, result: tuple[LightCurves, TransitFit] | None) -> None:
        if result is not None:
            ready[planet_id] = result
            if progress:
                progress(len(ready), len(planet_ids))

    for planet_id, path in paths.items():
        done(planet_id, read_entry(path, planet_id))
    if len(ready) < len(paths):
        with alone(lock_file(dataset, settings, cache_dir), waiting):
            sweep(cache_dir)
            for planet_id in paths.keys() - ready:
                done(planet_id, read_entry(paths[planet_id], planet_id))
            missing = [planet_id for planet_id in paths if planet_id not in ready]
            jobs = [(dataset, planet_id, settings, paths[planet_id]) for planet_id in missing]
            with closing(spread(_prepare_planet, jobs, workers, purpose="prepares")) as prepared:
                for number, result in prepared:
                    done(missing[number], result)
    return [Planet(planet_id, *ready[planet_id], labels.get(planet_id)) for planet_id in planet_ids]


def lock_file(dataset: Dataset, settings: Calibration, cache_dir: Path) -> Path:
    """The file that a process locks while it prepares planets of a data set with these settings."""
    subject = f"{dataset.root.resolve()} {settings} {source_digest(__name__)}"
    return cache_dir / f".lock-{hashlib.sha256(subject.encode()).hexdigest()[:8]}"


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
    write_entry(path, curves, fit)
    return curves, fit
