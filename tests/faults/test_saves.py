"""Kills while checkpoints are saved."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ..train import killing
from .conftest import Fault


@pytest.mark.timeout(3600)
def test_a_kill_while_saving_leaves_a_whole_newest(tmp_path: Path, fault: Fault) -> None:
    """What was reported as saved is there and whole, with the temporary directory on another file system."""
    elsewhere = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path  # noqa: S108
    chance = random.Random(0)  # noqa: S311
    for _ in range(100):
        with fault("`kill -9` during a save, temporary folder on another file system"):
            step = killing.kill_while_saving(tmp_path, elsewhere, chance.uniform(0.0, 0.1))
            index = killing.require_whole(tmp_path, step)
    index.repair(print)
    assert {path.name for path in tmp_path.iterdir()} == {"index.json", *(one.file for one in index.entries)}
