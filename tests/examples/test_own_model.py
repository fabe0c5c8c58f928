"""A model from outside, trained and used through the public commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SMALL = ("data.simulation.planets=24", "data.simulation.airs_frames=100", "local.devices=cpu")
SHORT = ("local.max_epochs=5", "optimizer.lr=0.03", "optimizer.schedule=constant", "local.persistent_workers=false")


@pytest.fixture
def places(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Outputs of its own, and the cache that all tests share."""
    cache = tmp_path_factory.getbasetemp().parent / "spectramind-cache"
    return {"SM_CACHE_DIR": cache, "SM_OUTPUT_DIR": tmp_path / "outputs"}


def test_it_is_trained_scored_and_used(python: Run, spectramind: Run, examples: Path, places: dict[str, Path]) -> None:
    """It learns, beats the classical fit that it smooths, is named in the manifest, and predicts a new planet."""
    folder = examples / "own_model"
    workers = "local.num_workers={train: 0, val: 0, test: 0}"
    done = python(folder / "train.py", *SMALL, *SHORT, workers, "model.cosines=24", **places)
    assert done.returncode == 0, done.stderr
    file = places["SM_OUTPUT_DIR"] / "run_manifest.json"
    manifest = json.loads(file.read_text())
    assert (manifest["status"], manifest["profiles"]["model"]) == ("completed", "ridge")
    assert manifest["config"]["model"] == {"name": "ridge", "cosines": 24, "scale": 0.01}
    metrics = manifest["metrics"]
    assert metrics["val_loss_best"] < metrics["val_loss_first"] - 0.05
    assert metrics["test_score"] > metrics["fit_score"] + 0.03

    curves = places["SM_OUTPUT_DIR"] / "binned.npy"
    time = np.linspace(-1.0, 1.0, 187)[None, :, None]
    noise = np.random.default_rng(0).normal(0.0, 1e-3, (1, 187, 283))
    np.save(curves, 1.0 - 0.01 * (np.abs(time) < 0.4) + noise)
    used = spectramind("predict", file, "--data", curves, "--profiles", folder / "ridge.py", **places)
    assert used.returncode == 0, used.stderr
    (table,) = places["SM_OUTPUT_DIR"].glob("*/predictions_binned.csv")
    spectrum = np.loadtxt(table, delimiter=",", skiprows=1, usecols=range(1, 284))
    assert np.abs(spectrum - 0.01).max() < 1e-3


def test_a_wrong_size_is_refused(python: Run, examples: Path, places: dict[str, Path]) -> None:
    """Its settings are checked like any other, before anything starts."""
    done = python(examples / "own_model" / "train.py", "model.cosines=0", "local=debug", **places)
    assert done.returncode == 2
    assert "an int >= 1 and <= 282 (Cosines that make up a spectrum)" in " ".join(done.stderr.split())
    assert not places["SM_OUTPUT_DIR"].exists()
