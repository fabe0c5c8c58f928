"""A process of its own that tells MLflow what a run's journal says.

Its own, so that MLflow's imports take no step's time, a reply without an end does not fill the training's memory, and
a server that is silent keeps nobody from ending. It gets its order, password included, through a pipe.

It dies with the run's process, unless the journal has the end of the run: then it may finish what it is at, for a
minute. So a short run on a busy machine is in MLflow's files a moment after it has ended, without keeping anybody
waiting; where a scheduler ends every process of a job, what is missing stays in the journal for ``track sync``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.journal import JOURNAL, End, Metrics, Number, Start, entries

POSITION = "tracking.json"
_TAG = "spectramind.journal"
_STATUS = {"completed": "FINISHED", "walltime": "FINISHED", "pruned": "FINISHED"}
_STATUS |= {"interrupted": "KILLED", "lost": "KILLED"}
LINGER_S = 60.0
"""Seconds that delivery may go on after the run has ended."""

_POLL_S = 0.1  # Between two looks at the journal,
_WATCH_S = 0.5  # and at the parent.
_TOGETHER_S = 2.0  # Metrics of as long go in one request.
_LONGEST_PAUSE_S = 60.0
_MOMENT_S = 5.0
_REQUEST_S = 120  # A reply that has no end ends here,
_MEMORY = 512 << 20  # or when it has filled as many bytes.
_MOST_METRICS, _MOST_PARAMETERS, _LONGEST_TEXT, _LONGEST_NAME = 1000, 100, 6000, 250  # What MLflow takes.


class Unsaid(msgspec.Struct, frozen=True):
    """The end of a process that could not write it down itself, be it killed.

    Attributes:
        start: The line with which it began; whoever takes the run up again writes another.
        status: What became of the run, as in its manifest, or ``lost``.
    """

    start: str
    status: str


class Order(msgspec.Struct, frozen=True):
    """What to deliver.

    Attributes:
        directory: The run's directory.
        uri: The server.
        name: The same without its password.
        experiment: The MLflow experiment.
        parent: The process with which this one ends.
        follow: Whether to go on until the run has ended.
        linger_s: Seconds that this may take afterwards.
        unsaid: An end that the journal lacks.
    """

    directory: str
    uri: str
    name: str
    experiment: str
    parent: int
    follow: bool
    linger_s: float = LINGER_S
    unsaid: Unsaid | None = None


class Delivered(msgspec.Struct):
    """What a server has: ``tracking.json``.

    Attributes:
        uri: The server, without its password.
        run: The MLflow run; None while nobody knows whether it was made.
        position: Bytes of the journal that have arrived.
        step: The last step among them.
        steps: The last step of each metric; what is trained again after a resume is not sent again.
    """

    uri: str
    run: str | None = None
    position: int = 0
    step: int = 0
    steps: dict[str, int] = {}


class Feed:
    """Sends what a journal holds to a server, each point once.

    After a failure, and where an earlier process may have ended in the middle of a request, nobody knows what has
    arrived; the server is asked for it before anything is sent.
    """

    def __init__(self, order: Order, client: Any) -> None:
        self.order = order
        self.client = client
        self.journal = Path(order.directory) / JOURNAL
        self.file = self.journal.with_name(POSITION)
        self.doubt = self.file.exists()

    def deliver(self) -> None:
        """Send all that has not arrived; raises whatever is wrong with the server."""
        state = self._read()
        doubt, self.doubt = self.doubt, True
        points: list[tuple[str, float, int, int]] = []
        position = state.position
        for end, entry in entries(self.journal, position):
            if isinstance(entry, Start):
                self._start(state, entry, doubt)
            elif isinstance(entry, Metrics):
                points += _points(state, entry.values, entry.step, entry.time)
            elif isinstance(entry, End):
                points += _points(state, entry.metrics, state.step, entry.time)
                self._send(state, points, position, doubt)
                self._end(state, entry.status, entry.time)
                points = []
            position = end
            if len(points) >= _MOST_METRICS:
                self._send(state, points, position, doubt)
                points = []
        if position > state.position:
            self._send(state, points, position, doubt)
        if self.order.unsaid is not None:
            self._end_unsaid(state, self.order.unsaid)
        self.doubt = False

    def _end_unsaid(self, state: Delivered, unsaid: Unsaid) -> None:
        """Tell of an end that the journal lacks, unless the run has been taken up again since, or has ended."""
        start, last = "", None
        for _, last in entries(self.journal):
            start = last.id if isinstance(last, Start) else start
        if last is not None and start == unsaid.start and not isinstance(last, End):
            self._end(state, unsaid.status, last.time)

    def _end(self, state: Delivered, status: str, seconds: float) -> None:
        self.client.set_terminated(state.run, _STATUS.get(status, "FAILED"), int(seconds * 1000))

    def _read(self) -> Delivered:
        with suppress(OSError, msgspec.MsgspecError):
            state = msgspec.json.decode(self.file.read_bytes(), type=Delivered)
            if state.uri == self.order.name:
                return state
            self.doubt = True  # Another server was told; what this one has, only itself knows.
        return Delivered(self.order.name)

    def _write(self, state: Delivered) -> None:
        write_atomically(self.file, msgspec.json.encode(state))

    def _start(self, state: Delivered, start: Start, doubt: bool) -> None:
        from mlflow.entities import Param

        if state.position:
            if state.run is not None:  # The run goes on, after an end or a kill.
                self.client.update_run(state.run, "RUNNING")
            return
        if state.run is None:
            self._write(state)
            state.run = self._run(start, doubt)
            self._write(state)
        texts = [Param(_name(name), value[:_LONGEST_TEXT]) for name, value in start.parameters.items()]
        for some in _parts(texts, _MOST_PARAMETERS):
            self.client.log_batch(state.run, params=some)

    def _run(self, start: Start, doubt: bool) -> str:
        """The identifier of the MLflow run: the one that an earlier request made, or a new one."""
        experiment = self.client.get_experiment_by_name(self.order.experiment)
        if experiment is None:
            number = self.client.create_experiment(self.order.experiment)
        else:
            number = experiment.experiment_id
        ours = f"tags.`{_TAG}` = '{start.id}'"
        found = self.client.search_runs([number], ours) if doubt else []
        if not found:
            tags = {**start.tags, _TAG: start.id}
            time_ms = int(start.time * 1000)
            made = self.client.create_run(number, start_time=time_ms, tags=tags, run_name=start.run)
            # A slow server may have served meanwhile an earlier request that was taken for lost.
            again = self.client.search_runs([number], ours) if doubt else []
            found = [made, *(one for one in again if one.info.run_id != made.info.run_id)]
        first, *others = found
        for other in others:
            self.client.delete_run(other.info.run_id)
        return str(first.info.run_id)

    def _send(
        self, state: Delivered, points: Sequence[tuple[str, float, int, int]], position: int, doubt: bool
    ) -> None:
        from mlflow.entities import Metric

        if doubt and points:
            there = set(self.client.get_run(state.run).data.metrics)
            names = there & {name for name, *_ in points}
            known = {
                (name, point.step, point.timestamp)
                for name in names
                for point in self.client.get_metric_history(state.run, name)
            }
            points = [point for point in points if (point[0], point[2], point[3]) not in known]
        metrics = [Metric(name, value, milliseconds, step) for name, value, step, milliseconds in points]
        for some in _parts(metrics, _MOST_METRICS):
            self.client.log_batch(state.run, metrics=some)
        state.position = position
        self._write(state)


def _points(
    state: Delivered, values: dict[str, Number], step: int, seconds: float
) -> list[tuple[str, float, int, int]]:
    """Name, value, step and time in ms of what has not been sent of a line."""
    found = []
    for name, value in values.items():
        key = _name(name)
        if step > state.steps.get(key, -1):
            state.steps[key] = step
            found.append((key, float(value), step, int(seconds * 1000)))
    state.step = max(state.step, step)
    return found


def _parts(items: list[Any], most: int) -> list[list[Any]]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _name(text: str) -> str:
    """A name that MLflow takes; one that it refuses would keep all others back."""
    return re.sub(r"[^\w\-. :/]", "_", text)[:_LONGEST_NAME]


class Bounded:
    """A client whose requests each take a bounded time, however their replies trickle in."""

    def __init__(self, client: Any) -> None:
        self._client = client
        signal.signal(signal.SIGALRM, self._overtime)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        request = getattr(self._client, name)

        def bounded(*arguments: Any, **options: Any) -> Any:
            signal.setitimer(signal.ITIMER_REAL, _REQUEST_S)
            try:
                return request(*arguments, **options)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

        return bounded

    @staticmethod
    def _overtime(*_: object) -> None:
        raise TimeoutError(f"its reply has no end after {_REQUEST_S} s")


class Tail:
    """Watches the end of a journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.ended = False

    def look(self) -> bool:
        """Whether there are new lines; ``ended`` says whether the last one is the end of the run."""
        before = self.position
        for position, entry in entries(self.path, before):
            self.position, self.ended = position, isinstance(entry, End)
        return self.position > before


def follow(feed: Feed, tell: Callable[[str], None]) -> bool:
    """Deliver a journal while it grows, until the run has ended; whether all has arrived."""
    tail = Tail(feed.journal)
    pause = told = 0.0
    while True:
        tail.look()
        ended = tail.ended
        try:
            feed.deliver()
        except Exception as error:  # noqa: BLE001 - whatever ails the server, the training goes on.
            if ended:
                return False
            if not told:
                told = 1.0
                tell(f"fails ({_reason(error)}); the run goes on, and what is missing is sent when it answers again")
            pause = min(2.0 * pause or 1.0, _LONGEST_PAUSE_S)
        else:
            if ended:
                return True
            pause = 0.0
        again = time.monotonic() + (pause or _TOGETHER_S)
        grown = pause > 0.0
        while not (tail.ended or (grown and time.monotonic() > again)):
            time.sleep(_POLL_S)
            grown = tail.look() or grown


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:300] or type(error).__name__


def _end_with(order: Order) -> None:
    """End when the process that gave the order does, or some time after the run whose journal is followed."""
    tail = Tail(Path(order.directory) / JOURNAL)
    gone = False
    while not (gone or tail.ended):
        time.sleep(_WATCH_S)
        gone = os.getppid() != order.parent  # Asked first, since the end of the run may be its last deed.
        if order.follow:
            with suppress(OSError):
                tail.look()
    if tail.ended:
        time.sleep(order.linger_s)
    os._exit(1)


def _limit_memory() -> None:
    """Bound what a reply can take; only Linux tells how much is taken already."""
    with suppress(OSError, ImportError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _alone(journal: Path, patience_s: float) -> Any:
    """A lock that one process has for each journal; None where another one keeps it."""
    import fcntl

    file = journal.open("rb+")
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        except OSError:
            return file  # There are file systems without locks.
        else:
            return file
    return None


def main() -> int:
    """Deliver as ordered; the exit code is 0 when all has arrived, and what there is to say goes to stdout."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # A scheduler signals every process; this one ends with its parent.
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with, args=(order,), daemon=True).start()
    os.nice(5)

    def tell(text: str) -> None:
        with suppress(OSError):  # Nobody listens any more.
            print(f"MLflow at {order.name} {text}", flush=True)

    try:
        tail = Tail(Path(order.directory) / JOURNAL)
        tail.look()
        # One whose parent was killed needs a moment to see that, and one whose run has ended may go on for a while.
        lock = _alone(tail.path, _MOMENT_S + (order.linger_s if order.follow or tail.ended else 0.0))
        if lock is None:
            tell("is being told by another process already")
            return 1
        if order.uri.startswith(("/", "file:", "sqlite")):
            socket.has_ipv6 = False  # As it is imported, urllib3 opens a socket to see whether it can; files need none.
        from mlflow.tracking import MlflowClient

        feed = Feed(order, Bounded(MlflowClient(tracking_uri=order.uri)))
        _limit_memory()
        if order.follow:
            return 0 if follow(feed, tell) else 1
        feed.deliver()
    except Exception as error:  # noqa: BLE001 - it is told to whoever waits.
        tell(f"fails ({_reason(error)})")
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    os._exit(code)  # Not waiting for threads of MLflow's.
