"""What a process that we start owes to the one that started it: it heeds its signals, and dies when it does."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import multiprocessing.util  # What it does at the end is registered now, and so comes after what is registered below.
import os
import signal
import sys
import threading
import time
from multiprocessing import resource_tracker
from types import FrameType
from typing import Final

from spectramind_train.run import signals

_PR_SET_PDEATHSIG: Final = 1
_LOOK_EVERY_S: Final = 1.0


class ProcessFailedError(Exception):
    """A process of ours died, of a fault or for lack of memory; its message is for the user, who made no mistake."""


def follow(parent: int) -> None:
    """Have this process killed when its parent dies, however that happens.

    On Linux the kernel does so, as soon as the thread that started this process is gone; elsewhere a thread looks once
    a second.

    Args:
        parent: The parent's process number, by which one that has died already is noticed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_look, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def keep_tracker() -> None:
    """Start the process that tidies up after ours in a way that no signal to all of them ends it before its time."""
    with signals.blocked():
        resource_tracker.ensure_running()


def serve() -> None:
    """Become a worker of a pool: it dies with its parent, and SIGTERM has it clean up and leave."""
    _follow_starter()
    signals.answer(signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def load(_: int) -> None:
    """Become a worker of a loader: its parent alone says when to end, also where a signal comes to all processes."""
    _follow_starter()
    signals.answer(signal.SIG_IGN)


def kill_loaders() -> None:
    """Kill the workers of this process's loaders; that one of them has died is no news then."""
    workers = [worker for worker in multiprocessing.active_children() if worker.daemon]
    if workers:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()


# At the end of a process whose training failed, Python asks them by SIGTERM, and would wait for ever.
atexit.register(kill_loaders)


def _follow_starter() -> None:
    if (starter := multiprocessing.parent_process()) is not None and starter.pid is not None:
        follow(starter.pid)


def _leave(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # The pool sends it again, which must not cut the cleaning short.
    raise signals.Interrupted(number)


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)
