"""Several processes that train one model, for real, with gloo on the CPU."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.learning.processes import learn_in_processes
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import RunPlan, plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import train


def test_two_processes_train_one_model(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks read the frozen config, train together and leave one scored run, inside a SLURM job too."""
    for name, value in {"JOB_ID": "1", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SM_MLFLOW_DIR", str(tmp_path / "mlruns"))
    config = compose([*small, f"local.output_dir={tmp_path}", "local.max_epochs=2", "local.mlflow.enabled=true"])
    host = Host.detect()
    two = dataclasses.replace(plan(config, host), devices=2, strategy="ddp", num_workers=(0, 0, 0), threads=1)
    outcome = train(config, two, host, Terminal(silent=True))
    assert outcome.exit_code == 0
    manifest = outcome.run.manifest
    assert manifest.status == "completed"
    assert manifest.plan["devices"] == 2
    assert manifest.metrics["test_score"] > 0.3
    assert outcome.run.checkpoint().is_file()
    assert outcome.score == manifest.metrics["val_score_best"]
    with (outcome.run.path / "metrics.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file) if row["train_loss"]]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [manifest.run_id, "mlruns", "run_manifest.json"]
    (final,) = (tmp_path / "mlruns").rglob("test_score")
    assert (final.parent / "val_score").is_file()
    assert "status: 3" in (final.parents[1] / "meta.yaml").read_text()  # MLflow's number of FINISHED.


@pytest.fixture
def two(tmp_path: Path) -> tuple[Run, RunPlan]:
    """A run that two processes cannot even open, since its manifest is gone, and its plan."""
    config, host = compose([f"local.output_dir={tmp_path}", "local.devices=cpu"]), Host.detect()
    alone = plan(config, host)
    run = Run.create(config, alone, host)
    (run.path / "manifest.json").unlink()
    return run, dataclasses.replace(alone, devices=2)


def test_a_process_that_fails_says_why_itself(two: tuple[Run, RunPlan], capfd: pytest.CaptureFixture[str]) -> None:
    """Its own message stands on stderr without a traceback, and the run ends with one of which process it was."""
    with pytest.raises(ConfigError, match=r"process [01] of 2 failed, see above"):
        learn_in_processes(*two)
    error = capfd.readouterr().err
    assert "no run here" in error
    assert "Traceback" not in error


def test_a_signal_while_the_processes_start_ends_them(
    two: tuple[Run, RunPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM before there is anything to save: exit code 143, not a mistake of the user's."""
    pause = time.sleep

    def kill_and_pause(seconds: float) -> None:
        monkeypatch.setattr("spectramind_train.run.launching.time.sleep", pause)
        os.kill(os.getpid(), signal.SIGTERM)
        pause(seconds)

    monkeypatch.setattr("spectramind_train.run.launching.time.sleep", kill_and_pause)
    with pytest.raises(SystemExit) as caught:
        learn_in_processes(*two)
    assert caught.value.code == 143
