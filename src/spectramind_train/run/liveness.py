"""Which process did something, and whether it still lives: known for certain on its own machine, nowhere else."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
import subprocess
from pathlib import Path

import msgspec

_HIDDEN = "hidden"
"""When a process has started that belongs to another user, on a machine that keeps users apart."""

_PROC = Path("/proc")
_ANY_MACHINE = re.compile(r"localhost(\..*)?")
_TOKEN = re.compile(r"(?P<place>[0-9a-f]{8})-(?P<pid>[0-9]+)-(?P<started>[0-9a-f]{8})")


class Process(msgspec.Struct, frozen=True):
    """A process, told from every other that ever had its number.

    Attributes:
        host: Name of its machine.
        boot: The machine's boot, an identifier that Linux draws each time; empty elsewhere.
        namespace: Its namespace of process numbers, as a container has its own; empty but on Linux.
        pid: Its number.
        started: When it started: clock ticks since the boot on Linux, date and time elsewhere.
        job: The SLURM job that it belongs to, with its cluster, or that of torchrun; empty outside of one.
        restarts: How often the job has been put back into the queue.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    job: str = ""
    restarts: int = 0

    @classmethod
    def this(cls) -> Process:
        """The process that asks."""
        return _process(os.getpid())

    def lives(self) -> bool | None:
        """Whether it runs; None where that cannot be told, because it ran on another machine or in another container.

        A process that has ended and that nobody has waited for yet does not live. Nor does one of an earlier life of
        the job that asks, wherever that ran: SLURM ends all of a job before it puts it back into the queue.
        """
        here = Process.this()
        if self._place() == here._place():
            started = _started(self.pid)
            return None if started == _HIDDEN else started == self.started
        if self.job and self.job == here.job and self.restarts < here.restarts:
            return False
        restarted = self.host == here.host and self.boot != here.boot and not _ANY_MACHINE.fullmatch(self.host)
        return False if restarted else None

    def token(self) -> str:
        """The process in some thirty letters and digits, for the name of a file that it writes."""
        return f"{_short(*self._place())}-{self.pid}-{_short(self.started)}"

    def _place(self) -> tuple[str, ...]:
        """Where its number means this process; a boot is of one machine, whatever name the machine has."""
        return (self.boot, self.namespace) if self.boot else (self.host,)


def is_gone(token: str) -> bool | None:
    """Whether the process that a token stands for has ended; None where that cannot be told, or for no token."""
    found = _TOKEN.fullmatch(token)
    if found is None or found["place"] != _short(*Process.this()._place()):
        return None
    started = _started(int(found["pid"]))
    return None if started == _HIDDEN else started is None or _short(started) != found["started"]


@functools.cache
def _process(pid: int) -> Process:
    """This process; by its number, since a fork is another."""
    boot = namespace = ""
    if _PROC.is_dir():
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str((_PROC / "self/ns/pid").readlink())
    return Process(socket.gethostname(), boot, namespace, pid, _started(pid) or "", *_job())


def _job() -> tuple[str, int]:
    """The job that this process belongs to, and how often SLURM has put that back into the queue."""
    if (torchruns := os.environ.get("TORCHELASTIC_RUN_ID", "none")) != "none":  # The name of all that have none.
        return f"torchrun/{torchruns}", 0
    number, restarts = (os.environ.get(f"SLURM_{name}", "") for name in ("JOB_ID", "RESTART_COUNT"))
    cluster = os.environ.get("SLURM_CLUSTER_NAME", "")
    return f"{cluster}/{number}" if number else "", int(restarts) if restarts.isdecimal() else 0


def _started(pid: int) -> str | None:
    """When the process with a number started; None where there is none, or only what is left of one that ended."""
    if _PROC.is_dir():
        try:
            line = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return _HIDDEN if _is_there(pid) else None
        # The second field is the program's name in brackets, which may hold spaces and brackets itself.
        fields = line.rpartition(")")[2].split()
        state, started = fields[0], fields[19]
    else:
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        output = subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout  # noqa: S603
        state, _, started = output.strip().partition(" ")
    return None if state[:1] in ("", "Z", "X") else " ".join(started.split())


def _is_there(pid: int) -> bool:
    """Whether a process is there that the machine shows to its owner only."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        pass
    return False


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
