"""MLflow: a real file store, a real server, and a server that is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectramind_config import EffectiveConfig, compose
from spectramind_config.host import Host
from spectramind_train.run.manifest import Manifest
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import Tracker, expanded


def tracked(uri: str, *overrides: str) -> tuple[EffectiveConfig, Manifest]:
    """A config that tracks at ``uri``, and the manifest of a run of it."""
    config = compose(["local.mlflow.enabled=true", f"local.mlflow.tracking_uri='{uri}'", *overrides])
    host = Host.detect()
    return config, Manifest.of("run-1", config, plan(config, host), host)


def log_a_run(uri: str) -> float:
    """Track a short run; the seconds that the caller was kept waiting by logging."""
    config, manifest = tracked(uri)
    tracker = Tracker.of(config, Terminal())
    assert tracker is not None
    tracker.start(manifest)
    began = time.monotonic()
    for step in range(50):
        tracker.log({"train_loss": 1.0 / (step + 1)}, step)
    waited = time.monotonic() - began
    manifest.status = "completed"
    manifest.metrics = {"test_score": 0.5}
    tracker.finish(manifest)
    return waited


def history(uri: str) -> tuple[str, dict[str, str], list[float]]:
    """Status, parameters and training losses of the tracked run, read back by MLflow itself."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("V50_local")
    (run,) = client.search_runs([experiment.experiment_id])
    losses = client.get_metric_history(run.info.run_id, "train_loss")
    assert run.data.metrics["test_score"] == 0.5
    return run.info.status, run.data.params, [point.value for point in sorted(losses, key=lambda point: point.step)]


def test_a_file_uri_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification's default kind of URI is written although MLflow 3 refuses it by default."""
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    log_a_run(f"file:{tmp_path}/mlruns")
    status, parameters, losses = history(f"file:{tmp_path}/mlruns")
    assert status == "FINISHED"
    assert parameters["optimizer.lr"] == "0.0003"
    assert losses == [1.0 / (step + 1) for step in range(50)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1)  # noqa: S310
                break
            except OSError:
                time.sleep(0.1)
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_real_server_receives_everything(server: str) -> None:
    """Parameters, fifty metrics and the final status arrive at an MLflow server."""
    log_a_run(server)
    status, _, losses = history(server)
    assert status == "FINISHED"
    assert len(losses) == 50


def test_a_server_that_is_down_costs_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """Logging returns at once and the run goes on when nobody listens."""
    waited = log_a_run("http://127.0.0.1:9")
    assert waited < 1.0
    assert "the run goes on" in " ".join(capsys.readouterr().out.split())


def test_offline_never_opens_a_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """``trainer.offline`` leaves file stores alone and refuses servers."""
    config, _ = tracked("http://127.0.0.1:9", "trainer=kaggle_safe")
    assert Tracker.of(config, Terminal()) is None
    assert "trainer.offline" in capsys.readouterr().out
    config, _ = tracked("file:mlruns", "trainer=kaggle_safe")
    assert Tracker.of(config, Terminal()) is not None


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("~/mlruns", "{home}/mlruns"),
        ("file:~/mlruns", "file:{home}/mlruns"),
        ("file:///~/mlruns", "file:{home}/mlruns"),
        ("sqlite:///~/x.db", "sqlite:///{home}/x.db"),
        ("sqlite+pysqlite:///~/x.db", "sqlite+pysqlite:///{home}/x.db"),
        ("file:mlruns", "file:mlruns"),
        ("file:/a/~b", "file:/a/~b"),
        ("https://host/~user", "https://host/~user"),
    ],
)
def test_the_home_folder_is_written_out(uri: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In URIs of files on this machine, and there only at the start of a path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded(uri) == meant.format(home=tmp_path)


@pytest.mark.parametrize(("uri", "place"), [("file:~/mlruns", "mlruns"), ("sqlite:///~/x.db", "x.db")])
def test_runs_are_tracked_at_home(uri: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is called ``~``: MLflow itself finds the run below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    log_a_run(uri)
    assert (tmp_path / "home" / place).exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["home"]
    status, _, losses = history(expanded(uri))
    assert (status, len(losses)) == ("FINISHED", 50)
