"""Sweeps: trials that several processes share, that are killed, stopped, pruned and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_config.commands.ranking import Finished, Stop
from spectramind_train.cli import main
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.trials import MOST_ATTEMPTS, Row, Trials
from spectramind_train.search import work

from .sweeping import WORDS, a_space, score

LONG_S = 300.0
Prunes = Callable[[int, float], bool]


@pytest.fixture(params=["journal", "sqlite:///{folder}/trials.db"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A storage of each kind."""
    text = str(request.param).format(folder=tmp_path)
    return text if "://" in text else str(tmp_path / text)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[[str, int], subprocess.Popen[str]]]:
    """Starts a process that runs trials; see ``sweeping``."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str, total: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.train.sweeping", url, str(total), str(tmp_path)]
        started.append(subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def rows_of(url: str, name: str = "shared") -> list[Row]:
    """What stands in a storage."""
    return Trials(url, name, None, print).rows()


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def trained(config: EffectiveConfig, *, resume: str | None, prunes: Prunes | None) -> Finished:
    """An objective that costs nothing."""
    return Finished(0, score(config), "completed", "/runs/one")


def test_four_workers_lose_and_repeat_no_trial_when_one_is_killed(
    url: str, tmp_path: Path, workers: Callable[[str, int], subprocess.Popen[str]]
) -> None:
    """As many trials as asked for are done, each once; the one of the killed process is repeated by another."""
    four = [workers(url, 12) for _ in range(4)]
    wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 4 or any(one.poll() is not None for one in four))
    victim = four[2]
    begun = {int(file.name.partition("-")[2]): int(file.read_text()) for file in tmp_path.glob("begun-*")}
    (lost,) = [number for number, pid in begun.items() if pid == victim.pid]
    victim.kill()
    victim.wait()
    (tmp_path / "go").touch()
    for process in four:
        assert process.wait(LONG_S) == (0 if process is not victim else -signal.SIGKILL)
    rows = {row.number: row for row in rows_of(url)}
    done = [row for row in rows.values() if row.status == "completed"]
    assert len(done) == 12
    assert {row.status for row in rows.values()} == {"completed", "lost"}
    assert sorted(row.number for row in done) == sorted(int(one.name[5:]) for one in tmp_path.glob("done-*"))
    assert rows[lost].status == "lost"
    again = [row for row in done if row.settings == rows[lost].settings]
    assert len(again) == 1
    assert len({str(row.settings) for row in done}) == 12


def test_a_sweep_goes_on_to_as_many_in_all(url: str) -> None:
    """The same name and storage: what is done is not done again, and the best is that of all."""
    for total, expected in ((3, 3), (3, 3), (5, 5)):
        assert work(Trials(url, "one", a_space(), print), total, trained, Terminal(silent=True)) == 0
        assert [row.status for row in rows_of(url, "one")] == ["completed"] * expected


def test_a_sweep_is_the_same_wherever_it_is_interrupted(tmp_path: Path) -> None:
    """What a trial tries depends on its number and the results before it, not on which process asks."""
    whole, parts = (str(tmp_path / name) for name in ("whole", "parts"))
    work(Trials(whole, "one", a_space(), print), 13, trained, Terminal(silent=True))
    for total in (2, 11, 13):
        work(Trials(parts, "one", a_space(), print), total, trained, Terminal(silent=True))
    assert [row.settings for row in rows_of(whole, "one")] == [row.settings for row in rows_of(parts, "one")]


def test_it_searches(tmp_path: Path) -> None:
    """After 40 trials the best is near the optimum, and later trials are better than the first ones, at random."""
    work(Trials(str(tmp_path / "j"), "one", a_space(), print), 40, trained, Terminal(silent=True))
    scores = [row.score or 0.0 for row in rows_of(str(tmp_path / "j"), "one")]
    assert max(scores) > 0.9
    assert sum(scores[20:]) / 20 > sum(scores[:10]) / 10


def test_a_trial_that_was_told_to_stop_is_put_back(url: str) -> None:
    """The process leaves with the exit code of the signal; the next one goes on with the run of that trial."""
    asked: list[str | None] = []

    def stopped(config: EffectiveConfig, *, resume: str | None, prunes: Prunes | None) -> Finished:
        asked.append(resume)
        if len(asked) == 2:
            raise Stop(Finished(143, status="interrupted"))
        return trained(config, resume=resume, prunes=prunes)

    with pytest.raises(SystemExit) as left:
        work(Trials(url, "one", a_space(), print), 3, stopped, Terminal(silent=True))
    assert left.value.code == 143
    assert work(Trials(url, "one", a_space(), print), 3, stopped, Terminal(silent=True)) == 0
    assert asked == [None, None, "auto", None]
    rows = rows_of(url, "one")
    assert [row.status for row in rows] == ["completed", "interrupted", "completed", "completed"]
    assert rows[1].settings == rows[2].settings


def test_what_always_kills_its_process_is_given_up(tmp_path: Path) -> None:
    """After some attempts a trial counts as failed, so that a sweep comes to its end."""
    url = str(tmp_path / "journal")
    code = (
        "import os, sys, signal; from tests.train.sweeping import a_space; from spectramind_train.search import work;"
        "from spectramind_train.run.trials import Trials; from spectramind_train.run.terminal import Terminal;"
        "work(Trials(sys.argv[1], 'one', a_space(), print), 1, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL),"
        "Terminal(silent=True))"
    )
    command = [sys.executable, "-c", code, url]
    for _ in range(MOST_ATTEMPTS):
        done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
        assert done.returncode == -signal.SIGKILL
    assert work(Trials(url, "one", a_space(), print), 1, trained, Terminal(silent=True)) == 0
    assert [row.status for row in rows_of(url, "one")] == ["lost"] * MOST_ATTEMPTS + ["failed"]


def test_failures_are_told_and_cost_no_other_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one message, a fault has its traceback; three in a row are the end, with their exit code."""
    ends: list[Exception | None] = [ConfigError("the disk is full"), None, RuntimeError("broken")]
    ends += [ConfigError("again")] * 2

    def failing(config: EffectiveConfig, *, resume: str | None, prunes: Prunes | None) -> Finished:
        if (error := ends.pop(0)) is not None:
            raise error
        return trained(config, resume=resume, prunes=prunes)

    assert work(Trials(str(tmp_path / "j"), "one", a_space(), print), 9, failing, Terminal()) == 2
    assert [row.status for row in rows_of(str(tmp_path / "j"), "one")] == ["failed", "completed", *["failed"] * 3]
    out, err = capsys.readouterr()
    assert "error: the disk is full\n" in err
    assert "RuntimeError: broken" in err
    assert "3 trials in a row have failed" in out


def test_settings_that_were_tried_are_not_trained_again(tmp_path: Path) -> None:
    """A space of two points costs two trainings, however many trials there are."""
    count = 0

    def counted(config: EffectiveConfig, *, resume: str | None, prunes: Prunes | None) -> Finished:
        nonlocal count
        count += 1
        return trained(config, resume=resume, prunes=prunes)

    words = ["model.residual=choice(true,false)", "local=debug"]
    work(Trials(str(tmp_path / "j"), "one", a_space(*words), print), 8, counted, Terminal(silent=True))
    rows = rows_of(str(tmp_path / "j"), "one")
    assert count == len({str(row.settings) for row in rows}) == 2
    assert [row.status for row in rows] == ["completed"] * 8


def test_another_space_under_the_same_name_is_refused(url: str) -> None:
    """One message that shows both; a setting that does not vary counts as well."""
    Trials(url, "one", a_space(), print)
    with pytest.raises(ConfigError, match="searches another space") as caught:
        Trials(url, "one", a_space("optimizer.lr=interval(1e-5,1e-2)", "local=debug"), print)
    assert "there: optimizer.lr=tag(log,interval(1e-5,1e-2)) model.dropout=interval(0,0.9)" in str(caught.value)
    with pytest.raises(ConfigError, match="settings that do not vary have other values"):
        Trials(url, "one", a_space(*WORDS, "local.seed=3"), print)
    Trials(url, "one", a_space(*WORDS, "local.num_workers.train=3"), print)  # It decides no result.


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://x", "it cannot be opened"),
        ("sqlite:////nowhere/x.db", "unable to open database file"),
        (
            "postgresql://me:SECRET@127.0.0.1:1/x",
            "postgresql://me:***@127.0.0.1:1/x: the driver of this database is missing",
        ),
        ("{folder}/broken", "it cannot be opened"),
        ("{folder}", "it cannot be opened: Is a directory"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_message(tmp_path: Path, url: str, words: str) -> None:
    """With the reason, and without the password."""
    (tmp_path / "broken").write_text("nothing of Optuna's\n")
    with pytest.raises(ConfigError) as caught:
        Trials(url.format(folder=tmp_path), "one", a_space(), print)
    assert words in str(caught.value)
    assert "SECRET" not in str(caught.value)


def seeded(url: str) -> Trials:
    """A sweep with five trials that did better than any can."""
    trials = Trials(url, "one", a_space(*WORDS[:1], "local=debug"), print)
    distributions = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)}
    for number in range(5):
        trials.study.add_trial(
            optuna.trial.create_trial(
                value=2.0,
                params={"optimizer.lr": 10.0 ** (-3 - number / 10)},
                distributions=distributions,
                intermediate_values=dict.fromkeys(range(9), 2.0),
            )
        )
    return trials


def test_a_trial_that_does_worse_than_most_is_pruned(url: str) -> None:
    """Below the median of the others at the same epoch, after the first two."""
    trials, ends = seeded(url), []

    def train(config: EffectiveConfig, *, resume: str | None, prunes: Prunes | None) -> Finished:
        assert prunes is not None
        ends.append([prunes(epoch, value) for epoch, value in enumerate((0.1, 0.1, 0.1, 3.0))])
        return Finished(0, 0.1, "pruned")

    work(trials, 6, train, Terminal(silent=True))
    assert ends == [[False, False, True, False]]
    assert rows_of(url, "one")[-1].status == "pruned"
    assert rows_of(url, "one")[-1].validations == {0: 0.1, 1: 0.1, 2: 0.1, 3: 3.0}


def test_a_storage_that_is_gone_ends_no_training(tmp_path: Path) -> None:
    """The score of a validation is lost to the sweep, which is said once."""
    said: list[str] = []
    trials = Trials(f"sqlite:///{tmp_path}/trials.db", "one", a_space(), said.append)
    begun = trials.next(1)
    assert begun is not None
    (tmp_path / "trials.db").unlink()
    (tmp_path / "trials.db").mkdir()
    trials._rdb.engine.dispose()  # type: ignore[union-attr]
    assert not any(trials.pruned(begun.trial, epoch, 0.5) for epoch in range(2))
    assert len(said) == 1
    assert "cannot be reached" in said[0]


@pytest.fixture
def real(tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words of a sweep of small trainings, below a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return ["model.width=8", "optimizer.lr=tag(log,interval(1e-4,1e-2))", *small, "local.max_epochs=4"]


def test_a_pruned_run_says_so(tmp_path: Path, real: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A real training: it ends after the third of four validations, unscored, with a checkpoint, and exit code 0."""
    url = str(tmp_path / "journal")
    words = [*real, "trainer.early_stopping.enabled=false"]
    trials = Trials(url, "one", a_space(*words), print)
    values = {0: 2.0, 1: 2.0, 2: 2.0, 3: 2.0}
    for _ in range(5):
        trials.study.add_trial(optuna.trial.create_trial(value=2.0, intermediate_values=values))
    command = ["sweep", *words, "--name", "one", "--storage", url, "--trials", "6"]
    assert main(command) == 0
    row = rows_of(url, "one")[-1]
    manifest = json.loads((Path(row.run) / "manifest.json").read_text())
    assert (row.status, manifest["status"], len(row.validations)) == ("pruned", "pruned", 3)
    assert manifest["metrics"]["val_score_best"] == pytest.approx(max(row.validations.values()))
    assert "test_score" not in manifest["metrics"]
    assert manifest["checkpoints"]
    assert "pruned after 3 validations" in capsys.readouterr().out


def test_a_sweep_of_two_processes_leaves_runs_and_a_report(tmp_path: Path, real: list[str]) -> None:
    """Each trial is a run with its manifest; the table, the picture and the command of the best lie in its folder."""
    command = ["sweep", *real, "local.max_epochs=1", "--name", "two", "--jobs", "2", "--trials", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "spectramind_train.cli", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "outputs" / "local" / "sweeps" / "two"
    with (folder / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len({row["run"] for row in table}) == 3
    assert [float(row["score"]) for row in table] == sorted((float(row["score"]) for row in table), reverse=True)
    for row in table:
        manifest = json.loads((Path(row["run"]) / "manifest.json").read_text())
        assert manifest["status"] == "completed"
        assert manifest["metrics"]["val_score_best"] == float(row["score"])
        assert f"optimizer.lr={row['optimizer.lr']}"[:18] in " ".join(manifest["overrides"])
    assert f"best: trial {table[0]['trial']} with score" in done.stdout
    assert f"spectramind train {table[0]['overrides']}" in done.stdout.replace("\n", " ")
    assert (folder / "sweep.png").stat().st_size > 10_000
    assert done.stdout.count("  completed") == 3


def test_a_signal_ends_a_sweep_of_two_processes(tmp_path: Path, real: list[str]) -> None:
    """Both trainings save what they have; the command reports, leaves with the signal's code, and the same goes on."""
    endless = [*real, "local.max_epochs=100000", "trainer.early_stopping.enabled=false"]
    words = ["sweep", *endless, "--name", "two", "--jobs", "2", "--trials", "2"]
    url = str(tmp_path / "outputs" / "local" / "sweeps" / "two" / "journal")
    command = [sys.executable, "-m", "spectramind_train.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: Path(url).is_file() or process.poll() is not None)
        wait_for(lambda: sum(bool(row.validations) for row in rows_of(url, "two")) == 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        os.kill(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=LONG_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143, out + err
    assert [row.status for row in rows_of(url, "two")] == ["interrupted", "interrupted", "waiting", "waiting"]
    manifests = [json.loads(one.read_text()) for one in (tmp_path / "outputs" / "local").glob("*/manifest.json")]
    assert [one["status"] for one in manifests] == ["interrupted"] * 2
    assert all(one["checkpoints"] for one in manifests)
    assert "2 cut short and put back" in out
    assert "Traceback" not in out + err


def test_a_process_that_is_killed_is_replaced(tmp_path: Path, real: list[str]) -> None:
    """Another goes on with the run of its trial, from the newest checkpoint; nothing else is repeated."""
    words = ["sweep", *real, "local.max_epochs=8", "trainer.early_stopping.enabled=false", "--no-pruning"]
    words += ["--name", "two", "--jobs", "2", "--trials", "2"]
    url = str(tmp_path / "outputs" / "local" / "sweeps" / "two" / "journal")
    command = [sys.executable, "-m", "spectramind_train.cli", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: Path(url).is_file() or process.poll() is not None)
        study = Trials(url, "two", None, print).study
        wait_for(lambda: any(len(one.intermediate_values) > 1 for one in study.trials) or process.poll() is not None)
        victim = next(one for one in study.trials if len(one.intermediate_values) > 1)
        os.kill(victim.user_attrs["process"]["pid"], signal.SIGKILL)
        out, err = process.communicate(timeout=LONG_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, out + err
    rows = {row.number: row for row in rows_of(url, "two")}
    assert [rows[number].status for number in sorted(rows)].count("completed") == 2
    assert rows[victim.number].status == "lost"
    (again,) = [row for row in rows.values() if row.settings == rows[victim.number].settings and row.run]
    manifest = json.loads((Path(again.run) / "manifest.json").read_text())
    assert len(manifest["resumed"]) == 1
    assert manifest["resumed"][0]["step"] > 0
    assert len(list((tmp_path / "outputs" / "local").glob("*/manifest.json"))) == 2
    assert "was killed; another repeats its trial" in out


def test_a_sweep_without_validations_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No trial would have a score."""
    url = str(tmp_path / "journal")
    words = ["local.dev.limit_val_batches=0", "optimizer.lr=interval(1e-5,1e-2)"]
    assert main(["sweep", *words, "--storage", url]) == 2
    assert "local.dev.limit_val_batches=0: without a validation, no trial has a score" in capsys.readouterr().err
    assert not Path(url).exists()


def test_reports_say_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep that nobody began, and another name in a storage that has some."""
    monkeypatch.chdir(tmp_path)
    assert main(["trials", "mine"]) == 2
    assert "there is no journal of a sweep here" in capsys.readouterr().err
    url = f"sqlite:///{tmp_path}/trials.db"
    Trials(url, "mine", a_space(), print)
    assert main(["trials", "mien", "--storage", url]) == 2
    assert "nearest:  mine" in capsys.readouterr().err
    assert main(["trials", "mine", "--storage", url]) == 0
    assert "trials: none has begun" in capsys.readouterr().out


def test_other_commands_do_not_import_optuna() -> None:
    """It takes as long as all else that they need."""
    code = (
        "import sys; from spectramind_train.cli import main; main(['plan', 'local.devices=cpu']);"
        "main(['config', 'hash']); main(['sweep', 'local.seed=3']); import spectramind_train.training;"
        "print([name for name in ('optuna', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
