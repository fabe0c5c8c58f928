"""A model that is handed on: read with safetensors and JSON, it predicts the same to the last bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import spectramind_config as sc
from spectramind_train.ariel.constants import WAVELENGTHS_UM
from spectramind_train.cli import main
from spectramind_train.model import build_model
from spectramind_train.results.prediction import load_model
from spectramind_train.run.directory import Run

from .conftest import synthetic_batch


@pytest.fixture
def exported(trained: Path, tmp_path: Path) -> Path:
    """The folder of an export."""
    assert main(["export", str(trained), "--out", str(tmp_path / "handed" / "on")]) == 0
    return tmp_path / "handed" / "on"


def described(folder: Path) -> dict[str, Any]:
    """What the JSON of an export says."""
    found: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return found


def test_it_predicts_the_same_to_the_last_bit(exported: Path, trained: Path) -> None:
    """With safetensors, JSON and the public function that builds a model."""
    config = sc.from_dict(described(exported)["config"], "model.json")
    model = build_model(config.model).eval()
    model.load_state_dict(load_file(exported / "model.safetensors"))
    run = Run.open(trained)
    original = load_model(config, run.checkpoint())
    batch = synthetic_batch(planets=5, steps=40)
    untrained = build_model(config.model).eval()
    with torch.inference_mode():
        found, expected, other = (one(batch) for one in (model, original, untrained))
    for one, same, unlike in zip(found, expected, other, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, unlike)


def test_it_says_what_it_is(exported: Path, trained: Path) -> None:
    """Model, wavelengths, units, fingerprints, versions, and digests of the files."""
    found, manifest = described(exported), Run.open(trained).manifest
    assert sorted(one.name for one in exported.iterdir()) == ["model.json", "model.safetensors"]
    assert found["model"] == {"class": "spectramind_train.v50.network.V50", "profile": "v50"}
    assert found["wavelengths"] == WAVELENGTHS_UM.tolist()
    assert found["units"]["wavelengths"] == "um"
    assert (found["fingerprint"], found["science_fingerprint"]) == (manifest.fingerprint, manifest.science_fingerprint)
    assert found["versions"]["packages"]["torch"] == manifest.packages["torch"]
    weights = (exported / found["weights"]["file"]).read_bytes()
    assert found["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    checkpoint = found["run"]["checkpoint"]
    assert (
        checkpoint["sha256"] == hashlib.sha256((trained / "checkpoints" / checkpoint["file"]).read_bytes()).hexdigest()
    )


def test_the_same_run_gives_the_same_files(exported: Path, trained: Path, tmp_path: Path) -> None:
    """Byte for byte."""
    assert main(["export", str(trained), "--out", str(tmp_path / "again")]) == 0
    for file in exported.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_nothing_is_replaced_or_half_written(
    exported: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is there stays as it is, and one that cannot be made is one message."""
    before = {file.name: file.read_bytes() for file in exported.iterdir()}
    assert main(["export", str(trained), "--out", str(exported)]) == 2
    assert f"{exported}: it is there already" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in exported.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    assert main(["export", str(trained), "--out", str(tmp_path / "file" / "export")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
