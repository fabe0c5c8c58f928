"""Runs that are killed or stopped at random moments and resumed by the command of a requeued job."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from spectramind_train.run.checkpoints import Index

from .conftest import Fault, Start

# Three steps an epoch, of four, four and a single planet; dropout, shuffling and augmentation are on.
LEARNING = (
    "model.width=8",
    "model.state_size=2",
    "model.dropout=0.1",
    "data.batch_size=2",
    "local.accumulate_grad_batches=2",
    "local.num_workers={train: 1, val: 0, test: 0}",
    "local.persistent_workers=false",
    "trainer.early_stopping.enabled=false",
    "trainer.checkpoint.every_minutes=0.001",
    "trainer.max_steps=60",
)
KINDS = {signal.SIGKILL: "`kill -9` at any time, and resumed", signal.SIGTERM: "stopped at any step, and resumed"}
STOPS = {1: 15, 2: 5}

pytestmark = pytest.mark.timeout(3600)


def weights(outputs: Path) -> dict[str, torch.Tensor]:
    """The final weights of the only run in a folder."""
    (folder,) = outputs.glob("*/checkpoints/")
    index = Index.read(folder)
    assert index.newest is not None
    assert index.newest.step == 60
    state: dict[str, torch.Tensor] = torch.load(folder / index.newest.file, weights_only=True)["state_dict"]
    return state


def wait_for_checkpoint(process: subprocess.Popen[str], outputs: Path, before: str) -> str:
    """Wait until the index of the only run differs from what it was, or the process has ended; returns the index."""
    while True:
        found = "".join(file.read_text() for file in outputs.glob("*/checkpoints/index.json"))
        if found != before or process.poll() is not None:
            return found
        time.sleep(0.01)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_runs_end_as_if_nothing_had_happened(
    tiny: list[str], start: Start, fault: Fault, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    """Each life saves at least once; the last has the very weights of a run that nobody stopped, in one directory."""
    several = ["trainer=ddp_sim", f"trainer.cpu_processes={processes}"] if processes > 1 else []
    overrides = [*tiny, *several, *LEARNING]
    whole = start("train", *overrides, f"local.output_dir={tmp_path / 'whole'}")
    assert whole.wait(600) == 0, whole.communicate()
    outputs = tmp_path / "outputs"
    chance, index = random.Random(number + processes), ""  # noqa: S311
    for _ in range(STOPS[processes]):
        with fault(KINDS[number]):
            process = start("train", *overrides, "--resume", "auto")
            index = wait_for_checkpoint(process, outputs, index)
            time.sleep(chance.uniform(0.0, 0.2))
            process.send_signal(number)
            output, error = process.communicate(timeout=120)
            assert process.returncode in (-number, 128 + number, 0), output + error
            (folder,) = outputs.glob("*/checkpoints/")
            newest = Index.read(folder)
            assert all(map(newest.is_whole, newest.entries))
        if process.returncode == 0:
            break
    with fault(KINDS[number], "to the end"):
        (run,) = outputs.glob("*/")
        if '"status": "completed"' not in (run / "manifest.json").read_text():
            process = start("train", "--resume", str(run))
            output, error = process.communicate(timeout=600)
            assert process.returncode == 0, output + error
        expected = weights(tmp_path / "whole")
        for name, value in weights(outputs).items():
            assert torch.equal(value, expected[name]), name
