"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from spectramind_train.run.atomic_files import replacing, write_atomically


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
