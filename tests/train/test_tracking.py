"""Tracking with real stores and servers, and with servers that are down, slow, silent, wrong or endless."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.learning.logger import JournalLogger
from spectramind_train.run.directory import Run
from spectramind_train.run.feeding import Order
from spectramind_train.run.journal import JOURNAL
from spectramind_train.run.manifest import Status
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import Tracker, absolute, expanded

from ..sockets import FORBIDDING
from .servers import Gate, Manner, Server, until

STEPS = 50


class Tracked:
    """A run that is tracked at ``uri``; nothing is trained."""

    def __init__(self, uri: str, folder: Path, *overrides: str) -> None:
        tracking = ["local.mlflow.enabled=true", f"local.mlflow.tracking_uri='{uri}'"]
        self.config = compose([*tracking, f"local.output_dir='{folder}/outputs'", *overrides])
        host = Host.detect()
        self.run = Run.create(self.config, plan(self.config, host), host)
        self.logger = JournalLogger(self.run.path)
        self.tracker = Tracker.start(self.config, self.run, Terminal())
        self.step = 0

    def log(self, steps: int) -> None:
        """Metrics of some more steps."""
        for _ in range(steps):
            self.logger.log_metrics({"epoch": 0, "train_loss": 1.0 / (self.step + 1)}, self.step)
            self.step += 1

    def finish(self, status: Status = "completed") -> None:
        """The end of the run."""
        self.run.manifest.status = status
        self.run.manifest.metrics = {"test_score": 0.5}
        self.tracker.finish()

    def sync(self, *arguments: str) -> int:
        """``spectramind track sync RUN``."""
        return main(["track", "sync", str(self.run.path), *arguments])


def track(uri: str, folder: Path) -> Tracked:
    """A run from beginning to end; what has not arrived when it ends is delivered afterwards."""
    one = Tracked(uri, folder)
    one.log(STEPS)
    one.finish()
    assert one.sync() == 0
    return one


def check(uri: str, run: Run, steps: int = STEPS, status: str = "FINISHED") -> dict[str, str]:
    """Everything has arrived once, as MLflow itself says; returns the parameters."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("V50_local")
    found = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{run.path.name}'")
    (one,) = [each for each in found if each.data.tags["fingerprint"] == run.manifest.fingerprint]
    assert one.info.status == status
    losses = client.get_metric_history(one.info.run_id, "train_loss")
    assert sorted((point.step, point.value) for point in losses) == [(step, 1.0 / (step + 1)) for step in range(steps)]
    if status == "FINISHED":
        (score,) = client.get_metric_history(one.info.run_id, "test_score")
        assert score.value == 0.5
    return dict(one.data.params)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the client of the tests; a run sets its own."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real MLflow server."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    """A gate before it."""
    gate = Gate(server)
    yield gate
    gate.close()


@pytest.mark.parametrize("uri", ["file:{}/mlruns", "sqlite:///{}/mlflow.db"])
def test_a_store_in_files_needs_no_setting(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification's default kind of URI is written although MLflow 3 refuses it by default."""
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    uri = uri.format(tmp_path)
    one = track(uri, tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    parameters = check(uri, one.run)
    assert parameters["optimizer.lr"] == "0.0003"
    assert one.sync() == 0
    check(uri, one.run)


def test_a_real_server_receives_everything_in_few_requests(gate: Gate, server: Server, tmp_path: Path) -> None:
    """While the run goes on, without being asked for the rest; 85 parameters are no 85 requests."""
    one = Tracked(f"http://{gate.address}", tmp_path)
    one.log(STEPS)
    until(lambda: sum(request.endswith("log-batch") for request in gate.requests) >= 2, "metrics arrive in the run")
    one.finish()
    assert one.sync() == 0
    assert len(check(server.uri, one.run)) > 80
    assert len(gate.requests) < 20


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
@pytest.mark.parametrize("manner", ["error", "silent", "slow", "endless", "lost"])
def test_a_server_that_is_bad_all_along_gets_everything_once_later(
    manner: Manner, gate: Gate, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run ends as it does without it, says what delivers the rest, and each point arrives once."""
    gate.manner = manner
    one = Tracked(f"http://{gate.address}", tmp_path)
    until(lambda: gate.requests, "a first request")
    one.log(STEPS)
    one.finish()
    said = " ".join(capsys.readouterr().out.split())
    assert f"spectramind track sync {one.run.path} delivers the rest" in said
    if manner == "error":
        assert "the run goes on" in said
    gate.manner = "pass"
    gate.open.set()
    assert one.sync() == 0
    check(server.uri, one.run)


LEFT = """
import sys
from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.learning.logger import JournalLogger
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run import tracking
from spectramind_train.run.terminal import Terminal
config, host = compose(sys.argv[1:]), Host.detect()
run = Run.create(config, plan(config, host), host)
tracking.LINGER_S = 600.0  # A busy machine may need more than a minute for it.
tracker = tracking.Tracker.start(config, run, Terminal())
logger = JournalLogger(run.path)
for step in range(50):
    logger.log_metrics({"epoch": 0, "train_loss": 1.0 / (step + 1)}, step)
run.manifest.metrics = {"test_score": 0.5}
run.finish("completed")
tracker.finish()
print(run.path)
"""


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_what_has_not_arrived_when_the_run_ends_arrives_behind_its_back(
    gate: Gate, server: Server, tmp_path: Path
) -> None:
    """The command is over before the first reply; the process that goes on is named, and ends when all is there."""
    gate.manner = "held"
    overrides = ["local.mlflow.enabled=true", f"local.mlflow.tracking_uri='http://{gate.address}'"]
    command = [sys.executable, "-c", LEFT, *overrides, f"local.output_dir='{tmp_path}/out'"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *said, path = done.stdout.splitlines()
    (number,) = re.findall(r"process (\d+) goes on with it for 600 s", " ".join(" ".join(said).split()))
    until(lambda: gate.requests, "a first request")
    assert alive(int(number))
    gate.open.set()
    until(lambda: not alive(int(number)), "the process that delivers ends")
    check(server.uri, Run.open(Path(path)))


def test_a_run_that_was_stopped_leaves_no_process(
    gate: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever stopped it wants the machine for something else; it delivers when it is resumed."""
    gate.manner = "silent"
    one = Tracked(f"http://{gate.address}", tmp_path)
    assert one.tracker.feeder is not None
    assert one.tracker.feeder.number is not None
    one.finish("interrupted")
    assert one.tracker.feeder.number is None
    assert f"spectramind track sync {one.run.path} delivers the rest" in " ".join(capsys.readouterr().out.split())


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_delivery_behind_the_back_of_a_run_has_an_end(gate: Gate, tmp_path: Path) -> None:
    """With a server that is silent, too; the time is shorter here."""
    gate.manner = "silent"
    one = Tracked("file:mlruns", tmp_path, "local.mlflow.enabled=false")
    one.finish()
    uri = f"http://{gate.address}"
    order = Order(str(one.run.path), uri, uri, "e", os.getpid(), follow=True, linger_s=0.1)
    command = [sys.executable, "-m", "spectramind_train.run.feeding"]
    assert subprocess.run(command, input=msgspec.json.encode(order) + b"\n", check=False).returncode == 1


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_a_server_that_is_down_is_told_later(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens; what is delivered later may go to another address."""
    one = Tracked("http://127.0.0.1:9", tmp_path)
    one.log(STEPS)
    one.finish()
    assert "delivers the rest" in " ".join(capsys.readouterr().out.split())
    assert one.sync() == 2
    assert "try it again later" in capsys.readouterr().err
    assert one.sync("--uri", server.uri) == 0
    check(server.uri, one.run)


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_a_server_that_dies_in_the_middle_gets_the_backlog_once(gate: Gate, server: Server, tmp_path: Path) -> None:
    """It goes away while metrics come, and is there again before the run ends."""
    one = Tracked(f"http://{gate.address}", tmp_path)
    one.log(10)
    position = one.run.path / "tracking.json"
    until(lambda: position.exists() and json.loads(position.read_bytes()).get("steps"), "some metrics arrive")
    gate.close()
    one.log(30)
    gate.listen()
    one.log(10)
    until(lambda: json.loads(position.read_bytes())["steps"]["train_loss"] == STEPS - 1, "the backlog arrives")
    one.finish()
    assert one.sync() == 0
    check(server.uri, one.run)


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
@pytest.mark.parametrize("manner", ["error", "lost"])
def test_requests_that_fail_now_and_then_lose_and_double_nothing(
    manner: Manner, gate: Gate, server: Server, tmp_path: Path
) -> None:
    """Requests are refused, or served without a reply, while metrics come."""
    one = Tracked(f"http://{gate.address}", tmp_path)
    for _ in range(2):
        gate.manner = manner
        seen = len(gate.requests)
        one.log(10)
        until(lambda seen=seen: len(gate.requests) > seen, "a request that fails")
        gate.manner = "pass"
        seen = len(gate.requests)
        one.log(10)
        until(lambda seen=seen: len(gate.requests) > seen, "requests that go well")
    one.log(10)
    one.finish()
    assert one.sync() == 0
    check(server.uri, one.run)


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_a_reply_without_an_end_does_not_fill_the_memory(gate: Gate, tmp_path: Path) -> None:
    """The process that reads it has a limit, and goes on to the next attempt."""
    gate.manner = "endless"
    one = Tracked(f"http://{gate.address}", tmp_path)
    until(lambda: len(gate.requests) > 1, "another attempt after an endless reply")
    assert gate.sent < 2e9
    one.finish()


KILLED = """
import sys, time
from pathlib import Path
from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.learning.logger import JournalLogger
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import Tracker
config, host = compose(sys.argv[1:]), Host.detect()
run = Run.create(config, plan(config, host), host)
tracker = Tracker.start(config, run, Terminal(silent=True))
logger = JournalLogger(run.path)
for step in range(20):
    logger.log_metrics({"epoch": 0, "train_loss": 1.0 / (step + 1)}, step)
print(run.path, tracker.feeder._process.pid, flush=True)
time.sleep(600)
"""


def killed(uri: str, folder: Path) -> Run:
    """A run that is killed after its twentieth step, and whose delivering process is gone."""
    overrides = ["local.mlflow.enabled=true", f"local.mlflow.tracking_uri='{uri}'", f"local.output_dir='{folder}/out'"]
    with subprocess.Popen([sys.executable, "-c", KILLED, *overrides], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path, feeder = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    until(lambda: not alive(int(feeder)), "the process that delivers ends with its parent")
    return Run.open(Path(path))


def alive(number: int) -> bool:
    """Whether a process is there, and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.fault("`kill -9` of a run that is tracked")
def test_a_run_that_was_killed_is_delivered_later(server: Server, tmp_path: Path) -> None:
    """SIGKILL leaves no process behind, and takes nothing from what was logged; twice told is once told."""
    run = killed(server.uri, tmp_path)
    for _ in range(2):
        assert main(["track", "sync", str(run.path)]) == 0
        check(server.uri, run, 20, "KILLED")


RESUMED = """
import sys
from pathlib import Path
from spectramind_config import compose
from spectramind_train.learning.logger import JournalLogger
from spectramind_train.run.directory import Run
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.tracking import Tracker
run = Run.open(Path(sys.argv[1]))
run.claim()
run.write()
tracker = Tracker.start(compose(sys.argv[2:]), run, Terminal(silent=True))
logger = JournalLogger(run.path)
logger.resume(15)
for step in range(15, 30):
    logger.log_metrics({"epoch": 0, "train_loss": 1.0 / (step + 1)}, step)
print("resumed", flush=True)
sys.stdin.readline()
run.manifest.metrics = {"test_score": 0.5}
run.finish("completed")
tracker.finish()
"""


@pytest.mark.fault("`kill -9` of a run that is tracked")
def test_a_run_that_was_killed_and_told_so_can_be_resumed(server: Server, tmp_path: Path) -> None:
    """MLflow has it as killed until it is taken up again; then it runs there, whoever syncs, and ends as it does."""
    run = killed(server.uri, tmp_path)
    assert main(["track", "sync", str(run.path)]) == 0
    check(server.uri, run, 20, "KILLED")
    overrides = ["local.mlflow.enabled=true", f"local.mlflow.tracking_uri='{server.uri}'"]
    command = [sys.executable, "-c", RESUMED, str(run.path), *overrides, f"local.output_dir='{tmp_path}/out'"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "resumed\n"
        position = run.path / "tracking.json"
        until(lambda: json.loads(position.read_bytes())["steps"]["train_loss"] == 29, "later points arrive")
        check(server.uri, run, 30, "RUNNING")
        process.communicate("end\n")
    assert process.returncode == 0
    assert main(["track", "sync", str(run.path)]) == 0
    check(server.uri, run, 30, "FINISHED")


def test_no_end_is_told_of_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``track sync`` says that it is running, and so does MLflow."""
    one = Tracked(f"file:{tmp_path}/mlruns", tmp_path)
    one.log(STEPS)
    position = one.run.path / "tracking.json"
    until(lambda: position.exists() and json.loads(position.read_bytes()).get("steps"), "some metrics arrive")
    assert one.tracker.feeder is not None
    one.tracker.feeder.stop()
    assert one.sync() == 0
    assert f"is running: process {os.getpid()}" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check(one.tracker.feeder.uri, one.run, status="RUNNING")


def test_two_deliveries_of_one_run_are_one(server: Server, tmp_path: Path) -> None:
    """They wait for each other, or one says that the other is there; each point arrives once."""
    run = killed("http://127.0.0.1:9", tmp_path)
    command = [sys.executable, "-m", "spectramind_train.cli", "track", "sync", str(run.path), "--uri", server.uri]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert 0 in [process.wait(240) for process in both]
    check(server.uri, run, 20, "KILLED")


@pytest.mark.fault("a secret in a URI")
def test_a_password_reaches_the_server_and_no_file_or_list_of_processes(
    gate: Gate, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``***`` stands for it in all that a run leaves; the environment or ``--uri`` names it once more, later."""
    secret = "s3cr3t-passw0rd"  # noqa: S105
    uri = f"http://me:{secret}@{gate.address}"
    one = Tracked(uri, tmp_path)
    assert one.tracker.feeder is not None
    until(lambda: gate.requests, "a first request")
    arguments = Path(f"/proc/{one.tracker.feeder._process.pid}/cmdline").read_bytes()
    assert b"feeding" in arguments
    assert secret.encode() not in arguments
    one.log(STEPS)
    gate.manner = "error"
    one.finish()
    gate.manner = "pass"
    until(lambda: one.tracker.feeder is None or one.tracker.feeder.number is None, "delivery ends")
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    assert f"http://me:***@{gate.address}" in (one.run.path / "config.yaml").read_text()
    assert one.sync() == 2
    told = capsys.readouterr()
    assert "is kept nowhere" in told.err
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        assert one.sync() == 0
    assert one.sync("--uri", uri) == 0
    told_later = capsys.readouterr()
    assert secret not in f"{told} {told_later}"
    assert gate.authorizations == {"Basic bWU6czNjcjN0LXBhc3N3MHJk"}
    check(server.uri, one.run)


def test_what_cannot_be_delivered_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was not tracked, and one without a journal."""
    one = Tracked("file:mlruns", tmp_path, "local.mlflow.enabled=false")
    one.finish()
    assert one.sync() == 2
    assert "name a server with --uri" in capsys.readouterr().err
    (one.run.path / JOURNAL).unlink()
    assert one.sync() == 2
    assert "has no journal.jsonl" in capsys.readouterr().err


def test_a_run_that_was_not_tracked_can_be_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is kept whether or not anybody reads it."""
    one = Tracked("file:mlruns", tmp_path, "local.mlflow.enabled=false")
    one.log(STEPS)
    one.finish()
    monkeypatch.chdir(tmp_path)
    assert one.sync("--uri", "file:mine") == 0
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check(f"file:{tmp_path}/mine", one.run)


@pytest.mark.fault("`trainer.offline=true`")
def test_offline_never_asks_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``trainer.offline`` leaves file stores alone and refuses servers."""
    one = Tracked("http://127.0.0.1:9", tmp_path, "trainer=kaggle_safe")
    assert one.tracker.feeder is None
    assert "trainer.offline" in capsys.readouterr().out
    assert Tracked(f"file:{tmp_path}/mlruns", tmp_path, "trainer=kaggle_safe").tracker.feeder is not None


@pytest.mark.fault("`trainer.offline=true`")
def test_offline_opens_no_socket(tmp_path: Path, small: list[str]) -> None:
    """Neither the training nor the process that tells MLflow's file store, whose makers would like to hear of it."""
    log = tmp_path / "sockets"
    (tmp_path / "sitecustomize.py").write_text(FORBIDDING.format(log=str(log)))
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTEST_CURRENT_TEST", "CI")}
    overrides = [
        "trainer=kaggle_safe",
        "local.max_epochs=1",
        "local.mlflow.enabled=true",
        f"local.output_dir={tmp_path}",
    ]
    command = [sys.executable, "-m", "spectramind_train", *small, *overrides, "data.simulation.planets=14"]
    done = subprocess.run(
        [*command, f"local.mlflow.tracking_uri=file:{tmp_path}/mlruns"],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "spectramind_train.run.feeding" in log.read_text(), "the process that delivers was watched too"
    assert [line for line in log.read_text().splitlines() if not line.startswith("watched")] == []
    until(lambda: list((tmp_path / "mlruns").rglob("test_score")), "the last metrics arrive")


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


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("mlruns", "{here}/mlruns"),
        ("file:mlruns", "file:{here}/mlruns"),
        ("file:./mlruns", "file:{here}/mlruns"),
        ("sqlite:///x.db", "sqlite:///{here}/x.db"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite:///{here}/x.db"),
        *((uri, uri) for uri in ("file:/a", "file:///a", "sqlite:////a.db", "http://host:5000", "databricks")),
    ],
)
def test_a_uri_of_files_means_the_same_everywhere(
    uri: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``track sync`` may be typed in another folder than ``train`` was."""
    monkeypatch.chdir(tmp_path)
    assert absolute(uri) == meant.format(here=tmp_path)


@pytest.mark.parametrize(("uri", "place"), [("file:~/mlruns", "mlruns"), ("sqlite:///~/x.db", "x.db")])
def test_runs_are_tracked_at_home(uri: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is called ``~``: MLflow itself finds the run below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    one = track(uri, tmp_path)
    assert (tmp_path / "home" / place).exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["home", "outputs"]
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    check(expanded(uri), one.run)
