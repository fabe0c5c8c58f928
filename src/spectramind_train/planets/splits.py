"""The planets of a run: found or simulated, calibrated, fitted and split."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from spectramind_config import ConfigError, DataConfig, EffectiveConfig, NominalData, Simulation
from spectramind_train.ariel.dataset import TRAIN_TABLE, Dataset
from spectramind_train.ariel.metric import naive_statistics
from spectramind_train.learning.batches import split
from spectramind_train.planets.preparation import Planet, prepare
from spectramind_train.run.manifest import DataRecord
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Console
from spectramind_train.simulated.data_set import SIMULATION_VERSION, simulate

FEWEST_PLANETS = 12
"""A quick run prepares no fewer, so that each split has planets to score."""


@dataclass(frozen=True)
class Splits:
    """Labelled planets in three disjoint splits.

    Attributes:
        train: Planets to learn from.
        val: Planets that choose the checkpoint.
        test: Planets that only the final score sees.
        naive_mean: Mean of the training labels, in (Rp/Rs)^2.
        naive_sigma: Their standard deviation.
        record: Where they come from.
    """

    train: list[Planet]
    val: list[Planet]
    test: list[Planet]
    naive_mean: float
    naive_sigma: float
    record: DataRecord


@functools.singledispatch
def build_splits(data: DataConfig, config: EffectiveConfig, plan: RunPlan, console: Console) -> Splits:
    """Prepare the planets that a data config describes; dispatches on the config's type.

    Raises:
        TypeError: No builder is registered for the type.
        ConfigError: The data are missing, damaged or too few.
    """
    raise TypeError(
        f"no data is registered for {type(data).__name__}; decorate a function that takes one with "
        "@spectramind_train.splits.build_splits.register"
    )


@build_splits.register
def _(data: NominalData, config: EffectiveConfig, plan: RunPlan, console: Console) -> Splits:
    root = Path(config.paths.data_root).expanduser()
    cache = Path(config.paths.cache_dir).expanduser()
    needed = planets_needed(config, plan)
    # A data set that lacks a table is an incomplete download, not an absent one: opening it says what is missing.
    simulated = not Dataset.present(root) and not (root / "train").is_dir()
    if simulated:
        planets = min(needed or data.simulation.planets, data.simulation.planets)
        folder = cache / f"simulated-{_settings_hash(data.simulation)}"
        console.say(f"no data set in {root} (paths.data_root): training on {planets} simulated planets in {folder}")
        with console.progress("simulating planets") as progress:
            dataset = simulate(folder, data.simulation, planets=planets, progress=progress, workers=plan.threads)
        planet_ids = dataset.planet_ids("train")[:planets]
    else:
        dataset = Dataset(root)
        planet_ids = dataset.planet_ids("train")[:needed]
    if not planet_ids:
        raise ConfigError(
            f"{dataset.root}: no planet of train/ has a label in train.csv; spectramind data check {root}"
        )
    with console.progress("calibrating planets") as progress:
        prepared = prepare(
            dataset, planet_ids, data.calibration, cache / "planets", progress=progress, workers=plan.threads
        )
    return _split(prepared, dataset, data, config.seed, simulated=simulated)


def planets_needed(config: EffectiveConfig, plan: RunPlan) -> int | None:
    """How many labelled planets a run can use whose batches are capped; None where it uses all."""
    limit = 1 if config.dev.fast_dev_run else config.dev.limit_train_batches
    if not isinstance(limit, int):
        return None
    train_share = 1.0 - config.data.val_fraction - config.data.test_fraction
    return max(FEWEST_PLANETS, math.ceil(limit * config.data.batch_size * plan.world_size / train_share))


def _split(planets: list[Planet], dataset: Dataset, data: DataConfig, seed: int, *, simulated: bool) -> Splits:
    by_id = {planet.planet_id: planet for planet in planets}
    parts = split(list(by_id), data.val_fraction, data.test_fraction, seed)
    train, val, test = ([by_id[planet_id] for planet_id in part] for part in parts)
    try:
        mean, sigma = naive_statistics(np.stack([planet.label for planet in train if planet.label is not None]))
    except ValueError as error:
        raise ConfigError(f"{dataset.root / TRAIN_TABLE}: {error}") from error
    record = DataRecord(
        root=str(dataset.root),
        simulated=simulated,
        fingerprint=_fingerprint(dataset, planets),
        planets=dict(zip(("train", "val", "test"), parts, strict=True)),
    )
    return Splits(train, val, test, mean, sigma, record)


def _fingerprint(dataset: Dataset, planets: list[Planet]) -> str:
    """Sha256 (hex) over the planets' labels and the names and sizes of their raw files."""
    digest = hashlib.sha256()
    for planet in planets:
        digest.update(b"" if planet.label is None else planet.label.tobytes())
        for file in dataset.raw_files(planet.planet_id):
            digest.update(f"{file.relative_to(dataset.root).as_posix()} {file.stat().st_size}\n".encode())
    return digest.hexdigest()


def _settings_hash(simulation: Simulation) -> str:
    """Names the folder of a simulation; the number of planets only extends it."""
    content = msgspec.json.encode([SIMULATION_VERSION, simulation.airs_frames, simulation.seed])
    return hashlib.sha256(content).hexdigest()[:8]
