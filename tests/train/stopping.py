"""Runs as real processes that are stopped at a chosen moment, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 75}
LONG_S = 240.0
"""Far longer than anything here takes, on a machine that is busy with other things too."""

ENDLESS = (
    "model.width=8",
    "local.max_epochs=100000",
    "trainer.early_stopping.enabled=false",
    "trainer.checkpoint.save_top_k=1",
    "data.batch_size=4",
)
TWO = ("trainer=ddp_sim",)
LOADERS = ("local.num_workers={train: 2, val: 1, test: 1}",)
NO_LOADERS = ("local.num_workers={train: 0, val: 0, test: 0}", "local.persistent_workers=false")


class Started:
    """A training as a process in a group of its own; all that it starts is found by a mark in the environment.

    Args:
        folder: Its output folder.
        overrides: Its command line.
        by: What starts ``-m spectramind_train``; this Python, unless it is a launcher.
    """

    def __init__(self, folder: Path, *overrides: str, by: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self.lines: list[str] = []
        program = ["-m", "spectramind_train", *overrides, f"local.output_dir='{folder}'"]
        command = [*(by or (sys.executable,)), *program]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"SM_MARK": self.mark},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += iter(self.process.stdout.readline, "")

    @property
    def output(self) -> str:
        """What it has written so far."""
        return "".join(self.lines)

    def await_that(self, condition: Callable[[], Any]) -> None:
        """Wait until something is true while it runs."""
        wait_for(condition, lambda: self.process.poll() is None, lambda: self.output)

    def pause(self, seconds: float) -> None:
        """Let it go on for a while."""
        time.sleep(seconds)

    def send(self, number: int, target: str) -> None:
        """Send a signal to ``parent``, ``group``, ``rank0``, ``rank1``, ``ranks``, or ``everyone``."""
        if target == "group":
            os.killpg(self.process.pid, number)
            return
        chosen = {"parent": [self.process.pid], "everyone": self.alive(), "ranks": self.ranks()}
        chosen |= {f"rank{rank}": [pid] for rank, pid in enumerate(self.ranks())}
        for pid in chosen[target]:
            try_kill(pid, number)

    def alive(self) -> list[int]:
        """Every process of the run, this one's child included, that is there."""
        return [pid for pid in pids() if f"SM_MARK={self.mark}".encode() in read(pid, "environ") and not is_gone(pid)]

    def ranks(self) -> list[int]:
        """The processes that train together, by their rank."""
        found = {}
        for pid in self.alive():
            if parent(pid) == self.process.pid and b"spectramind_train" in read(pid, "cmdline"):
                words = dict(one.partition(b"=")[::2] for one in read(pid, "environ").split(b"\0"))
                if b"RANK" in words:
                    found[int(words[b"RANK"])] = pid
        return [found[rank] for rank in sorted(found)]

    def workers(self) -> list[int]:
        """Loader workers: children that share a rank's, or the run's, command line."""
        owners = [self.process.pid, *self.ranks()]
        children = [pid for pid in self.alive() if parent(pid) in owners]
        return [pid for pid in children if read(pid, "cmdline") == read(parent(pid), "cmdline")]

    def end(self) -> int:
        """Wait for its end, and for that of everything it started; returns the exit code."""
        code = self.process.wait(LONG_S)
        wait_for(lambda: not self.alive(), lambda: True, lambda: f"{self.alive()} are left over")
        self._reader.join(LONG_S)
        return code

    def kill(self) -> None:
        """Leave nothing."""
        for pid in self.alive():
            try_kill(pid, signal.SIGKILL)

    def runs(self) -> list[Path]:
        """The directories of runs."""
        return [path for path in self.folder.glob("*") if path.is_dir()]

    def manifest(self) -> dict[str, Any]:
        """The manifest of the only run."""
        (run,) = self.runs()
        return json.loads((run / "manifest.json").read_text())

    def checkpoint(self) -> dict[str, Any]:
        """The newest checkpoint of the only run."""
        (run,) = self.runs()
        files = sorted((run / "checkpoints").glob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns)
        return torch.load(files[-1], weights_only=True)

    def trains(self) -> bool:
        """Whether an epoch is done."""
        return "epoch   1" in self.output


def stopped(started: Started, number: int, *, begun: bool) -> None:
    """Assert that a run ended as it should after a signal."""
    code = started.end()
    told = started.output
    assert code == CODES[signal.Signals(number)], told
    assert "Traceback" not in told, told
    assert "DataLoader" not in told, told
    assert "rror" not in told, told
    if begun:
        assert started.manifest()["status"] == "interrupted"
        assert "state_dict" in started.checkpoint()
    else:
        assert not started.runs() or started.manifest()["status"] == "interrupted"


def wait_for(condition: Callable[[], Any], meanwhile: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until something is true, and something else stays so."""
    end = time.monotonic() + LONG_S
    while not condition():
        assert meanwhile(), told()
        assert time.monotonic() < end, told()
        time.sleep(0.02)


def pids() -> list[int]:
    """Every process of the machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read(pid: int, name: str) -> bytes:
    """A file of ``/proc`` about a process; empty where that is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def parent(pid: int) -> int:
    """A process's parent; 0 where it is gone."""
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def is_gone(pid: int) -> bool:
    """Whether a process is not there, or has ended and is only not yet waited for."""
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return not fields or fields[0] in (b"Z", b"X")


def takes_signals(pid: int) -> bool:
    """Whether a process has a handler of SIGUSR1, or leaves it as it is without blocking it."""
    masks = dict(line.split(":\t") for line in read(pid, "status").decode().splitlines() if line.startswith("Sig"))
    bit = 1 << (signal.SIGUSR1 - 1)
    return bool(masks) and bool(int(masks["SigCgt"], 16) & bit)


def has_loaded(pid: int, library: str) -> bool:
    """Whether a process has a shared library in its memory."""
    return library.encode() in read(pid, "maps")


def try_kill(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
