"""Which planets a run prepares, and what it refuses to divide."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from spectramind_config import ConfigError, Simulation, compose
from spectramind_config.host import Host
from spectramind_train.planets.splits import FEWEST_PLANETS, build_splits, planets_needed
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.simulated.data_set import simulate


def test_capped_batches_need_planets_for_every_process() -> None:
    """A count of batches is per process; a share, or no cap, needs all planets."""
    config = compose(["local.dev.limit_train_batches=4", "local.devices=cpu"])
    alone = plan(config, Host(name="laptop"))
    assert planets_needed(config, alone) == 50  # 4 batches of 8 are 65 % of them.
    assert planets_needed(config, dataclasses.replace(alone, devices=4)) == 197
    assert planets_needed(config.with_overrides(["local.dev.limit_train_batches=0.5"]), alone) is None
    assert planets_needed(config.with_overrides(["local.dev.limit_train_batches=0"]), alone) == FEWEST_PLANETS


def test_labels_that_do_not_vary_are_refused(tmp_path: Path) -> None:
    """There is no naive prediction to compare with, and the table that is at fault is named."""
    root = tmp_path / "data"
    simulate(root, Simulation(planets=4, airs_frames=60, seed=5), workers=1)
    header, *rows = (root / "train.csv").read_text().splitlines()
    constant = [",".join([row.partition(",")[0], *["0.01"] * 283]) for row in rows]
    (root / "train.csv").write_text("\n".join([header, *constant]))
    config = compose([f"local.paths.data_root={root}", f"local.cache_dir={tmp_path}/cache", "local.devices=cpu"])
    with pytest.raises(ConfigError, match=r"train\.csv: the training labels are all 0\.01"):
        build_splits(config.data, config, plan(config, Host(name="laptop")), Terminal(silent=True))
