"""Since when a run counts its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spectramind_train.cli import main
from spectramind_train.run import clock


def test_the_first_run_counts_from_the_process_and_later_ones_from_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep's second run does not inherit the time of the first."""
    began = time.monotonic() - 100.0
    monkeypatch.setattr(clock, "_process", [began])
    assert clock.run_start() == began
    now = time.monotonic()
    assert now <= clock.run_start() <= time.monotonic()


def test_the_limit_stops_a_run_for_its_own_time_only(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that is an hour old, ``max_time`` of ten minutes ends the first run and not the second."""
    monkeypatch.setattr(clock, "_process", [time.monotonic() - 3600.0])
    short = ["local.max_epochs=2", "model.width=8", "trainer.max_time=00:10:00", f"local.output_dir={tmp_path}"]
    assert main(["train", *small, *short]) == 75
    assert main(["train", *small, *short]) == 0
