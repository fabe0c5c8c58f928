"""Runs that are killed: each is seen as lost, and nothing that it has left unfinished outlives the next run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import read_manifest

from .conftest import Fault, Start

KILLS = 44
UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}-[0-9]+-[0-9a-f]{8}-[0-9a-f]{6}")


def directories(outputs: Path) -> set[Path]:
    """The runs that are there."""
    return {path for path in outputs.glob("2*") if path.is_dir()}


def begun(process: subprocess.Popen[str], outputs: Path, before: set[Path]) -> Path:
    """Waits for the directory of a run that has been started."""
    while not (new := directories(outputs) - before):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    (path,) = new
    return path


def leftovers(*folders: Path) -> list[Path]:
    """Unfinished files and folders anywhere below."""
    return [path for folder in folders for path in folder.rglob(".*") if UNFINISHED.fullmatch(path.name)]


def test_runs_that_are_killed_are_lost(tiny: list[str], start: Start, fault: Fault, tmp_path: Path) -> None:
    """At a random moment, from the making of the directory to the end; every third has to simulate first."""
    outputs, rng = tmp_path / "outputs", np.random.default_rng(44)
    durations = {}
    for cold in (True, False):
        before = directories(outputs)
        process = start("train", *tiny, *([f"local.cache_dir='{tmp_path / 'first'}'"] if cold else []))
        begun(process, outputs, before)
        began = time.monotonic()
        assert process.wait() == 0
        durations[cold] = time.monotonic() - began
    caches = [tmp_path / "cold", Path(tiny[-2].partition("=")[2].strip("'"))]
    seen = 0
    for number in range(KILLS):
        cold = number % 3 == 0
        with fault("`kill -9` of a run, from its first file to its last"):
            for attempt in range(20):  # One that has come to its end before the kill is none: try again, earlier.
                before = directories(outputs)
                cache = [f"local.cache_dir='{caches[0] / str(number)}'"] if cold else []
                process = start("train", *tiny, *cache)
                path = begun(process, outputs, before)
                assert Run.open(path).manifest.state() == "running"
                time.sleep(rng.uniform(0.0, durations[cold] / 2**attempt))
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if (state := Run.open(path).manifest.state()) != "completed":
                    break
            assert state == "lost"
            assert "lost: process" in Run.open(path).manifest.describe()
            assert read_manifest(outputs / "run_manifest.json")
            seen += len(leftovers(outputs, *caches))
            if cold:
                again = start("train", *tiny, *cache)
                assert again.wait() == 0, again.communicate()
                assert leftovers(outputs, caches[0]) == []
    with fault("leftovers of killed runs"):
        assert start("train", *tiny).wait() == 0
        assert leftovers(outputs, *caches) == []
        print(f"{seen} unfinished files and folders were seen after {KILLS} kills")
