"""The ``spectramind`` command: everything about configs here, everything about runs in ``spectramind_train``."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from spectramind_config.composition import compose
from spectramind_config.effective import EffectiveConfig, Origin
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.leaves import leaves_of, value_at
from spectramind_config.registry import GROUPS, REGISTRY, Registered, leaf_source

USAGE = """\
usage: spectramind COMMAND [arguments…]

runs
  train [overrides…]          train V50 with the effective config of the overrides
  plan [overrides…]           what this host would do with it; starts nothing
  predict RUN --data FILE     spectra of binned light curves, with a trained run
  data simulate|check DIR     write a simulated data set; look for damage in one

configs
  config show [overrides…]    the effective config as YAML (--json)
  config explain [path] […]   who set each value, and what that shadowed (--json)
  config validate [overrides…]  nothing and exit code 0, or the mistakes and 2
  config hash [overrides…]    the fingerprint (--science: without where it runs)
  profiles list               every profile, with its origin
  profiles show GROUP=NAME    what a profile changes from its parent

An override is group=profile (local=hpc) or group.setting=value (local.devices=8).
Later wins: the trainer profile, then the local profile, then the command line.
"""

_TRAINING = ("train", "plan", "predict", "data")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 2 a mistake of the user's, 130 interrupted; ``train`` has more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = "spectramind " + " ".join(_command_words(arguments))
    try:
        return _dispatch(arguments)
    except ConfigError as error:
        error.command = command if arguments[:1] != ["profiles"] else "spectramind train"
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has gone, as with `| head`; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _command_words(arguments: Sequence[str]) -> list[str]:
    return list(arguments[: 2 if arguments[:1] == ["config"] else 1])


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    command, *rest = arguments
    if command == "--version":
        from importlib.metadata import version

        print(f"spectramind {version('spectramind')}")
        return 0
    if command in _TRAINING:
        return _training_command(command)(rest)
    commands = {"config": _CONFIG, "profiles": _PROFILES}
    if command not in commands:
        raise _unknown(command, [*_TRAINING, *commands], "spectramind")
    if not rest or rest[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if rest[0] not in commands[command]:
        raise _unknown(rest[0], list(commands[command]), f"spectramind {command}")
    return commands[command][rest[0]](rest[1:])


def _unknown(word: str, known: Sequence[str], program: str) -> ConfigError:
    close = nearest(word, known)
    return ConfigError(
        Problem(
            what=f"{program} has no command '{word}'",
            expected="one of " + ", ".join(known),
            nearest=close and f"{program} {close}",
            hint="spectramind --help",
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


def _take_flag(arguments: list[str], *flags: str) -> set[str]:
    """Remove the known flags from a command line of overrides; refuse any other."""
    given = {argument for argument in arguments if argument.startswith("--")}
    for flag in given - set(flags):
        raise ConfigError(
            Problem(what=f"{flag}: there is no such flag", expected=", ".join(flags), nearest=nearest(flag, flags))
        )
    arguments[:] = [argument for argument in arguments if argument not in given]
    return given


def _show(arguments: list[str]) -> int:
    flags = _take_flag(arguments, "--json")
    config = compose(arguments)
    print(json.dumps(config.to_dict(), indent=2) if flags else config.to_yaml(), end="\n" if flags else "")
    return 0


def _validate(arguments: list[str]) -> int:
    _take_flag(arguments)
    compose(arguments)
    return 0


def _hash(arguments: list[str]) -> int:
    flags = _take_flag(arguments, "--science")
    config = compose(arguments)
    print(config.science_fingerprint if flags else config.fingerprint)
    return 0


def _explain(arguments: list[str]) -> int:
    flags = _take_flag(arguments, "--json")
    paths = [argument for argument in arguments if "=" not in argument]
    config = compose([argument for argument in arguments if argument not in paths])
    origins = _selected(config, paths)
    if flags:
        print(json.dumps([origin.to_dict() for origin in origins], indent=2))
    else:
        print("\n".join(_explained(origins)))
    return 0


def _selected(config: EffectiveConfig, paths: Sequence[str]) -> list[Origin]:
    if not paths:
        return config.origins()
    found: list[Origin] = []
    for path in paths:
        section = [origin for origin in config.origins() if origin.path.startswith(f"{path}.")]
        found += section or [config.origin(path)]
    return found


def _explained(origins: Sequence[Origin]) -> list[str]:
    width = max(len(origin.path) for origin in origins)
    lines = []
    for origin in origins:
        lines.append(f"{origin.path:<{width}}  {_plain(origin.value)}")
        setter = origin.option if origin.layer == "override" else f"{origin.layer}={origin.option}"
        behind = f", from {origin.raw}" if origin.raw else ""
        lines.append(f"{'':<{width}}    set by {setter} ({_short(origin.source)}{behind})")
        for one in origin.shadowed:
            setter = one.option if one.layer == "override" else f"{one.layer}={one.option}"
            lines.append(f"{'':<{width}}    shadows {_plain(one.value)} of {setter} ({_short(one.source)})")
    return lines


def _plain(value: object) -> str:
    return json.dumps(value)


def _short(source: str) -> str:
    """A source as a reader recognizes it: the path below the working directory, or the file's name alone."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def _list(arguments: list[str]) -> int:
    _take_flag(arguments)
    rows = [
        (group, one.name, one.provider, one.summary) for group in GROUPS for one in REGISTRY.profiles[group].values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))
    return 0


def _show_profile(arguments: list[str]) -> int:
    _take_flag(arguments)
    if not arguments:
        raise ConfigError("profiles show needs a profile: spectramind profiles show local=hpc")
    for number, argument in enumerate(arguments):
        chosen = _named(argument)
        parent = next(base for base in chosen.cls.__mro__[1:] if base.__name__ != "object")
        blank = "\n" if number else ""
        print(f"{blank}{chosen.group}={chosen.name}: {chosen.summary}")
        print(f"  {chosen.cls.__qualname__}({parent.__name__}), {chosen.source}")
        reference = parent()
        for path, leaf in leaves_of(chosen.cls).items():
            value = value_at(chosen.instance, path)
            known = path in leaves_of(parent)
            if path != "name" and not (known and value_at(reference, path) == value):
                was = f" instead of {_plain(value_at(reference, path))}" if known else " (added)"
                print(f"  {path} = {_plain(value)}{was}  # {leaf.description}; {_short(leaf_source(chosen.cls, path))}")
    return 0


def _named(text: str) -> Registered:
    group, equals, name = text.rpartition("=")
    candidates = [group] if equals else list(GROUPS)
    found = [one for group in candidates if group in GROUPS and (one := REGISTRY.get(group, name)) is not None]
    if len(found) == 1:
        return found[0]
    known = [f"{group}={one}" for group in GROUPS for one in REGISTRY.profiles[group]]
    close = nearest(text if equals else f"local={text}", known)
    if found:
        raise ConfigError(
            f"'{text}' is a profile of several groups: " + ", ".join(f"{one.group}={name}" for one in found)
        )
    raise ConfigError(
        Problem(what=f"there is no profile '{text}'", nearest=close, hint="spectramind profiles list shows them all")
    )


_CONFIG: dict[str, Callable[[list[str]], int]] = {
    "show": _show,
    "explain": _explain,
    "validate": _validate,
    "hash": _hash,
}
_PROFILES: dict[str, Callable[[list[str]], int]] = {"list": _list, "show": _show_profile}


if __name__ == "__main__":
    sys.exit(main())
