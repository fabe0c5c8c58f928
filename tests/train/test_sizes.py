"""How much data a run has is known before any is read, and is what it then has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectramind_config import Calibration, DataConfig, compose
from spectramind_config.host import Host
from spectramind_train.ariel.calibration import bin_in_time, pairs_per_bin
from spectramind_train.planets.sizes import sizes_of, split_sizes, time_bins
from spectramind_train.planets.splits import split
from spectramind_train.run.plan import plan
from spectramind_train.simulated.observation import frame_axis

HOST = Host(name="box", cores=4)


@pytest.mark.parametrize("count", [3, 4, 7, 12, 72, 1100])
def test_a_split_has_the_sizes_that_are_foretold(count: int) -> None:
    """At any number of planets, however the shares round."""
    names = [str(number) for number in range(count)]
    for val, test in ((0.15, 0.2), (0.5, 0.4), (0.01, 0.01)):
        assert tuple(map(len, split(names, val, test, 0))) == split_sizes(count, val, test)


@pytest.mark.parametrize("frames", [40, 100, 374, 11_250])
@pytest.mark.parametrize("seconds", [1.0, 144.0, 1500.0, 5000.0])
def test_a_visit_has_the_time_bins_that_are_foretold(frames: int, seconds: float) -> None:
    """As many as calibration fills with pairs of frames."""
    pairs = pairs_per_bin(frame_axis(frames // 2), seconds)
    assert time_bins(Calibration(bin_seconds=seconds), frames) == len(bin_in_time(np.zeros((frames // 2, 1, 1)), pairs))


def test_the_challenges_visits_have_187_bins() -> None:
    """As its 11250 frames do in the shipped settings."""
    assert time_bins(Calibration(), 11_250) == 187


def test_planets_are_those_of_the_data_root_or_of_the_simulation(tmp_path: Path) -> None:
    """Those that are there, those that are said to be elsewhere, and no more than a capped run reads."""
    config = compose([f"local.paths.data_root='{tmp_path}'"])
    sizes = sizes_of(config, plan(config, HOST))
    assert sizes is not None
    assert (sizes.planets, sizes.train, sizes.bins, sizes.simulated) == (72, 47, 187, True)
    for number in range(20):
        (tmp_path / "train" / str(number)).mkdir(parents=True)
    (tmp_path / "train" / "notes").mkdir()
    found = sizes_of(config, plan(config, HOST))
    assert found is not None
    assert (found.planets, found.frames, found.simulated) == (20, 11_250, False)
    told = sizes_of(config, plan(config, HOST), 1100)
    assert told is not None
    assert (told.planets, told.train) == (1100, 715)
    capped = config.with_overrides(["local.dev.limit_train_batches=2"])
    few = sizes_of(capped, plan(capped, HOST), 1100)
    assert few is not None
    assert few.planets == 25


def test_data_of_ones_own_have_sizes_that_only_their_reader_knows() -> None:
    """Nothing is foretold of them."""
    config = compose([])
    object.__setattr__(config, "data", DataConfig())
    assert sizes_of(config, plan(config, HOST)) is None
