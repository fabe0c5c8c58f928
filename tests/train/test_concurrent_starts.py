"""Runs that need the same simulation at the same time; more of them, with nothing held, are in ``tests/faults``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from spectramind_config import Simulation
from spectramind_train.planets.splits import _settings_hash
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import read_manifest
from spectramind_train.run.turns import alone

SETTINGS = Simulation(planets=12, airs_frames=40)


def test_one_of_four_runs_simulates_and_the_others_wait(tmp_path: Path) -> None:
    """All of them find that another simulates, say so, and end with a directory each and the same numbers."""
    outputs, folder = tmp_path / "outputs", tmp_path / "cache" / f"simulated-{_settings_hash(SETTINGS)}"
    folder.mkdir(parents=True)
    overrides = ["trainer=ci_fast", "trainer.max_steps=2", "local.devices=cpu", "data.batch_size=4"]
    overrides += [f"data.simulation.planets={SETTINGS.planets}", f"data.simulation.airs_frames={SETTINGS.airs_frames}"]
    overrides += [f"local.cache_dir='{tmp_path / 'cache'}'", f"local.output_dir='{outputs}'"]
    command = [sys.executable, "-m", "spectramind_train.cli", "train", *overrides]
    with alone(folder / ".lock", lambda: None):
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            waits = f"another run simulates planets in {folder}; waiting for it\n"
            assert waits in iter(process.stdout.readline, "")
    newest = []
    while any(process.poll() is None for process in processes):
        if (outputs / "run_manifest.json").exists():
            newest.append(read_manifest(outputs / "run_manifest.json").run_id)
        time.sleep(0.02)
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    runs = [Run.open(path.parent).manifest for path in outputs.glob("*/manifest.json")]
    assert [run.state() for run in runs] == ["completed"] * 4
    assert all(run.metrics == runs[0].metrics for run in runs)
    assert set(newest) <= {run.run_id for run in runs}
    assert sum("simulating planets:" in output for output in said) <= 1
    assert not list((tmp_path / "cache").rglob(".*"))
