"""The programs of the tutorial: each step does what the one before did, and more; each is well typed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

STEPS = sorted((Path(__file__).parents[2] / "examples" / "tutorial").glob("step*"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_computes_the_same(python: Run, step: Path) -> None:
    """What the program on Hydra alone says, every later one says; the page shows what is new."""
    for arguments, minutes in (([], "11.9"), (["drink=tea", "cup=thermos"], "129.6"), (["cup.rate=0.002"], "4.8")):
        done = python(step / "cooling.py", *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"drinkable after {minutes} minutes")


def test_mypy_agrees_with_every_step(tmp_path: Path) -> None:
    """Each by itself, for they have modules of the same name."""
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path}"]
    for step in STEPS:
        files = [file.name for file in sorted(step.glob("*.py"))]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *options, *files], cwd=step, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_pyright_agrees_with_every_step() -> None:
    """All at once, for it looks beside each file first."""
    files = [str(file) for step in STEPS for file in sorted(step.glob("*.py"))]
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *files]
    done = subprocess.run(command, cwd=STEPS[0].parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_tests_of_the_last_step_pass(python: Run, tmp_path: Path) -> None:
    """They are what a reader would copy."""
    copied = shutil.copytree(STEPS[-1], tmp_path / "copy")
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", copied)
    assert done.returncode == 0, done.stdout
