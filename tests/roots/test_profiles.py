"""Profiles that cannot lie: class bodies, self checks, files that change or fail, interpreters and threads."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import spectramind_config as sc
from spectramind_config.commands.program import Program
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.sites import loading

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Annotated
import spectramind_config as sc
"""
Site = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None) -> Site:
    """Writes a site's file and names it, beside others, in the variable."""

    def write(text: str, name: str = "site") -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + textwrap.dedent(text), encoding="utf-8")
        files = [one for one in os.environ.get("SM_PROFILES", "").split(os.pathsep) if one and one != str(file)]
        monkeypatch.setenv("SM_PROFILES", os.pathsep.join([*files, str(file)]))
        return file

    return write


def profile(name: str, body: str, cls: str = "Mine") -> str:
    """A profile of the group ``local``."""
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return f'\n@sc.profile("local", "{name}")\n@dataclass(kw_only=True)\nclass {cls}(sc.LocalConfig):\n{lines}\n'


REFUSED = [
    ("devcies: int = 3", "resembles the inherited 'devices'", 9),
    ("max_epoch: int = 3", "resembles the inherited 'max_epochs'", 9),
    ("devices = 3", "no annotation, so it sets nothing", 6),
    ("num_workers = sc.NumWorkers(train=1)", "no annotation, so it sets nothing", 6),
    ("max_epochs: str = 'x'", "its type differs", 9),
    ("max_epochs: int = 0", "0 is not an int >= 1", 9),
    ("extra: int", "'extra' has no default", None),
    (
        "max_epochs: int = 3\ndef __post_init__(self):\n    self.max_epochs = 2 * self.max_epochs",
        "changes 'max_epochs'",
        6,
    ),
    ("max_epochs: int = 3\ndef __post_init__(self):\n    raise ValueError('never')", "never", 6),
    ("max_epochs: int = 3\ndef __post_init__(self):\n    1 / 0", "ZeroDivisionError", 6),
    (
        "num_workers: sc.NumWorkers = field(default_factory=lambda: sc.NumWorkers(val=0))",
        "num_workers.val is 0",
        None,
    ),
]


@pytest.mark.parametrize(("body", "told", "line"), REFUSED, ids=[row[0].partition("\n")[0] for row in REFUSED])
def test_a_class_body_is_checked_like_a_command_line(
    site: Site, body: str, told: str, line: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run that chooses the profile stops with the reason, file and line; every other run goes on."""
    file = site(profile("mine", body))
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose(["local=mine"])
    assert told in str(caught.value)
    assert f"{file}:{line}" in str(caught.value) if line else str(file) in str(caught.value)
    assert Program(sc.EffectiveConfig, "spectramind").main(["config", "validate", "local=mine"]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert "Traceback" not in printed
    assert sc.compose(["local=debug"]).local.name == "debug"
    assert "mine" not in REGISTRY.view(sc.EffectiveConfig._root)["local"]


def test_two_classes_of_one_name_are_refused(site: Site) -> None:
    """The second would take the lines, and the pickles, of the first."""
    site(profile("one", "max_epochs: int = 3") + profile("two", "max_epochs: int = 4"))
    for name in ("one", "two"):
        with pytest.raises(sc.ConfigError, match="two classes Mine"):
            sc.compose([f"local={name}"])


CHECKING = """
max_epochs: int = 3
def __post_init__(self):
    if self.max_epochs == 7:
        raise ValueError("seven epochs bring bad luck")
    if self.max_epochs == 8:
        self.max_epochs = 9
"""


def test_a_self_check_sees_the_composed_values(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """A ValueError is a mistake with class and line, exit 2; a field that is changed is refused."""
    file = site(profile("mine", CHECKING))
    assert sc.compose(["local=mine", "local.max_epochs=6"]).max_epochs == 6
    program = Program(sc.EffectiveConfig, "spectramind")
    assert program.main(["config", "show", "local=mine", "local.max_epochs=7"]) == 2
    printed = capsys.readouterr().err
    assert "local=mine: seven epochs bring bad luck" in printed
    assert "Mine" in printed
    assert f"{file}:6" in printed
    assert program.main(["config", "show", "local=mine", "local.max_epochs=8"]) == 2
    assert "changes 'max_epochs'" in capsys.readouterr().err


@pytest.mark.parametrize("override", ["local.inner.a=7", "local.items.0.a=7", "local.maybe={a:7}", "local.named.x.a=7"])
def test_a_self_check_of_inner_settings_is_told(site: Site, override: str) -> None:
    """Wherever the settings stand: in a section, a list, a dict, or where null stood."""
    text = """
    @dataclass(kw_only=True)
    class Inner(sc.Settings):
        a: int = 1
        def __post_init__(self):
            if self.a == 7:
                raise ValueError("a must avoid seven")
    """
    body = """
    inner: Inner = field(default_factory=Inner)
    items: list[Inner] = field(default_factory=lambda: [Inner()])
    maybe: Inner | None = None
    named: dict[str, Inner] = field(default_factory=lambda: {"x": Inner()})
    """
    site(textwrap.dedent(text) + profile("mine", body))
    assert sc.compose(["local=mine", override.replace("7", "6")]).local.name == "mine"
    with pytest.raises(sc.ConfigError, match="a must avoid seven"):
        sc.compose(["local=mine", override])


def test_a_refused_profile_stops_runs_even_where_another_has_its_name(site: Site) -> None:
    """``local=debug`` must not silently be the shipped one when a site meant its own."""
    file = site(profile("debug", "max_epochs: int = 3"))
    with pytest.raises(sc.ConfigError, match="local=debug cannot be chosen") as caught:
        sc.compose(["local=debug"])
    assert str(file) in str(caught.value)
    assert sc.compose([]).local.name == "default"
    file.write_text(HEAD + profile("mended", "max_epochs: int = 3"), encoding="utf-8")
    assert sc.compose(["local=debug"]).max_epochs == 1
    assert sc.compose(["local=mended"]).max_epochs == 3


def test_two_files_that_claim_one_name_stop_it(site: Site) -> None:
    """Neither wins by the order of the variable; mending one of them brings the other back."""
    site(profile("mine", "max_epochs: int = 3"), "first")
    second = site(profile("mine", "max_epochs: int = 4"), "second")
    with pytest.raises(sc.ConfigError, match="cannot be chosen: profile local=mine: that name is taken"):
        sc.compose(["local=mine"])
    second.write_text(HEAD + profile("yours", "max_epochs: int = 4"), encoding="utf-8")
    assert sc.compose(["local=mine"]).max_epochs == 3
    assert sc.compose(["local=yours"]).max_epochs == 4


@pytest.mark.parametrize(
    "end",
    [
        "raise RuntimeError('half way')",
        "raise SystemExit(3)",
        "import nothing_of_that_name",
        "x = = 3",
        "sc.compose(['nope=1'])",
    ],
)
def test_a_file_that_fails_halfway_registers_nothing(site: Site, end: str) -> None:
    """All or nothing, and the names that it claims stop their runs with the file's line."""
    file = site(profile("mine", "max_epochs: int = 3") + f"\n{end}\n")
    with pytest.raises(sc.ConfigError, match="local=mine cannot be chosen") as caught:
        sc.compose(["local=mine"])
    assert str(file) in str(caught.value)
    assert "mine" not in REGISTRY.view(sc.EffectiveConfig._root)["local"]
    assert sc.compose([]).local.name == "default"


PROGRAM = '''
import pickle, subprocess, sys
import cloudpickle

@dataclass(kw_only=True)
class Inner(sc.Settings):
    depth: Annotated[int, sc.about("How deep", ge=0)] = 1

@dataclass(kw_only=True)
class ThingConfig(sc.Profile):
    inner: Inner = field(default_factory=Inner)
    parts: list[Inner] = field(default_factory=lambda: [Inner(depth=3)])

@sc.root("mainly")
@dataclass(frozen=True, kw_only=True)
class Mainly(sc.Config):
    size: Annotated[int, sc.about("Size", ge=1)] = 2
    thing: ThingConfig = sc.group("plain")

@sc.profile("thing", "plain")
@dataclass(kw_only=True)
class Plain(ThingConfig):
    """Plain."""

@sc.profile("local", "mainly")
@dataclass(kw_only=True)
class MainLocal(sc.LocalConfig):
    max_epochs: int = 5
    more: dict[str, int] = field(default_factory=lambda: {"a": 1})

if __name__ == "__main__":
    for config in (sc.compose(["thing.parts.0.depth=4", "size=3"], root=Mainly), sc.compose(["local=mainly"])):
        assert pickle.loads(pickle.dumps(config)) == config
        told = subprocess.run([sys.executable, "reader.py"], input=cloudpickle.dumps(config), capture_output=True)
        sys.stderr.write(told.stderr.decode())
        assert told.stdout.decode().split() == [config.fingerprint, config.fingerprint], told.stdout
    print("all is well")
'''
READER = """
import pickle, sys
config = pickle.load(sys.stdin.buffer)
again = pickle.loads(__import__("cloudpickle").dumps(config))
assert [one.to_dict() for one in again.origins()] == [one.to_dict() for one in config.origins()]
assert all(type(part).__name__ == "Inner" for part in getattr(getattr(config, "thing", None), "parts", []))
print(config.fingerprint, again.with_overrides([]).fingerprint)
"""


def test_a_class_of_main_pickles_into_another_process(tmp_path: Path) -> None:
    """With cloudpickle: values, origins and further overrides work where the class is not declared."""
    (tmp_path / "app.py").write_text(HEAD + PROGRAM, encoding="utf-8")
    (tmp_path / "reader.py").write_text(READER, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(one).absolute()) for one in ["src"])}
    words = [sys.executable, "app.py"]
    found = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "all is well\n", "")


CELLS = """
from dataclasses import dataclass, field
import pickle, cloudpickle
import spectramind_config as sc
@sc.profile("local", "mine")
@dataclass(kw_only=True)
class Mine(sc.LocalConfig):
    max_epochs: int = 3

c = sc.compose(["local=mine"])
print(c.max_epochs, pickle.loads(pickle.dumps(c)) == c, cloudpickle.loads(cloudpickle.dumps(c)) == c)
@sc.profile("local", "mine")
@dataclass(kw_only=True)
class Mine(sc.LocalConfig):
    max_epochs: int = 4

print(sc.compose(["local=mine"]).max_epochs, c.max_epochs)
@sc.profile("local", "ours")
@dataclass(kw_only=True)
class Mine(sc.LocalConfig):
    max_epochs: int = 5

print(sc.compose(["local=ours"]).max_epochs)
try: sc.compose(["local=mine"])
except sc.ConfigError: print("gone")

@sc.profile("local", "ours")
@dataclass(kw_only=True)
class Other(sc.LocalConfig):
    max_epochs: int = 6

print(sc.compose(["local=ours"]).max_epochs)
try:
    @sc.profile("local", "ours")
    @dataclass(kw_only=True)
    class Bad(sc.LocalConfig):
        max_epochs: int = 0
except sc.ConfigError: print("refused")

try: sc.compose(["local=ours"])
except sc.ConfigError: print("stopped")

@sc.profile("local", "ours")
@dataclass(kw_only=True)
class Bad(sc.LocalConfig):
    max_epochs: int = 7

print(sc.compose(["local=ours"]).max_epochs)
@dataclass(kw_only=True)
class SolverConfig(sc.Profile):
    steps: int = 1

@sc.root("nb")
@dataclass(frozen=True, kw_only=True)
class NB(sc.Config):
    solver: SolverConfig = sc.group("n")

@sc.profile("solver", "n")
@dataclass(kw_only=True)
class N(SolverConfig):
    steps: int = 2

print(sc.compose([], root=NB).solver.steps)
@dataclass(kw_only=True)
class SolverConfig(sc.Profile):
    steps: int = 1
    more: int = 7

@sc.root("nb")
@dataclass(frozen=True, kw_only=True)
class NB(sc.Config):
    solver: SolverConfig = sc.group("n")

@sc.profile("solver", "n")
@dataclass(kw_only=True)
class N(SolverConfig):
    steps: int = 3

print(sc.compose(["solver.more=8"], root=NB).solver.steps, sc.compose([], root=NB).origin("solver.steps").source)
@sc.experiment("e", root=NB)
def e():
    return ["solver.more=5"]

@sc.experiment("e", root=NB)
def e():
    return ["solver.more=6"]

print(sc.compose(["experiment=e"], root=NB).solver.more)
"""


@pytest.mark.parametrize("how", ["python -i", "InteractiveInterpreter"])
def test_a_notebook_redefines_and_renames(how: str, tmp_path: Path) -> None:
    """Profiles, roots, schemas and experiments that are typed in again take their old places."""
    if how == "python -i":
        words, typed = [sys.executable, "-i", "-q"], CELLS
    else:
        cells = "\n\n".join(CELLS.split("\n\n"))
        text = "import code, __main__\nshell = code.InteractiveConsole(vars(__main__))\n"
        text += f"for line in {cells!r}.splitlines():\n    shell.push(line)\n"
        words, typed = [sys.executable, "-"], text
    path = str(Path("src").absolute())
    found = subprocess.run(
        words,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = ["3 True True", "4 3", "5", "gone", "6", "refused", "stopped", "7", "2", "3 __main__.N", "6"]
    assert found.stdout.splitlines() == expected, found.stderr[-3000:]


def test_threads_compose_while_files_change(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads, two hundred rewrites that are not atomic, registrations beside: no wrong value, no failure."""
    # A file that is half written is waited for, but not for as long as a busy machine may take for the rest.
    monkeypatch.setattr(loading, "_PATIENCE", 10_000)
    first = site(profile("moving", "max_epochs: int = 1000\nseed: int = 1000"), "moving")
    site(profile("still", "max_epochs: int = 77", "Still"), "still")
    sc.compose(["local=moving"])
    done = threading.Event()
    wrong: list[str] = []
    counts = [0] * 8

    def look(number: int) -> None:
        while not done.is_set():
            try:
                moving = sc.compose(["local=moving", f"optimizer.lr=1e-{number + 1}"])
                if moving.max_epochs != moving.seed or moving.max_epochs < 1000:
                    wrong.append(f"{moving.max_epochs} and {moving.seed}")
                if sc.compose(["local=still"]).max_epochs != 77 or sc.compose(["local=debug"]).max_epochs != 1:
                    wrong.append("another profile")
                counts[number] += 1
            except Exception as error:  # noqa: BLE001 - any failure is wrong.
                wrong.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=look, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for number in range(200):
        text = HEAD + profile("moving", f"max_epochs: int = {1000 + number}\nseed: int = {1000 + number}")
        with first.open("w", encoding="utf-8") as opened:
            opened.write(text[:150])
            opened.flush()
            opened.write(text[150:])
        if number % 20 == 0:
            cls = type(f"Dynamic{number}", (sc.LocalConfig,), {"__annotations__": {"more": int}, "more": number})
            sc.profile("local", f"dynamic{number}")(__import__("dataclasses").dataclass(kw_only=True)(cls))
        time.sleep(0.005)
    while min(counts) == 0 and not wrong:  # A busy machine has not run all of them yet.
        time.sleep(0.005)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong[:3] == []
    assert sc.compose(["local=moving"]).max_epochs == 1199
    assert sc.compose(["local=dynamic180"]).local.name == "dynamic180"


def test_a_config_that_was_composed_before_a_file_changed_still_pickles(site: Site) -> None:
    """The classes of a site's file are found again by name, after the file was loaded anew as well."""
    file = site(profile("mine", "max_epochs: int = 3"))
    config = sc.compose(["local=mine"])
    data = pickle.dumps(config)
    file.write_text(HEAD + profile("mine", "max_epochs: int = 4"), encoding="utf-8")
    assert sc.compose(["local=mine"]).max_epochs == 4
    again = pickle.loads(data)  # noqa: S301
    assert (again.max_epochs, again.fingerprint) == (3, config.fingerprint)
