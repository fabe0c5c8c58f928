"""Work that is done once: the others wait, and none waits for a process that is dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spectramind_train.run.turns import alone, claimed

HOLD = """
import sys
from pathlib import Path
from spectramind_train.run.turns import alone
with alone(Path("lock"), lambda: print("waits", flush=True)):
    print("holds", flush=True)
    sys.stdin.readline()
print("free", flush=True)
"""


def started(folder: Path) -> subprocess.Popen[str]:
    """A process that takes its turn and gives it up at a line from us."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", HOLD], cwd=folder, stdin=pipe, stdout=pipe, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """The next word of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_works_and_the_other_waits_and_says_so(tmp_path: Path) -> None:
    """The second has its turn when the first is done, and nothing is left."""
    with started(tmp_path) as first:
        assert said(first) == "holds"
        with started(tmp_path) as second:
            assert said(second) == "waits"
            first.communicate("\n")
            assert said(second) == "holds"
            assert (tmp_path / "lock").exists()
            second.communicate("\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("a run that is killed while others wait for it")
def test_nobody_waits_for_a_process_that_was_killed(tmp_path: Path) -> None:
    """Its lock is free, though its file is still there; one that waits when it dies goes on."""
    with started(tmp_path) as first:
        assert said(first) == "holds"
        with started(tmp_path) as second:
            assert said(second) == "waits"
            os.kill(first.pid, signal.SIGKILL)
            assert said(second) == "holds"
            second.kill()
    assert (tmp_path / "lock").exists()
    with alone(tmp_path / "lock", lambda: pytest.fail("it waited for the dead")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_locks_all_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none, or a file that another user owns, costs time and no run."""
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    for path in (tmp_path / "lock", tmp_path / "no folder" / "lock"):
        worked = False
        with alone(path, lambda: pytest.fail("it waited for nobody")):
            worked = True
        assert worked
        with claimed(path) as ours:
            assert ours


def test_a_failure_gives_the_turn_up(tmp_path: Path) -> None:
    """The next one need not wait."""
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "lock", lambda: None):
        raise ZeroDivisionError
    with alone(tmp_path / "lock", lambda: pytest.fail("it waited")):
        pass


def test_what_is_claimed_is_not_waited_for(tmp_path: Path) -> None:
    """A lock that another process holds is told at once; it can be had when that one is done or dead."""
    with started(tmp_path) as other:
        assert said(other) == "holds"
        with claimed(tmp_path / "lock") as ours:
            assert not ours
        assert (tmp_path / "lock").exists()
        other.kill()
    with claimed(tmp_path / "lock") as ours, claimed(tmp_path / "lock") as again:
        assert ours
        assert not again
    assert list(tmp_path.iterdir()) == []
