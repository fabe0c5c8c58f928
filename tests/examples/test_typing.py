"""What mypy and pyright make of code that uses the public interface, as somebody else's project would run them."""

from __future__ import annotations

import json
import os
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

KEPLER = """

cfg = sc.compose(["solver=fixed_point"], root=Kepler)
assert_type(cfg, Kepler)
assert_type(cfg.planets, int)
assert_type(cfg.solver, SolverConfig)
assert_type(cfg.solver.tolerance, float)
assert_type(cfg.local.seed, int)
assert_type(cfg.precision, sc.Precision)
assert_type(FixedPoint.of(cfg.solver), FixedPoint)
assert_type(cfg.with_overrides(["planets=7"]), Kepler)
assert_type(sc.from_dict(cfg.to_dict(), "here", root=Kepler).planets, int)
reveal_type(cfg.solver.tolerance)
print(cfg.solver.tolerence)  # refused: attr-defined, reportAttributeAccessIssue
print(cfg.seed)  # refused: attr-defined, reportAttributeAccessIssue
cfg.planets = 7  # refused: misc, reportAttributeAccessIssue
sc.main(Kepler)(len)  # refused: arg-type, reportArgumentType
"""
"""What a stranger's program may rely on, below the application in ``examples/kepler``."""


@pytest.fixture(scope="module")
def errors(
    examples: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[Path, Places]]:
    """Line and code of every error in every file, by checker; each runs once over all, without our settings."""
    folder = tmp_path_factory.mktemp("typing")
    # Reading torch costs mypy ten seconds; `make lint` does that. The tutorial has a test of its own.
    light = [file for file in examples.rglob("*.py") if not {"own_model", "tutorial"} & set(file.parts)]
    kepler = folder / "kepler.py"
    text = (examples / "kepler" / "app.py").read_text(encoding="utf-8")
    text = text.replace("import Annotated", "import Annotated, assert_type, reveal_type")
    kepler.write_text(text.partition("\nif __name__")[0] + KEPLER, encoding="utf-8")
    files = [str(file) for file in (*light, CONSUMER, MISTAKES, kepler)]
    cache = pytestconfig.cache.mkdir("mypy") if pytestconfig.cache else folder
    mypy = ["mypy", "--strict", "--config-file=", "--show-absolute-path", "--no-pretty", f"--cache-dir={cache}"]
    commands = [
        [*mypy, "--explicit-package-bases"],  # Several examples are called app.py.
        ["pyright", "--outputjson", "--pythonpath", sys.executable],
    ]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *command, *files],
            cwd=folder,
            env=os.environ | {"MYPYPATH": str(examples.parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    lines, report = (process.communicate()[0] for process in started)
    assert [process.returncode for process in started] == [1, 1], f"{lines}\n{report}"
    assert 'note: Revealed type is "float"' in lines
    assert 'Type of \\"cfg.solver.tolerance\\" is \\"float\\"' in report
    found: dict[str, dict[Path, Places]] = {"mypy": defaultdict(set), "pyright": defaultdict(set)}
    for file, line, code in re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", lines, re.MULTILINE):
        # Its cache may name the file of an earlier run.
        found["mypy"][kepler if Path(file).name == kepler.name else Path(file)].add((int(line), code))
    for one in json.loads(report)["generalDiagnostics"]:
        if one["severity"] == "error":
            line = one["range"]["start"]["line"] + 1
            found["pyright"][Path(one["file"])].add((line, one.get("rule", one["message"])))
    return found


@pytest.mark.parametrize(("checker", "position"), [("mypy", 0), ("pyright", 1)])
def test_both_checkers_flag_each_mistake_and_nothing_else(
    errors: dict[str, dict[Path, Places]], checker: str, position: int
) -> None:
    """The consumer and the examples pass; in the file of mistakes every marked line is refused, with its code."""
    (kepler,) = (file for file in errors[checker] if file.name == "kepler.py")
    expected = {
        file: {
            (number, found[1].split(", ")[position])
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
            if (found := re.search(r"# refused: (.*)$", line))
        }
        for file in (MISTAKES, kepler)
    }
    assert dict(errors[checker]) == expected


def test_the_consumer_runs(python: Run) -> None:
    """What type checkers agree with also happens."""
    done = python(CONSUMER)
    assert done.returncode == 0, done.stderr


def test_the_consumer_uses_all_of_the_interface() -> None:
    """A public name that it leaves out would not be checked."""
    text = CONSUMER.read_text(encoding="utf-8")
    assert [name for name in sc.__all__ if not re.search(rf"\bsc\.{name}\b", text)] == []
