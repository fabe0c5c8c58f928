"""A job that its scheduler puts back into the queue, on another machine, and what it goes on with."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .stopping import ENDLESS, NO_LOADERS, Started

Start = Callable[[str, str], Started]


@pytest.fixture
def job(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts ``train --resume auto`` as the life of a job, by its number and its restarts, and leaves none."""
    runs: list[Started] = []

    def start(number: str, restarts: str) -> Started:
        monkeypatch.setenv("SLURM_JOB_ID", number)
        monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
        if restarts:
            monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        settings = [*small, *ENDLESS, *NO_LOADERS, "local.max_epochs=1000"]
        runs.append(Started(tmp_path / "outputs", *settings, "--resume", "auto"))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


@pytest.mark.fault("a job that is put back into the queue, on another machine")
def test_a_job_goes_on_with_the_run_of_its_earlier_life(job: Start) -> None:
    """Its machine died, and SLURM starts it on another one, where the first cannot be asked; another job waits."""
    first = job("4711", "")
    first.await_that(lambda: list(first.folder.glob("*/checkpoints/index.json")))
    first.send(signal.SIGKILL, "parent")
    first.end()
    (path,) = first.runs()
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["status"], manifest["process"]["job"]) == ("running", "/4711")
    manifest["process"] |= {"host": "node7", "boot": "another"}
    (path / "manifest.json").write_text(json.dumps(manifest))

    other = job("4712", "1")
    other.await_that(lambda: "a new run starts" in other.output)
    other.kill()
    other.end()
    assert f"{path} is running, says its manifest" in other.output.replace("\n", " ")

    again = job("4711", "1")
    again.await_that(lambda: "resuming" in again.output)
    assert f"resuming {path} after step" in again.output.replace("\n", " ")
    again.await_that(lambda: json.loads((path / "manifest.json").read_text())["process"]["restarts"] == 1)
