"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from spectramind_train.run.atomic_files import making, replacing, sweep, write_atomically

HANG = """
import sys, time
from pathlib import Path
from spectramind_train.run.atomic_files import making, replacing
with replacing(Path("file")) as file, making(Path("folder")) as folder:
    (folder / "inside").write_text("half")
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """Files are written beside their final name and renamed: no half file, no leftover."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    with suppress(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_same_content_leaves_the_file_alone(tmp_path: Path) -> None:
    """Caches go by the time of modification; other content of the same length is written."""
    path = tmp_path / "below" / "file"
    write_atomically(path, b"one")
    os.utime(path, ns=(1, 1))
    write_atomically(path, b"one")
    assert path.stat().st_mtime_ns == 1
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"


def test_files_have_the_permissions_of_any_other(tmp_path: Path) -> None:
    """A file that colleagues may read by their umask is readable."""
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """It takes its name at the end; one that is there by then stays, and what fails leaves nothing."""
    with making(tmp_path / "folder") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "folder").exists()
    with pytest.raises(FileExistsError), making(tmp_path / "folder") as folder:
        (folder / "two").write_text("2")
    with suppress(KeyboardInterrupt), making(tmp_path / "other"):
        raise KeyboardInterrupt
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["folder", "folder/one"]


def test_what_a_killed_process_has_left_is_swept_and_what_another_writes_is_not(tmp_path: Path) -> None:
    """Both files and folders, as soon as their writer is gone; what is no unfinished file of ours stays."""
    foreign = [tmp_path / ".hidden", tmp_path / ".vimrc.0123abcd-1-0123abcd", tmp_path / "plain"]
    for path in foreign:
        path.write_text("")
    with subprocess.Popen(
        [sys.executable, "-c", HANG], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        sweep(tmp_path, tmp_path / "missing")
        assert len(list(tmp_path.iterdir())) == len(foreign) + 2
        writer.kill()
    assert len(list(tmp_path.iterdir())) == len(foreign) + 2
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(foreign)


def test_what_another_machine_has_left_goes_when_it_is_a_day_old(tmp_path: Path) -> None:
    """Nobody can tell before whether it is being written."""
    names = [".manifest.json.00000000-17-0123abcd-012345", ".1000001.00000000-18-0123abcd-abcdef"]
    young, old = tmp_path / names[0], tmp_path / names[1]
    young.write_text("half")
    old.mkdir()
    (old / "inside").write_text("half")
    os.utime(old, (0, 0))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [young]
