"""YAML overlays: profiles of the old kind, with their own lines, mistakes and interpolations."""

from __future__ import annotations

from pathlib import Path

import pytest

import spectramind_config as sc

from ..engine import profiles
from .files import hydras, overlay, refusal, use


def test_an_overlay_is_a_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its values over its base's, with file and line as their origin, and Hydra composes the same."""
    file = overlay(tmp_path)
    overlay(tmp_path, "seed: 5\n", "bare")
    overlay(tmp_path, "defaults: [workstation]\nseed: 6\n", "above")
    use(monkeypatch, tmp_path)
    config = sc.compose(["local=workstation"])
    assert (config.devices, config.num_workers.train, config.num_workers.val, config.precision) == (
        2,
        6,
        8,
        "bf16-mixed",
    )
    assert config.paths.run_manifest == "/scratch/outputs/hpc/m.json"
    assert config.origin("devices").source == f"{file}:3"
    assert config.origin("num_workers.train").source == f"{file}:4"
    assert config.origin("num_workers.val").source == sc.compose(["local=hpc"]).origin("num_workers.val").source
    bare, default = sc.compose(["local=bare"]).to_dict(), sc.compose(["local.seed=5"]).to_dict()
    assert bare["local"].pop("name") == "bare"
    assert default["local"].pop("name") == "default"
    assert bare == default
    above = sc.compose(["local=above"])
    assert (above.seed, above.devices, above.origin("devices").source) == (6, 2, f"{file}:3")
    found = hydras("local=workstation")
    assert isinstance(found, dict)
    for path, value in (("devices", 2), ("max_epochs", 30), ("name", "workstation")):
        assert found["local"][path] == value
    assert found["local"]["paths"]["run_manifest"] == "/scratch/outputs/hpc/m.json"


MISTAKES = [
    ("devices: many\n", "devices: 'many' is not an int >= 1, or one of auto, cpu, mps", 1, None),
    ("seed: 1\ndevcies: 2\n", "devcies: there is no such setting in group local", 2, "devices"),
    ("cache_dir: /x\n", "cache_dir: there is no such setting in group local", 1, "paths.cache_dir"),
    ("_target_: os.system\n", "_target_: a config never says what to import", 1, None),
    ("paths:\n  _target_: os.system\n", "_target_: a config never says what to import", 2, None),
    ("paths: /x\n", "paths='/x': paths is a section, not a setting", 1, None),
    ("seed: null\n", "seed: null is not allowed", 1, None),
    ("dev:\n  limit_val_batches: 1.5\n", "dev.limit_val_batches: 1.5 is not", 2, None),
    ("seed: 1\nseed: 2\n", "seed stands on line 1 already", 2, None),
    ("seed: [1\n", "not YAML or JSON: ", 2, None),
    ("- seed\n", "the file holds no settings", 1, None),
    ("seed: 1\ndefaults: [hcp, _self_]\n", "defaults: there is no profile 'hcp' in group local", 2, "hpc"),
    ("defaults: [hpc, debug]\n", "defaults: ['hpc', 'debug'] is not one profile to start from", 1, None),
    ("defaults: [_self_, hpc]\n", "is not one profile to start from", 1, None),
    ("# @package model\nseed: 1\n", "@package model: an overlay sets its own group only", 1, None),
    ("# @package _global_\nseed: 1\n", "@package _global_: there is nothing for local in the file", 1, None),
    ("local:\n  seed: 1\nmodel:\n  width: 3\n", "model: this is not a part of local", 3, None),
    ("name: other\n", "name: an overlay is called as its file, 'workstation'", 1, None),
    ("num_workers: {train: 0}\n", "persistent_workers is true but num_workers.train is 0", 1, None),
]


@pytest.mark.parametrize(("text", "words", "line", "close"), MISTAKES, ids=range(len(MISTAKES)))
def test_an_overlays_mistake_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str, line: int, close: str | None
) -> None:
    """Choosing the overlay says what is wrong in it and where; nothing of it is registered."""
    file = overlay(tmp_path, text)
    use(monkeypatch, tmp_path)
    message = refusal("local=workstation")
    assert message.startswith("local=workstation cannot be chosen: ")
    assert words in message
    assert f"{file}:{line}" in message
    assert close is None or f"nearest: {close}" in message
    assert "workstation" not in profiles()["local"]
