"""Runs are listed, chosen, shown and compared; what is no run is told with the nearest that is one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import DataRecord, Status
from spectramind_train.run.plan import plan

RECORD = DataRecord(root="data", simulated=False, fingerprint="ab" * 32, planets={"train": ["1"], "val": ["2"]})
Make = Callable[..., Path]


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder of runs."""
    monkeypatch.setenv("SM_OUTPUT_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "outputs"


@pytest.fixture
def make(outputs: Path) -> Make:
    """Makes runs without training: ``make(status, val, test, day, *overrides)``, of a day in 2026-01."""

    def made(
        status: Status = "completed", val: float | None = None, test: float | None = None, day: int = 1, *words: str
    ) -> Path:
        config, host = compose(list(words)), Host(name="laptop", cores=4)
        run = Run.create(config, plan(config, host), host)
        path = outputs / f"2026-01-{day:02}_12-00-00_default"
        run.path.rename(path)
        run.path, run.manifest.run_id, run.manifest.data = path, path.name, RECORD
        run.manifest.started = f"2026-01-{day:02}T12:00:00+00:00"
        scores = {"val_score_best": val, "test_score": test}
        run.manifest.metrics = {name: score for name, score in scores.items() if score is not None}
        if status == "running":
            run.write()
        else:
            Index(run.checkpoints).add(b"weights", epoch=3, step=24, score=val, best=1)
            run.finish(status)
            change(path, finished=f"2026-01-{day:02}T13:02:03+00:00")
        return path

    return made


def change(run: Path, **values: Any) -> None:
    """Edit a manifest."""
    file = run / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_runs_are_listed_the_newest_first(make: Make, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Name, status, scores, epochs, model and time; an asterisk where a run can go on."""
    make("completed", 0.61, 0.59, 2)
    make("interrupted", 0.5, None, 3)
    make("failed", None, None, 1)
    assert main(["runs", "list"]) == 0
    title, head, *rows, foot = capsys.readouterr().out.splitlines()
    assert title == f"{outputs}: 3 runs, the newest first"
    assert head.split() == ["run", "status", "val", "test", "epochs", "model", "took"]
    assert [row.split() for row in rows] == [
        ["2026-01-03_12-00-00_default", "interrupted", "*", "0.5000", "-", "3", "v50", "1:02:03"],
        ["2026-01-02_12-00-00_default", "completed", "0.6100", "0.5900", "3", "v50", "1:02:03"],
        ["2026-01-01_12-00-00_default", "failed", "*", "-", "-", "3", "v50", "1:02:03"],
    ]
    assert "--resume RUN" in foot
    assert max(map(len, (head, *rows, foot))) <= 80


def test_a_narrow_terminal_has_two_lines_a_run(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is cut off, and nothing is broken within a cell."""
    make("interrupted", 0.61, 0.59)
    monkeypatch.setenv("COLUMNS", "56")
    assert main(["runs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert max(map(len, lines)) <= 56
    assert lines[2:4] == ["2026-01-01_12-00-00_default", "  interrupted * 0.6100 0.5900      3  v50    1:02:03"]


def test_the_list_as_json(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Every run with its path, in numbers."""
    run = make("walltime", 0.25, 0.125)
    assert main(["runs", "list", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {
        "name": run.name,
        "path": str(run),
        "status": "walltime",
        "started": "2026-01-01T12:00:00+00:00",
        "took_s": 3723.0,
        "model": "v50",
        "epochs": 3,
        "steps": 24,
        "val_score": 0.25,
        "test_score": 0.125,
        "resumable": True,
    }


def test_a_run_whose_process_is_gone_is_lost(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """It is still running where the process lives; its score so far is that of its best checkpoint."""
    alive, gone = make("running", day=1), make("running", day=2)
    Index(gone / "checkpoints").add(b"weights", epoch=1, step=8, score=0.375, best=1)
    change(gone, process={**json.loads((gone / "manifest.json").read_text())["process"], "started": "1"})
    assert main(["runs", "list", "--json"]) == 0
    found = {one["path"]: one for one in json.loads(capsys.readouterr().out)}
    assert (found[str(alive)]["status"], found[str(alive)]["resumable"]) == ("running", False)
    lost = found[str(gone)]
    assert (lost["status"], lost["resumable"], lost["took_s"], lost["val_score"]) == ("lost", True, None, 0.375)


def test_damaged_manifests_are_named_and_do_not_stop_the_list(
    make: Make, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each on the error output, whatever is in them; a damaged index costs the epochs alone."""
    make("completed", 0.61, 0.59)
    for name, content in (("empty", ""), ("cut", '{"schema_version": 1, "run'), ("other", "[1, 2]")):
        (outputs / name).mkdir()
        (outputs / name / "manifest.json").write_text(content)
    (outputs / "2026-01-01_12-00-00_default" / "checkpoints" / "index.json").write_text("{")
    assert main(["runs", "list", "--json"]) == 0
    told = capsys.readouterr()
    (found,) = json.loads(told.out)
    assert (found["epochs"], found["val_score"]) == (None, 0.61)
    lines = told.err.splitlines()
    assert len(lines) == 3
    assert all(any(f"{outputs / name}" in line for line in lines) for name in ("empty", "cut", "other"))


def test_a_strangers_manifest_forges_no_line(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """What a terminal would obey is written out, and no value makes the table too wide to read."""
    run = make("completed", 0.61, 0.59)
    profiles = {"model": "x\nerror: forged\x1b[31m" + "y" * 5000}
    change(run, profiles=profiles, started="never", metrics={"val_score_best": 1e308}, host={"name": {"a\n": [1]}})
    assert main(["runs", "list"]) == 0
    assert main(["runs", "show", str(run)]) == 0
    assert main(["runs", "compare", str(run), str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("error:") or "\x1b" in line for line in lines)
    assert "x\\nerror: forged" in lines[4]
    assert max(map(len, lines[:5])) < 200


def test_many_runs_are_listed_without_a_framework(make: Make, outputs: Path) -> None:
    """Neither torch nor numpy nor pyarrow is imported to look at manifests."""
    manifest = json.loads((make("completed", 0.61, 0.59) / "manifest.json").read_text())
    for number in range(300):
        (outputs / f"copy-{number}").mkdir()
        (outputs / f"copy-{number}" / "manifest.json").write_text(json.dumps(manifest))
    code = (
        "import sys; from spectramind_train.cli import main; main(['runs', 'list']); main(['runs', 'best', '--path']);"
        "print([name for name in ('torch', 'numpy', 'pyarrow', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].endswith("301 runs, the newest first")
    assert len(lines) == 1 + 1 + 301 + 1 + 1
    assert lines[-1] == "[]"


def test_the_best_is_chosen_by_validation_alone(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """A better test score, or a run that is not completed, does not count; of equal ones it is the oldest."""
    make("completed", 0.5, 0.9, 1)
    chosen = make("completed", 0.6, 0.1, 2)
    make("completed", 0.6, 0.8, 3)
    make("walltime", 0.7, 0.7, 4)
    assert main(["runs", "best"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the best of 3 completed, by the validation score alone"
    assert lines[-1] == str(chosen)
    assert main(["runs", "best", "--path"]) == 0
    assert capsys.readouterr().out == f"{chosen}\n"
    assert main(["runs", "best", str(chosen.parent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(chosen)


def test_scores_of_other_planets_are_no_fair_choice(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told on the error output, so that the path can be used all the same."""
    make("completed", 0.5, 0.9, 1)
    other = make("completed", 0.6, 0.1, 2)
    assert main(["runs", "best", "--path"]) == 0
    assert capsys.readouterr().err == ""
    data = json.loads((other / "manifest.json").read_text())["data"]
    change(other, data={**data, "planets": {"train": ["1"], "val": ["3"]}})
    assert main(["runs", "best", "--path"]) == 0
    told = capsys.readouterr()
    assert "different planets" in told.err
    assert told.out == f"{other}\n"


def test_where_none_is_completed_none_is_the_best(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the command that shows what there is."""
    make("failed", 0.5, 0.9)
    assert main(["runs", "best"]) == 2
    told = capsys.readouterr().err
    assert "no completed run with a validation score, of 1 in all" in told
    assert "see: spectramind runs list" in told


def test_runs_are_compared(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that differ with who set them, code, packages, data, and the scores side by side."""
    words = ["optimizer.lr=0.002", "local.seed=7"]
    runs = [
        make("completed", 0.5, 0.25, 1),
        make("completed", 0.625, 0.125, 2, *words),
        make("completed", 0.5, None, 3),
    ]
    manifest = json.loads((runs[1] / "manifest.json").read_text())
    change(
        runs[1],
        git={"commit": "cd" * 20, "dirty": True},
        packages={**manifest["packages"], "numpy": "1.0"},
        data={**manifest["data"], "fingerprint": "ef" * 32},
    )
    assert main(["runs", "compare", *map(str, runs)]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[:3] == [f"{letter}: {run} (completed)" for letter, run in zip("ABC", runs, strict=True)]
    start = lines.index("  optimizer.lr")
    assert [line.split()[:2] for line in lines[start + 1 : start + 4]] == [
        ["A:", "0.0003"],
        ["B:", "0.002"],
        ["C:", "0.0003"],
    ]
    assert "optimizer=adamw" in lines[start + 1]
    assert "  seed" in lines
    assert "    B: cdcdcdcdcdcd, files changed" in lines
    assert lines[lines.index("  numpy") + 2] == "    B: 1.0"
    assert "    B: efefefefefef" in lines
    assert ["val_score_best", "0.5", "0.625", "0.5"] in [line.split() for line in lines]
    assert ["test_score", "0.25", "0.125", "-"] in [line.split() for line in lines]
    assert "no fair comparison" in told.err
    assert not any("max_epochs" in line for line in lines)
    assert main(["runs", "compare", *map(str, runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["path"] for one in found["config"]] == ["seed", "optimizer.lr"]
    assert found["scores"]["test_score"] == [0.25, 0.125, None]
    assert {one["name"] for one in found["differences"]} >= {"git commit", "numpy", "labels, names and sizes"}


def test_what_is_the_same_is_said(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs of one config differ in nothing but their scores."""
    runs = [make("completed", 0.5, 0.25, day) for day in (1, 2)]
    assert main(["runs", "compare", *map(str, runs)]) == 0
    assert "the same: config, code, packages, host, plan, data" in capsys.readouterr().out


def test_a_config_of_another_version_is_compared_as_it_stands(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that is no more is told, and costs the origins alone."""
    runs = [make("completed", 0.5, 0.25, day) for day in (1, 2)]
    config = json.loads((runs[1] / "manifest.json").read_text())["config"]
    change(runs[1], config={**config, "seed": 8, "warp": 9})
    assert main(["runs", "compare", *map(str, runs)]) == 0
    told = capsys.readouterr()
    assert "warp: there is no such setting" in told.err
    lines = told.out.splitlines()
    assert lines[lines.index("  warp") + 1 :][:2] == ["    A: -", "    B: 9"]
    assert lines[lines.index("  seed") + 1 :][:2] == ["    A: 1337", "    B: 8"]


def test_configs_of_runs_differ_with_their_scores(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """``config diff`` of two runs: the settings, whether code and data differ, and the scores; by name, too."""
    ours, theirs = make("completed", 0.5, 0.25, 1), make("interrupted", 0.625, None, 2, "local.seed=7")
    change(theirs, git={"commit": "cd" * 20, "dirty": True})
    assert main(["config", "diff", ours.name, str(theirs / "manifest.json"), "--exit-code"]) == 1
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[:2] == [f"A: {ours} (completed)", f"B: {theirs} (interrupted)"]
    assert lines[2] == "seed"
    assert " ".join(lines[6:8]).split("compare")[0].split() == ["they", "differ", "in", "code:", "spectramind", "runs"]
    assert "the same: packages, host, plan, data" in lines
    assert [line.split() for line in lines[-3:]] == [
        ["scores", "A", "B"],
        ["val_score_best", "0.5", "0.625"],
        ["test_score", "0.25", "-"],
    ]
    assert main(["config", "diff", str(ours), str(theirs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["path"], one["a"]["value"], one["b"]["value"]) for one in found["config"]] == [("seed", 1337, 7)]
    assert found["scores"]["test_score"] == [0.25, None]
    assert [one["name"] for one in found["differences"]] == ["git commit"]


def test_a_config_beside_a_run_shows_the_scores_of_the_run(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Of equal configs too; what is no run has none."""
    run = make("completed", 0.5, 0.25)
    assert main(["config", "diff", "", str(run), "--exit-code"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["A: ", f"B: {run} (completed)"]
    assert lines[2].startswith("the configs are equal")
    assert [line.split() for line in lines[-3:]] == [["scores", "B"], ["val_score_best", "0.5"], ["test_score", "0.25"]]


def test_a_run_whose_manifest_is_damaged_is_compared_by_its_config(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and shows no score."""
    run = make("completed", 0.5, 0.25)
    change(run, metrics="none")
    assert main(["config", "diff", "local.seed=7", str(run)]) == 0
    told = capsys.readouterr()
    assert "not a manifest of schema version" in told.err
    assert "so its config alone is compared" in told.err
    assert "seed" in told.out
    assert "scores" not in told.out


def test_a_damaged_run_is_told_as_such_by_its_name_too(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Not as one that is not there, and once."""
    run = make("completed", 0.5, 0.25)
    (run / "manifest.json").write_text("{")
    assert main(["runs", "show", run.name]) == 2
    assert "not a manifest of schema version 1: Input data was truncated" in capsys.readouterr().err
    assert main(["config", "diff", "", run.name]) == 2
    told = capsys.readouterr().err
    assert f"{run}/manifest.json: not YAML or JSON" in told
    assert "warning" not in told


def test_one_run_is_not_compared(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    assert main(["runs", "compare", str(make())]) == 2
    assert "takes 2 to 26 runs, not 1" in capsys.readouterr().err


def test_a_run_is_shown(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """What its manifest says, and the commands that take it further; as JSON, the manifest with the state."""
    run = make("interrupted", 0.5, None, 1, "local.seed=7")
    assert main(["runs", "show", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(run)
    text = "\n".join(lines)
    for words in ("status:     interrupted", "took 1:02:03", "3 epochs, 24 steps", "local.seed=7", "model=v50"):
        assert words in text
    assert lines[-1] == f"to go on:  spectramind train --resume {run}"
    assert main(["runs", "show", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["seed"]) == ("interrupted", 7)


def test_a_name_is_looked_for_among_the_default_runs(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """What ``runs list`` prints is what every command about a run takes."""
    run = make("completed", 0.5, 0.25)
    assert main(["runs", "show", run.name]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(run)


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "show", "{}"],
        ["predict", "{}", "--data", "x.npy"],
        ["evaluate", "{}"],
        ["export", "{}"],
        ["reproduce", "{}"],
        ["track", "sync", "{}"],
        ["train", "--resume", "{}"],
        ["train", "--resume", "{}", "local.seed=4"],
    ],
    ids=" ".join,
)
def test_what_is_no_run_is_told_with_the_nearest(
    make: Make, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that takes one, with the command that lists them."""
    run = make("completed", 0.5, 0.25)
    mistyped = str(run).replace("12-00-00", "12-00-01")
    assert main([word.replace("{}", mistyped) for word in words]) == 2
    told = capsys.readouterr().err
    assert f"{mistyped}: no run here" in told
    assert f"nearest:  {run}" in told
    assert "see: spectramind runs list" in told


def test_folders_are_told_from_runs(make: Make, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of runs is none, a run is no folder of runs, and a folder above is told which one is meant."""
    run = make("completed", 0.5, 0.25)
    assert main(["runs", "show", str(outputs)]) == 2
    assert f"the newest run near it is {run}" in " ".join(capsys.readouterr().err.split())
    assert main(["runs", "list", str(run)]) == 2
    assert f"see: spectramind runs show {run}" in capsys.readouterr().err
    assert main(["runs", "list", str(outputs.parent)]) == 2
    assert f"nearest:  {outputs}" in capsys.readouterr().err
    assert main(["runs", "list", str(outputs / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert main(["runs", "list", str(run / "manifest.json")]) == 2
    assert "not a folder" in capsys.readouterr().err


def test_a_first_look_is_no_mistake(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first run there are none, and nothing is made."""
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr().out == f"{outputs}: no runs; spectramind train makes one\n"
    assert not outputs.exists()


def test_a_folder_that_is_missing_is_told_by_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by what a flag expects whose value bears the same name."""
    assert main(["data", "check"]) == 2
    told = capsys.readouterr().err
    assert "DIR is missing" in told
    assert "expected: the data set's folder" in told
