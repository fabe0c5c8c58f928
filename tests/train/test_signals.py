"""What a signal does to a process that takes them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from spectramind_train.run import signals

NUMBERS = pytest.mark.parametrize("number", list(signals.SIGNALS), ids=lambda number: number.name)
LONG_S = 120.0

READY = "print('ready', flush=True)"
SLEEP = "time.sleep(600)"


def ended(lines: list[str], *numbers: int, before: str = "", installed: bool = True) -> tuple[int, str]:
    """Exit code and output of a program that gets signals, each after it has said that it is ready for one."""
    head = ["import signal, sys, time", before, "from spectramind_train.run import signals"]
    head += ["signals.install()"] if installed else []
    process = subprocess.Popen(
        [sys.executable, "-c", "\n".join([*head, *lines])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for number in numbers:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
    output, _ = process.communicate(timeout=LONG_S)
    return process.returncode, output


@NUMBERS
def test_it_ends_the_process_at_once(number: signal.Signals) -> None:
    """With its exit code, and without a word: nothing is there yet that would have to be cleaned up."""
    lines = ["try:", f"    {READY}", f"    {SLEEP}", "finally:", "    print('late')"]
    assert ended(lines, number) == (signals.SIGNALS[number], "")


@NUMBERS
def test_it_raises_where_there_is_something_to_clean_up(number: signal.Signals) -> None:
    """It passes every ``finally``, and no ``except Exception``."""
    lines = ["with signals.raising():", "    try:", f"        {READY}", f"        {SLEEP}"]
    lines += ["    except Exception: print('wrong')", "    finally: print('clean')"]
    assert ended(lines, number) == (signals.SIGNALS[number], "clean\n")


@NUMBERS
def test_it_waits_for_a_training(number: signal.Signals) -> None:
    """There it only sets what the training asks for."""
    lines = ["with signals.deferred():", f"    {READY}"]
    lines += ["    while not signals.received(): time.sleep(0.01)", "    print(signals.received())", "sys.exit(7)"]
    assert ended(lines, number) == (7, f"{number.value}\n")


def test_a_second_one_ends_the_process_at_once() -> None:
    """With its own exit code, whatever the process is at."""
    lines = ["signals.SAME_S = 0.0", "with signals.deferred():", "    try:", f"        {READY}"]
    lines += ["        while not signals.received(): time.sleep(0.01)", f"        {READY}", f"        {SLEEP}"]
    lines += ["    finally: print('late')"]
    assert ended(lines, signal.SIGINT, signal.SIGTERM) == (143, "")


def test_the_same_one_again_is_one() -> None:
    """timeout(1) sends its own child one, and then its whole group."""
    lines = ["signals.SAME_S = 600.0", "with signals.deferred():", f"    {READY}"]
    lines += ["    while not signals.received(): time.sleep(0.01)", f"    {READY}", "    sys.stdin.read(0)"]
    lines += ["    time.sleep(0.5)", "print('done')"]
    assert ended(lines, signal.SIGTERM, signal.SIGTERM) == (0, "done\n")


def test_what_hangs_is_given_up() -> None:
    """A training that finishes no batch raises, and what does not clean up in time ends without."""
    hangs = ["signals.PATIENCE_S, signals.CLEANING_S = 0.1, 600.0", "with signals.deferred():"]
    hangs += ["    try:", f"        {READY}", f"        {SLEEP}", "    finally: print('clean')"]
    assert ended(
        [line.replace("PATIENCE_S, signals.CLEANING_S = 0.1, 600.0", "PATIENCE_S = 0.1") for line in hangs],
        signal.SIGHUP,
    ) == (129, "clean\n")
    deaf = ["with signals.raising(0.1):", f"    {READY}", "    while True:", "        try: time.sleep(600)"]
    deaf += ["        except BaseException: pass"]
    assert ended(deaf, signal.SIGUSR1) == (75, "")


@pytest.mark.fault("SIGINT, SIGTERM, SIGHUP, SIGUSR1 to the parent, a rank or all, at any phase")
@pytest.mark.parametrize("way", ["if True", "with signals.raising()"])
def test_one_that_interrupts_nothing_counts(way: str) -> None:
    """As one does that comes just before the main thread begins to wait: here it comes to another thread."""
    other = "lambda: (time.sleep(0.5), signal.pthread_kill(threading.get_ident(), signal.SIGTERM), time.sleep(600))"
    lines = ["import threading", f"threading.Thread(target={other}, daemon=True).start()", f"{way}: {SLEEP}"]
    assert ended(lines) == (143, "")


def test_one_that_a_library_keeps_from_us_ends_the_process() -> None:
    """A main thread within a library that waits, and begins to wait again when it is interrupted, runs no handler."""
    lines = ["import ctypes, os, threading", "signals.REMINDERS_S, signals.PATIENCE_S = (0.1,), 0.1"]
    other = "lambda: (time.sleep(0.5), os.kill(os.getpid(), signal.SIGTERM))"
    lines += ["lock = ctypes.PyDLL(None).PyThread_allocate_lock", "lock.restype = ctypes.c_void_p", "held = lock()"]
    lines += ["library = ctypes.CDLL(None)", "library.PyThread_acquire_lock(ctypes.c_void_p(held), 1)"]
    lines += ["with signals.deferred():", f"    threading.Thread(target={other}, daemon=True).start()"]
    lines += ["    library.PyThread_acquire_lock(ctypes.c_void_p(held), 1)"]
    assert ended(lines) == (143, "")


def test_one_to_a_fork_is_its_own() -> None:
    """A loader's worker shares everything with its parent when it starts; only the parent's signals are the run's."""
    lines = ["import os", "signals.REMINDERS_S, signals.CLEANING_S, signals._state.cleaning_s = (), 0.0, 0.0"]
    lines += ["if not (child := os.fork()):", "    signal.raise_signal(signal.SIGTERM)", "    os._exit(0)"]
    lines += ["os.waitpid(child, 0)", "time.sleep(0.5)"]
    assert ended([*lines, "print(signals.received())"]) == (0, "None\n")


def test_a_training_that_goes_on_is_not_given_up() -> None:
    """Each batch that it finishes gives it time for another."""
    lines = ["signals.PATIENCE_S = 0.1", "with signals.deferred():", f"    {READY}"]
    lines += ["    while not signals.received(): time.sleep(0.01)", "    signals.busy(600.0)", "    time.sleep(0.5)"]
    assert ended([*lines, "print('done')"], signal.SIGTERM) == (0, "done\n")


@NUMBERS
def test_one_at_the_very_end_changes_nothing(number: signal.Signals) -> None:
    """Python gives up its handlers before it frees what is left; the run has ended, and its exit code is known."""
    dies = f"    def __del__(self, kill=os.kill, pid=os.getpid()): kill(pid, {number.value})"
    lines = ["import os", "class Last:", dies]
    assert ended([*lines, "last = Last()", "sys.exit(7)"]) == (7, "")


def test_what_nohup_ignores_stays_ignored() -> None:
    """SIGHUP does nothing to a process that was started to outlive its terminal."""
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    lines = [READY, READY, SLEEP]
    assert ended(lines, signal.SIGHUP, signal.SIGTERM, before=ignored) == (143, "")


def test_whoever_calls_us_from_python_goes_on() -> None:
    """Where nobody has installed handlers, as in a notebook, they are there for as long as they are needed."""
    before = signal.getsignal(signal.SIGUSR1)
    with signals.deferred():
        signal.raise_signal(signal.SIGUSR1)
        assert signals.received() == signal.SIGUSR1
    assert signal.getsignal(signal.SIGUSR1) == before
    with signals.deferred():
        assert signals.received() is None
    with pytest.raises(signals.Interrupted, match="stopped by SIGTERM") as caught, signals.raising():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143


@pytest.mark.fault("SIGINT, SIGTERM, SIGHUP, SIGUSR1 to the parent, a rank or all, at any phase")
def test_the_training_after_a_stopped_one_is_its_own() -> None:
    """Whoever trains again after a signal, in a notebook for one, is not ended for the signal of the one before."""
    lines = ["signals.REMINDERS_S, signals.PATIENCE_S = (0.2,), 0.2", "with signals.deferred():"]
    lines += ["    signal.raise_signal(signal.SIGINT)", "    print(signals.received())"]
    lines += ["with signals.deferred(): time.sleep(1.5)", "print(signals.received())"]
    assert ended(lines, installed=False) == (0, "2\nNone\n")


def test_a_process_starts_with_signals_blocked() -> None:
    """None can hit it before it is ready."""
    blocked = "signal.pthread_sigmask(signal.SIG_BLOCK, ())"
    code = "import signal; from spectramind_train.run import signals; "
    code += f"print(signals.SIGNALS.keys() <= {blocked}); signals.answer(signal.SIG_IGN); "
    code += f"print({blocked} & signals.SIGNALS.keys())"
    with signals.blocked():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["True", "set()"]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & signals.SIGNALS.keys()
