"""Checkpoint files that are whole, whatever happens, and those that are not what they should be."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectramind_config import ConfigError
from spectramind_train.run.checkpoints import Index, load_checkpoint, newest_whole

from . import killing


def saved(folder: Path, *scores: float | None, best: int = 2) -> Index:
    """An index of checkpoints with these scores, saved one after the other."""
    index = Index(folder)
    for step, score in enumerate(scores, 1):
        index.add(f"content {step}".encode(), epoch=0, step=step, score=score, best=best)
    return index


@settings(deadline=None, max_examples=25)
@given(st.lists(st.none() | st.floats(0, 1), max_size=12), st.integers(-1, 4))
def test_the_best_and_the_last_two_are_kept(scores: list[float | None], best: int) -> None:
    """Whatever the scores: what the index lists is there and whole, nothing else is, and a reader finds the same."""
    with tempfile.TemporaryDirectory() as folder:
        index = saved(Path(folder), *scores, best=best)
        steps = {one.step for one in index.entries}
        ranked = sorted((one for one in scores if one is not None), reverse=True)
        limit = ranked if best < 0 else ranked[:best]
        assert {len(scores) - 1, len(scores)} & set(range(1, len(scores) + 1)) <= steps
        assert sorted((one.score for one in index.entries if "best" in one.kept), reverse=True) == limit
        assert all(one.kept and index.is_whole(one) for one in index.entries)
        assert Index.read(Path(folder)).entries == index.entries
        assert {path.name for path in Path(folder).glob("*.ckpt")} == {one.file for one in index.entries}
        assert (index.best is None) == (not limit)
        assert index.best is None or index.best.score == limit[0]


@pytest.mark.fault("a damaged checkpoint")
def test_the_newest_whole_one_is_found_and_damaged_ones_are_named(tmp_path: Path) -> None:
    """A flipped bit, a truncated and a missing file are each found by the index, the newest first."""
    index = saved(tmp_path, 0.1, 0.2, 0.3, 0.4, best=-1)
    first, flipped, short, missing = (tmp_path / one.file for one in index.entries)
    flipped.write_bytes(b"Content 2")
    short.write_bytes(short.read_bytes()[:-1])
    missing.unlink()
    told: list[str] = []
    newest = newest_whole(tmp_path, told.append)
    assert newest is not None
    assert newest.file == first.name
    assert [line.partition(":")[0] for line in told] == [str(missing), str(short), str(flipped)]


def test_repair_sets_damaged_ones_aside_and_removes_leftovers(tmp_path: Path) -> None:
    """What cut-short saves have left goes, a stranger's file stays, and a damaged one makes room for another."""
    index = saved(tmp_path, None, None)
    for name in (".epoch000-step000003.ckpt.0123456789ab", ".index.json.0123456789ab", "epoch000-step000003.ckpt"):
        (tmp_path / name).write_bytes(b"left")
    (tmp_path / "mine.ckpt").write_bytes(b"mine")
    (tmp_path / "epoch000-step000002.ckpt").write_bytes(b"damaged")
    told: list[str] = []
    index.repair(told.append)
    assert len(told) == 1
    assert Index.read(tmp_path).entries == index.entries
    names = {"epoch000-step000001.ckpt", "epoch000-step000002.ckpt.damaged", "index.json", "mine.ckpt"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert index.add(b"again", epoch=0, step=2, score=None, best=0).file == "epoch000-step000002.ckpt"


@pytest.mark.fault("a damaged checkpoint")
@pytest.mark.parametrize(
    "content", [b"", b"[", b"\xff", b'[{"file": "../a", "sha256": "", "epoch": 0, "step": 0, "score": null}]']
)
def test_an_index_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    """Damage of the index itself, and names that lead out of the folder."""
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/index.json: ")):
        Index.read(tmp_path)


def test_a_kill_while_saving_leaves_a_whole_newest(tmp_path: Path) -> None:
    """Five times: what was reported as saved is there, whole, and the next process removes what was left over.

    Temporary files of the standard kind lie on another file system, where there is one. A hundred kills are tried by
    ``make faults``.
    """
    elsewhere = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path  # noqa: S108
    chance = random.Random(0)  # noqa: S311
    for _ in range(5):
        step = killing.kill_while_saving(tmp_path, elsewhere, chance.uniform(0.0, 0.1))
        index = killing.require_whole(tmp_path, step)
        index.repair(print)
        assert {path.name for path in tmp_path.iterdir()} == {"index.json", *(one.file for one in index.entries)}


LIMITED = """
import resource, sys
from pathlib import Path
from spectramind_train.run.checkpoints import Index
index = Index(Path(sys.argv[1]))
for step in (1, 2, 3):
    index.add(bytes(1000), epoch=0, step=step, score=None, best=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    index.add(bytes(int(sys.argv[3])), epoch=0, step=4, score=None, best=0)
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.fault("disk full during training")
@pytest.mark.parametrize(("limit", "size"), [("50_000", "100_000"), ("200", "10")])
def test_a_save_that_fails_leaves_all_as_it_was(tmp_path: Path, limit: str, size: str) -> None:
    """A limit that the checkpoint meets, and one that only the index meets: those before stay, nothing is left over."""
    arguments = [sys.executable, "-c", LIMITED, str(tmp_path), limit, size]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    assert "File too large" in done.stdout
    index = Index.read(tmp_path)
    assert [one.step for one in index.entries] == [2, 3]
    assert all(map(index.is_whole, index.entries))
    assert {path.name for path in tmp_path.iterdir()} == {"index.json", *(one.file for one in index.entries)}


@pytest.mark.fault("a damaged checkpoint")
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_files_that_are_no_checkpoint_are_named(tmp_path: Path, content: bytes) -> None:
    """Whatever torch stumbles over, the message names the file."""
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.ckpt: the checkpoint cannot be read"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.fault("a damaged checkpoint")
def test_files_without_weights_are_named(tmp_path: Path) -> None:
    """Torch reads them, but no training has written them."""
    for content in (torch.zeros(3), {"weights": torch.zeros(3)}):
        torch.save(content, tmp_path / "a.ckpt")
        with pytest.raises(ConfigError, match=r"a\.ckpt: the checkpoint holds no weights"):
            load_checkpoint(tmp_path / "a.ckpt")
