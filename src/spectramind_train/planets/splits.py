"""The planets of a run: found or simulated, calibrated, fitted and split."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

import spectramind_config
from spectramind_config import ConfigError, DataConfig, EffectiveConfig, NominalData, Problem, Simulation
from spectramind_train.ariel.dataset import AXIS_TABLE, TRAIN_TABLE, Dataset
from spectramind_train.ariel.metric import naive_statistics
from spectramind_train.planets.preparation import WAITING, Planet, prepare
from spectramind_train.planets.sizes import planets_needed, split_sizes
from spectramind_train.run.clock import Forecast
from spectramind_train.run.directory import path_of
from spectramind_train.run.manifest import DataRecord
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.terminal import Terminal
from spectramind_train.simulated.data_set import simulate, version

UNTOUCHED_ROOTS = ("data", "/datasets/ariel")
"""What ``paths.data_root`` is in the shipped profiles: nobody has named a data set where it is one of these."""


def split(
    planet_ids: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> tuple[list[str], list[str], list[str]]:
    """Divide planets into training, validation and test.

    A planet's place depends on a hash of the seed and its name, not on the order given, so that a data set that
    grows keeps most planets where they were.

    Args:
        planet_ids: Distinct names.
        val_fraction: Share for validation, rounded to whole planets, at least one.
        test_fraction: Share for the test, likewise.
        seed: Another seed is another split.

    Returns:
        Training, validation and test planets, disjoint, none empty, each in ascending order.

    Raises:
        ConfigError: Fewer than three planets, or a name that occurs twice.
    """
    count = len(planet_ids)
    if len(set(planet_ids)) != count:
        twice = next(name for name in planet_ids if list(planet_ids).count(name) > 1)
        raise ConfigError(f"planet {twice} is listed twice; a planet must not be in two splits, list each once")
    if count < 3:
        raise ConfigError(
            f"{count} labelled planets cannot be divided into training, validation and test; at least 3 are needed: "
            "add planets to paths.data_root or simulate more (data.simulation.planets)"
        )
    _, val, test = split_sizes(count, val_fraction, test_fraction)
    order = sorted(planet_ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return sorted(order[test + val :]), sorted(order[test : test + val]), sorted(order[:test])


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
def build_splits(data: DataConfig, config: EffectiveConfig, plan: RunPlan, terminal: Terminal) -> Splits:
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
def _(data: NominalData, config: EffectiveConfig, plan: RunPlan, terminal: Terminal) -> Splits:
    root, cache = path_of(config, "data_root"), path_of(config, "cache_dir")
    needed = planets_needed(config, plan)
    workers = plan.threads * plan.devices  # All cores: what is prepared, is so before any process trains.
    # A data set that lacks a table is an incomplete download, not an absent one: opening it says what is missing.
    simulated = not Dataset.present(root) and not (root / "train").is_dir()
    if simulated:
        _refuse_if_named(config, root)
        planets = min(needed or data.simulation.planets, data.simulation.planets)
        folder = cache / f"simulated-{_settings_hash(data.simulation)}"
        terminal.say(f"no data set in {root} (paths.data_root): training on {planets} simulated planets in {folder}")
        with terminal.progress("simulating planets") as progress:
            forecast = Forecast("simulating planets", progress)
            dataset = simulate(
                folder,
                data.simulation,
                planets=planets,
                progress=forecast,
                waiting=lambda: terminal.say(f"another run simulates planets in {folder}; waiting for it"),
                workers=workers,
            )
        planet_ids = dataset.planet_ids("train")[:planets]
    else:
        dataset = Dataset(root)
        planet_ids = dataset.planet_ids("train")[:needed]
    if not planet_ids:
        raise ConfigError(
            f"{dataset.root}: no planet of train/ has a label in train.csv; spectramind data check {root}"
        )
    dataset.labels()  # A damaged one ends the training, so it is said once.
    for text in (*(fault.text for fault in dataset.strays()), *starless(dataset, planet_ids)):
        terminal.warn(text)
    with terminal.progress("calibrating planets") as progress:
        forecast = Forecast("calibrating planets", progress)
        prepared = prepare(
            dataset,
            planet_ids,
            data.calibration,
            cache / "planets",
            progress=forecast,
            waiting=lambda: terminal.say(WAITING),
            warn=terminal.warn,
            workers=workers,
        )
    seed = config.seed if data.split_seed is None else data.split_seed
    return _split(prepared, dataset, data, seed, simulated=simulated)


def starless(dataset: Dataset, planet_ids: Sequence[str]) -> list[str]:
    """That no star table has a row for some of these planets, and what becomes of them, where it is so."""
    return [f"{fault.text}: fitted with an orbit of any kind" for fault in dataset.starless(planet_ids)]


def _refuse_if_named(config: EffectiveConfig, root: Path) -> None:
    """Simulate only where nobody has said which data to train on: else a typo would pass for a success."""
    origin = config.origin("paths.data_root")
    if origin.layer == "override":
        # A saved config does not tell what its profile left alone; a command line does.
        untouched = not origin.source.startswith("command line")
    else:
        classes = (*type(config.local).__mro__, *type(config.paths).__mro__)
        owner = next((cls for cls in classes if cls.__qualname__ == origin.owner), None)
        unset = not any(name in os.environ for name in origin.variables)
        untouched = owner is not None and _is_shipped(owner) and unset
    if untouched and origin.value in UNTOUCHED_ROOTS:
        return
    reason = "holds no data set" if root.is_dir() else "is not a directory" if root.exists() else "does not exist"
    variables = [f"{name}={os.environ[name]}" for name in origin.variables if name in os.environ]
    raise ConfigError(
        Problem(
            what=f"paths.data_root={origin.value}: {root} {reason}",
            origin=", ".join([origin.place, *variables]),
            expected=f"a folder with train/ or test/ beside {AXIS_TABLE}",
            argument=origin.argument,
            hint="name the folder of the challenge's data, write one with 'spectramind data simulate DIR', or leave "
            "paths.data_root alone to train on simulated planets",
        ),
        config.overrides,
    )


def _is_shipped(cls: type) -> bool:
    """Whether a class is declared in a file of the config package, where a site's profiles never are."""
    try:
        file = inspect.getfile(cls)
    except (TypeError, OSError):
        return False
    return Path(spectramind_config.__file__).parent in Path(file).parents


def _split(planets: list[Planet], dataset: Dataset, data: DataConfig, seed: int, *, simulated: bool) -> Splits:
    by_id = {planet.planet_id: planet for planet in planets}
    parts = split(list(by_id), data.val_fraction, data.test_fraction, seed)
    train, val, test = ([by_id[planet_id] for planet_id in part] for part in parts)
    try:
        mean, sigma = naive_statistics(np.stack([planet.label for planet in train if planet.label is not None]))
    except ValueError as error:
        raise ConfigError(f"{dataset.root / TRAIN_TABLE}: {error}") from error
    record = DataRecord(
        root=str(dataset.root.absolute()),
        simulated=simulated,
        fingerprint=fingerprint(dataset, list(by_id)),
        planets=dict(zip(("train", "val", "test"), parts, strict=True)),
        naive_mean=mean,
        naive_sigma=sigma,
    )
    return Splits(train, val, test, mean, sigma, record)


def fingerprint(dataset: Dataset, planet_ids: Sequence[str]) -> str:
    """Sha256 (hex) over planets' labels and the names and sizes of their raw files, in the order given."""
    digest = hashlib.sha256()
    labels = dataset.labels()
    for planet_id in planet_ids:
        digest.update(labels[planet_id].tobytes() if planet_id in labels else b"")
        for file in dataset.raw_files(planet_id):
            digest.update(f"{file.relative_to(dataset.root).as_posix()} {file.stat().st_size}\n".encode())
    return digest.hexdigest()


def _settings_hash(simulation: Simulation) -> str:
    """Names the folder of a simulation; the number of planets only extends it."""
    content = msgspec.json.encode([version(), simulation.airs_frames, simulation.seed])
    return hashlib.sha256(content).hexdigest()[:8]
