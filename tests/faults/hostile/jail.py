"""Commands in processes with a limit of time and of memory, made by one process that has imported all of it.

``python jail.py`` reads a job in JSON from each line of its standard input, does it in a child of its own and answers
with how that ended, in JSON. Importing torch takes seconds, a fork of a process that has it takes milliseconds.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

MEMORY = 1 << 30
"""Bytes that a command may take beyond what its imports take; more ends in a MemoryError."""
CPU_S = 60  # A third of it does on a fast machine.
WALL_S = 180


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; minus the signal that ended it.
        out: What it printed.
        err: What it printed on standard error.
        seconds: Wall-clock time.
        memory: Bytes that it took beyond what its imports took.
        hung: Whether it had to be ended.
    """

    code: int
    out: str
    err: str
    seconds: float
    memory: int
    hung: bool


class Jail:
    """Runs commands; a context manager."""

    def __init__(self, **variables: str) -> None:
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", **variables}

    def __enter__(self) -> Self:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(
        self, arguments: Sequence[str | Path], cwd: Path, *, variables: Mapping[str, str] | None = None, **more: Any
    ) -> Ended:
        """``spectramind ARGUMENTS`` in a folder; or, with ``code``, what a piece of Python does.

        Args:
            arguments: The command line.
            cwd: The working directory.
            variables: More of the environment.
            more: ``code``, Python to run in place of the command; ``memory``, bytes.
        """
        assert self._process.stdin
        assert self._process.stdout
        words = [os.fsdecode(os.fspath(one)) for one in arguments]
        job = {"arguments": words, "cwd": str(cwd), "variables": dict(variables or {}), **more}
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the jail itself has died"
        return Ended(**json.loads(answer))


def _serve() -> None:
    """Import everything, then do one job after the other."""
    import lightning.pytorch  # noqa: F401
    import matplotlib.pyplot as plt  # noqa: F401

    from spectramind_train import cli, training  # noqa: F401
    from spectramind_train.ariel import dataset  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ["SPECTRAMIND_JAIL"] = str(os.getpid())
    for line in sys.stdin:
        job = json.loads(line)
        out, err = os.memfd_create("out"), os.memfd_create("err")
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(_imprisoned(job, out, err))
        ended = _waited(child, began)
        ended |= {"out": _text(out), "err": _text(err)}
        print(json.dumps(ended), file=answers, flush=True)


def _waited(child: int, began: float) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hung = False
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        if not hung and time.monotonic() - began > WALL_S:
            hung = True
            os.killpg(child, 9)
        time.sleep(0.002)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "memory": max(0, usage.ru_maxrss - before) * 1024,
        "hung": hung,
    }


def _imprisoned(job: dict[str, Any], out: int, err: int) -> int:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = used + job.get("memory", MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = io.TextIOWrapper(open(number, "wb", closefd=False), "utf-8", "backslashreplace")  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(job["cwd"])
    os.environ.update(job["variables"])
    sys.argv = ["spectramind", *job["arguments"]]
    try:
        code = _done(job)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - what Python itself does at the end of a process.
        import traceback

        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code & 0xFF


def _done(job: dict[str, Any]) -> int:
    if "code" in job:
        exec(compile(job["code"], "job", "exec"), {"arguments": job["arguments"]})  # noqa: S102
        return 0
    from spectramind_train.cli import main

    return main(job["arguments"])


def _text(descriptor: int) -> str:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    text = os.pread(descriptor, min(size, 1_000_000), 0).decode("utf-8", "replace")
    os.close(descriptor)
    return text


if __name__ == "__main__":
    _serve()
