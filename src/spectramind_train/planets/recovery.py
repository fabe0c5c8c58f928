"""The planets of a run that is over, found again where it had them, or in a copy of its data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from spectramind_config import Calibration, ConfigError, Problem
from spectramind_train.ariel.dataset import TRAIN_TABLE, Dataset
from spectramind_train.ariel.metric import naive_statistics
from spectramind_train.ariel.spectra import few
from spectramind_train.planets.preparation import WAITING, Planet, prepare
from spectramind_train.planets.splits import fingerprint
from spectramind_train.run.manifest import DataRecord
from spectramind_train.run.terminal import Terminal

Part = Literal["train", "val", "test"]
WORDS: Final[dict[Part, str]] = {"train": "training", "val": "validation", "test": "test"}
_NAMED = 5


@dataclass(frozen=True)
class Recovered:
    """Planets of one split of a run.

    Attributes:
        planets: They, with their labels, in the order of the run.
        naive_mean: Mean of the run's training labels, in (Rp/Rs)^2.
        naive_sigma: Their standard deviation.
    """

    planets: Sequence[Planet]
    naive_mean: float
    naive_sigma: float


def recover(
    record: DataRecord,
    part: Part,
    settings: Calibration,
    cache_dir: Path,
    terminal: Terminal,
    *,
    root: Path | None = None,
    workers: int = 1,
) -> Recovered:
    """Prepare the planets of one split of a run again, as they were then.

    Args:
        record: What the run's manifest says of its data, which may be a stranger's.
        part: Which split.
        settings: How the run calibrated.
        cache_dir: The cache, where prepared planets are kept.
        terminal: Where progress is shown, and said where the data are not those of the run.
        root: The folder of the data set; by default the one that the run had.
        workers: Processes that calibrate.

    Raises:
        ConfigError: The data set is not there, or does not hold the planets.
    """
    folder = Path(record.root) if root is None else root
    hint = "name the folder of the run's data set with --data DIR"
    if not Dataset.present(folder):
        kind = "its simulated planets were" if record.simulated else "its planets were"
        raise ConfigError(
            Problem(
                what=f"{folder}: no data set here, where {kind}" if root is None else f"{folder}: no data set here",
                hint=hint,
            )
        )
    dataset = Dataset(folder)
    here, labels = set(dataset.planet_ids("train")), dataset.labels()
    wanted, trained = record.planets.get(part, []), record.planets.get("train", [])
    if not wanted or not trained:
        raise ConfigError(
            f"the run's manifest names no {WORDS['train' if wanted else part]} planets: there is no score"
        )
    missing = [name for name in wanted if name not in here] + [name for name in trained if name not in labels]
    if missing := list(dict.fromkeys(missing)):
        raise ConfigError(
            Problem(
                what=f"{folder}: lacks {len(missing)} labelled planets of the run: {few(missing, _NAMED)}",
                expected=f"a folder in train/ and a row in {TRAIN_TABLE} for each",
                hint=hint,
            )
        )
    everything = sorted({name for names in record.planets.values() for name in names} & here, key=int)
    if fingerprint(dataset, everything) != record.fingerprint:
        terminal.warn(f"{folder}: labels, names or sizes of files are not those that the run had")
    with terminal.progress("calibrating planets") as progress:
        planets = prepare(
            dataset,
            wanted,
            settings,
            cache_dir / "planets",
            progress=progress,
            waiting=lambda: terminal.say(WAITING),
            warn=terminal.warn,
            workers=workers,
        )
    try:
        mean, sigma = naive_statistics(np.stack([labels[name] for name in trained]))
    except ValueError as error:
        raise ConfigError(f"{folder / TRAIN_TABLE}: {error}") from error
    return Recovered(planets, mean, sigma)
