"""How the commands read their flags and print values."""

from __future__ import annotations

import json
from pathlib import Path

from spectramind_config.errors import ConfigError, Problem, nearest


def take_flags(arguments: list[str], *flags: str) -> set[str]:
    """Remove the known flags from a command line of overrides; refuse any other."""
    given = {argument for argument in arguments if argument.startswith("--")}
    for flag in given - set(flags):
        raise ConfigError(
            Problem(what=f"{flag}: there is no such flag", expected=", ".join(flags), nearest=nearest(flag, flags))
        )
    arguments[:] = [argument for argument in arguments if argument not in given]
    return given


def plain(value: object) -> str:
    """A value as JSON writes it, which shows its type."""
    return json.dumps(value)


def short(source: str) -> str:
    """A source as a reader recognizes it: the path below the working directory, or the file's name alone."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
