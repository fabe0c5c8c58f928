"""Several processes that train one model, for real, with gloo on the CPU."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.console import Console
from spectramind_train.plan import plan
from spectramind_train.training import train


def test_two_processes_train_one_model(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks read the frozen config, train together and leave one scored run, inside a SLURM job too."""
    for name, value in {"JOB_ID": "1", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    config = compose([*small, f"local.output_dir={tmp_path}", "local.max_epochs=2", "local.mlflow.enabled=false"])
    host = Host.detect()
    two = dataclasses.replace(plan(config, host), devices=2, strategy="ddp", num_workers=(0, 0, 0), threads=1)
    outcome = train(config, two, host, Console(silent=True), started=time.monotonic())
    assert outcome.exit_code == 0
    manifest = outcome.run.manifest
    assert manifest.status == "completed"
    assert manifest.plan["devices"] == 2
    assert manifest.metrics["test_score"] > 0.3
    assert outcome.run.checkpoint().is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [manifest.run_id, "run_manifest.json"]
