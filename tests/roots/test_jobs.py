"""Jobs that Hydra starts for a stranger's program obey the contract of a plain run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

APP = '''\
"""An app of a stranger's."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Annotated

import spectramind_config as sc


@dataclass(kw_only=True)
class Inner(sc.Settings):
    """Inside."""

    depth: Annotated[int, sc.about("How deep", ge=0)] = 1


@dataclass(kw_only=True)
class SolverConfig(sc.Profile):
    """How it is solved."""

    tolerance: Annotated[float, sc.about("When to stop", gt=0)] = 1e-6
    steps: Annotated[int, sc.about("Most steps", ge=1)] = 10
    names: dict[str, int] = field(default_factory=lambda: {"a": 1})
    inner: Inner | None = None


@sc.root("kepler", short={"steps": "solver.steps"})
@dataclass(frozen=True, kw_only=True)
class Kepler(sc.Config):
    """Solves an equation."""

    planets: Annotated[int, sc.about("Planets", ge=1)] = 3
    label: str = "x"
    fail: Annotated[int, sc.about("What goes wrong", ge=0)] = 0
    solver: SolverConfig = sc.group("newton")


@sc.profile("solver", "newton")
@dataclass(kw_only=True)
class Newton(SolverConfig):
    """Quadratic."""


@sc.profile("solver", "fixed_point")
@dataclass(kw_only=True)
class FixedPoint(SolverConfig):
    """Linear."""

    steps: int = 100


@sc.experiment("fast", root=Kepler)
def fast() -> list[str]:
    """Quick."""
    return ["solver=fixed_point", "solver.steps=2", "planets=5"]


@sc.main(Kepler)
def main(cfg: Kepler) -> int | float | None:
    """Say what was asked for."""
    assert type(cfg) is Kepler and isinstance(cfg.solver, SolverConfig)
    inner = cfg.solver.inner and cfg.solver.inner.depth
    print(f"<{cfg.solver.name} {cfg.planets} {cfg.label} {cfg.solver.steps} {cfg.solver.names} {inner}>", flush=True)
    if cfg.fail == 9:
        sc.compose(["nope=1"], root=Kepler)
    if cfg.fail == 8:
        raise RuntimeError("broken on purpose")
    if cfg.fail == 7:
        sys.exit(143)
    if cfg.fail == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return cfg.fail or float(cfg.planets)


if __name__ == "__main__":
    main()
'''


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The program in an empty folder."""
    file = tmp_path / "app.py"
    file.write_text(APP, encoding="utf-8")
    return file


def run(app: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command line of the program."""
    path = os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH", "")]))
    absolute = os.pathsep.join(str(Path(one).absolute()) for one in path.split(os.pathsep))
    return subprocess.run(
        [sys.executable, app.name, *words],
        cwd=app.parent,
        env=os.environ | {"PYTHONPATH": absolute} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def lines(found: subprocess.CompletedProcess[str]) -> list[str]:
    """What the jobs printed."""
    # Two jobs may write to one line: each writes its text at once, and the end of the line after it.
    return re.findall(r"<(.*?)>", found.stdout)


def nothing_left(app: Path) -> bool:
    """Whether only Hydra's own folders are beside the program."""
    return {one.name for one in app.parent.iterdir()} <= {"app.py", "multirun", "outputs"}


def test_the_exit_code_is_the_functions(app: Path) -> None:
    """Of a plain run: an int is the exit code, a float is done."""
    found = run(app, "fail=3")
    assert (found.returncode, found.stderr) == (3, "")
    assert lines(found) == ["newton 3 x 10 {'a': 1} None"]
    assert nothing_left(app)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_runs_every_point_and_returns_the_largest_code(app: Path, launcher: str) -> None:
    """A job that returns 3 stops none of the others; the exit code arrives from another process too."""
    found = run(app, "-m", "planets=1,2", "fail=0,3", "label=7e12345", f"hydra/launcher={launcher}")
    assert found.returncode == 3, found.stderr
    assert sorted(lines(found)) == sorted([f"newton {n} 7e12345 10 {{'a': 1}} None" for n in (1, 1, 2, 2)])
    assert "Traceback" not in found.stderr
    assert nothing_left(app)


SITE = """\
from __future__ import annotations

from dataclasses import dataclass

import spectramind_config as sc
from app import Kepler, Newton, doubled


@sc.profile("solver", "lab")
@dataclass(kw_only=True)
class Lab(Newton):
    steps: int = 7


@doubled.register
def _(config: Lab) -> int:
    return 70


@sc.experiment("few", root=Kepler)
def few() -> list[str]:
    return ["solver=lab", "planets=2"]
"""
DISPATCHING = """
from functools import singledispatch


@singledispatch
def doubled(config: SolverConfig) -> int:
    return 2 * config.steps


@sc.main(Kepler)
def main(cfg: Kepler) -> None:
    print(f"<{cfg.solver.name} {cfg.planets} {doubled(cfg.solver)}>", flush=True)


"""


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
@pytest.mark.parametrize("named", ["lab.py", "."])
def test_a_profile_file_reaches_every_job(app: Path, launcher: str, named: str) -> None:
    """The file imports the script and adds to it, in the folder of the script too; each job sees what the first saw."""
    guard = 'if __name__ == "__main__":'
    app.write_text(APP.replace(guard, DISPATCHING + guard), encoding="utf-8")
    (app.parent / "lab.py").write_text(SITE, encoding="utf-8")
    words = ["--profiles", named, "-m", "planets=1,2", f"hydra/launcher={launcher}"]
    found = run(app, *words, "solver=lab,newton")
    assert found.returncode == 0, found.stderr
    printed = found.stdout + "".join(log.read_text() for log in app.parent.rglob("*_log.out"))
    assert sorted(re.findall("<(.*?)>", printed)) == ["lab 1 70", "lab 2 70", "newton 1 20", "newton 2 20"]
    found = run(app, "-m", *words[3:], "experiment=few", KEPLER_PROFILES=named)
    assert (found.returncode, "not loaded" in found.stderr) == (0, False), found.stderr


def test_a_job_starts_nothing_that_the_script_starts(app: Path) -> None:
    """A script that does not ask whether it is the one that is run is imported by a job without running again."""
    app.write_text(APP.replace('if __name__ == "__main__":', "if True:"), encoding="utf-8")
    found = run(app, "-m", "planets=1,2", "hydra/launcher=joblib")
    assert found.returncode == 0, found.stderr
    assert len(lines(found)) == 2


def test_submitit_brings_the_exit_code_back(app: Path) -> None:
    """Likewise from a job that submitit starts."""
    found = run(app, "--multirun", "fail=0,3", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60")
    assert found.returncode == 3, found.stderr
    assert len(list(app.parent.glob("multirun/*/*/.submitit/*/*.pkl"))) >= 2
    assert nothing_left(app)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_mistake_inside_a_job_is_one_message_of_that_job(app: Path, launcher: str) -> None:
    """A ConfigError in a job is told once under the program's name, exit 2, and the other jobs still run."""
    found = run(app, "-m", "fail=9,0", f"hydra/launcher={launcher}")
    assert found.returncode == 2
    assert found.stderr.count("nope=1: there is no setting 'nope'") == 1
    assert "see: python app.py config explain" in found.stderr
    assert "Traceback" not in found.stderr
    assert len(lines(found)) == 2


def test_a_fault_of_the_program_is_exit_code_1(app: Path) -> None:
    """Its traceback is shown, as it is no mistake of the user's."""
    found = run(app, "-m", "fail=8")
    assert found.returncode == 1
    assert "broken on purpose" in found.stderr
    assert nothing_left(app)


def ranked(found: subprocess.CompletedProcess[str]) -> list[tuple[str, ...]]:
    """The rows of the table at the end of a sweep: value, overrides, status; and each names a folder."""
    title, _, *rows = found.stdout.rpartition(" job")[2].splitlines()
    assert title in ("s, the largest value first", "s")
    cells = [tuple(re.split("  +", row.strip())) for row in rows]
    assert all(len(row) == 4 and (row[3].startswith("multirun/") or row[2:] == ("not started", "-")) for row in cells)
    return [row[:3] for row in cells]


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_sweep_ends_with_a_table_of_its_jobs(app: Path, launcher: str) -> None:
    """The largest value first, then those without one; a fault or a mistake in one job costs no other's row."""
    found = run(app, "-m", "label=x", "planets=2,3", "fail=0,8,9", f"hydra/launcher={launcher}")
    assert found.returncode == 2, found.stderr
    assert ranked(found) == [
        ("3", "planets=3 fail=0", "done"),
        ("2", "planets=2 fail=0", "done"),
        ("-", "planets=2 fail=8", "failed"),
        ("-", "planets=2 fail=9", "mistake"),
        ("-", "planets=3 fail=8", "failed"),
        ("-", "planets=3 fail=9", "mistake"),
    ]
    assert nothing_left(app)


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_job_that_is_stopped_ends_the_sweep_and_not_its_table(app: Path, launcher: str) -> None:
    """Its exit code is the sweep's, and what is done by then stands in the table with what has not begun."""
    words = ["hydra.launcher.n_jobs=1"] if launcher == "joblib" else []
    found = run(app, "-m", "fail=0,7,3", f"hydra/launcher={launcher}", *words)
    assert found.returncode == 143, found.stderr
    rows = ranked(found)
    assert rows[:2] == [("3", "fail=0", "done"), ("-", "fail=7", "stopped")]
    assert rows[2] in [("-", "fail=3", "not started"), ("-", "fail=3", "exit code 3")][: 1 + (launcher[0] == "s")]
    assert nothing_left(app)


def test_a_job_that_is_killed_is_a_row_of_the_table(app: Path) -> None:
    """Of a process that ends without a word, it is said that it began."""
    found = run(app, "-m", "fail=0,6", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert found.returncode == 1
    assert len(ranked(found)) == 2
    assert ("-", "fail=6", "unfinished") in ranked(found)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-m", "planets=1,0"], "planets=0"),
        (["-m", "solver=newton,nope"], "nope"),
        (["-m", "experiment=fast,nope"], "nope"),
        (["-m", "planets=1,2", "labl=x"], "labl"),
        (["-m", "planets=interval(0,3)"], "planets=0"),
        (["-m", "solver.tolerance=interval(1,2)"], "interval"),
        (["planets=1,0", "hydra.mode=MULTIRUN"], "planets=0"),
        (["planets=1,2"], "--multirun"),
        (["-m", "planets=range(-1,2)"], "planets=-1"),
    ],
)
def test_every_point_is_checked_before_the_first_starts(app: Path, words: list[str], told: str) -> None:
    """One message, exit 2, and no job ran."""
    found = run(app, *words)
    assert (found.returncode, lines(found)) == (2, [])
    assert told in found.stderr
    assert found.stderr.count("error:") == 1
    assert "Traceback" not in found.stderr
    assert {one.name for one in app.parent.iterdir()} == {"app.py"}


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        (["-m", "solver=glob(*)"], ["fixed_point 3 x 100", "newton 3 x 10"]),
        (["-m", "solver=glob(n*)"], ["newton 3 x 10"]),
        (["-m", "planets=range(1,4)"], ["newton 1 x 10", "newton 2 x 10", "newton 3 x 10"]),
        (["planets=1,2", "hydra.mode=MULTIRUN"], ["newton 1 x 10", "newton 2 x 10"]),
        (["-m", "label=a,'b c'", "steps=4"], ["newton 3 a 4", "newton 3 b c 4"]),
        (["-m", "label=1.10,010,on,7e12345"], [f"newton 3 {text} 10" for text in ("1.10", "010", "on", "7e12345")]),
        (["-m", "experiment=fast,null"], ["fixed_point 5 x 2", "newton 3 x 10"]),
        (["-m", "experiment=[fast]"], ["fixed_point 5 x 2"]),
        (["-m", "steps=4,5"], ["newton 3 x 4", "newton 3 x 5"]),
        (["-r", "experiment=fast", "planets=2"], ["fixed_point 2 x 2"]),
    ],
    ids=lambda value: " ".join(value) if value[0][:1] in "-p" else "",
)
def test_sweeps(app: Path, words: list[str], ran: list[str]) -> None:
    """Globs, ranges, modes, quoted texts, short names and experiments as Hydra runs them."""
    found = run(app, *words)
    assert found.returncode == 0, found.stderr
    assert [line.partition(" {")[0].replace(" x ", " ") for line in lines(found)] == [
        one.replace(" x ", " ") for one in ran
    ]
    assert nothing_left(app)


def test_a_part_of_a_null_section_can_be_swept(app: Path) -> None:
    """What we take, Hydra must be able to run: a part of a null section, a new entry of a dict."""
    found = run(app, "-m", "solver.inner.depth=1,2", "+solver.names.b=5", "solver.names.a=3")
    assert found.returncode == 0, found.stderr
    assert lines(found) == [f"newton 3 x 10 {{'a': 3, 'b': 5}} {depth}" for depth in (1, 2)]


def test_the_configs_of_a_sweep_are_printed(app: Path) -> None:
    """``-m --cfg job`` prints each point and runs none; ``--cfg all`` has Hydra's part too."""
    found = run(app, "-m", "planets=1,2", "experiment=fast", "--cfg", "job")
    assert found.returncode == 0, found.stderr
    assert re.findall(r"(?m)^planets: (\d)", found.stdout) == ["1", "2"]
    assert (lines(found), nothing_left(app)) == ([], True)
    found = run(app, "--cfg", "all", "experiment=null")
    assert found.returncode == 0, found.stderr
    assert "hydra:" in found.stdout
    assert "planets: 3" in found.stdout


@pytest.mark.parametrize(
    ("line", "found", "missing"),
    [
        ("python app.py ", {"planets=", "solver=", "solver.", "experiment="}, "names="),
        ("python app.py solver=", {"solver=newton", "solver=fixed_point"}, "planets="),
        ("python app.py solver=fix", {"solver=fixed_point"}, "solver=newton"),
        ("python app.py solver.", {"solver.steps=", "solver.tolerance="}, "planets="),
        ("python app.py pla", {"planets="}, "solver="),
        ("python app.py experiment=", {"experiment=fast"}, "solver="),
        ("app.py config show solver=n", {"solver=newton"}, "Error"),
        ("python app.py config explain pla", {"planets="}, "Error"),
    ],
)
def test_the_shell_completes(app: Path, line: str, found: set[str], missing: str) -> None:
    """Groups, profiles, settings and experiments, for runs and for commands."""
    result = run(app, "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert result.returncode == 0, result.stderr
    assert found <= set(result.stdout.split())
    assert missing not in result.stdout.split()
    assert nothing_left(app)


def test_the_float_reaches_a_sweeper(app: Path) -> None:
    """Hydra's job return value is the function's float; of a job with a mistake it is nan."""
    watch = app.parent / "watch.py"
    watch.write_text(
        "from hydra.experimental.callback import Callback\n"
        "class Watch(Callback):\n"
        "    def on_job_end(self, config, job_return, **kwargs):\n"
        "        print('RETURNED', job_return.return_value, flush=True)\n"
    )
    found = run(
        app,
        "-m",
        "planets=1,2",
        "+hydra.callbacks.watch._target_=watch.Watch",
        PYTHONPATH=os.pathsep.join([str(Path("src").absolute()), str(app.parent)]),
    )
    assert found.returncode == 0, found.stderr
    assert re.findall(r"RETURNED (\S+)", found.stdout) == ["1.0", "2.0"]


def test_a_new_profile_extends_the_one_that_it_starts_from(app: Path) -> None:
    """A program may dispatch on its class; a file beside the script hides no module of Python's."""
    (app.parent / "rough.yaml").write_text("tolerance: 1e-3\n", encoding="utf-8")
    (app.parent / "slow.yaml").write_text("defaults: [fixed_point]\nsteps: 900\n", encoding="utf-8")
    for words in (["import", "rough.yaml"], ["import", "slow.yaml"], ["new", "bisect"], ["new", "own"]):
        assert run(app, "profiles", *words, "--group", "solver").returncode == 0
    texts = {name: (app.parent / f"{name}.py").read_text() for name in ("rough", "slow", "bisect_solver", "own")}
    assert "class RoughSolver(Newton):" in texts["rough"]
    assert "class SlowSolver(FixedPoint):" in texts["slow"]
    assert "class BisectSolver(Newton):" in texts["bisect_solver"]
    assert "    python app.py profiles show solver=newton\n" in texts["own"]
    assert [text.count(" = ") for text in texts.values()] == [1, 1, 0, 0]
    (app.parent / "slower.yaml").write_text("defaults: [slow]\nsteps: 901\n", encoding="utf-8")
    found = run(app, "profiles", "import", "slower.yaml", "--group", "solver", KEPLER_PROFILES=".")
    assert found.returncode == 0, found.stderr
    assert "from .slow import SlowSolver\n" in (app.parent / "slower.py").read_text()
    assert lines(run(app, "solver=slower", KEPLER_PROFILES=".")) == ["slower 3 x 901 {'a': 1} None"]
    assert lines(run(app, "solver=slow", KEPLER_PROFILES=".")) == ["slow 3 x 900 {'a': 1} None"]
    assert run(app, "solver=bisect", KEPLER_PROFILES="bisect_solver.py").returncode == 0
