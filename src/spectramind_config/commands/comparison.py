"""What differs between two configs, with who set each side."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spectramind_config.commands.explanation import is_name
from spectramind_config.commands.reporting import setter, shown
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.compose.provenance import Origin
from spectramind_config.compose.saved import from_file
from spectramind_config.errors import ConfigError, Problem, quoted
from spectramind_config.schema.values import plain, same

Difference = tuple[str, Origin | None, Origin | None]
"""A path and its origin on both sides; None where a side has no such setting."""


def sides(arguments: Sequence[str], root: type[Config]) -> list[Config]:
    """The configs that the arguments of ``config diff`` stand for.

    Raises:
        ConfigError: One of them stands for none; its corrected command is that of both.
    """
    found = []
    for argument in arguments:
        try:
            found.append(_side(argument, root))
        except ConfigError as error:
            corrected = error.corrected()
            fix = None if corrected is None else " ".join(map(quoted, corrected))
            problems = [dataclasses.replace(one, argument=argument, instead=fix) for one in error.problems]
            raise ConfigError(problems, arguments) from None
    return found


def _side(text: str, root: type[Config]) -> Config:
    """A file, a run's directory, or overrides in quotes."""
    if text and os.path.exists(text):  # noqa: PTH110 - Path.exists raises where a text is no path.
        return from_file(Path(text), root)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(Problem(what=f"{text}: {str(error).lower()}", see="config diff --help")) from None
    if strangers := [word for word in words if "=" not in word]:
        raise ConfigError(
            Problem(
                what=f"{strangers[0]}: there is no such file, and it is not an override",
                expected="overrides in quotes, a file of config show, or a run's directory or manifest",
                see="config diff --help",
            )
        )
    return compose(words, root)


def differences(left: Config, right: Config) -> list[Difference]:
    """Every path whose values differ, or that only one side has: the chosen profiles first, then as in ``to_dict``."""
    ours, theirs = ({origin.path: origin for origin in config.origins()} for config in (left, right))
    paths = sorted(ours | theirs, key=lambda path: not is_name(left, path))
    found: list[Difference] = [(path, ours.get(path), theirs.get(path)) for path in paths]
    return [
        (path, one, other)
        for path, one, other in found
        if one is None or other is None or not same(plain(one.value), plain(other.value))
    ]


def report(found: Sequence[Difference]) -> Iterator[str]:
    """The differences for a reader: a path, then each side's value and who set it."""
    values = {id(one): shown(one.value) for _, *both in found for one in both if one}
    width = min(40, max(map(len, values.values()), default=0))
    for path, *both in found:
        yield path
        for name, one in zip("AB", both, strict=True):
            who = setter(one) if one and not path.endswith(".name") else ""
            yield f"  {name}: {values[id(one)]:<{width}}  {who}".rstrip() if one else f"  {name}: no such setting"


def as_data(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """The differences as ``config diff --json`` prints them."""
    return [{"path": path, "a": one and one.to_dict(), "b": other and other.to_dict()} for path, one, other in found]
