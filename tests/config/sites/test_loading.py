"""Profiles from elsewhere: packages, the files that SM_PROFILES names, YAML overlays; and what a broken one does."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config import site_profiles
from spectramind_train.cli import main

from ..engine import GROUPS, VARIABLE, load, profiles

PROFILE = """\
from dataclasses import dataclass

import spectramind_config as sc
from spectramind_config.settings import Devices


@sc.profile("local", "{name}")
@dataclass(kw_only=True)
class Site(sc.LocalConfig):
    \"\"\"{name} of a lab.\"\"\"

    devices: Devices = {devices}
"""

OVERLAY = """\
defaults: [hpc, _self_]
name: workstation
devices: 2
num_workers: {train: 6}
max_epochs: ${oc.decode:${oc.env:SITE_EPOCHS,30}}

paths:
  run_manifest: ${paths.output_dir}/m.json  # As old files write it, from their own top.
"""


@pytest.fixture(autouse=True)
def unload(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Starts without a variable, and afterwards forgets what a test loaded."""
    monkeypatch.delenv(VARIABLE, raising=False)
    yield
    monkeypatch.delenv(VARIABLE, raising=False)
    load()


def write(file: Path, name: str, devices: object = 2) -> Path:
    """A file of one profile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PROFILE.format(name=name, devices=devices))
    return file


def overlay(folder: Path, text: str = OVERLAY, name: str = "workstation", group: str = "local") -> Path:
    """An overlay in a config directory."""
    file = folder / group / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def spectramind(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "spectramind_train.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def refusal(*overrides: str) -> str:
    """What a command line is told."""
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose(overrides)
    return flat(str(caught.value))


def flat(text: str) -> str:
    """A message on one line."""
    return " ".join(text.split())


def use(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Set the variable."""
    monkeypatch.setenv(VARIABLE, os.pathsep.join(map(str, paths)))


def hydras(*overrides: str) -> object:
    """What Hydra itself composes."""
    with initialize(version_base="1.3", config_path=None):
        return OmegaConf.to_container(hydra_compose("train", list(overrides)), resolve=True)


def test_the_variable_names_files_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both are loaded at the next composition, and the origin of a value is its line in the file."""
    first = write(tmp_path / "a.py", "site_a", 3)
    write(tmp_path / "folder" / "b.py", "site_b", '"cpu"')
    use(monkeypatch, first, tmp_path / "folder")
    config = sc.compose(["local=site_a"])
    assert (config.devices, sc.compose(["local=site_b"]).devices) == (3, "cpu")
    assert config.origin("devices").source == f"{first}:12"
    assert profiles()["local"]["site_a"].provider == str(first)


def test_a_changed_variable_and_a_changed_file_are_seen_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is no longer named is gone, in Hydra's store too; an edited file counts at the next composition."""
    first, second = write(tmp_path / "a" / "lab.py", "site_a", 3), write(tmp_path / "b" / "lab.py", "site_b", 4)
    use(monkeypatch, first)
    assert sc.compose(["local=site_a"]).devices == 3
    write(first, "site_a", 5)
    os.utime(first, ns=(time.time_ns(), time.time_ns() + 1))
    assert sc.compose(["local=site_a"]).devices == 5
    use(monkeypatch, second)
    assert sc.compose(["local=site_b"]).devices == 4
    assert "there is no profile 'site_a'" in refusal("local=site_a")
    with pytest.raises(Exception, match="site_a"):
        hydras("local=site_a")


def test_a_new_file_in_a_folder_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a new process."""
    use(monkeypatch, tmp_path)
    assert "there is no profile 'late'" in refusal("local=late")
    write(tmp_path / "late.py", "late", 6)
    assert sc.compose(["local=late"]).devices == 6


def test_files_of_a_folder_share_a_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative import finds the file beside it, whichever is loaded first."""
    write(tmp_path / "zbase.py", "zbase", 7)
    text = "from .zbase import Site\n" + PROFILE.format(name="child", devices=8).replace("sc.LocalConfig", "Site")
    (tmp_path / "child.py").write_text(text.replace("class Site(", "class Child("))
    use(monkeypatch, tmp_path)
    assert sc.compose(["local=child"]).devices == 8
    assert isinstance(sc.compose(["local=child"]).local, profiles()["local"]["zbase"].cls)


def test_nothing_is_loaded_twice_and_a_check_is_cheap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A composition of the same files registers nothing, and the check takes microseconds."""
    use(monkeypatch, write(tmp_path / "a.py", "site_a"))
    load()
    generation = REGISTRY.generation
    started = time.perf_counter()
    for _ in range(1000):
        load()
    assert time.perf_counter() - started < 0.05
    assert REGISTRY.generation == generation


def test_a_config_with_a_sites_class_crosses_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers and launchers unpickle it, for the variable is in their environment."""
    overlay(tmp_path)
    write(tmp_path / "a.py", "site_a", 3)
    use(monkeypatch, tmp_path)
    configs = [sc.compose(["local=site_a"]), sc.compose(["local=workstation"])]
    (tmp_path / "pickled").write_bytes(pickle.dumps(configs))
    code = "import pickle, sys; print(*(one.fingerprint for one in pickle.load(open(sys.argv[1], 'rb'))))"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickled"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [config.fingerprint for config in configs]


BROKEN = {
    "import_error": (
        "import no_such_package_at_all\n",
        "ModuleNotFoundError: No module named 'no_such_package_at_all'",
    ),
    "syntax_error": ("def broken(:\n", "SyntaxError: invalid syntax"),
    "zero_division": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "leaving": ("raise SystemExit(3)\n", "SystemExit: 3"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_stops_only_those_who_choose_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A warning with file and line, once; the others work; choosing it by name says why it could not be loaded."""
    code, reason = BROKEN[kind]
    broken = tmp_path / "broken.py"
    broken.write_text(code + PROFILE.format(name="shattered", devices=2))
    use(monkeypatch, broken, write(tmp_path / "whole.py", "whole", 3))
    assert sc.compose(["local=whole"]).devices == 3
    assert sc.compose([]).warnings == ()
    (record,) = caplog.records
    assert reason in flat(record.getMessage())
    assert f"{broken}:1" in flat(record.getMessage())
    text = refusal("local=shattered")
    assert text.startswith(f"local=shattered could not be loaded: {reason}")
    assert f"{broken}:1" in text


def test_a_refused_profile_is_reported_with_the_registers_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong default, a taken name, a variable that leads nowhere: each keeps its own reason."""
    use(monkeypatch, write(tmp_path / "a.py", "wrong", -3), write(tmp_path / "b.py", "hpc"), tmp_path / "gone.py")
    assert sc.compose(["local=hpc"]).devices == 4
    text = flat(" ".join(record.getMessage() for record in caplog.records))
    assert "profile local=wrong: devices: -3 is not an int >= 1" in text
    assert "profile local=hpc: that name is taken by HpcLocal (" in text
    assert f"SM_PROFILES: there is no file or folder {tmp_path / 'gone.py'}" in text
    assert "devices: -3 is not an int" in refusal("local=wrong")


def test_an_overlay_is_a_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its values over its base's, with file and line as their origin, and Hydra composes the same."""
    file = overlay(tmp_path)
    overlay(tmp_path, "seed: 5\n", "bare")
    overlay(tmp_path, "defaults: [workstation]\nseed: 6\n", "above")
    use(monkeypatch, tmp_path)
    config = sc.compose(["local=workstation"])
    assert (config.devices, config.num_workers.train, config.num_workers.val, config.precision) == (
        2,
        6,
        8,
        "bf16-mixed",
    )
    assert config.paths.run_manifest == "/scratch/outputs/hpc/m.json"
    assert config.origin("devices").source == f"{file}:3"
    assert config.origin("num_workers.train").source == f"{file}:4"
    assert config.origin("num_workers.val").source == sc.compose(["local=hpc"]).origin("num_workers.val").source
    bare, default = sc.compose(["local=bare"]).to_dict(), sc.compose(["local.seed=5"]).to_dict()
    assert bare["local"].pop("name") == "bare"
    assert default["local"].pop("name") == "default"
    assert bare == default
    above = sc.compose(["local=above"])
    assert (above.seed, above.devices, above.origin("devices").source) == (6, 2, f"{file}:3")
    found = hydras("local=workstation")
    assert isinstance(found, dict)
    for path, value in (("devices", 2), ("max_epochs", 30), ("name", "workstation")):
        assert found["local"][path] == value
    assert found["local"]["paths"]["run_manifest"] == "/scratch/outputs/hpc/m.json"


MISTAKES = [
    ("devices: many\n", "devices: 'many' is not an int >= 1, or one of auto, cpu, mps", 1, None),
    ("seed: 1\ndevcies: 2\n", "devcies: there is no such setting in group local", 2, "devices"),
    ("cache_dir: /x\n", "cache_dir: there is no such setting in group local", 1, "paths.cache_dir"),
    ("_target_: os.system\n", "_target_: a config never says what to import", 1, None),
    ("paths:\n  _target_: os.system\n", "_target_: a config never says what to import", 2, None),
    ("paths: /x\n", "paths='/x': paths is a section, not a setting", 1, None),
    ("seed: null\n", "seed: null is not allowed", 1, None),
    ("dev:\n  limit_val_batches: 1.5\n", "dev.limit_val_batches: 1.5 is not", 2, None),
    ("seed: 1\nseed: 2\n", "this is not YAML: found duplicate key seed", 2, None),
    ("seed: [1\n", "this is not YAML: ", 2, None),
    ("- seed\n", "the file holds no settings", 1, None),
    ("seed: 1\ndefaults: [hcp, _self_]\n", "defaults: there is no profile 'hcp' in group local", 2, "hpc"),
    ("defaults: [hpc, debug]\n", "defaults: ['hpc', 'debug'] is not one profile to start from", 1, None),
    ("defaults: [_self_, hpc]\n", "is not one profile to start from", 1, None),
    ("# @package _global_\nseed: 1\n", "@package _global_: an overlay sets its own group only", 1, None),
    ("name: other\n", "name: an overlay is called as its file, 'workstation'", 1, None),
    ("num_workers: {train: 0}\n", "persistent_workers is true but num_workers.train is 0", 1, None),
]


@pytest.mark.parametrize(("text", "words", "line", "close"), MISTAKES, ids=range(len(MISTAKES)))
def test_an_overlays_mistake_is_told_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str, line: int, close: str | None
) -> None:
    """Choosing the overlay says what is wrong in it and where; nothing of it is registered."""
    file = overlay(tmp_path, text)
    use(monkeypatch, tmp_path)
    message = refusal("local=workstation")
    assert message.startswith("local=workstation could not be loaded: ")
    assert words in message
    assert f"{file}:{line}" in message
    assert close is None or f"nearest: {close}" in message
    assert REGISTRY.get("local", "workstation") is None


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two installed packages with entry points, one of them broken."""
    folder = tmp_path_factory.mktemp("installed")
    write(folder / "good_lab" / "__init__.py", "good_lab", 5)
    (folder / "bad_lab.py").write_text("import no_such_package_at_all\n" + PROFILE.format(name="bad_lab", devices=2))
    for name, value in (("good_lab", "good_lab:Site"), ("bad_lab", "bad_lab")):
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[spectramind.profiles]\nanything_{name} = {value}\n")
    return folder


def test_a_package_provides_profiles(package: Path) -> None:
    """Found by its entry point; the broken one beside it is a warning that names package, file and line."""
    done = spectramind("profiles", "list", "--json", PYTHONPATH=str(package))
    listed = {one["name"]: one for one in json.loads(done.stdout)}
    assert (listed["good_lab"]["provider"], listed["good_lab"]["summary"]) == ("good-lab", "good_lab of a lab.")
    assert listed["good_lab"]["source"] == f"{package}/good_lab/__init__.py:7"
    assert listed["hpc"]["provider"] == "spectramind"
    message = flat(done.stderr)
    assert message.startswith("warning: a profile was not loaded: ModuleNotFoundError: No module named 'no_such_")
    assert "package bad-lab, entry point anything_bad_lab = bad_lab" in message
    assert f"{package}/bad_lab.py:1" in message


@pytest.mark.parametrize("name", ["bad_lab", "anything_bad_lab"])
def test_a_broken_packages_profile_says_why(package: Path, name: str) -> None:
    """By the profile's own name, or by the entry point's."""
    done = spectramind("config", "show", f"local={name}", PYTHONPATH=str(package))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: local={name} could not be loaded: ModuleNotFoundError" in flat(done.stderr)
    assert "Traceback" not in done.stderr


def test_hydra_alone_finds_a_packages_profiles(package: Path) -> None:
    """Another application that imports spectramind_config and composes with Hydra, never with compose."""
    code = (
        "import spectramind_config, hydra\n"
        "hydra.initialize(version_base='1.3', config_path=None)\n"
        "print(hydra.compose('train', ['local=good_lab']).local.devices)"
    )
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "5\n"


def test_importing_loads_nothing(package: Path) -> None:
    """No scan of packages, no file: that is paid by the first composition."""
    code = "import sys, spectramind_config; print(sorted({'importlib.metadata', 'good_lab'} & sys.modules.keys()))"
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("before", [True, False])
def test_profiles_are_named_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, before: bool
) -> None:
    """``--profiles`` and ``--config-dir`` stand anywhere; afterwards the environment is as it was."""
    flags = ["--profiles", str(write(tmp_path / "a.py", "site_a", 3)), f"--config-dir={tmp_path}"]
    overlay(tmp_path)
    for name, devices in (("site_a", 3), ("workstation", 2)):
        arguments = ["config", "explain", "devices", f"local={name}"]
        assert main([*flags, *arguments] if before else [*arguments, *flags]) == 0
        assert f"devices = {devices}\n" in capsys.readouterr().out
    assert VARIABLE not in os.environ


def test_a_correction_keeps_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command to run instead finds the profile as well."""
    file = write(tmp_path / "a.py", "site_a")
    assert main(["config", "show", "--profiles", str(file), "local=site_b"]) == 2
    assert f"run instead: spectramind config show --profiles {file} local=site_a" in flat(capsys.readouterr().err)


@pytest.mark.parametrize("flags", [["--profiles", "/gone.py"], ["--config-dir", "/gone"], ["--profiles"]])
def test_a_flag_that_leads_nowhere_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked for on this command line is no mere warning."""
    assert main(["config", "show", *flags]) == 2
    assert capsys.readouterr().err.startswith(f"error: {flags[0]}")


def test_train_gives_hydra_the_overlay(tmp_path: Path) -> None:
    """``train --config-dir DIR local=workstation --cfg job`` prints what ``config show`` prints of the layer."""
    overlay(tmp_path)
    arguments = ("train", "--config-dir", str(tmp_path), "local=workstation", "--cfg", "job", "--resolve")
    done = spectramind(*arguments)
    assert done.returncode == 0, done.stderr
    job = OmegaConf.to_container(OmegaConf.create(done.stdout))
    assert isinstance(job, dict)
    assert set(job) == set(GROUPS)
    assert (job["local"]["name"], job["local"]["devices"], job["local"]["num_workers"]["val"]) == ("workstation", 2, 8)


def test_a_sweep_reaches_the_sites_profiles(package: Path, tmp_path: Path) -> None:
    """``--multirun`` over profiles of a package, a file and an overlay: each run gets its own."""
    overlay(tmp_path)
    write(tmp_path / "a.py", "site_a", 3)
    code = (
        "import sys; from spectramind_config import hydra_app\n"
        "command = hydra_app.read(sys.argv[1:]); hydra_app.check(command)\n"
        "hydra_app.run(lambda config: print('devices', config.devices) or 0, command, 'spectramind')"
    )
    choices = "local=good_lab,site_a,workstation"
    command = [sys.executable, "-c", code, "--multirun", choices, f"hydra.sweep.dir={tmp_path}/sweep"]
    environment = {**os.environ, "PYTHONPATH": str(package), VARIABLE: str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert [line for line in done.stdout.splitlines() if line.startswith("devices")] == [
        "devices 5",
        "devices 3",
        "devices 2",
    ]


def test_only_packages_that_mention_the_entry_points_are_looked_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A quick look says no; whatever it cannot look into is left to ``importlib.metadata``."""
    folder = tmp_path / "Site.EGG-INFO"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing")])
    monkeypatch.setattr(sys, "meta_path", [PathFinder])
    assert not site_profiles._provided()
    (folder / "entry_points.txt").write_text("[console_scripts]\nsite = site:main\n", encoding="utf-8")
    assert not site_profiles._provided()
    (folder / "entry_points.txt").write_text(f"[{site_profiles.ENTRY_POINTS}]\nsite = site\n", encoding="utf-8")
    assert site_profiles._provided()
    archive = tmp_path / "site.zip"
    archive.touch()
    monkeypatch.setattr(sys, "path", [str(archive)])
    assert site_profiles._provided()
