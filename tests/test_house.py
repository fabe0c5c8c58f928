"""The house: the engine of the config package knows no group, and its modules stay small."""

import re
from pathlib import Path

import pytest

import spectramind_config as sc

from .conftest import kinds

TESTS = Path(__file__).parent
SOURCE = Path(sc.__file__).parent
ENGINE = [
    file for floor in ("schema", "sites", "compose", "commands") for file in sorted((SOURCE / floor).glob("*.py"))
]
GROUPS = "|".join(sc.EffectiveConfig._root.groups)
NAMES = re.compile(
    rf"""["'](?:{GROUPS})["']|["'](?:{GROUPS})[.=]|\b(?:Local|Trainer|Model|Data|Loss|Logger|Optimizer)Config\b"""
)


@pytest.mark.parametrize("file", ENGINE, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_engine_names_no_group(file: Path) -> None:
    """It serves any root; what it says about ours is in docstrings only."""
    code = re.sub(r'"""(?:.|\n)*?"""|``.*?``', "", file.read_text(encoding="utf-8"))
    assert NAMES.findall(code) == []


def test_the_config_package_never_imports_training() -> None:
    """Neither frameworks nor the package that trains."""
    imports = re.compile(r"^\s*(?:from|import) +(?:torch|lightning|mlflow|spectramind_train)\b", re.MULTILINE)
    assert [file.name for file in SOURCE.rglob("*.py") if imports.search(file.read_text(encoding="utf-8"))] == []


def test_no_module_is_long() -> None:
    """A module has one concept; at 400 lines it has two."""
    sizes = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCE.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_every_row_of_the_fault_table_has_a_test() -> None:
    """What the page on reliability promises is tried by name; that names are rows is seen when tests are collected."""
    texts = [file.read_text(encoding="utf-8") for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    assert kinds()
    assert [kind for kind in kinds() if not any(f'"{kind}"' in text for text in texts)] == []
    page = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`(\w+/test_\w+\.py)`", page) if not (TESTS / name).is_file()] == []
