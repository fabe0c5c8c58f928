"""MLflow tracking that never stops a training: a thread of its own, fed with what the run's files already hold."""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlparse

from spectramind_config import EffectiveConfig
from spectramind_train.run.manifest import Manifest
from spectramind_train.run.terminal import Terminal

_PATIENCE_S = 20.0
_AT_HOME = re.compile(r"(?P<scheme>|file:/{0,3}|sqlite(\+\w+)?:/{3,4})(?P<path>~.*)")
_STATUS = {"completed": "FINISHED", "walltime": "FINISHED", "interrupted": "KILLED"}


class Tracker:
    """Sends a run's parameters and metrics to MLflow from a background thread.

    A server that is down or slow costs one warning and no training step; ``metrics.csv`` in the run's directory has
    everything anyway.
    """

    def __init__(self, config: EffectiveConfig, terminal: Terminal) -> None:
        self.uri = expanded(config.mlflow.tracking_uri)
        self.experiment = config.mlflow.experiment_name
        self.terminal = terminal
        self._queue: queue.Queue[Callable[[Any], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._run_id: str | None = None

    @classmethod
    def of(cls, config: EffectiveConfig, terminal: Terminal) -> Tracker | None:
        """The tracker that a config asks for; None where it is switched off or would need the network offline."""
        if not config.mlflow.enabled:
            return None
        if config.offline and urlparse(config.mlflow.tracking_uri).scheme not in ("", "file", "sqlite"):
            terminal.warn(f"trainer.offline is set, so nothing is tracked at {config.mlflow.tracking_uri}")
            return None
        return cls(config, terminal)

    def start(self, manifest: Manifest) -> None:
        """Open the MLflow run and record the configuration."""
        self._queue.put(lambda client: self._start(client, manifest))
        self._thread.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics at a step; returns at once."""
        milliseconds = int(time.time() * 1000)
        self._queue.put(lambda client: self._metrics(client, dict(metrics), step, milliseconds))

    def finish(self, manifest: Manifest) -> None:
        """Record the end of the run, waiting a while for what has not been sent."""
        if self._thread.is_alive():
            self._queue.put(lambda client: self._finish(client, manifest))
            self.leave()

    def leave(self) -> str | None:
        """Wait a while for what has not been sent; the MLflow run stays open, for ``resume`` in another process."""
        self._queue.put(None)
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            self.terminal.warn(f"MLflow at {self.uri} is slow; its last metrics may be missing")
        return self._run_id

    def resume(self, run_id: str | None) -> None:
        """Go on with an MLflow run that another process has left open; None where it could not open any."""
        if run_id is not None:
            self._run_id = run_id
            self._thread.start()

    def _work(self) -> None:
        # MLflow 3 refuses its file store, which the profiles use by default, unless this is set before it opens.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        try:
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri=self.uri)
            while (task := self._queue.get()) is not None:
                task(client)
        except Exception as error:  # noqa: BLE001 - whatever ails the tracking server, the training goes on.
            reason = str(error).partition("\n")[0]
            self.terminal.warn(f"MLflow at {self.uri} fails ({reason}); the run goes on, metrics.csv has everything")

    def _start(self, client: Any, manifest: Manifest) -> None:
        experiment = client.get_experiment_by_name(self.experiment)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(self.experiment)
        tags = {"fingerprint": manifest.fingerprint, "science_fingerprint": manifest.science_fingerprint}
        run = client.create_run(experiment_id, run_name=manifest.run_id, tags=tags)
        self._run_id = run.info.run_id
        for name, value in _flat(manifest.config):
            client.log_param(self._run_id, name, value)

    def _metrics(self, client: Any, metrics: dict[str, float], step: int, milliseconds: int) -> None:
        from mlflow.entities import Metric

        client.log_batch(self._run_id, [Metric(name, value, milliseconds, step) for name, value in metrics.items()])

    def _finish(self, client: Any, manifest: Manifest) -> None:
        for name, value in manifest.metrics.items():
            client.log_metric(self._run_id, name, value)
        client.set_terminated(self._run_id, status=_STATUS.get(manifest.status, "FAILED"))


def expanded(uri: str) -> str:
    """A tracking URI of this machine's files with ``~`` as the home folder; MLflow would make a folder of that name."""
    found = _AT_HOME.fullmatch(uri)
    if found is None:
        return uri
    path = os.path.expanduser(found["path"])  # noqa: PTH111 - it never raises.
    return f"file:{path}" if found["scheme"].startswith("file") else f"{found['scheme']}{path}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
