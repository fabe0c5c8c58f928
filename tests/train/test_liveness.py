"""Which processes live: those of this machine exactly, others not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from spectramind_train.run import liveness
from spectramind_train.run.liveness import Process, is_gone

HERE = Process.this()
SAY = """
import sys
import msgspec
from spectramind_train.run.liveness import Process
print(msgspec.json.encode(Process.this()).decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], Process]]:
    """Another process of this machine, and what it says of itself."""
    with subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, msgspec.json.decode(process.stdout.readline(), type=Process)
        process.kill()


def test_this_process_lives() -> None:
    """It is itself, also by the token that its unfinished files bear."""
    assert Process.this().lives() is True
    assert is_gone(Process.this().token()) is False
    assert len(Process.this().token()) <= 30


def test_a_process_that_was_killed_is_gone_at_once(other: tuple[subprocess.Popen[str], Process]) -> None:
    """Also before anybody has waited for it, when its number is still taken."""
    process, said = other
    assert said.pid == process.pid
    assert said.lives() is True
    process.send_signal(signal.SIGKILL)
    # What is left of it can be waited for, and is not taken away by this.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert said.lives() is False
    assert is_gone(said.token()) is True
    process.wait()
    assert said.lives() is False
    assert is_gone(said.token()) is True


@pytest.mark.fault("a number that is given to another process, another machine, another container, a restart")
def test_a_number_that_was_given_again_is_another_process() -> None:
    """The start tells them apart."""
    earlier = msgspec.structs.replace(HERE, started="1")
    assert earlier.lives() is False
    assert is_gone(earlier.token()) is True


@pytest.mark.fault("a number that is given to another process, another machine, another container, a restart")
@pytest.mark.skipif(not HERE.boot, reason="boots have no name here")
def test_what_a_machine_can_tell() -> None:
    """Another machine or container cannot be asked; whatever ran before a restart of this one is gone."""
    change = msgspec.structs.replace
    assert change(HERE, host="node7", boot="another").lives() is None
    assert change(HERE, namespace="pid:[1]").lives() is None
    assert change(HERE, boot="before").lives() is False
    assert change(HERE, host="a new name").lives() is True
    for elsewhere in ({"boot": "before"}, {"namespace": "pid:[1]"}):
        assert is_gone(change(HERE, **elsewhere).token()) is None
    assert is_gone("0123abcd") is None


ASK = """
import sys
import msgspec
from spectramind_train.run.liveness import Process
print([one.lives() for one in msgspec.json.decode(sys.stdin.read(), type=list[Process])])
"""


@pytest.mark.fault("a job that is put back into the queue, on another machine")
def test_the_earlier_life_of_a_job_is_gone_wherever_it_ran() -> None:
    """Its number stays the same, and its restarts are counted; a task beside this one, or another job, may live."""
    job = {"SLURM_JOB_ID": "4711", "SLURM_CLUSTER_NAME": "north", "SLURM_RESTART_COUNT": "2"}
    there = msgspec.structs.replace(HERE, host="node7", boot="another")
    lives = [("north/4711", 0), ("north/4711", 1), ("north/4711", 2), ("south/4711", 0), ("north/4712", 0), ("", 0)]
    asked = [msgspec.structs.replace(there, job=name, restarts=restarts) for name, restarts in lives]
    told = subprocess.run(
        [sys.executable, "-c", ASK],
        input=msgspec.json.encode(asked).decode(),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | job,
    )
    assert told.stdout.strip() == "[False, False, None, None, None, None]"


@pytest.mark.fault("a number that is given to another process, another machine, another container, a restart")
def test_machines_without_a_name_of_their_own_are_not_mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that are both called localhost may be two."""
    monkeypatch.setattr(liveness, "_process", lambda pid: msgspec.structs.replace(HERE, host="localhost"))
    assert msgspec.structs.replace(HERE, host="localhost", boot="another").lives() is None


@pytest.mark.skipif(not Path("/usr/bin/ps").exists() and not Path("/bin/ps").exists(), reason="there is no ps")
def test_without_proc_the_portable_way_tells_the_same(
    other: tuple[subprocess.Popen[str], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ps`` names the start of a process, and nothing for one that is gone."""
    process, _ = other
    monkeypatch.setattr(liveness, "_PROC", Path("/nowhere"))
    monkeypatch.setattr(liveness, "_process", liveness._process.__wrapped__)
    here = Process.this()
    assert (here.boot, here.namespace, here.lives()) == ("", "", True)
    its = msgspec.structs.replace(here, pid=process.pid, started=liveness._started(process.pid) or "")
    assert its.lives() is True
    process.kill()
    process.wait()
    assert its.lives() is False
    assert is_gone(its.token()) is True
