"""Files that appear whole or not at all, whatever writes them."""

from __future__ import annotations

import errno
import filecmp
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside ``path`` that takes its name once it is complete and on the disk.

    A file that has the very content already stays as it is: its time of modification is part of what caches go by.
    Folders that are missing are made. Where anything goes wrong, ``path`` is what it was before.

    Yields:
        The new file, open for writing.

    Raises:
        OSError: It cannot be written, or ``path`` is a device, a pipe or a folder, which no file may take the place of.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "it is there, and it is no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not (path.is_file() and filecmp.cmp(unfinished, path, shallow=False)):
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(content)
