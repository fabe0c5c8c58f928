"""Delivery to MLflow, exactly once, whatever request is lost and wherever a process is killed."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectramind_train.run.feeding import POSITION, Feed, Order
from spectramind_train.run.journal import JOURNAL, End, Journal, Metrics, Resumed, Start, numbers

Points = list[tuple[int, float]]


@pytest.fixture(autouse=True)
def file_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow 3 refuses them otherwise; and nothing is told to MLflow's makers."""
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "true")


def begin(folder: Path, **parameters: str) -> Journal:
    """The journal of a run that begins."""
    journal = Journal(folder)
    many = {f"setting_{number}": str(number) for number in range(150)}
    journal.append(Start(id="1", run="run-1", uri=None, experiment="e", tags={}, parameters={**many, **parameters}))
    return journal


def log(journal: Journal, *steps: int) -> None:
    """A line of metrics after each step; a step has the same values whenever it is trained."""
    for step in steps:
        journal.append(Metrics(step=step, epoch=0, values=numbers({"loss": 1.0 / (step + 1), "norm": float(step)})))


class Lossy:
    """A real client some of whose requests fail, before or after the store has done what was asked."""

    def __init__(self, client: Any, fails: Callable[[int], str]) -> None:
        self.client, self.fails = client, fails
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*arguments: Any, **options: Any) -> Any:
            self.requests.append(name)
            fate = self.fails(len(self.requests) - 1)
            if fate == "before":
                raise ConnectionError
            result = getattr(self.client, name)(*arguments, **options)
            if fate == "after":
                raise ConnectionError
            return result

        return request


def client_of(uri: str, fails: Callable[[int], str] = lambda _: "") -> Lossy:
    """A client of a store."""
    from mlflow.tracking import MlflowClient

    return Lossy(MlflowClient(tracking_uri=uri), fails)


def order(folder: Path, uri: str) -> Order:
    """The delivery of a run in a folder."""
    return Order(str(folder), uri, uri, "e", os.getpid(), follow=False)


def tracked(uri: str) -> tuple[str, dict[str, str], dict[str, Points]]:
    """Status, parameters and every point of the only run."""
    client = client_of(uri).client
    (experiment,) = client.search_experiments(filter_string="name = 'e'")
    (run,) = client.search_runs([experiment.experiment_id])
    points = {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    return run.info.status, run.data.params, points


def expected(steps: int) -> dict[str, Points]:
    """The points of a run of some steps."""
    return {
        "loss": [(step, 1.0 / (step + 1)) for step in range(steps)],
        "norm": [(step, float(step)) for step in range(steps)],
        "score": [(steps - 1, 0.5)],
    }


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, which takes MLflow seconds to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    client_of(f"sqlite:///{path}").client.search_experiments()
    return path


@pytest.fixture(params=["file", "sqlite"])
def uri(request: pytest.FixtureRequest, empty: Path, tmp_path: Path) -> str:
    """A new store."""
    if request.param == "file":
        return f"file:{tmp_path}/mlruns"
    shutil.copy(empty, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_run_takes_few_requests(uri: str, tmp_path: Path) -> None:
    """Parameters go by the hundred, metrics by the thousand, and nothing is asked while there is no doubt."""
    journal = begin(tmp_path)
    log(journal, *range(600))
    journal.append(End(status="completed", metrics={"score": 0.5}))
    client = client_of(uri)
    feed = Feed(order(tmp_path, uri), client)
    feed.deliver()
    status, parameters, points = tracked(uri)
    assert (status, points) == ("FINISHED", expected(600))
    assert parameters == {f"setting_{number}": str(number) for number in range(150)}
    assert Counter(client.requests) == {
        "get_experiment_by_name": 1,
        "create_experiment": 1,
        "create_run": 1,
        "log_batch": 4,
        "set_terminated": 1,
    }
    feed.deliver()
    assert len(client.requests) == 8


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
@pytest.mark.parametrize("fate", ["before", "after"])
@pytest.mark.parametrize("killed", [False, True], ids=["same process", "new process"])
def test_whichever_request_is_lost_everything_arrives_once(fate: str, killed: bool, tmp_path: Path) -> None:
    """Each request of a delivery fails in turn, served or not; the same process goes on, or another one does."""
    for lost in itertools.count():
        folder = tmp_path / str(lost)
        folder.mkdir()
        uri = f"file:{folder}/mlruns"
        journal = begin(folder)
        client = client_of(uri, lambda number, lost=lost: fate if number == lost else "")
        feed = Feed(order(folder, uri), client)
        failed = 0
        for stage in range(3):
            log(journal, 2 * stage, 2 * stage + 1)
            if stage == 2:
                journal.append(End(status="interrupted", metrics={"score": 0.5}))
            try:
                feed.deliver()
            except ConnectionError:
                failed += 1
                if killed:
                    feed = Feed(order(folder, uri), client)
        feed.deliver()
        status, parameters, points = tracked(uri)
        assert (status, points, len(parameters)) == ("KILLED", expected(6), 150)
        if not failed:
            break
    assert lost > 6


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_a_server_that_fails_every_second_time_gets_everything_once(uri: str, tmp_path: Path) -> None:
    """Requests fail at random places for a long time."""
    journal = begin(tmp_path)
    fates = itertools.cycle(["", "after", "", "", "", "", "before", "", "", "", "", "", ""])
    feed = Feed(order(tmp_path, uri), client_of(uri, lambda _: next(fates)))
    for step in range(30):
        log(journal, step)
        try:
            feed.deliver()
        except ConnectionError:
            continue
    journal.append(End(status="completed", metrics={"score": 0.5}))
    for _ in range(10):
        try:
            feed.deliver()
        except ConnectionError:
            continue
        break
    status, _, points = tracked(uri)
    assert (status, points) == ("FINISHED", expected(30))


def test_what_a_resumed_run_trains_again_is_not_sent_again(uri: str, tmp_path: Path) -> None:
    """The run goes on under its own number; its status follows, and each step stands there once."""
    journal = begin(tmp_path)
    log(journal, *range(5))
    journal.append(End(status="interrupted", metrics={}))
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    assert tracked(uri)[0] == "KILLED"
    begin(tmp_path, setting_0="another machine's")
    journal.append(Resumed(step=3))
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    assert tracked(uri)[0] == "RUNNING"
    log(journal, *range(3, 8))
    journal.append(End(status="completed", metrics={"score": 0.5}))
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    status, parameters, points = tracked(uri)
    assert (status, points) == ("FINISHED", expected(8))
    assert parameters["setting_0"] == "0"


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
@pytest.mark.parametrize("lost", ["position", "all but the run"])
def test_a_position_that_is_lost_is_found_again(lost: str, uri: str, tmp_path: Path) -> None:
    """Without ``tracking.json``, or with that of another server, the server itself says what it has."""
    journal = begin(tmp_path)
    log(journal, *range(4))
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    log(journal, 4)
    journal.append(End(status="completed", metrics={"score": 0.5}))
    if lost == "position":
        (tmp_path / POSITION).write_text('{"uri": "http://elsewhere", "position": 17, "run": "x"}')
    else:
        (tmp_path / POSITION).write_bytes(b"\x00")
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    assert tracked(uri)[2] == expected(5)


@pytest.mark.fault("a server that is down, slow, silent, endless or returns 500; a disk that is busy")
def test_a_run_that_a_slow_server_makes_twice_is_one(uri: str, tmp_path: Path) -> None:
    """A request that was given up for lost is served after all, behind the one that took its place."""
    journal = begin(tmp_path)
    log(journal, *range(3))
    journal.append(End(status="completed", metrics={"score": 0.5}))
    client = client_of(uri)
    create = client.client.create_run

    def twice(*arguments: Any, **options: Any) -> Any:
        create(*arguments, **options)
        return create(*arguments, **options)

    client.client.create_run = twice
    (tmp_path / POSITION).write_text(f'{{"uri": "{uri}"}}')
    Feed(order(tmp_path, uri), client).deliver()
    assert tracked(uri)[2] == expected(3)


@pytest.mark.fault("a server that serves a request after it was given up for lost")
def test_a_request_that_is_served_late_changes_no_curve(uri: str, tmp_path: Path) -> None:
    """It was given up for lost and sent again; files may keep its points twice, but then they are equal."""
    journal = begin(tmp_path)
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    log(journal, *range(3))
    journal.append(End(status="completed", metrics={"score": 0.5}))
    client = client_of(uri)
    serve, late = client.client.log_batch, []

    def delay(*arguments: Any, **options: Any) -> None:
        late.append((arguments, options))
        raise ConnectionError

    client.client.log_batch = delay
    feed = Feed(order(tmp_path, uri), client)
    with pytest.raises(ConnectionError):
        feed.deliver()
    client.client.log_batch = serve
    feed.deliver()
    for arguments, options in late:
        serve(*arguments, **options)
    _, _, points = tracked(uri)
    assert {name: sorted(set(found)) for name, found in points.items()} == expected(3)
    if uri.startswith("sqlite"):
        assert points == expected(3)


def test_odd_names_and_values_keep_nothing_back(uri: str, tmp_path: Path) -> None:
    """A name that MLflow would refuse is written in letters that it takes; long texts are cut."""
    odd = {"a=b": 1.0, "nan": float("nan"), "inf": float("inf"), "n" * 300: 2.0}
    journal = begin(tmp_path, **{"entries.a=b;c": "x" * 10_000, "empty": ""})
    journal.append(Metrics(step=0, epoch=0, values=numbers(odd)))
    journal.append(End(status="failed", metrics={}))
    Feed(order(tmp_path, uri), client_of(uri)).deliver()
    status, parameters, points = tracked(uri)
    assert status == "FAILED"
    assert parameters["entries.a_b_c"] == "x" * 6000
    assert set(points) == {"a_b", "nan", "inf", "n" * 250}


def test_half_a_line_waits_for_its_end(uri: str, tmp_path: Path) -> None:
    """A line that is being written is delivered when it is whole."""
    journal = begin(tmp_path)
    log(journal, 0, 1)
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[:-20])
    feed = Feed(order(tmp_path, uri), client_of(uri))
    feed.deliver()
    assert len(tracked(uri)[2]["loss"]) == 1
    (tmp_path / JOURNAL).write_bytes(content)
    feed.deliver()
    assert len(tracked(uri)[2]["loss"]) == 2
