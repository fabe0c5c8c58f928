"""Profiles from elsewhere: packages, the files that SM_PROFILES names, YAML overlays; and what a broken one does."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.sites import loading
from spectramind_train.cli import main

from ..engine import GROUPS, ROOT, VARIABLE, load, profiles
from ..processes import environment, python, spectramind
from .files import PROFILE, flat, hydras, overlay, refusal, use, write


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
    """A composition of the same files registers nothing, and asks no more than when each of them was changed."""
    file = write(tmp_path / "a.py", "site_a")
    use(monkeypatch, file)
    load()
    before, asked, stamp = REGISTRY.known, [], loading._stamp
    with monkeypatch.context() as patch:
        patch.setattr(loading, "_stamp", lambda path: asked.append(path) or stamp(path))
        patch.setattr(loading, "_read", lambda *_: pytest.fail("it was loaded twice"))
        load()
    assert asked == [str(file)]
    assert REGISTRY.known is before


def test_a_config_with_a_sites_class_crosses_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers and launchers unpickle it, for the variable is in their environment."""
    overlay(tmp_path)
    write(tmp_path / "a.py", "site_a", 3)
    use(monkeypatch, tmp_path)
    configs = [sc.compose(["local=site_a"]), sc.compose(["local=workstation"])]
    (tmp_path / "pickled").write_bytes(pickle.dumps(configs))
    code = "import pickle, sys; print(*(one.fingerprint for one in pickle.load(open(sys.argv[1], 'rb'))))"
    assert python(code, tmp_path / "pickled").split() == [config.fingerprint for config in configs]


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
    assert text.startswith(f"local=shattered cannot be chosen: {reason}")
    assert f"{broken}:1" in text


def test_a_refused_profile_is_reported_with_the_registers_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong default, a taken name, a variable that leads nowhere: each keeps its own reason."""
    use(monkeypatch, write(tmp_path / "a.py", "wrong", -3), write(tmp_path / "b.py", "hpc"), tmp_path / "gone.py")
    assert sc.compose(["local=debug"]).devices == "cpu"
    text = flat(" ".join(record.getMessage() for record in caplog.records))
    assert "profile local=wrong: devices: -3 is not an int >= 1" in text
    assert "profile local=hpc: that name is taken by HpcLocal (" in text
    assert f"SM_PROFILES: there is no file or folder {tmp_path / 'gone.py'}" in text
    assert "devices: -3 is not an int" in refusal("local=wrong")
    assert "local=hpc cannot be chosen: profile local=hpc: that name is taken by HpcLocal (" in refusal("local=hpc")


def test_a_refused_profile_that_is_chosen_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the error, which ends the run; the others still by a warning."""
    use(monkeypatch, write(tmp_path / "a.py", "wrong", -3), write(tmp_path / "b.py", "worse", -4))
    assert "devices: -3 is not an int" in refusal("local=wrong")
    assert ["-4" in record.getMessage() for record in caplog.records] == [True]


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
    done = spectramind("profiles", "list", "--json", folders=(package,))
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
    done = spectramind("config", "show", f"local={name}", folders=(package,))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: local={name} cannot be chosen: ModuleNotFoundError" in flat(done.stderr)
    assert "Traceback" not in done.stderr


def test_hydra_alone_finds_a_packages_profiles(package: Path) -> None:
    """Another application that imports spectramind_config and composes with Hydra, never with compose."""
    code = (
        "import spectramind_config, hydra\n"
        "hydra.initialize(version_base='1.3', config_path=None)\n"
        "print(hydra.compose('train', ['local=good_lab']).local.devices)"
    )
    assert python(code, folders=(package,)) == "5"


def test_importing_loads_nothing(package: Path) -> None:
    """No scan of packages, no file: that is paid by the first composition."""
    code = "import sys, spectramind_config; print(sorted({'importlib.metadata', 'good_lab'} & sys.modules.keys()))"
    assert python(code, folders=(package,)) == "[]"


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
        "import spectramind_config as sc\n"
        "sc.main(sc.EffectiveConfig)(lambda config: print('devices', config.devices) or 0)()"
    )
    choices = "local=good_lab,site_a,workstation"
    command = [sys.executable, "-c", code, "--multirun", choices, f"hydra.sweep.dir={tmp_path}/sweep"]
    environ = environment(package, **{VARIABLE: str(tmp_path)})
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=tmp_path)
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
    assert not loading._provided(ROOT.entry_points)
    (folder / "entry_points.txt").write_text("[console_scripts]\nsite = site:main\n", encoding="utf-8")
    assert not loading._provided(ROOT.entry_points)
    (folder / "entry_points.txt").write_text(f"[{ROOT.entry_points}]\nsite = site\n", encoding="utf-8")
    assert loading._provided(ROOT.entry_points)
    archive = tmp_path / "site.zip"
    archive.touch()
    monkeypatch.setattr(sys, "path", [str(archive)])
    assert loading._provided(ROOT.entry_points)
