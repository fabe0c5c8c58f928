"""A run's directory: never shared, never overwritten, checked before any work."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run, require_writable
from spectramind_train.run.liveness import Process
from spectramind_train.run.manifest import DataRecord, read_manifest
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.training import train


def create(folder: Path) -> Run:
    """A run that starts now."""
    config = compose([f"local.output_dir='{folder}'"])
    host = Host.detect()
    record = DataRecord(root="data", simulated=False, fingerprint="0", planets={"train": ["1"]})
    run = Run.create(config, plan(config, host), host)
    run.begin(record)
    return run


def test_runs_that_start_together_never_share_a_directory(tmp_path: Path) -> None:
    """Twenty runs in the same second have twenty directories."""
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create(tmp_path), range(20)))
    assert len({run.path for run in runs}) == 20
    assert all(read_manifest(run.path).run_id == run.path.name for run in runs)


def test_the_newest_manifest_leads_to_its_run(tmp_path: Path) -> None:
    """A run is found by its directory, by its manifest, and by ``paths.run_manifest``."""
    run = create(tmp_path)
    for path in (run.path, run.path / "manifest.json", tmp_path / "run_manifest.json"):
        assert Run.open(path).path == run.path
    assert run.manifest.status == "running"


def test_the_end_is_recorded_with_every_checkpoint(tmp_path: Path) -> None:
    """Status, kind and digest of each checkpoint are in the manifest; a run without any says so."""
    run = create(tmp_path)
    with pytest.raises(ConfigError, match="no checkpoint"):
        run.checkpoint()
    index = Index(run.checkpoints)
    for step, score in ((1, 0.2), (2, 0.5), (3, None)):
        index.add(bytes([step]), epoch=0, step=step, score=score, best=2)
    run.finish("completed")
    again = Run.open(run.path)
    assert [(record.file, record.kind) for record in again.manifest.checkpoints] == [
        ("checkpoints/epoch000-step000001.ckpt", "other"),
        ("checkpoints/epoch000-step000002.ckpt", "best"),
        ("checkpoints/epoch000-step000003.ckpt", "last"),
    ]
    assert again.checkpoint() == run.checkpoints / "epoch000-step000002.ckpt"


def test_directories_that_cannot_be_written_are_all_named(tmp_path: Path) -> None:
    """Before any work: both directories in one message, with their origin; nothing is made."""
    (tmp_path / "file").write_text("")
    config = compose([f"local.output_dir='{tmp_path}/file/o'", f"local.cache_dir='{tmp_path}/file/c'"])
    with pytest.raises(ConfigError) as caught:
        require_writable(config)
    message = str(caught.value)
    assert "paths.output_dir" in message
    assert "paths.cache_dir" in message
    assert "not a directory" in message
    assert "local.paths.output_dir=outputs" in message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_older_run_leaves_the_newest_manifest_alone(tmp_path: Path) -> None:
    """A run that ends after a newer one has started does not take its place in ``paths.run_manifest``."""
    older, newer = create(tmp_path), create(tmp_path)
    older.manifest.started, newer.manifest.started = "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"
    newer.write()
    older.finish("completed")
    assert read_manifest(tmp_path / "run_manifest.json").run_id == newer.path.name
    assert read_manifest(older.path).status == "completed"


def test_a_manifest_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    """``paths.run_manifest`` may neither be a directory nor lie below a file."""
    (tmp_path / "file").write_text("")
    for place, words in ((tmp_path, "it is a directory"), (tmp_path / "file" / "m.json", "not a directory")):
        with pytest.raises(ConfigError, match=words) as caught:
            require_writable(compose([f"local.output_dir={tmp_path}/o", f"local.paths.run_manifest={place}"]))
        assert "local.paths.run_manifest=run_manifest.json" in str(caught.value)


def test_a_run_that_cannot_start_leaves_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full when the first file is written: one message, and no empty run."""

    def fail(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("spectramind_train.run.directory.write_atomically", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        create(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    """A foreign or damaged file is named, with the version that was expected."""
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 1}))
    with pytest.raises(ConfigError, match="not a manifest of schema version 1"):
        Run.open(tmp_path)
    with pytest.raises(ConfigError, match="no run here"):
        Run.open(tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["/proc/outputs", "/sys/outputs", "file/outputs"])
@pytest.mark.parametrize("name", ["output_dir", "cache_dir", "run_manifest"])
def test_places_that_take_no_file_are_found_before_any_work(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Virtual file systems refuse the superuser too, whatever their permission bits say; no planet is touched."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("spectramind_train.training.build_splits", lambda *_: pytest.fail("planets were prepared"))
    path = tmp_path / place
    paths = {"output_dir": tmp_path / "o", "cache_dir": tmp_path / "c", "run_manifest": tmp_path / "m.json"}
    config = compose([f"local.paths.{key}={value}" for key, value in (paths | {name: path}).items()])
    host = Host.detect()
    with pytest.raises(ConfigError, match=f"paths.{name}={path}") as caught:
        train(config, plan(config, host), host, Terminal(silent=True))
    assert "command line" in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failure", [ConfigError("planet 7 is damaged"), KeyboardInterrupt(), ZeroDivisionError()])
def test_a_run_has_its_directory_while_planets_are_prepared_and_not_if_they_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Its manifest says that it runs; the newest run on record stays the one that began before; nothing is left."""
    before = create(tmp_path / "outputs" / "here")
    config = compose([f"local.output_dir={tmp_path}/outputs/there", f"local.cache_dir={tmp_path}/cache"])
    newest = ["local.paths.run_manifest=" + str(tmp_path / "outputs" / "here" / "run_manifest.json")]
    config = config.with_overrides(newest)

    def fail(*_: object) -> None:
        (directory,) = (tmp_path / "outputs" / "there").iterdir()
        manifest = read_manifest(directory)
        assert (manifest.status, manifest.data) == ("running", None)
        raise failure

    monkeypatch.setattr("spectramind_train.training.build_splits", fail)
    host = Host.detect()
    with pytest.raises(type(failure)):
        train(config, plan(config, host), host, Terminal(silent=True))
    assert [entry.name for entry in (tmp_path / "outputs").iterdir()] == ["here"]
    assert read_manifest(tmp_path / "outputs" / "here" / "run_manifest.json").run_id == before.path.name


BEGIN = """
import sys
from pathlib import Path
from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
config, host = compose([f"local.output_dir='{sys.argv[1]}'"]), Host.detect()
print(Run.create(config, plan(config, host), host).path, flush=True)
sys.stdin.read()
"""


def test_a_run_whose_process_was_killed_is_lost(tmp_path: Path) -> None:
    """It runs as long as its process lives; who asks it for a checkpoint is told what became of it."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        run = Run.open(Path(process.stdout.readline().strip()))
        assert (run.manifest.state(), run.manifest.process.pid) == ("running", process.pid)
        assert run.manifest.describe() == f"running: process {process.pid} of {run.manifest.process.host}"
        process.kill()
    assert (run.manifest.state(), run.manifest.status) == ("lost", "running")
    with pytest.raises(ConfigError, match=f"no checkpoint; it is lost: process {process.pid} of"):
        Run.open(run.path).checkpoint()


def test_what_a_killed_run_has_left_unfinished_goes_with_the_next(tmp_path: Path) -> None:
    """Beside the newest manifest, in its directory and among its checkpoints; what another run writes now stays."""
    run = create(tmp_path)
    run.checkpoints.mkdir()
    dead, alive = msgspec.structs.replace(Process.this(), started="1"), Process.this()
    for folder in (tmp_path, run.path, run.checkpoints):
        for writer in (dead, alive):
            (folder / f".last.ckpt.{writer.token()}-012345").write_text("half")
    create(tmp_path)
    left = [path.name for path in tmp_path.rglob(".last.ckpt.*")]
    assert left == [f".last.ckpt.{alive.token()}-012345"] * 3


@pytest.mark.fault("a number that is given to another process, another machine, another container, a restart")
def test_a_run_elsewhere_cannot_be_told(tmp_path: Path) -> None:
    """Another machine's run says that it runs, which is all that is known; so does one of an earlier version."""
    run = create(tmp_path)
    run.manifest.process = Process("node7", "another boot", "", 17, "1")
    assert run.manifest.state() == "unknown"
    assert "cannot tell whether process 17 of node7 still lives" in run.manifest.describe()
    run.manifest.process = None
    assert run.manifest.state() == "unknown"
    run.finish("failed", error="ValueError: it did")
    assert (run.manifest.state(), run.manifest.describe()) == ("failed", "failed: ValueError: it did")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("error", [None, "OSError: " + "\N{SNOWMAN}" * 5000])
def test_an_end_that_the_manifest_has_no_room_for_leaves_a_word(tmp_path: Path, error: str | None) -> None:
    """What was reserved at the start is overwritten; whoever opens the run hears of it."""
    run = create(tmp_path)
    with largest_file(4096), pytest.raises(OSError, match="File too large"):
        run.finish("failed", error=error)
    assert read_manifest(run.path).status == "running"
    for path in (run.path, run.path / "manifest.json", tmp_path / "run_manifest.json"):
        found = Run.open(path).manifest
        assert (found.state(), found.finished) == ("failed", run.manifest.finished)
        assert (found.error or "") == (error or "")[:512]
    run.finish("failed", error=error)
    assert read_manifest(run.path).error == error
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "manifest.json"]


def test_a_run_that_goes_on_takes_back_its_word(tmp_path: Path) -> None:
    """A process that claims it runs it; what its predecessor said of the end is no more."""
    run = create(tmp_path)
    with largest_file(4096), pytest.raises(OSError, match="File too large"):
        run.finish("interrupted")
    again = Run.open(run.path)
    again.claim()
    again.write()
    found = Run.open(run.path).manifest
    assert (found.state(), found.process, found.finished) == ("running", Process.this(), None)


def test_a_word_that_is_none_is_not_heard(tmp_path: Path) -> None:
    """Half a word, a pipe, or a file without an end in its place."""
    run = create(tmp_path)
    (run.path / ".end").write_bytes(b'{"status": "compl'.ljust(4096))
    assert Run.open(run.path).manifest.state() == "running"
    (run.path / ".end").unlink()
    os.mkfifo(run.path / ".end")
    assert Run.open(run.path).manifest.state() == "running"
    (run.path / ".end").unlink()
    (run.path / ".end").symlink_to("/dev/zero")
    assert Run.open(run.path).manifest.state() == "running"
