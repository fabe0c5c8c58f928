"""Work spread over processes."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from spectramind_train.run.children import ProcessFailedError
from spectramind_train.run.pools import spread
from spectramind_train.run.signals import Interrupted


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_every_job_is_done_once(workers: int) -> None:
    """Results come with the number of their job, whatever the order."""
    assert dict(spread(divmod, [(7, 2), (9, 4), (5, 5)], workers, purpose="divides")) == {
        0: (3, 1),
        1: (2, 1),
        2: (1, 0),
    }


def test_no_job_is_no_work() -> None:
    """Nothing to do starts nothing."""
    assert list(spread(divmod, [], 4, purpose="divides")) == []


def test_a_dead_process_is_one_message() -> None:
    """A worker that the kernel kills ends the work with a message that says what it was about."""
    with pytest.raises(
        ProcessFailedError, match="a process that ends planets died, most likely for lack of memory; 2 "
    ):
        list(spread(signal.raise_signal, [(signal.SIGKILL,), (signal.SIGKILL,)], 2, purpose="ends"))


def test_a_worker_that_was_told_to_stop_stops_all() -> None:
    """SIGTERM to a worker alone is a signal to the work, and not a fault."""
    with pytest.raises(Interrupted) as caught:
        list(spread(signal.raise_signal, [(signal.SIGTERM,), (signal.SIGTERM,)], 2, purpose="ends"))
    assert caught.value.code == 143


def test_errors_are_passed_on() -> None:
    """What a job raises arrives as it is."""
    with pytest.raises(ZeroDivisionError):
        list(spread(divmod, [(1, 0), (1, 1)], 2, purpose="divides"))


LINGERING = """
import time

def linger(folder, number):
    if number == 0:
        return number
    unfinished = folder / f"{number}"
    unfinished.mkdir()
    try:
        time.sleep(3600)
    finally:
        unfinished.rmdir()
"""


def test_whoever_stops_early_waits_for_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that have begun are ended, and clean up; signals that are not for them leave them alone."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "lingering.py").write_text(LINGERING)
    monkeypatch.syspath_prepend(tmp_path / "code")
    folder = tmp_path / "unfinished"
    folder.mkdir()
    others = set(multiprocessing.active_children())
    linger = importlib.import_module("lingering").linger
    results = spread(linger, [(folder, number) for number in range(9)], 3, purpose="lingers")
    assert next(results) == (0, 0)
    while len(list(folder.iterdir())) < 3:
        time.sleep(0.05)
    for process in set(multiprocessing.active_children()) - others:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(process.pid or 0, number)
    assert len(set(multiprocessing.active_children()) - others) == 3
    results.close()
    assert not list(folder.iterdir())
    assert set(multiprocessing.active_children()) <= others
