"""What mypy and pyright make of code that uses the public interface, as somebody else's project would run them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

import spectramind_config as sc

Run = Callable[..., subprocess.CompletedProcess[str]]

HERE = Path(__file__).parent
CONSUMER, MISTAKES = HERE / "consumer.py", HERE / "mistakes.py"

Places = set[tuple[int, str]]


@pytest.fixture(scope="module")
def errors(
    examples: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[Path, Places]]:
    """Line and code of every error in every file, by checker; each runs once over all, without our settings."""
    folder = tmp_path_factory.mktemp("typing")
    # Reading torch costs mypy ten seconds; `make lint` does that, and checks the model among the examples.
    light = [file for file in examples.rglob("*.py") if file.parent.name != "own_model"]
    files = [str(file) for file in (*light, CONSUMER, MISTAKES)]
    cache = pytestconfig.cache.mkdir("mypy") if pytestconfig.cache else folder
    commands = [
        ["mypy", "--strict", "--config-file=", "--show-absolute-path", "--no-pretty", f"--cache-dir={cache}"],
        ["pyright", "--outputjson", "--pythonpath", sys.executable],
    ]
    started = [
        subprocess.Popen([sys.executable, "-m", *command, *files], cwd=folder, stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    lines, report = (process.communicate(timeout=280)[0] for process in started)
    assert [process.returncode for process in started] == [1, 1], f"{lines}\n{report}"
    found: dict[str, dict[Path, Places]] = {"mypy": defaultdict(set), "pyright": defaultdict(set)}
    for file, line, code in re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", lines, re.MULTILINE):
        found["mypy"][Path(file)].add((int(line), code))
    for one in json.loads(report)["generalDiagnostics"]:
        line = one["range"]["start"]["line"] + 1
        found["pyright"][Path(one["file"])].add((line, one.get("rule", one["message"])))
    return found


@pytest.mark.parametrize(("checker", "position"), [("mypy", 0), ("pyright", 1)])
def test_both_checkers_flag_each_mistake_and_nothing_else(
    errors: dict[str, dict[Path, Places]], checker: str, position: int
) -> None:
    """The consumer and the examples pass; in the file of mistakes every marked line is refused, with its code."""
    marks = [
        (number, found[1].split(", ")[position])
        for number, line in enumerate(MISTAKES.read_text(encoding="utf-8").splitlines(), 1)
        if (found := re.search(r"# refused: (.*)$", line))
    ]
    assert dict(errors[checker]) == {MISTAKES: set(marks)}


def test_the_consumer_runs(python: Run) -> None:
    """What type checkers agree with also happens."""
    done = python(CONSUMER)
    assert done.returncode == 0, done.stderr


def test_the_consumer_uses_all_of_the_interface() -> None:
    """A public name that it leaves out would not be checked."""
    text = CONSUMER.read_text(encoding="utf-8")
    assert [name for name in sc.__all__ if not re.search(rf"\bsc\.{name}\b", text)] == []
