"""Files and folders that appear whole or not at all, whatever writes them.

Until then they stand beside their final name under a hidden one, which names the process that writes them: what a
process that was killed has left is told from what another is writing now, and removed by :func:`sweep`.
"""

from __future__ import annotations

import errno
import filecmp
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from spectramind_train.run.liveness import Process, is_gone

_UNFINISHED = re.compile(r"\..+\.(?P<writer>[0-9a-f]{8}-[0-9]+-[0-9a-f]{8})-[0-9a-f]{6}")
_ABANDONED_S = 24 * 3600.0
"""Nothing takes so long to write; by then the writer is gone, even where its machine cannot be asked."""


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
    unfinished = _unfinished(path)
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


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its name at the end.

    Yields:
        The new folder.

    Raises:
        FileExistsError: The name is taken by then; what has it stays as it is.
    """
    unfinished = _unfinished(folder)
    unfinished.mkdir()
    try:
        yield unfinished
        try:
            unfinished.rename(folder)
        except OSError as error:
            if folder.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder)) from error
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sweep(*folders: Path) -> None:
    """Remove what processes that are gone have left unfinished in folders; one that is missing is empty.

    The leftovers of another machine, or of this one before it was restarted, go when they are a day old.
    """
    for folder in folders:
        with suppress(OSError):
            entries = [Path(entry.path) for entry in os.scandir(folder) if _UNFINISHED.fullmatch(entry.name)]
            for path in entries:
                _remove_if_abandoned(path)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{Process.this().token()}-{secrets.token_hex(3)}")


def _remove_if_abandoned(path: Path) -> None:
    found = _UNFINISHED.fullmatch(path.name)
    gone = is_gone(found["writer"]) if found else False
    with suppress(OSError):
        if gone is None:
            gone = time.time() - path.lstat().st_mtime > _ABANDONED_S
        if gone and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif gone:
            path.unlink()
