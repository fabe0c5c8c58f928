"""The ``spectramind`` command: exit codes, what goes to stdout and stderr, and what it prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from argparse import SUPPRESS
from pathlib import Path

import jsonschema
import pytest
import yaml

import spectramind_config as sc
from spectramind_config.commands.command import Parser
from spectramind_config.commands.program import Program
from spectramind_train.cli import PROGRAM, main

from ..engine import LEAVES, NAMES, ROOT, profiles
from ..processes import spectramind

HPC = ["trainer=multi_gpu", "local=hpc", "local.devices=8"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    code = main(list(arguments))
    found = capsys.readouterr()
    return code, found.out, found.err


COMMANDS = [command.words for command in PROGRAM._commands()]
FOLDERS = sorted({words.partition(" ")[0] for words in COMMANDS if " " in words})
LEVELS = ["", *FOLDERS, *COMMANDS]


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_the_usage_is_printed(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Asking for help, or for nothing, prints the usage with every command and is no mistake."""
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.startswith("usage: spectramind COMMAND [argument…]\n\nTyped training profiles, and")
    for command in PROGRAM._commands():
        assert f"  {command.words:<15}  {command.help}\n" in out


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("flags", [[], ["-h"], ["--help"]])
def test_a_folder_of_commands_lists_them(capsys: pytest.CaptureFixture[str], folder: str, flags: list[str]) -> None:
    """Its own commands and no others."""
    code, out, err = run(capsys, folder, *flags)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: spectramind {folder} COMMAND [argument…]\n")
    listed = {line.strip().partition("  ")[0] for line in out.splitlines() if line.startswith("  ")}
    assert listed == {words for words in COMMANDS if words.startswith(f"{folder} ")}


def test_there_are_as_many_levels_of_help_as_commands() -> None:
    """The program itself, its folders of commands, and each command."""
    assert FOLDERS == ["config", "data", "profiles", "runs", "track"]
    assert len(LEVELS) >= 19


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("words", LEVELS)
def test_help_works_at_every_level(capsys: pytest.CaptureFixture[str], words: str, flag: str) -> None:
    """Usage on stdout, nothing on stderr, exit code 0; beside other arguments as well."""
    code, out, err = run(capsys, *words.split(), flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {f'spectramind {words}'.strip()} ")
    if words in COMMANDS:
        assert run(capsys, *words.split(), "local=hpc", flag) == (0, out, "")


@pytest.mark.parametrize("words", COMMANDS)
def test_the_help_of_a_command_says_what_it_is_for_and_names_its_flags(
    capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """Each flag has a line of its own with a description."""
    _, out, _ = run(capsys, *words.split(), "--help")
    command = next(one for one in PROGRAM._commands() if one.words == words)
    assert f"{command.help[0].upper()}{command.help[1:]}." in " ".join(out.split())
    for action in Parser("spectramind", command)._actions:
        assert action.help, action
        assert action.help == SUPPRESS or all(flag in out for flag in action.option_strings)


def test_the_help_of_train_lists_groups_profiles_experiments_and_every_setting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a command line can say, with defaults, meanings and types."""
    _, out, _ = run(capsys, "train", "--help")
    for group, named in profiles().items():
        names = ", ".join(f"{name}{'*' * (name == ROOT.groups[group].default)}" for name in named)
        assert f"\n  {group}={names}\n" in out
    assert "\n  experiment=narrow, overfit, challenge, without_encoders," in out
    for path, leaf in LEAVES.items():
        if path in NAMES:
            assert f"\n  {path}=" not in out
        else:
            assert f"\n  {path}=" in out
            assert leaf.description in " ".join(out.split())
    assert '\n  local.devices="auto"\n      Accelerators: a number of GPUs' in out
    assert "--multirun, -m" in out


NARROW = [f"{words} --help".strip() for words in LEVELS] + [
    "config explain",
    "profiles list",
    "profiles show local=hpc",
]
NARROW += ["config explain trainer=kaggle_safe local=hpc local.devices=8", "config explain paths.run_manifest devices"]
NARROW += ["profiles show kaggle_safe", "profiles show ci_fast debug", "profiles show v50"]


@pytest.mark.parametrize("line", NARROW)
def test_a_narrow_terminal_is_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """No line is wider than 60 columns unless it is one word."""
    monkeypatch.setenv("COLUMNS", "60")
    code, out, err = run(capsys, *line.split())
    assert (code, err) == (0, "")
    assert [one for one in out.splitlines() if len(one) > 60 and " " in one.strip()] == []


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """One line: the name and the installed version."""
    code, out, err = run(capsys, "--version")
    assert (code, err) == (0, "")
    assert out.startswith("spectramind 0.")


def test_show_prints_yaml_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Both formats hold ``to_dict`` of the composed config, and lead back to it."""
    config = sc.compose(HPC)
    code, out, err = run(capsys, "config", "show", *HPC)
    assert (code, err) == (0, "")
    assert out == config.to_yaml()
    assert sc.from_dict(yaml.safe_load(out), "stdout") == config
    for arguments in (["--json", *HPC], [*HPC, "--json"]):
        code, out, err = run(capsys, "config", "show", *arguments)
        assert (code, json.loads(out), err) == (0, config.to_dict(), "")


def test_validate_prints_nothing_or_the_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    """Silence and 0 for a valid command line; 2 and every mistake on stderr for another."""
    assert run(capsys, "config", "validate", *HPC) == (0, "", "")
    code, out, err = run(capsys, "config", "validate", "local=hcp", "local.sed=3")
    assert (code, out) == (2, "")
    assert err.startswith("error: 2 mistakes:\n1. local=hcp: there is no profile 'hcp' in group local\n")
    assert err.endswith("run instead: spectramind config validate local=hpc local.seed=3\n")


def test_hash_prints_the_fingerprint(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of hex; ``--science`` leaves out where a run happens."""
    config = sc.compose(HPC)
    assert run(capsys, "config", "hash", *HPC) == (0, f"{config.fingerprint}\n", "")
    assert run(capsys, "config", "hash", "--science", *HPC) == (0, f"{config.science_fingerprint}\n", "")


SETTER = {"layer": {"type": "string"}, "option": {"type": "string"}, "value": {}, "source": {"type": "string"}}
EXPLAINED = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": SETTER
        | {
            "path": {"type": "string"},
            "shadowed": {"type": "array", "items": {"type": "object", "properties": SETTER, "required": list(SETTER)}},
        },
        "required": [*SETTER, "path", "shadowed"],
    },
}


def test_explain_prints_the_origins_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Every leaf once, in the documented form."""
    code, out, err = run(capsys, "config", "explain", "--json", *HPC)
    found = json.loads(out)
    jsonschema.validate(found, EXPLAINED)
    assert (code, err) == (0, "")
    assert [one["path"] for one in found] == [origin.path for origin in sc.compose(HPC).origins()]
    devices = next(one for one in found if one["path"] == "devices")
    assert (devices["value"], devices["layer"], devices["option"]) == (8, "override", "local.devices=8")
    assert [(one["layer"], one["option"], one["value"]) for one in devices["shadowed"]] == [("local", "hpc", 4)]


def test_profiles_are_listed_with_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a profile: group, name, provider and the first line of its docstring."""
    code, out, err = run(capsys, "profiles", "list")
    lines = [line.split(maxsplit=3) for line in re.sub(r"\n +", " ", out).splitlines()]
    assert (code, err) == (0, "")
    experiments = [line[1:3] for line in lines if line[0] == "experiment"]
    assert experiments[:3] == [[name, "spectramind"] for name in ("narrow", "overfit", "challenge")]
    assert [line[1] for line in lines if line[0] == "local"] == ["default", "debug", "hpc"]
    assert ["local", "hpc", "spectramind", "Multi-GPU workstation or DGX: bf16 first, high throughput."] in lines
    assert all(len(line) == 4 for line in lines)


@pytest.mark.parametrize("name", ["local=hpc", "hpc"])
def test_a_profile_is_shown_by_what_it_changes(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Only what differs from the parent, with the parent's value and the field's description."""
    code, out, err = run(capsys, "profiles", "show", name)
    assert (code, err) == (0, "")
    assert out.startswith("local=hpc: Multi-GPU workstation or DGX")
    assert 'devices = 4 instead of "auto"' in out
    assert "Accelerators: a number of GPUs" in out
    assert "seed" not in out


MISSPELT = [
    ("confg show", "spectramind config"),
    ("config shwo", "spectramind config show"),
    ("profile list", "spectramind profiles"),
    ("profiles lits", "spectramind profiles list"),
    ("trian local=hpc", "spectramind train"),
]


@pytest.mark.parametrize(("line", "meant"), MISSPELT)
def test_a_misspelt_command_is_refused_with_the_nearest(
    capsys: pytest.CaptureFixture[str], line: str, meant: str
) -> None:
    """Exit code 2, one message on stderr that names the command that was meant."""
    code, out, err = run(capsys, *line.split())
    assert (code, out) == (2, "")
    assert f"nearest:  {meant}\n" in err


@pytest.mark.parametrize(
    "line", ["config show --jsn", "config hash --verbose", "config validate -- --x", "profiles list --all"]
)
def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """A flag is never ignored."""
    code, out, err = run(capsys, *line.split())
    assert (code, out) == (2, "")
    assert "there is no such flag" in err


@pytest.mark.parametrize("command", ["show", "validate", "hash", "explain"])
def test_a_mistake_is_one_message_and_no_traceback(command: str) -> None:
    """In a process of its own: 2, nothing on stdout, the corrected command on stderr."""
    done = spectramind("config", command, "local.devcies=8")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: local.devcies=8: there is no setting 'local.devcies'\n")
    assert done.stderr.endswith(f"run instead: spectramind config {command} local.devices=8\n")
    assert "Traceback" not in done.stderr


def test_the_installed_command_is_the_same_program(tmp_path: Path) -> None:
    """``spectramind`` is on the path, prints the same and writes nothing into the working directory."""
    command = Path(sys.executable).with_name("spectramind")
    done = subprocess.run([command, "config", "hash", *HPC], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == spectramind("config", "hash", *HPC, cwd=tmp_path).stdout == f"{sc.compose(HPC).fingerprint}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_not_an_error() -> None:
    """``spectramind config explain | head -1`` ends quietly."""
    shell = f"{sys.executable} -m spectramind_train.cli config explain | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [done.stdout.splitlines()[0], "0"]
    assert done.stderr == ""


def test_any_bytes_of_a_command_line_are_answered() -> None:
    """An argument that is not UTF-8 is a mistake with a message, not a traceback."""
    command = [sys.executable, "-m", "spectramind_train.cli", "config", "show", b"local.paths.data_root='/\xff'"]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 2
    assert b"is not a valid Unicode text" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("spectramind train local=", {"local=debug", "local=default", "local=hpc"}),
        ("spectramind train trainer.early", {"trainer.early_stopping."}),
        ("spectramind train exp", {"experiment="}),
        ("spectramind train s", set()),
        ("spectramind config show m", {"model.", "model="}),
        ("python -m spectramind_train.cli config explain local=", {"local=debug", "local=default", "local=hpc"}),
        ("spectramind train local=[ con", set()),
    ],
)
def test_the_shell_completes_overrides(line: str, expected: set[str]) -> None:
    """Hydra's shell completion works behind ``spectramind train``."""
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [sys.executable, "-m", "spectramind_train.cli", "-sc", "query=bash"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == expected, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("confg show", "run instead: app.py config show"),
        ("--file saved.yaml", "--file: there is no such flag"),
        ("config show --jsn", "run instead: app.py config show --json"),
        ("profiles show local", "expected: one of local=default, local=debug, local=hpc"),
        ("profiles import none.yaml --group local", "see: app.py profiles show local=default"),
    ],
)
def test_a_mistake_leads_to_what_was_meant(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And to nothing of another kind."""
    assert Program(sc.EffectiveConfig, "app.py", task=lambda _: None).main(words.split()) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert told in printed
    assert "--profiles saved" not in printed
    assert "mistakes" not in printed


def test_completion_without_a_shell_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra itself ends with a traceback."""
    program = Program(sc.EffectiveConfig, "app.py", task=lambda _: None)
    assert program.main(["-sc"]) == 2
    assert "--shell-completion: it needs a value" in capsys.readouterr().err
