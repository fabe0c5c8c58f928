"""How many planets and time bins a run has, known before any is read, and without numpy or torch."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from spectramind_config import Calibration, EffectiveConfig, NominalData
from spectramind_train.run.plan import RunPlan

FEWEST_PLANETS = 12
"""A quick run prepares no fewer, so that each split has planets to score."""
AIRS_FRAMES = 11_250
"""AIRS frames of a visit in the challenge's data set."""
VISIT_S = 27_000.0
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a run trains on.

    Attributes:
        train: Planets to learn from.
        val: Planets to validate.
        test: Planets to score at the end.
        bins: Time bins of a light curve.
        frames: AIRS frames of a raw visit.
        simulated: Whether a data set has to be simulated.
    """

    train: int
    val: int
    test: int
    bins: int
    frames: int
    simulated: bool

    @property
    def planets(self) -> int:
        """All of them."""
        return self.train + self.val + self.test


def sizes_of(config: EffectiveConfig, plan: RunPlan, planets: int | None = None) -> Sizes | None:
    """What a run of a config would train on here; None where the data are of a kind that only its reader knows.

    Args:
        config: The config.
        plan: How it is run.
        planets: Labelled planets of a data set that is not here, of the challenge's layout; None to count those of
            ``paths.data_root``, or of the simulation where there is none.
    """
    if not isinstance(config.data, NominalData):
        return None
    found = planets or _planets_in(Path(os.path.expanduser(config.paths.data_root)))  # noqa: PTH111 - it never raises.
    simulated = not found
    frames = config.data.simulation.airs_frames if simulated else AIRS_FRAMES
    count = min(found or config.data.simulation.planets, planets_needed(config, plan) or _MOST)
    train, val, test = split_sizes(max(count, 3), config.data.val_fraction, config.data.test_fraction)
    bins = time_bins(config.data.calibration, frames)
    return Sizes(train=train, val=val, test=test, bins=bins, frames=frames, simulated=simulated)


def planets_needed(config: EffectiveConfig, plan: RunPlan) -> int | None:
    """How many labelled planets a run can use whose batches are capped; None where it uses all."""
    limit = 1 if config.dev.fast_dev_run else config.dev.limit_train_batches
    if not isinstance(limit, int):
        return None
    train_share = 1.0 - config.data.val_fraction - config.data.test_fraction
    return max(FEWEST_PLANETS, math.ceil(limit * config.data.batch_size * plan.world_size / train_share))


def split_sizes(count: int, val_fraction: float, test_fraction: float) -> tuple[int, int, int]:
    """Planets to train on, to validate and to test, of three or more; each share in whole planets, at least one."""
    test = min(max(1, round(count * test_fraction)), count - 2)
    val = min(max(1, round(count * val_fraction)), count - 1 - test)
    return count - val - test, val, test


def time_bins(settings: Calibration, frames: int) -> int:
    """Time bins of a visit of so many AIRS frames: whole pairs of frames fill each."""
    pairs = max(1, frames // 2)
    return max(1, pairs // max(1, round(settings.bin_seconds * pairs / VISIT_S)))


def _planets_in(root: Path) -> int:
    try:
        with os.scandir(root / "train") as entries:
            return sum(entry.name.isdecimal() for entry in islice(entries, _MOST))
    except (OSError, ValueError):
        return 0
