"""How the commands read their flags and print values."""

from __future__ import annotations

import json
from pathlib import Path

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.provenance import Setter

WIDTH = 120
"""No printed line is longer, unless one value alone is."""


def take_flags(arguments: list[str], *flags: str) -> set[str]:
    """Remove the known flags from a command line of overrides; refuse any other."""
    given = {argument for argument in arguments if argument.startswith("--")}
    for flag in given - set(flags):
        raise ConfigError(
            Problem(
                what=f"{flag}: there is no such flag",
                expected=", ".join(flags) or "no flag at all",
                nearest=nearest(flag, flags),
                see="spectramind --help",
            )
        )
    arguments[:] = [argument for argument in arguments if argument not in given]
    return given


def take_option(arguments: list[str], flag: str) -> list[str]:
    """Remove a flag and its values (``--file FILE``, ``--file=FILE``) from a command line, as often as it is given."""
    values: list[str] = []
    for number in reversed(range(len(arguments))):
        name, equals, value = arguments[number].partition("=")
        if name == flag:
            taken = [value] if equals else arguments[number + 1 : number + 2]
            if not taken or not taken[0]:
                raise ConfigError(Problem(what=f"{flag}: it needs a value", see="spectramind --help"))
            del arguments[number : number + (1 if equals else 2)]
            values[:0] = taken
    return values


def plain(value: object) -> str:
    """A value as JSON writes it, which shows its type."""
    return json.dumps(value, ensure_ascii=False)


def short(source: str) -> str:
    """A source as a reader recognizes it: the path below the working directory, or the file's name alone."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def setter(one: Setter) -> str:
    """Who says something: the profile with its class, or the override, and where that stands."""
    return ", ".join(part for part in (str(one), one.owner, short(one.source)) if part)
