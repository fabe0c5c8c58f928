"""Work on many planets at once, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Final, TypeVar

from spectramind_train.run import children, signals

T = TypeVar("T")

CLEANING_S: Final = 1.5
"""Seconds that workers have to clean up when the work is stopped early; then they are killed."""


def spread(
    task: Callable[..., T], jobs: Sequence[tuple[Any, ...]], workers: int, *, purpose: str
) -> Generator[tuple[int, T]]:
    """Call ``task(*job)`` for every job, in this process or in several, in the order in which they finish.

    With more than one worker, a script must guard its entry point by ``if __name__ == "__main__"``, as always with
    spawned processes. Whoever stops early, by a signal or by closing the iterator, ends the workers: a job that has
    begun is left as by an exception, and the others are given up.

    Args:
        task: A function at the top of a module.
        jobs: Its arguments; they must pickle.
        workers: Processes to use; with one, or with one job, all is done in this process.
        purpose: What a worker does with planets, for the message when one dies, such as ``simulates``.

    Yields:
        The number of a job, from 0, and its result.

    Raises:
        ProcessFailedError: A process died.
        Interrupted: A signal ended one.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for number, job in enumerate(jobs):
            yield number, task(*job)
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    processes: set[BaseProcess] = set()
    children.keep_tracker()  # Before the pool, which would start it unprotected.
    with ProcessPoolExecutor(workers, mp_context=context, initializer=children.serve) as pool:
        try:
            with signals.blocked():
                futures = {pool.submit(_do, task, job): number for number, job in enumerate(jobs)}
                processes.update(set(multiprocessing.active_children()) - others)
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            _end(processes)
            pool.shutdown(wait=True, cancel_futures=True)
            # When one worker dies, the pool ends the others by SIGTERM; whether that was what ended the first is told
            # by the absence of any other reason.
            if {process.exitcode for process in processes} <= {0, -signal.SIGTERM, signals.SIGNALS[signal.SIGTERM]}:
                raise signals.Interrupted(signal.SIGTERM) from None
            raise children.ProcessFailedError(
                f"a process that {purpose} planets died, most likely for lack of memory; {workers} worked at once: "
                "use fewer, the planets that are done are kept"
            ) from error
        except BaseException:
            _end(processes)
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _do(task: Callable[..., T], job: tuple[Any, ...]) -> T:
    try:
        return task(*job)
    except signals.Interrupted as interrupted:
        # The pool would hand the exception back and do the next job; all that this one had to clean up is done.
        os._exit(signals.SIGNALS[interrupted.number])


def _end(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    running = {process.sentinel: process for process in processes}
    end = time.monotonic() + CLEANING_S
    while running and (left := end - time.monotonic()) > 0:
        for sentinel in wait(list(running), left):
            del running[sentinel]  # type: ignore[arg-type]
    for process in running.values():
        process.kill()
