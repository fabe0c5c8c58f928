"""Running the examples as their readers do: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the examples."""
    return Path(__file__).parents[2] / "examples"


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """``python ARGUMENTS`` in an empty directory, with the given variables and none of the tester's own."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SM_", "PYTHONPATH", "COLUMNS"))
    }

    def run(*arguments: str | Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
        environment = inherited | {name: str(value) for name, value in variables.items()}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def spectramind(python: Run) -> Run:
    """The command ``spectramind ARGUMENTS``."""

    def run(*arguments: str | Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
        return python("-m", "spectramind_train.cli", *arguments, **variables)

    return run
