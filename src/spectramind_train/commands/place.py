"""The file that a command is to write: whether it can be, before any work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from spectramind_config import ConfigError


def require_writable(file: Path) -> None:
    """Find out before any work whether a file can be written; folders above it are made with it.

    Raises:
        ConfigError: It cannot.
    """
    try:
        if file.exists() and not file.is_file():
            raise FileExistsError(0, "it is there, and it is no file")
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise unwritable(file, error) from error


def unwritable(file: Path, error: OSError | ValueError) -> ConfigError:
    """The error of a file that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return ConfigError(f"{file}: cannot be written ({reason}); name another file with --out")
