"""The order of the house: what may import what, and where users find things."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import spectramind_train

SOURCE = Path(spectramind_train.__file__).parent
PROJECT = Path(__file__).parents[2]


def test_each_floor_uses_only_those_below() -> None:
    """The contracts of ``pyproject.toml`` hold."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "home", "words"),
    [
        ("model", "v50.network", {"Batch", "SpectrumModel", "V50", "build_model"}),
        ("loss", "learning.loss", {"CompositeLoss", "Loss", "build_loss"}),
        ("optimizer", "learning.optimizer", {"build_optimizer", "build_schedule", "parameter_groups"}),
        ("splits", "planets.splits", {"Splits", "build_splits", "split"}),
    ],
)
def test_names_for_users_are_the_things_themselves(name: str, home: str, words: set[str]) -> None:
    """What messages and examples tell users to import is there, and a builder registered there is used by runs."""
    alias, module = (importlib.import_module(f"spectramind_train.{path}") for path in (name, home))
    assert set(alias.__all__) == words
    assert all(getattr(alias, word) is getattr(module, word) for word in words)


def test_modules_are_short_and_floors_say_what_they_are_for() -> None:
    """No module has more than 400 lines; a package's init is one line of documentation."""
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path
        if path.name == "__init__.py" and path.parent != SOURCE:
            (statement,) = ast.parse(path.read_text()).body
            assert isinstance(statement, ast.Expr)


def test_configs_come_through_the_front_door() -> None:
    """Schemas are imported from the config package itself; only the host, errors and Hydra's jobs stand beside it."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spectramind_config"):
                allowed = {"spectramind_config", "spectramind_config.host", "spectramind_config.errors"}
                names = {
                    "cli.py": (".command", ".program"),
                    "listing.py": (".command",),
                    "resumption.py": (".command", ".configs"),
                    "search.py": (".ranking", ".space"),
                    "trials.py": (".ranking", ".space"),
                }
                allowed |= {f"spectramind_config.commands{name}" for name in names.get(path.name, ())}
                if path.parent.name == "commands":  # They are commands themselves.
                    allowed |= {name for name in (node.module or "",) if name.startswith("spectramind_config.commands")}
                assert node.module in allowed, path
