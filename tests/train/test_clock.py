"""By when a run has to be done, and long work that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from spectramind_config import ConfigError
from spectramind_train.cli import main
from spectramind_train.run import clock


def test_the_first_run_counts_from_the_process_and_later_ones_from_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep's second run does not inherit the time of the first, and a run without a limit has no deadline."""
    limit = timedelta(minutes=1)
    began = time.time() - 100.0
    monkeypatch.setattr(clock, "_process", [began])
    assert clock.deadline(limit) == began + 60.0
    now = time.time()
    assert now <= (clock.deadline(limit) or 0.0) - 60.0 <= time.time()
    assert clock.deadline(None) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the import stands in for the start")
def test_a_process_knows_when_it_started_however_late_it_asks() -> None:
    """The start lies between those of whoever started it and of its own first line."""
    code = (
        "import time; line = time.time(); time.sleep(0.5); import spectramind_train.run.clock as clock; "
        "print(line, clock.process_start())"
    )
    before = time.time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    line, start = map(float, done.stdout.split())
    assert before - 0.05 <= start <= line  # The kernel counts in hundredths of a second.


@pytest.mark.fault("the wall-clock limit")
def test_the_limit_stops_a_run_for_its_own_time_only(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process that is an hour old, ``max_time`` of half an hour ends the first run and not the second."""
    began = time.time() - 3600.0
    short = ["local.max_epochs=2", "model.width=8", "trainer.max_time=00:59:59", f"local.output_dir={tmp_path}"]
    main(["train", *small, "local.max_epochs=1", "model.width=8", f"local.output_dir={tmp_path}"])  # Fills the cache.
    monkeypatch.setattr(clock, "_process", [began])
    assert main(["train", *small, *short]) == 75
    assert main(["train", *small, *short]) == 0


class Paced:
    """Work whose clock is told, not waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deadline: float | None) -> None:
        self.now, self.done = 1e9, 0
        self.told: list[tuple[int, int]] = []
        monkeypatch.setattr(clock.time, "time", lambda: self.now)
        with clock.within(None if deadline is None else 1e9 + deadline):
            self.forecast = clock.Forecast("calibrating planets", lambda done, total: self.told.append((done, total)))

    def work(self, steps: int, seconds: float, total: int = 100) -> None:
        """Do some steps of so many seconds each."""
        for _ in range(steps):
            self.now, self.done = self.now + seconds, self.done + 1
            self.forecast(self.done, total)


def test_work_that_cannot_be_done_in_time_ends_early_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred planets of ten seconds do not fit into ten minutes, which eight after the first show."""
    paced = Paced(monkeypatch, 600.0)
    with pytest.raises(ConfigError, match="9 of 100 are done, and the rest needs about 0:15:10") as caught:
        paced.work(100, 10.0)
    assert "the run ends in 0:08:30" in str(caught.value)
    assert "trainer.max_time" in str(caught.value)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0])
def test_many_fast_steps_are_told_as_early(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Nine steps of a tenth of a second show little, but five seconds of them do."""
    paced = Paced(monkeypatch, 60.0)
    with pytest.raises(ConfigError, match="the rest needs about"):
        paced.work(10_000, seconds, total=10_000)
    assert paced.done * seconds < 10.0


def test_the_start_of_the_workers_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy when they start may take half a minute for it, whatever a planet takes then."""
    paced = Paced(monkeypatch, 120.0)
    paced.now += 30.0
    paced.work(400, 0.1, total=400)
    assert paced.done == 400


@pytest.mark.parametrize("deadline", [None, 1001.0])
def test_work_that_can_be_done_is_left_alone(monkeypatch: pytest.MonkeyPatch, deadline: float | None) -> None:
    """Every step is reported."""
    paced = Paced(monkeypatch, deadline)
    paced.work(100, 10.0)
    assert paced.told == [(done, 100) for done in range(1, 101)]


def test_what_came_from_the_cache_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety planets of no time say nothing about the last ten."""
    paced = Paced(monkeypatch, 60.0)
    paced.work(90, 0.0)
    with pytest.raises(ConfigError, match="needs about"):
        paced.work(10, 10.0)
    assert paced.done < 100


def test_work_that_is_late_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few steps there are to judge by; the last one is let be, for the work is done."""
    paced = Paced(monkeypatch, 15.0)
    with pytest.raises(ConfigError, match="2 of 3"):
        paced.work(3, 10.0, total=3)
    paced = Paced(monkeypatch, 25.0)
    paced.work(3, 10.0, total=3)
