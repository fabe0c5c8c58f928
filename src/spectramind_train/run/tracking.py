"""Tracking that cannot hurt: the run's journal, and a process that tells MLflow what it says."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import msgspec

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_config.errors import HIDDEN, hidden
from spectramind_train.run.directory import Run
from spectramind_train.run.feeding import LINGER_S, Order, Unsaid
from spectramind_train.run.journal import JOURNAL, End, Journal, Start, entries, numbers
from spectramind_train.run.terminal import Terminal

_PATIENCE_S = 1.5
_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow 3 refuses its file store, which the profiles use by default, unless this is set before it opens.
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Where nobody listens any more, printing it would fail, and the end of the run not be told.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_OF_FILES = re.compile(r"(?P<scheme>|file:/{0,3}|sqlite(\+\w+)?:/{3,4})(?P<path>~.*)")
_RELATIVE = re.compile(r"(?P<scheme>|file:|sqlite(\+\w+)?:///)(?P<path>(?!databricks)[^/~:][^:]*)")


class Tracker:
    """Writes the first and the last line of a run's journal, and has it delivered to MLflow while the run goes on.

    A server that is down, slow, silent or endless costs no step, and at the end 1.5 s, and so does a disk that is busy.
    What has not arrived by then is delivered behind the run's back, see ``run.feeding``, or by ``spectramind track
    sync``, since it stays in the journal. A run that was stopped leaves no process, and delivers when it is resumed.
    """

    def __init__(self, run: Run, terminal: Terminal, feeder: Feeder | None = None) -> None:
        self.run = run
        self.terminal = terminal
        self.journal = Journal(run.path, terminal.warn)
        self.feeder = feeder

    @classmethod
    def start(cls, config: EffectiveConfig, run: Run, terminal: Terminal) -> Tracker:
        """Begin a run's journal, or go on with it, and track it where the config asks for that."""
        tracker = cls(run, terminal)
        manifest = run.manifest
        uri = absolute(expanded(config.mlflow.tracking_uri))
        start = Start(
            id=secrets.token_hex(16),
            run=manifest.run_id,
            uri=hidden(uri) if config.mlflow.enabled else None,
            experiment=config.mlflow.experiment_name,
            tags={"fingerprint": manifest.fingerprint, "science_fingerprint": manifest.science_fingerprint},
            parameters={name: str(value) for name, value in _flat(manifest.config)},
        )
        tracker.journal.append(start)
        if not config.mlflow.enabled:
            return tracker
        if config.offline and not _is_local(uri):
            terminal.warn(
                f"trainer.offline is set, so nothing is sent to {hidden(uri)}; "
                f"spectramind track sync {run.path} sends it later"
            )
        elif HIDDEN in uri:
            terminal.warn(f"the password of {uri} is not known; {_sync(run, uri)}")
        else:
            tracker.feeder = Feeder(run, uri, config.mlflow.experiment_name, terminal, follow=True)
        return tracker

    def finish(self) -> None:
        """Write the end of the run down, and wait a moment until it is delivered."""
        manifest = self.run.manifest
        self.journal.append(End(status=manifest.status, metrics=numbers(manifest.metrics)))
        self.journal.flush()
        if self.feeder is None or self.feeder.wait(_PATIENCE_S):
            return
        name = hidden(self.feeder.uri)
        stays = self.journal.whole and manifest.status in ("completed", "failed")
        process = self.feeder.number if stays else None
        if process is None:
            self.feeder.stop()
            self.terminal.warn(f"MLflow at {name} has not received everything; {_sync(self.run, name)}")
        else:
            self.terminal.warn(
                f"MLflow at {name} has not received everything yet; process {process} goes on with it for "
                f"{LINGER_S:.0f} s, and then {_sync(self.run, name)}"
            )


class Feeder:
    """The process that delivers a journal, see ``run.feeding``; what it says is a warning.

    Args:
        run: Whose journal.
        uri: The server, password included: it goes through a pipe, since anyone may list the arguments of processes.
        experiment: The MLflow experiment.
        terminal: Where to warn.
        follow: Whether it goes on until the run has ended.
        unsaid: An end that the journal lacks.
    """

    def __init__(
        self, run: Run, uri: str, experiment: str, terminal: Terminal, *, follow: bool, unsaid: Unsaid | None = None
    ) -> None:
        self.uri = uri
        order = Order(str(run.path.absolute()), uri, hidden(uri), experiment, os.getpid(), follow, LINGER_S, unsaid)
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": paths}
        environment.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "spectramind_train.run.feeding"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(terminal,), daemon=True)
        self._listener.start()
        assert self._process.stdin is not None  # noqa: S101
        with suppress(OSError), self._process.stdin as pipe:
            pipe.write(msgspec.json.encode(order) + b"\n")

    @property
    def number(self) -> int | None:
        """Its process number; None where it has ended."""
        return self._process.pid if self._process.poll() is None else None

    def wait(self, patience_s: float | None) -> bool:
        """Wait until everything has arrived, as long as patience lasts; whether it has."""
        try:
            arrived = self._process.wait(patience_s) == 0
        except subprocess.TimeoutExpired:
            return False
        self._listener.join(0.2)
        return arrived

    def stop(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        self._listener.join(0.2)

    def _listen(self, terminal: Terminal) -> None:
        assert self._process.stdout is not None  # noqa: S101
        with self._process.stdout as lines:
            for line in lines:
                terminal.warn(hidden(line.decode(errors="replace").strip()))
        self._process.wait()


def sync(run: Run, terminal: Terminal, uri: str | None = None) -> None:
    """Deliver what an MLflow server has not received of a run, as often as one likes.

    A run that is lost has ended for MLflow, too, until it is resumed.

    Args:
        run: The run, whether it has ended, was killed, or goes on.
        terminal: Where to report.
        uri: The server; by default the one that the run was tracked with, whose password, if it has one, stands in
            MLFLOW_TRACKING_URI.

    Raises:
        ConfigError: There is nothing to deliver, nobody to deliver it to, or the server does not take it.
    """
    path = run.path / JOURNAL
    starts = [entry for _, entry in entries(path) if isinstance(entry, Start)] if path.is_file() else []
    if not starts:
        raise ConfigError(f"{run.path}: the run has no {JOURNAL}, so there is nothing to deliver")
    known = next((start.uri for start in reversed(starts) if start.uri), None)
    server = absolute(expanded(uri)) if uri else known
    if server is None:
        raise ConfigError(f"{run.path}: the run was not tracked; name a server with --uri")
    if hidden(given := os.environ.get("MLFLOW_TRACKING_URI", "")) == server:
        server = given
    if HIDDEN in server:
        raise ConfigError(
            f"{run.path}: the password of {server} is kept nowhere; write the whole URI into MLFLOW_TRACKING_URI, "
            "or name it with --uri"
        )
    # Asked after the journal was read: whoever takes the run up puts his name into the manifest first.
    state = Run.open(run.path).manifest.state()
    unsaid = None if state in ("running", "unknown") else Unsaid(starts[-1].id, state)
    feeder = Feeder(run, server, starts[-1].experiment, terminal, follow=False, unsaid=unsaid)
    try:
        arrived = feeder.wait(None)
    finally:
        feeder.stop()
    if not arrived:
        raise ConfigError(f"{run.path}: MLflow at {hidden(server)} has not received everything; try it again later")
    terminal.say(f"{hidden(server)} has all of {run.path}")


def _sync(run: Run, name: str) -> str:
    return f"spectramind track sync {run.path}{' --uri URI' if HIDDEN in name else ''} delivers the rest"


def expanded(uri: str) -> str:
    """A tracking URI of this machine's files with ``~`` as the home folder; MLflow would make a folder of that name."""
    found = _OF_FILES.fullmatch(uri)
    if found is None:
        return uri
    path = os.path.expanduser(found["path"])  # noqa: PTH111 - it never raises.
    return f"file:{path}" if found["scheme"].startswith("file") else f"{found['scheme']}{path}"


def absolute(uri: str) -> str:
    """A tracking URI of this machine's files that means the same in every working directory."""
    found = _RELATIVE.fullmatch(uri)
    return uri if found is None else f"{found['scheme']}{Path(found['path']).absolute()}"


def place_of(uri: str) -> Path | None:
    """The folder or file of this machine that a tracking URI names; None for a server."""
    if not _is_local(uri):
        return None
    path = absolute(expanded(uri)).partition("?")[0]
    if urlparse(path).scheme.startswith("sqlite"):
        return Path(path.partition(":///")[2])
    return Path(re.sub(r"^file:(//(?=/))?", "", path))


def _is_local(uri: str) -> bool:
    """Whether a URI names files of this machine: no server that keeps one waiting."""
    return urlparse(uri).scheme.partition("+")[0] in ("", "file", "sqlite")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
