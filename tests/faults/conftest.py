"""Faults that are tried for real, and counted: ``make faults`` runs this folder and prints what was survived.

A test takes the fixture ``fault`` and tries each single fault in a block of its own, named by its kind, which is the
first cell of a row of ``docs/reliability.md``, and what is special about it::

    def test_a_kill_while_saving_leaves_a_whole_newest(fault: Fault, tiny: list[str], start: Start) -> None:
        for moment in moments:
            with fault("`kill -9` during a save", f"after {moment} s"):
                process = start("train", *tiny)
                ...
                assert newest_whole(folder)

Each block counts as one fault tried. It counts as survived if it ends without an exception. A block that fails does
not end the test: the next faults are tried too, and the test fails at its end with all that went wrong. So nothing
after a block may rely on what the block has set.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from ..conftest import kinds

Fault = Callable[..., AbstractContextManager[None]]
Start = Callable[..., "subprocess.Popen[str]"]

FAILURES = pytest.StashKey[list[Exception]]()


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    """Counts faults: each ``with`` block that names a kind is one, and is survived unless it fails."""
    failures = request.node.stash[FAILURES] = []

    @contextmanager
    def one(kind: str, case: str = "") -> Iterator[None]:
        assert kind in kinds(), f"docs/reliability.md has no row {kind!r}"
        survived = False
        try:
            yield
            survived = True
        except pytest.fail.Exception as error:
            failures.append(AssertionError(f"{kind}, {case}: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the fault was not survived, and the test says so.
            error.add_note(f"not survived: {kind}, {case}")
            failures.append(error)
        finally:
            request.node.user_properties.append(("fault", [kind, survived]))

    return one


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test whose faults were not all survived, with each of them."""
    result = yield
    if failures := pyfuncitem.stash.get(FAILURES, []):
        raise ExceptionGroup(f"{len(failures)} faults were not survived", failures)
    return result


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without data, and no variable that names any: runs train on simulated planets."""
    for name in ("SM_CACHE_DIR", "SM_OUTPUT_DIR", "SM_DATA_ROOT", "SM_MLFLOW_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tiny(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a training that takes seconds: a cache that tests share, outputs in ``tmp_path / "outputs"``."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "spectramind-faults-cache"
    return [
        "trainer=ci_fast",
        "data.simulation.planets=14",
        "data.simulation.airs_frames=60",
        "local.devices=cpu",
        f"local.cache_dir='{cache}'",
        f"local.output_dir='{tmp_path / 'outputs'}'",
    ]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``spectramind ARGUMENTS`` as a process group of its own; what still runs at the end is killed.

    Keywords go to ``subprocess.Popen``; stdout and stderr are pipes of text unless they say otherwise.
    """
    started: list[subprocess.Popen[str]] = []

    def one(*arguments: str, **options: object) -> subprocess.Popen[str]:
        usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        command = [sys.executable, "-m", "spectramind_train.cli", *arguments]
        process: subprocess.Popen[str] = subprocess.Popen(command, **(usual | options))  # type: ignore[call-overload]
        started.append(process)
        return process

    yield one
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
