"""Stopping on purpose: signals and the wall clock, in real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENDLESS = (
    "local.max_epochs=100000",
    "trainer.early_stopping.enabled=false",
    "trainer.checkpoint.save_top_k=1",
    "local.persistent_workers=false",
    "local.num_workers={train: 0, val: 0, test: 0}",
)


def start(small: list[str], folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """A training that would never end by itself."""
    command = [sys.executable, "-m", "spectramind_train", *small, *ENDLESS, f"local.output_dir={folder}", *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def manifest_of(folder: Path) -> dict[str, object]:
    """The newest run's manifest."""
    return json.loads((folder / "run_manifest.json").read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_a_checkpoint(
    small: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM: exit code 128 + signal, status interrupted, a checkpoint that loads, no traceback."""
    process = start(small, tmp_path)
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if line.startswith("epoch   2"):
            process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert "Traceback" not in "".join(output)
    manifest = manifest_of(tmp_path)
    assert manifest["status"] == "interrupted"
    assert "last" in [record["kind"] for record in manifest["checkpoints"]]  # type: ignore[union-attr, index]


def test_a_signal_during_preparation_ends_every_process(tmp_path: Path) -> None:
    """SIGTERM while planets are simulated: exit code 143, and no process, half-written planet or run is left."""
    size = ("data.simulation.planets=200", "data.simulation.airs_frames=100")
    paths = (f"local.cache_dir={tmp_path}/cache", f"local.output_dir={tmp_path}/o")
    command = [sys.executable, "-m", "spectramind_train", "local.devices=cpu", *size, *paths]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not list(tmp_path.glob("cache/simulated-*/train/*")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    # The pipe closes only when every process that holds it has ended.
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert "Traceback" not in output
    assert not list(tmp_path.glob("cache/simulated-*/.*"))
    assert not (tmp_path / "o").exists()


def test_the_wall_clock_ends_the_run_with_exit_code_75(small: list[str], tmp_path: Path) -> None:
    """``trainer.max_time`` counts from the start of the process and leaves a scored run."""
    began = time.monotonic()
    process = start(small, tmp_path, "trainer.max_time=00:00:08")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert time.monotonic() - began > 8
    assert manifest_of(tmp_path)["status"] == "walltime"
