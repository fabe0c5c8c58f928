"""The application of the design: under 40 lines, and everything that it gets for them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]

MACHINE = '''
from dataclasses import dataclass

import spectramind_config as sc


@sc.profile("local", "dome")
@dataclass(kw_only=True)
class Dome(sc.LocalConfig):
    """The computer in the dome."""

    precision: sc.Precision | None = "16-mixed"
'''


@pytest.fixture
def app(examples: Path) -> Path:
    """The application."""
    return examples / "kepler" / "app.py"


@pytest.fixture
def kepler(python: Run, app: Path) -> Run:
    """``python app.py ARGUMENTS``, which must succeed."""

    def run(*arguments: str, **variables: str | Path) -> subprocess.CompletedProcess[str]:
        done = python(app, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_it_is_under_forty_lines(app: Path) -> None:
    """Blank lines, which the formatter sets, are not counted; docstrings and imports are."""
    assert sum(bool(line.strip()) for line in app.read_text(encoding="utf-8").splitlines()) < 40


def test_it_solves_the_equation(kepler: Run) -> None:
    """Either solver, any number of planets."""
    assert kepler().stdout == "newton: 4.4 steps a planet, precision auto-mixed\n"
    done = kepler("solver=fixed_point", "planets=7", "solver.tolerance=1e-6", "local=hpc")
    assert done.stdout == "fixed_point: 7.6 steps a planet, precision bf16-mixed\n"


def test_help_lists_groups_profiles_and_settings(kepler: Run) -> None:
    """Each setting with its default, its meaning and what it takes."""
    text = kepler("--help").stdout
    assert "Solves Kepler's equation for planets all around their orbits." in text
    for line in (
        "  solver=newton*, fixed_point",
        "  local=default*, debug, hpc",
        "  planets=100\n      Planets to solve for: an int >= 1",
        "  solver.tolerance=1e-12\n      Largest last step, in radians: a float >= 1e-14",
    ):
        assert line in text
    for command in (["config"], ["config", "explain"], ["profiles"], ["profiles", "new"]):
        assert kepler(*command, "--help").stdout.startswith("usage: python ")


def test_every_value_is_explained(kepler: Run) -> None:
    """A folded one with what it shadows, its own with its line."""
    found = json.loads(kepler("config", "explain", "--json", "precision", "planets", "local=hpc", "planets=7").stdout)
    precision, planets = found
    assert (precision["value"], precision["layer"], precision["option"]) == ("bf16-mixed", "local", "hpc")
    assert (planets["value"], planets["source"]) == (7, "command line")
    (default,) = planets["shadowed"]
    assert Path(default["source"].rpartition(":")[0]).name == "app.py"
    text = kepler("config", "explain", "precision", "trainer=multi_gpu", "local=hpc").stdout
    assert 'over:     "16-mixed" of trainer=multi_gpu' in text


def test_what_show_writes_is_read_back(kepler: Run, tmp_path: Path) -> None:
    """``config show`` and ``config validate --file`` agree; so do the fingerprints."""
    text = kepler("config", "show", "solver=fixed_point", "planets=7").stdout
    shown = yaml.safe_load(text)
    assert (shown["planets"], shown["precision"]) == (7, "auto-mixed")
    assert shown["solver"] == {"name": "fixed_point", "tolerance": 1e-12, "derivative": False}
    (tmp_path / "saved.yaml").write_text(text, encoding="utf-8")
    assert kepler("config", "validate", "--file", "saved.yaml").stdout == ""
    known = kepler("config", "hash", "--file", "saved.yaml").stdout
    assert known == kepler("config", "hash", "planets=7", "solver=fixed_point").stdout
    assert known != kepler("config", "hash").stdout


def test_diff_and_schema(kepler: Run) -> None:
    """What a choice changes; what a config is, for other programs."""
    text = kepler("config", "diff", "", "solver=fixed_point").stdout
    assert re.search(r"solver\.derivative\n  A: true +solver=newton, SolverConfig, app\.py:\d+\n  B: false ", text)
    schema = json.loads(kepler("config", "schema").stdout)
    assert schema["properties"]["planets"] == {
        "type": "integer",
        "minimum": 1,
        "description": "Planets to solve for",
        "default": 100,
    }


def test_profiles_are_listed_and_written(kepler: Run, tmp_path: Path) -> None:
    """Its own and those that it borrows; ``new`` writes one that its own variable then brings."""
    rows = [line.split()[:2] for line in kepler("profiles", "list").stdout.splitlines()]
    assert ["solver", "fixed_point"] in rows
    assert ["local", "hpc"] in rows
    assert "derivative = false instead of true" in kepler("profiles", "show", "solver=fixed_point").stdout
    assert "KEPLER_PROFILES=mine.py python " in kepler("profiles", "new", "mine").stdout
    assert "mine" in kepler("profiles", "list", KEPLER_PROFILES=tmp_path / "mine.py").stdout


def test_hydra_shows_the_job(kepler: Run) -> None:
    """``--cfg job`` prints what Hydra composes: the same values."""
    job = yaml.safe_load(kepler("--cfg", "job", "planets=7", "solver=fixed_point").stdout)
    assert (job["planets"], job["solver"]["name"]) == (7, "fixed_point")


def test_a_sweep_runs_every_point(kepler: Run) -> None:
    """``--multirun`` over its own group and setting."""
    text = kepler("--multirun", "solver=newton,fixed_point", "planets=7").stdout
    assert [line.split(":")[0] for line in text.splitlines() if "steps" in line] == ["newton", "fixed_point"]


def test_a_site_profile_comes_through_its_own_variable(kepler: Run, python: Run, app: Path, tmp_path: Path) -> None:
    """``KEPLER_PROFILES`` is the root's; ``SM_PROFILES`` is that of ``train`` and has no say here."""
    file = tmp_path / "machines.py"
    file.write_text(MACHINE, encoding="utf-8")
    assert kepler("local=dome", KEPLER_PROFILES=file).stdout.endswith("precision 16-mixed\n")
    assert "machines.py" in kepler("profiles", "list", KEPLER_PROFILES=file).stdout
    assert python(app, "local=dome", SM_PROFILES=file).returncode == 2


def test_a_site_profile_of_its_own_group_imports_the_schema_from_the_script(kepler: Run, tmp_path: Path) -> None:
    """The script is not run a second time; ``profiles import`` writes such a file."""
    (tmp_path / "exact.yaml").write_text("tolerance: 1e-14", encoding="utf-8")
    kepler("profiles", "import", "exact.yaml", "--group", "solver")
    assert "from app import SolverConfig" in (tmp_path / "exact.py").read_text(encoding="utf-8")
    assert kepler("solver=exact", KEPLER_PROFILES=tmp_path / "exact.py").stdout.startswith("exact: 4.6 steps a planet")
    text = kepler("-m", "solver=exact,newton", KEPLER_PROFILES=tmp_path / "exact.py").stdout
    assert text.count("steps a planet") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plantes=3"], "run instead: python {app} planets=3\n"),
        (["local=hpc", "solver=newtn"], "run instead: python {app} local=hpc solver=newton\n"),
        (["planets=0"], "expected: an int >= 1 (Planets to solve for)\nsee: python {app} config explain planets\n"),
        (["config", "validate", "planets=0"], "see: python {app} config explain planets\n"),
        (
            ["-m", "solver=newton,fixed_ponit,newtn", "plantes=3"],
            "run instead: python {app} -m solver=newton,fixed_point,newton planets=3\n",
        ),
        (["-m", "eccentricity=interval(0,0.5)"], "choose a sweeper that samples, such as hydra/sweeper=optuna"),
        (["-m", "solver=newton,other"], "see: python {app} profiles list\n"),
        (["config", "shwo"], "nearest:  python {app} config show\n"),
    ],
)
def test_a_mistake_is_told_under_its_own_name(python: Run, app: Path, arguments: list[str], message: str) -> None:
    """One message on stderr, exit code 2, the program as it was typed."""
    done = python(app, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message.format(app=app) in done.stderr
    assert "Traceback" not in done.stderr
    assert "spectramind " not in done.stderr.replace(str(app), "")
