"""A disk that fills up while a run runs, for real: a file system of a few megabytes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import read_manifest

from .conftest import Fault, Start

TWO = ("trainer=ddp_sim", "model.width=8", "trainer.max_steps=40", "trainer.early_stopping.enabled=false")
FULL = {(): 8, TWO: 5}

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems can be mounted by the superuser only")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Takes every byte that is free or becomes free."""
    done = threading.Event()

    def fill() -> None:
        with (disk / "filler").open("wb", buffering=0) as file:
            size = 1 << 20
            while not done.is_set():
                try:
                    file.write(bytes(size))
                except OSError:
                    size = max(1, size // 2)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        while os.statvfs(disk).f_bavail:
            time.sleep(0.001)
        yield
    finally:
        done.set()
        thread.join()
        (disk / "filler").unlink()


@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_a_disk_that_is_full_at_the_end_has_a_word_of_it(
    tiny: list[str], start: Start, fault: Fault, disk: Path, processes: tuple[str, ...]
) -> None:
    """Filled at a random moment and full until the process is gone: one message, and the run says so."""
    outputs, rng = disk / "outputs", np.random.default_rng(7)
    arguments = [*tiny, *processes, f"local.output_dir='{outputs}'"]
    began = time.monotonic()
    assert start("train", *arguments).wait() == 0
    rest = (time.monotonic() - began) / (4 if processes else 8)  # Those of several are long in starting.
    words = 0
    kind = "disk full until a run of two processes has ended" if processes else "disk full until a run has ended"
    for _ in range(FULL[processes]):
        with fault(kind):
            for _ in range(20):  # A run that has come to its end before is none; try again.
                before = set(outputs.iterdir())
                process = start("train", *arguments)
                assert process.stdout is not None
                assert any(line.startswith("run ") for line in process.stdout)
                time.sleep(rng.uniform(0.0, rest))
                with full(disk):
                    _, error = process.communicate()
                if process.returncode:
                    break
            (path,) = set(outputs.iterdir()) - before
            manifest = Run.open(path).manifest
            assert process.returncode == 2, error
            assert "cannot write any more (No space left on device)" in error
            assert "Traceback" not in error
            assert manifest.state() == "failed"
            assert "No space left on device" in (manifest.error or "")
            words += read_manifest(path).status == "running"
    print(f"{words} of {FULL[processes]} runs had no room for a manifest and left a word in what was reserved")


def test_a_disk_that_is_full_at_the_start_is_one_message(
    tiny: list[str], start: Start, fault: Fault, disk: Path
) -> None:
    """Nothing is left of the run."""
    for name in ("output_dir", "cache_dir"):
        with fault("disk full before a run starts"), full(disk):
            process = start("train", *tiny, f"local.{name}='{disk / name}'")
            _, error = process.communicate()
            assert process.returncode == 2, error
            assert "No space left on device" in error
            assert "Traceback" not in error
            assert [path.name for path in disk.iterdir()] in (["filler"], ["filler", name], [name, "filler"])
            assert not list(disk.glob("output_dir/2*"))
