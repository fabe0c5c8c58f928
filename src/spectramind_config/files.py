"""Files that anybody may have written: read whole, or refused before they can do any harm; Python sources parsed."""

from __future__ import annotations

import ast
import errno
import os
import stat
import threading
from pathlib import Path

_PARSING = threading.Lock()


def require_regular(path: Path, limit: int | None = None) -> int:
    """The size in bytes of a regular file; a pipe, a device or a folder, which may never end, is not even opened.

    Raises:
        OSError: It is not there, is no regular file, or has more than ``limit`` bytes; ``strerror`` says which.
    """
    try:
        state = path.stat()
    except ValueError:  # It holds a zero, or half a character.
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from None
    if not stat.S_ISREG(state.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(state.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))
    if limit is not None and state.st_size > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes are no such file", str(path))
    return state.st_size


def read(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; raises as ``require_regular`` does."""
    require_regular(path, limit)
    # Not to wait: the file may have become a pipe in the meantime.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes are no such file", str(path))
    return content


def parsed(source: str | bytes) -> ast.Module:
    """The syntax tree of a Python source; SyntaxError or ValueError where it is none.

    One at a time: Python 3.11 raises SystemError where two threads parse at once.
    """
    with _PARSING:
        return ast.parse(source)
