"""Runs that start in the same instant, with the same outputs and a cold cache."""

from __future__ import annotations

import time
from pathlib import Path

from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import Manifest, read_manifest

from .conftest import Fault, Start

STARTS = 16


def test_runs_that_start_together_never_mix(tiny: list[str], start: Start, fault: Fault, tmp_path: Path) -> None:
    """One simulates, one calibrates, the others wait and say so; each has a directory and the same numbers."""
    outputs = tmp_path / "outputs"
    arguments = [*tiny, f"local.cache_dir='{tmp_path / 'cache'}'", "trainer.max_steps=4"]
    processes = [start("train", *arguments) for _ in range(STARTS)]
    seen: list[Manifest] = []
    with fault("the newest manifest, read all the while"):
        while any(process.poll() is None for process in processes):
            if (outputs / "run_manifest.json").exists():
                seen.append(read_manifest(outputs / "run_manifest.json"))
            time.sleep(0.01)
        assert len({manifest.run_id for manifest in seen}) > 1
    said = {}
    runs: dict[str, Manifest] = {}
    for process in processes:
        with fault("16 starts in the same instant, cold cache"):
            output, error = process.communicate()
            assert process.returncode == 0, error
            (path,) = (line.split(" ")[1].rstrip(":") for line in output.splitlines() if line.startswith("run "))
            said[path] = output
            runs[path] = Run.open(Path(path)).manifest
            assert runs[path].state() == "completed"
            assert runs[path].metrics == next(iter(runs.values())).metrics
    with fault("16 starts in the same instant, cold cache", "one simulates"):
        assert len(runs) == STARTS
        assert sum("simulating planets:" in output for output in said.values()) <= 1
        waited = sum("waiting for it" in output for output in said.values())
        assert waited > 0
        print(f"{waited} of {STARTS} runs waited for another")
        assert [path.name for path in (tmp_path / "cache").rglob(".*")] == []
