"""What a signal does to a run: it ends the process at once, or as an exception does, or at the training's next step.

Imported, and installed, before anything else, so that no import can be interrupted with a traceback: this module uses
nothing but the standard library.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, Literal

SIGNALS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 75}
"""Every signal that stops a run, and the exit code that it ends with; SIGUSR1 is how SLURM says that time is short."""

PATIENCE_S: Final = 30.0
"""Seconds that a training that was told to stop may spend on one batch before it counts as hung."""

SAVING_S: Final = 120.0
"""Seconds that one may spend on its last checkpoint."""

CLEANING_S: Final = 10.0
"""Seconds that a process may take to clean up after a signal."""

REMINDERS_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds after which a main thread that may have missed a signal is reminded, each after the one before."""

SAME_S: Final = 0.5
"""Seconds within which a signal that comes again is the same: timeout(1), for one, sends each to a child twice."""


class Interrupted(SystemExit):
    """A signal stops the process; whatever it passes on its way out is cleaned up.

    Attributes:
        number: The signal.
        code: The exit code, see ``SIGNALS``.
    """

    def __init__(self, number: int) -> None:
        self.number = signal.Signals(number)
        super().__init__(SIGNALS[self.number])

    def __str__(self) -> str:
        return f"stopped by {self.number.name}"


@dataclass
class _State:
    """What a process knows of the signals that came since it took them."""

    way: Literal["leave", "raise", "wait"] = "leave"
    cleaning_s: float = CLEANING_S
    first: int | None = None
    since: float = 0.0
    due: float = 0.0
    hung: bool = False
    once: bool = False
    process: int = 0
    bell: int | None = None
    bell_before: int = -1
    before: dict[int, Any] = field(default_factory=dict)
    given_back: threading.Event = field(default_factory=threading.Event)


_state = _State()


def install() -> None:
    """Take the signals for the life of this process; until ``raising`` is entered, one ends it at once.

    A SIGHUP that is ignored stays so: that is what ``nohup`` is for.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue
        _state.before[number] = signal.signal(number, _receive)
    _state.process = os.getpid()
    _remind()


def received() -> int | None:
    """The first signal that came; None where none has."""
    return _state.first


@contextmanager
def raising(cleaning_s: float = CLEANING_S) -> Iterator[None]:
    """Inside, a signal raises ``Interrupted``, so that unfinished files and other processes go with this one.

    Args:
        cleaning_s: Seconds after which the process ends whatever it is at.
    """
    with _taken("raise", cleaning_s):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Inside, a signal only sets what ``received`` tells. Where ``busy`` is not called for too long, it raises."""
    with _taken("wait", _state.cleaning_s):
        yield


def busy(seconds: float = PATIENCE_S) -> None:
    """Say that a training that may have been told to stop is not hung, and how long it may now take."""
    _state.due = time.monotonic() + seconds


@contextmanager
def blocked() -> Iterator[None]:
    """Inside, signals wait, and a process that is started is born so: none can hit it before it is ready for one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer(handler: Any) -> None:
    """Give every signal the same handler in a process that was started with them blocked, and let them come."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def once() -> None:
    """Count the first signal only: whoever started this process and others sends each to all of them, and again."""
    _state.once = True


def of_rank() -> None:
    """Become one process of several: a signal ends it at once until its training begins, and counts once from then.

    Until then it may wait for others inside a library, where no handler of Python's would run. The second signal need
    not count, for whoever sends one to all processes has this one's parent pass it on as well.
    """
    once()
    _state.before.clear()
    _forget()
    answer(signal.SIG_DFL)


@contextmanager
def _taken(way: Literal["raise", "wait"], cleaning_s: float) -> Iterator[None]:
    global _state
    temporary = not _state.before
    if temporary:  # What was begun for the signals of an earlier training may still wait, and must not meet this one.
        _state = _State(once=_state.once)
        install()
    before = _state.way, _state.cleaning_s
    _state.way, _state.cleaning_s = way, cleaning_s
    try:
        yield
    finally:
        _state.way, _state.cleaning_s = before
        if temporary:  # Whoever called us may go on, a notebook for one.
            _state.given_back.set()
            for number, handler in _state.before.items():
                signal.signal(number, handler)
            _state.before.clear()
            _forget()


def _remind() -> None:
    """Have a thread see to it that the main thread notices each signal.

    Python runs a handler between two instructions of the main thread. A signal that comes after the last of them and
    before a call that waits, or that another thread takes, interrupts nothing: the handler would run when the call is
    done. SIGURG, which nobody minds, interrupts it. Where even that does not help, because the main thread is within a
    library that waits, the thread ends the process as ``_enforce`` would.
    """
    if _state.bell is not None:
        return
    hears, _state.bell = os.pipe()
    os.set_blocking(_state.bell, False)
    _state.before[signal.SIGURG] = signal.signal(signal.SIGURG, lambda *_: None)
    _state.bell_before = signal.set_wakeup_fd(_state.bell, warn_on_full_buffer=False)
    main = threading.main_thread().ident or 0
    # It takes no signal itself, not even while the main thread lets them wait. Where no thread can be had, signals come
    # as they do anywhere.
    with blocked(), suppress(RuntimeError):
        threading.Thread(target=_remind_of_each, args=(_state, hears, main), name="reminders", daemon=True).start()


def _forget() -> None:
    if _state.bell is not None:
        signal.set_wakeup_fd(_state.bell_before)
        os.close(_state.bell)
        _state.bell = None


def _remind_of_each(state: _State, hears: int, main: int) -> None:
    while number := os.read(hears, 1):
        if number[0] not in SIGNALS:
            continue
        for seconds in REMINDERS_S:
            if state.given_back.wait(seconds):
                break
            signal.pthread_kill(main, signal.SIGURG)
        patience = PATIENCE_S if state.way == "wait" else state.cleaning_s
        if state.first is None and not state.given_back.wait(patience) and state.first is None:
            os._exit(SIGNALS[signal.Signals(number[0])])
    os.close(hears)


def _fork() -> None:
    """In a process that was forked: it shares the bell, and its signals are not its parent's."""
    if _state.bell is not None:
        signal.set_wakeup_fd(-1)


def _deaf() -> None:
    """Let no signal change how a process ends that is at its very end, where Python has given up its handlers."""
    if _state.process == os.getpid():
        for number in _state.before.keys() & SIGNALS.keys():
            signal.signal(number, signal.SIG_IGN)


os.register_at_fork(after_in_child=_fork)
atexit.register(_deaf)  # Before anything else registers, so that it comes last.


def _receive(number: int, _: FrameType | None) -> None:
    if os.getpid() != _state.process:
        return  # A loader's worker, forked a moment ago; it ends with its parent.
    if _state.hung:
        _state.hung = False
        raise Interrupted(_state.first or number)
    now = time.monotonic()
    if _state.first is not None:
        again = number == _state.first and now - _state.since < SAME_S
        if not (again or _state.once):
            os._exit(SIGNALS[signal.Signals(number)])
        return
    _state.first, _state.since = number, now
    if _state.way == "leave":
        os._exit(SIGNALS[signal.Signals(number)])
    waits = _state.way == "wait"
    busy(PATIENCE_S if waits else _state.cleaning_s)
    threading.Thread(target=_enforce, args=(_state, number), name="signals", daemon=True).start()
    if not waits:
        raise Interrupted(number)


def _enforce(state: _State, number: int) -> None:
    """See to it that a process that was told to stop does: an exception may get lost, or a worker hang."""
    if _overdue(state) and state.way == "wait":
        state.due = time.monotonic() + state.cleaning_s
        state.way, state.hung = "raise", True
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    if _overdue(state):
        os._exit(SIGNALS[signal.Signals(number)])


def _overdue(state: _State) -> bool:
    while (left := state.due - time.monotonic()) > 0:
        if state.given_back.wait(left):
            return False
    return not state.given_back.is_set()
