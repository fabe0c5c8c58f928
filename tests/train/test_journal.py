"""The journal: nothing that happens to a process or a disk takes from it what it held."""

from __future__ import annotations

import csv
import errno
import math
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectramind_train.run.journal import (
    JOURNAL,
    TABLE,
    End,
    Entry,
    Journal,
    Metrics,
    Resumed,
    Start,
    Table,
    entries,
    numbers,
    rows,
)

VALUES = st.dictionaries(st.sampled_from(["train_loss", "val_loss", "grad_norm"]), st.floats(), max_size=3)


def metrics(step: int, **values: float) -> Metrics:
    """A line with values after a step."""
    return Metrics(step=step, epoch=step // 10, values=numbers(values))


def written(folder: Path) -> list[Entry]:
    """The lines of a run's journal."""
    return [entry for _, entry in entries(folder / JOURNAL)]


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Each kind of line, with the time at which it was written."""
    start = Start(id="1", run="r", uri=None, experiment="e", tags={"a": "b"}, parameters={"seed": "1"})
    lines = [start, metrics(0, train_loss=1.0), Resumed(step=0), End(status="completed", metrics={"score": 0.5})]
    for line in lines:
        Journal(tmp_path).append(line)
    assert written(tmp_path) == lines
    assert all(line.time > 1.7e9 for line in lines)


@given(VALUES)
def test_any_number_comes_back(values: dict[str, float]) -> None:
    """NaN and the infinities too, which JSON lacks."""
    with tempfile.TemporaryDirectory() as folder:
        Journal(Path(folder)).append(metrics(3, **values))
        (row,) = rows(Path(folder) / JOURNAL)
    assert {name for name in row if name not in ("step", "epoch")} == set(values)
    assert all(row[name] == value or (math.isnan(row[name]) and math.isnan(value)) for name, value in values.items())


@given(st.integers(0, 400))
def test_a_line_that_was_cut_harms_no_other(kept: int) -> None:
    """Whatever part of the last line a killed process has written, the next process's lines can be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / JOURNAL
        for step in range(4):
            Journal(path.parent).append(metrics(step, train_loss=0.5))
        content = path.read_bytes()
        path.write_bytes(content[:kept])
        whole = content[:kept].count(b"\n")
        assert len(rows(path)) == whole
        Journal(path.parent).append(metrics(9, train_loss=0.25))
        steps = [row["step"] for row in rows(path)]
    cut = [whole] if kept < len(content) and content[kept : kept + 1] == b"\n" else []
    assert steps == [*range(whole), *cut, 9]


@given(st.lists(st.one_of(st.integers(0, 9).map(lambda step: ("resumed", step)), st.just(("metrics", 0)))))
def test_what_is_trained_again_counts_once(story: list[tuple[str, int]]) -> None:
    """After any number of stops, the steps of the table are those of one training, each once and in order."""
    step = 0
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        for kind, to in [*story, ("metrics", 0)]:
            if kind == "metrics":
                journal.append(metrics(step, train_loss=float(step)))
                step += 1
            else:
                step = min(step, to)
                journal.append(Resumed(step=step))
        found = rows(Path(folder) / JOURNAL)
    assert [row["step"] for row in found] == list(range(step))


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"{}",
        b"[1]",
        b'{"kind":"stranger"}',
        b'{"kind":"metrics","step":"x","epoch":0,"values":{}}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_means_nothing_is_passed_over(line: bytes, tmp_path: Path) -> None:
    """Bad text, another kind, another type, brackets without an end."""
    Journal(tmp_path).append(metrics(0, train_loss=1.0))
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(line + b"\n")
    Journal(tmp_path).append(metrics(1, train_loss=0.5))
    assert [row["step"] for row in rows(tmp_path / JOURNAL)] == [0, 1]


def test_a_full_disk_costs_nothing_but_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are kept until they can be written, in their order, and the user is told once."""
    said: list[str] = []
    journal = Journal(tmp_path, said.append)
    journal.append(metrics(0, train_loss=1.0))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write", full)
        for step in (1, 2):
            journal.append(metrics(step, train_loss=1.0))
    assert len(rows(tmp_path / JOURNAL)) == 1
    journal.append(metrics(3, train_loss=1.0))
    assert [row["step"] for row in rows(tmp_path / JOURNAL)] == [0, 1, 2, 3]
    (line,) = said
    assert "No space left on device" in line


def test_a_limit_on_the_size_of_files_leaves_whole_lines(tmp_path: Path) -> None:
    """The part of a line that still fits is taken back, and the process goes on."""
    code = f"""
import resource, sys
from pathlib import Path
from spectramind_train.run.journal import Journal, Metrics
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
journal = Journal(Path({str(tmp_path)!r}), print)
for step in range(50):
    journal.append(Metrics(step=step, epoch=0, values={{"train_loss": 0.1}}))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
content = (Path({str(tmp_path)!r}) / "journal.jsonl").read_bytes()
assert content.endswith(b"\\n") and len(content) <= 1000
journal.append(Metrics(step=50, epoch=0, values={{}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written") == 1
    assert [row["step"] for row in rows(tmp_path / JOURNAL)] == list(range(51))


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing: every line but perhaps the last can be read, and none is missing between."""
    code = f"""
from pathlib import Path
from spectramind_train.run.journal import Journal, Metrics
journal, step = Journal(Path({str(tmp_path)!r})), 0
while True:
    journal.append(Metrics(step=step, epoch=0, values={{"train_loss": 0.1}}))
    step += 1
    print(step, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = 0
    while said < 200:
        said = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    steps = [int(row["step"]) for row in rows(tmp_path / JOURNAL)]
    assert steps == list(range(len(steps)))
    assert len(steps) >= int(rest[-1] if rest and rest[-1].isdigit() else said) - 1


@given(st.lists(VALUES, max_size=12))
def test_the_table_is_what_the_journal_says(story: list[dict[str, float]]) -> None:
    """Row by row it holds the same as when it is written from the whole journal, whatever columns come and go."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal, table = Journal(folder), Table(folder)
        for step, values in enumerate(story):
            entry = metrics(step, **values)
            journal.append(entry)
            table.add(entry)
            with (folder / TABLE).open(newline="") as file:
                found = list(csv.DictReader(file))
            assert len(found) == step + 1
        if story:
            before = (folder / TABLE).read_text()
            Table(folder).write()
            assert (folder / TABLE).read_text() == before
            assert before.splitlines()[0].split(",") == sorted(
                {*{key for one in story for key in one}, "step", "epoch"}
            )


def test_the_table_leaves_out_what_a_resumed_run_trains_again(tmp_path: Path) -> None:
    """A new process's first row writes the table anew."""
    for step in range(5):
        entry = metrics(step, train_loss=float(step))
        Journal(tmp_path).append(entry)
        Table(tmp_path).add(entry)
    Journal(tmp_path).append(Resumed(step=3))
    entry = metrics(3, train_loss=33.0)
    Journal(tmp_path).append(entry)
    Table(tmp_path).add(entry)
    with (tmp_path / TABLE).open(newline="") as file:
        assert [(row["step"], row["train_loss"]) for row in csv.DictReader(file)] == [
            ("0", "0.0"),
            ("1", "1.0"),
            ("2", "2.0"),
            ("3", "33.0"),
        ]


def test_memory_does_not_follow_the_length_of_a_line(tmp_path: Path) -> None:
    """A stranger's file without a line's end is not read into memory."""
    with (tmp_path / JOURNAL).open("wb") as file:
        file.truncate(8 << 30)
    code = f"""
import resource
from pathlib import Path
from spectramind_train.run.journal import rows
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
assert rows(Path({str(tmp_path / JOURNAL)!r})) == []
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
