"""A whole run: it learns, it beats its baselines, and it leaves everything behind that it should."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spectramind_config import ConfigError, EffectiveConfig, compose, from_dict
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import read_manifest
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import Outcome, train

REAL_PLANET = Path(__file__).parents[3] / "shared" / "data" / "planet_1103775_binned.npy"


def trained(config: EffectiveConfig) -> Outcome:
    """Train a config on this machine, in silence."""
    host = Host.detect()
    return train(config, plan(config, host), host, Terminal(silent=True))


@pytest.fixture(scope="module")
def config(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> EffectiveConfig:
    """Six epochs of the default model."""
    outputs = tmp_path_factory.mktemp("outputs")
    short = ["local.max_epochs=6", "optimizer.lr=1e-3", "local.num_workers={train: 0, val: 0, test: 0}"]
    return compose([*small, *short, "local.persistent_workers=false", f"local.output_dir='{outputs}'"])


@pytest.fixture(scope="module")
def outcome(config: EffectiveConfig) -> Outcome:
    """The run of that config."""
    return trained(config)


def test_training_lowers_the_validation_loss(outcome: Outcome) -> None:
    """The best validation loss lies below that of the first epoch; the model begins as a good one."""
    metrics = outcome.run.manifest.metrics
    assert outcome.exit_code == 0
    assert metrics["val_loss_best"] < metrics["val_loss_first"] - 0.005


def test_the_score_beats_the_training_mean_and_the_classical_fit(outcome: Outcome) -> None:
    """Predicting the training mean scores zero, the per-channel fit more, V50 most, with a fixed seed."""
    metrics = outcome.run.manifest.metrics
    assert metrics["mean_score"] < 0.05
    assert metrics["test_score"] > metrics["mean_score"] + 0.3
    assert metrics["test_score"] > metrics["fit_score"] + 0.03


def test_the_directory_holds_what_a_run_leaves(outcome: Outcome) -> None:
    """Manifest, config, metrics, checkpoints, predictions and pictures; nothing temporary."""
    names = {path.name for path in outcome.run.path.iterdir()}
    pictures = {"learning.png", "test_spectra.png"}
    files = {"manifest.json", "config.yaml", "journal.jsonl", "metrics.csv", "checkpoints", "test_predictions.csv"}
    assert names == files | pictures
    assert all((outcome.run.path / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
    files = {path.name for path in outcome.run.checkpoints.iterdir()}
    assert files == {"index.json", *(one.file for one in Index.read(outcome.run.checkpoints).entries)}


def test_the_manifest_says_what_ran(outcome: Outcome, config: EffectiveConfig) -> None:
    """Everything that is needed to know and to repeat the run is in one file, which is also the newest manifest."""
    manifest = json.loads((outcome.run.path / "manifest.json").read_text())
    assert manifest == json.loads(Path(config.paths.run_manifest).read_text())
    assert (manifest["schema_version"], manifest["status"], manifest["seed"]) == (1, "completed", 1337)
    assert manifest["fingerprint"] == config.fingerprint
    assert manifest["science_fingerprint"] == config.science_fingerprint
    assert manifest["overrides"] == list(config.overrides)
    assert manifest["profiles"]["local"] == "default"
    assert manifest["devices"] == {"requested": "cpu", "effective": "cpu", "reason": None}
    assert manifest["precision"]["requested"] == "auto-mixed"
    assert manifest["precision"]["effective"] == "32"
    assert manifest["packages"]["torch"].startswith("2.")
    assert manifest["host"]["cores"] >= 1
    assert manifest["data"]["simulated"]
    assert len(manifest["data"]["fingerprint"]) == 64
    assert sum(map(len, manifest["data"]["planets"].values())) == 24
    assert manifest["finished"] >= manifest["started"]


def test_the_config_comes_back_from_the_manifest(outcome: Outcome, config: EffectiveConfig) -> None:
    """The frozen config equals the one that was composed."""
    assert from_dict(outcome.run.manifest.config, "manifest.json") == config


def test_checkpoints_are_the_best_and_the_last_with_their_sha256(outcome: Outcome) -> None:
    """Each file has the digest that the manifest names, and loads with weights_only; the last one may be the best."""
    records = read_manifest(outcome.run.path).checkpoints
    assert [record.kind for record in records].count("best") == 1
    assert records[-1].kind in ("best", "last")
    for record in records:
        content = (outcome.run.path / record.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.sha256
        assert "state_dict" in torch.load(outcome.run.path / record.file, weights_only=True)


def test_predictions_are_a_submission(outcome: Outcome) -> None:
    """567 columns, no negative number, positive uncertainties, one row a planet."""
    with (outcome.run.path / "test_predictions.csv").open() as file:
        header, *rows = list(csv.reader(file))
    assert len(header) == 567
    assert (header[0], header[1], header[283], header[284], header[566]) == (
        "planet_id",
        "wl_1",
        "wl_283",
        "sigma_1",
        "sigma_283",
    )
    values = np.array([row[1:] for row in rows], dtype=float)
    assert (values[:, :283] >= 0).all()
    assert (values[:, 283:] > 0).all()
    assert [row[0] for row in rows] == outcome.run.manifest.data.planets["test"]


def test_metrics_are_written_as_training_goes(outcome: Outcome) -> None:
    """``metrics.csv`` has the validation loss and score of each epoch."""
    with (outcome.run.path / "metrics.csv").open() as file:
        scores = [row["val_score"] for row in csv.DictReader(file) if row["val_score"]]
    assert len(scores) == 6
    assert outcome.score == pytest.approx(max(map(float, scores)), rel=1e-6)
    assert outcome.score == outcome.run.manifest.metrics["val_score_best"]


def test_without_a_validation_there_is_no_score(config: EffectiveConfig, tmp_path: Path) -> None:
    """A sweeper is told that there is nothing to compare."""
    caps = ["local.dev.limit_val_batches=0", "local.max_epochs=1", f"local.output_dir='{tmp_path}'"]
    outcome = trained(config.with_overrides(caps))
    assert (outcome.exit_code, outcome.score) == (0, None)


def test_the_same_seed_gives_the_same_numbers(config: EffectiveConfig, outcome: Outcome) -> None:
    """A second run has a directory of its own and equal metrics, to the last bit."""
    again = trained(config)
    assert again.run.path != outcome.run.path
    assert again.run.manifest.metrics == outcome.run.manifest.metrics
    assert read_manifest(Path(config.paths.run_manifest)).run_id == again.run.manifest.run_id
    assert Run.open(outcome.run.path).manifest.status == "completed"


def test_a_cap_below_one_batch_leaves_one_and_the_last_step_is_validated(
    config: EffectiveConfig, tmp_path: Path
) -> None:
    """Shares of a batch are one batch, and ``max_steps`` within an epoch still ends with a validation."""
    caps = [f"local.dev.limit_{split}_batches=0.01" for split in ("train", "val", "test")]
    for overrides in (caps, ["local.dev.overfit_batches=0.01"], ["trainer.max_steps=1"]):
        outcome = trained(config.with_overrides([*overrides, "local.max_epochs=1", f"local.output_dir='{tmp_path}'"]))
        assert outcome.exit_code == 0
        assert outcome.run.manifest.metrics["val_score_best"] > 0.0


def test_a_full_disk_is_one_message(config: EffectiveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be written any more ends the run as failed, without a traceback for the user."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("spectramind_train.training.draw_spectra", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        trained(config.with_overrides(["local.dev.fast_dev_run=true", f"local.output_dir='{tmp_path}'"]))
    assert read_manifest(tmp_path / "run_manifest.json").status == "failed"


def test_a_damaged_checkpoint_is_refused(config: EffectiveConfig, tmp_path: Path) -> None:
    """A flipped bit is found by the sha256 before a wrong spectrum is predicted."""
    small_run = trained(config.with_overrides(["local.dev.fast_dev_run=true", f"local.output_dir='{tmp_path}'"])).run
    file = small_run.checkpoint()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="the checkpoint is damaged"):
        Run.open(small_run.path).checkpoint()


def predicted(outcome: Outcome, data: Path, output: Path) -> np.ndarray:
    """The spectra that ``spectramind predict`` writes."""
    assert main(["predict", str(outcome.run.path), "--data", str(data), "--out", str(output)]) == 0
    with output.open() as file:
        return np.array([row[1:284] for row in list(csv.reader(file))[1:]], dtype=float)


def test_predict_reads_binned_light_curves(outcome: Outcome, tmp_path: Path) -> None:
    """A box-shaped transit of one per cent in every channel is predicted as one per cent."""
    rng = np.random.default_rng(0)
    time_h = np.linspace(0, 7.5, 150)
    flux = np.where(np.abs(time_h - 3.7) < 1.1, 0.99, 1.0)[None, :, None] * np.ones((2, 1, 283)) * 1e5
    np.savez(tmp_path / "curves.npz", flux=flux * (1 + 1e-3 * rng.normal(size=flux.shape)), planet_id=["7", "8"])
    spectra = predicted(outcome, tmp_path / "curves.npz", tmp_path / "spectra.csv")
    assert spectra.shape == (2, 283)
    assert np.abs(spectra.mean(axis=1) - 0.01).max() < 0.001


def test_predictions_that_cannot_be_written_are_one_message(
    outcome: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An output that is a folder is named, with the option that changes it."""
    np.save(tmp_path / "curves.npy", 1e5 * (1.0 + 1e-3 * np.random.default_rng(0).normal(size=(1, 40, 283))))
    arguments = ["--data", str(tmp_path / "curves.npy"), "--out", str(tmp_path)]
    assert main(["predict", str(outcome.run.path), *arguments]) == 2
    assert f"{tmp_path}: cannot be written" in capsys.readouterr().err


def test_the_real_planet_is_as_deep_as_it_looks(outcome: Outcome, tmp_path: Path) -> None:
    """The mean predicted depth of a real planet lies within 15 % of the 1.8 % that its light curve shows."""
    if not REAL_PLANET.is_file():
        pytest.skip("the challenge's light curve is not on this machine")
    depth = float(predicted(outcome, REAL_PLANET, tmp_path / "spectrum.csv").mean())
    assert abs(depth - 0.018) < 0.15 * 0.018
