"""No setting that a user can make is idle: a run reads every one of them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from spectramind_config import EffectiveConfig, Settings, compose
from spectramind_config.host import Host
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import train

IDLE = {
    "max_restarts": "where several processes train, whoever starts them",
    "max_time": "the command makes a deadline of it before the run begins",
    "name": "a profile's name is for people; runs go by the class",
}


def leaves(node: Any, path: str = "") -> dict[str, tuple[int, str]]:
    """Every setting below a node: its dotted path, and the identity and field that hold it."""
    found: dict[str, tuple[int, str]] = {}
    for field in dataclasses.fields(node):
        value, where = getattr(node, field.name), f"{path}{field.name}"
        found |= leaves(value, f"{where}.") if isinstance(value, Settings) else {where: (id(node), field.name)}
    return found


def settings_of(config: EffectiveConfig) -> dict[str, tuple[int, str]]:
    """The settings that a run uses: of the groups trainer and local those in force, at the top of the config."""
    found: dict[str, tuple[int, str]] = {}
    for name in config.to_dict():
        value = getattr(config, name)
        if name not in ("trainer", "local"):
            found |= leaves(value, f"{name}.") if isinstance(value, Settings) else {name: (id(config), name)}
    return found


def test_a_run_reads_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate, calibrate, train, track and score once, and note what our own code asks the config for."""
    read: set[tuple[int, str]] = set()

    def watch(cls: type) -> None:
        def getattribute(self: object, name: str) -> Any:
            if sys._getframe(1).f_globals.get("__name__", "").startswith("spectramind_train."):
                read.add((id(self), name))
            return object.__getattribute__(self, name)

        monkeypatch.setattr(cls, "__getattribute__", getattribute, raising=False)

    config = compose(
        [
            "data.simulation.planets=12",
            "data.simulation.airs_frames=60",
            "model.width=8",
            "local.devices=cpu",
            "local.max_epochs=1",
            "local.mlflow.enabled=true",
            f"local.mlflow.tracking_uri=file:{tmp_path}/mlruns",
            f"local.cache_dir={tmp_path}/cache",
            f"local.output_dir={tmp_path}/outputs",
        ]
    )
    host = Host.detect()
    expected = settings_of(config)
    watch(Settings)
    watch(type(config))
    # One thread: what worker processes read is not seen here.
    run_plan = dataclasses.replace(plan(config, host), threads=1)
    assert train(config, run_plan, host, Terminal.of(config)).exit_code == 0
    idle = {path for path, place in expected.items() if place not in read}
    excused = {path for path in idle if path in IDLE or path.rpartition(".")[2] == "name"}
    assert idle == excused
    assert len(expected) > 60
