"""Commands in a process of their own; the package under test stays on their path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(*folders: Path, **variables: str) -> dict[str, str]:
    """The variables of this process and more; the folders stand first on Python's path."""
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **({"PYTHONPATH": path} if path else {}), **variables}


def spectramind(
    *arguments: str | Path, cwd: Path | None = None, folders: tuple[Path, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """The ``spectramind`` command."""
    command = [sys.executable, "-m", "spectramind_train.cli", *map(str, arguments)]
    environ = environment(*folders, **variables)
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environ)


def python(code: str, *arguments: str | Path, folders: tuple[Path, ...] = (), **variables: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environ = environment(*folders, **variables)
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout.strip()
