"""Work that several processes need done once: one does it, the others wait until it is there, or do something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout


@contextmanager
def alone(lock: Path, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold a lock file, so that no other process works on the same.

    The kernel frees the lock of a process that ends in whatever way, so that none has to be removed by hand. Where a
    file system knows no locks, all work at once: what they write appears whole or not at all, so that time is lost
    and nothing else.

    Args:
        lock: The file; its folder exists. It is there while a process holds the lock.
        waiting: Called, once, where another process holds it; None calls nothing.
    """
    held = FileLock(lock, fallback_to_soft=False)
    try:
        _acquire(held, waiting)
        yield
    finally:
        _release(held, lock)


@contextmanager
def claimed(lock: Path) -> Iterator[bool]:
    """Hold a lock file unless another process does, without waiting for it.

    Yields:
        Whether this process may work: it has the lock, or the file system knows none.
    """
    held = FileLock(lock, fallback_to_soft=False)
    free = True
    try:
        try:
            held.acquire(blocking=False)
        except Timeout:
            free = False
        except OSError:
            pass
        yield free
    finally:
        _release(held, lock)


def _release(held: BaseFileLock, lock: Path) -> None:
    if held.is_locked:
        # A process that has opened the file and waits sees that it has no name any more, and opens the new one.
        lock.unlink(missing_ok=True)
        held.release()


def _acquire(held: BaseFileLock, waiting: Callable[[], None] | None) -> None:
    try:
        held.acquire(blocking=False)
    except Timeout:
        if waiting:
            waiting()
        with suppress(OSError):
            held.acquire()
    except OSError:
        pass
