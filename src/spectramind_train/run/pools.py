"""Work on many planets at once, in processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from spectramind_config import ConfigError

T = TypeVar("T")


def spread(
    task: Callable[..., T], jobs: Sequence[tuple[Any, ...]], workers: int, *, purpose: str
) -> Iterator[tuple[int, T]]:
    """Call ``task(*job)`` for every job, in this process or in several, in the order in which they finish.

    With more than one worker, a script must guard its entry point by ``if __name__ == "__main__"``, as always with
    spawned processes. Whoever stops early waits for the jobs begun; the others are given up.

    Args:
        task: A function at the top of a module.
        jobs: Its arguments; they must pickle.
        workers: Processes to use; with one, or with one job, all is done in this process.
        purpose: What a worker does with planets, for the message when one dies, such as ``simulates``.

    Yields:
        The number of a job, from 0, and its result.

    Raises:
        ConfigError: A process died.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for number, job in enumerate(jobs):
            yield number, task(*job)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(task, *job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise ConfigError(
                f"a process that {purpose} planets died, most likely for lack of memory; {workers} worked at once: "
                "use fewer, the planets that are done are kept"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
