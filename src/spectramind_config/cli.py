"""The ``spectramind`` command: everything about configs here, everything about runs in ``spectramind_train``."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from spectramind_config.errors import ConfigError, Problem, nearest, quoted
from spectramind_config.registry import GROUPS
from spectramind_config.reporting import take_option
from spectramind_config.site_profiles import VARIABLE, entries

USAGE = """\
usage: spectramind COMMAND [arguments…]

runs
  train [overrides…]          train V50 with the effective config of the overrides
  plan [overrides…]           what this host would do with it; starts nothing
  predict RUN --data FILE     spectra of binned light curves, with a trained run
  data simulate|check DIR     write a simulated data set; look for damage in one

configs
  config show [overrides…]    the effective config as YAML (--json)
  config explain [path…] […]  who set each value, and what that shadowed (--json)
  config diff A B             what differs (--json, --exit-code); each is overrides in
                              quotes, a file of config show, or a run's directory
  config validate [overrides…]  nothing and exit code 0, or the mistakes and 2
  config schema               the JSON Schema of it all (--group GROUP: of one group)
  config hash [overrides…]    the fingerprint (--science: without where it runs)
                              (--file FILE: of what config show wrote, not of overrides;
                              show, explain, validate and hash take it)
  profiles list               every profile, with its origin (--json)
  profiles show GROUP=NAME    what a profile changes from its parent (--json)
  profiles new NAME           a profile for this host, to edit (--group, --output)
  profiles import OLD.yaml    a YAML overlay as a profile (--name, --group, --output)

Every command takes --profiles PATH (Python files of profiles, or folders of them,
as SM_PROFILES names) and --config-dir DIR (YAML overlays, DIR/local/NAME.yaml).

An override is group=profile (local=hpc) or group.setting=value (local.devices=8).
Later wins: the trainer profile, then the local profile, then the command line.
"""

_TRAINING = ("train", "plan", "predict", "data")
_MODULES = {"config": "spectramind_config.config_commands", "profiles": "spectramind_config.profile_commands"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 2 a mistake of the user's, 130 interrupted; ``train`` has more.
    """
    if argv is None:  # What is imported by now stays; the collector need not walk it again, at exit least of all.
        gc.freeze()
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, variable = "spectramind", os.environ.get(VARIABLE)
    try:
        sites = {flag: take_option(arguments, flag) for flag in ("--profiles", "--config-dir")}
        words = ["train"] if arguments[:1] == ["profiles"] else _command_words(arguments)
        words += [word for flag, paths in sites.items() for path in paths for word in (flag, quoted(path))]
        command = " ".join(["spectramind", *words])
        found = [*entries(variable or ""), *_files(sites["--profiles"], sites["--config-dir"])]
        if found:  # Absolute, and in the environment, for the processes that a command starts.
            os.environ[VARIABLE] = os.pathsep.join(map(str, found))
        return _dispatch(arguments)
    except ConfigError as error:
        error.command = command
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    finally:
        if variable is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = variable


def _files(profiles: Sequence[str], config_dirs: Sequence[str]) -> list[Path]:
    files = [file for path in profiles for file in entries(path)]
    for file in files:
        if not file.exists():
            raise ConfigError(Problem(what=f"--profiles {file}: there is no such file or folder"))
    for folder in config_dirs:
        overlays = [file.absolute() for group in GROUPS for file in sorted(Path(folder, group).glob("*.yaml"))]
        if not overlays:
            what = f"--config-dir {folder}: there is no YAML overlay in it"
            raise ConfigError(Problem(what=what, expected=f"{folder}/<group>/<name>.yaml, with a group of {GROUPS}"))
        files += overlays
    return files


def _command_words(arguments: Sequence[str]) -> list[str]:
    return list(arguments[: 2 if arguments[:1] == ["config"] else 1])


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if arguments[0] in ("-sc", "--shell-completion"):
        arguments = ["train", *arguments]
    command, *rest = arguments
    if command == "--version":
        from importlib.metadata import version

        print(f"spectramind {version('spectramind')}")
        return 0
    if command in _TRAINING:
        return _training_command(command)(rest)
    if command not in _MODULES:
        raise _unknown(command, [*_TRAINING, *_MODULES], "spectramind")
    if not rest or rest[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    commands: Mapping[str, Callable[[list[str]], int]] = importlib.import_module(_MODULES[command]).COMMANDS
    if rest[0] not in commands:
        raise _unknown(rest[0], list(commands), f"spectramind {command}")
    return commands[rest[0]](rest[1:])


def _unknown(word: str, known: Sequence[str], program: str) -> ConfigError:
    close = nearest(word, known)
    return ConfigError(
        Problem(
            what=f"{program} has no command '{word}'",
            expected="one of " + ", ".join(known),
            nearest=close and f"{program} {close}",
            see="spectramind --help",
        )
    )


def _training_command(command: str) -> Callable[[Sequence[str]], int]:
    try:
        commands = importlib.import_module("spectramind_train.cli").COMMANDS
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"spectramind {command} needs the training packages ({error.name} is missing): "
            "pip install 'spectramind[train]'"
        ) from None
    found: Callable[[Sequence[str]], int] = commands[command]
    return found


if __name__ == "__main__":
    sys.exit(main())
