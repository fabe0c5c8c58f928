"""Overrides in Hydra's grammar, read and written."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectramind_config.errors import ConfigError, Problem, quoted
from spectramind_config.schema.values import Written, plain

COMMAND_LINE = "command line"
# Plain ``key=word`` and ``key=12`` skip Hydra's parser: 60 times as fast, and the same result (differential test).
_PLAIN = re.compile(
    r"(?P<key>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)="
    r"(?:(?P<int>0|-?[1-9][0-9]{0,17})|(?!(?i:nan|inf)$)(?P<word>[A-Za-z_][\w/.-]*))",
    re.ASCII,
)
_CONSTANTS = {"null": None, "true": True, "false": False}


@dataclass(slots=True)
class Override:
    """One parsed override."""

    argument: str  # As it was written.
    key: str  # The dotted path or the group.
    value: Any  # A scalar, list or dict of Python; ``Written`` where a string setting takes the text.
    sign: str = ""  # Or "+", "++" or "~".
    source: str = COMMAND_LINE  # Where it stands.
    experiment: str = ""  # The experiment that it is part of.

    @property
    def setter(self) -> tuple[str, str]:
        """The layer and the option that it is, as provenance tells them."""
        return ("experiment", self.experiment) if self.experiment else ("override", self.argument)

    def problem(self, what: str, *, instead: str | None = None, see: str = "config explain", **more: Any) -> Problem:
        """What is wrong with it."""
        if not self.argument.lstrip("+~").startswith(self.key):
            instead = None  # One element of a dict: a correction would drop the others.
        what, argument = f"{self.argument}: {what}", self.argument
        return Problem(what=what, origin=self.source, argument=argument, instead=instead, see=see, **more)


_LONGEST = 20_000  # Characters of an override.
_DEEPEST = 50  # Brackets within brackets of one.


@functools.lru_cache(maxsize=8192)
def parse(argument: str, source: str = COMMAND_LINE, experiment: str = "") -> Override:
    """Parse one override; ConfigError where it is not in Hydra's grammar, or is a sweep."""
    if found := _PLAIN.fullmatch(argument):
        key, number, word = found.group("key", "int", "word")
        value = int(number) if number is not None else _CONSTANTS.get(word.lower(), word)
        value = Written(value, word) if isinstance(value, bool) else value
        return Override(argument, key, value, "", source, experiment)

    from hydra.errors import HydraException

    from spectramind_config.compose import grammar

    opened = itertools.accumulate((one in "[{(") - (one in "]})") for one in argument)
    if len(argument) > _LONGEST:
        raise _malformed(argument, source, f"it has more than {_LONGEST} characters")
    if max(opened, default=0) > _DEEPEST:
        raise _malformed(argument, source, f"more than {_DEEPEST} brackets stand within each other")
    try:
        parsed, _ = grammar.parsed(argument)
        sign = "++" if parsed.is_force_add() else "+" if parsed.is_add() else "~" if parsed.is_delete() else ""
        key = parsed.key_or_group + (f"@{parsed.package}" if parsed.package else "")
        if not parsed.is_sweep_override():
            return Override(argument, key, parsed.value(), sign, source, experiment)
        if key.startswith("hydra"):
            return Override(argument, key, None, sign, source, experiment)
    except (HydraException, RecursionError, ValueError) as error:
        raise _malformed(argument, source, str(error).partition("\n")[0]) from None
    text, expected = argument.partition("=")[2], "one value, or a sweep with one run for each"
    hint = None
    if key == "experiment" and "," in text:
        several = f"experiment=[{text}]"
        hint = f"write several experiments of one run as a list: {quoted(several)}"
    elif "'" not in text and "," in text:  # The shell takes one pair of quotes for its own.
        again = f"{sign}{key}='{text}'"
        hint = f"quote a value that contains a comma, and all of it once more in a shell: {quoted(again)}"
    override, see = Override(argument, key, None, sign, source), f"{{run}} --multirun {quoted(argument)}"
    raise ConfigError(override.problem("several values for one run", expected=expected, hint=hint, see=see), [argument])


def _malformed(argument: str, source: str, reason: str) -> ConfigError:
    key, equals, text = argument.partition("=")
    instead = hint = None
    if not equals:
        reason = "there is no '='"
    elif stray := re.search(r"[^ -~]|['\"]", key):
        reason = f"Hydra's grammar has no {stray[0]!r} in a key"
        hint = "set an entry of such a name in a profile or an experiment"
    elif "${" not in text and key and text and not {"'", "\\"} & set(text) and re.fullmatch(r"[A-Za-z_][\w.]*", key):
        instead = f"{key}='{text}'" if text.isprintable() and not text.startswith(("[", "{", '"')) else None
    what, expected = "this is not an override", "group=profile, or key=value with quotes around special characters"
    told = Override(argument, "", None, source=source).problem(
        f"{what}: {reason}", expected=expected, instead=instead, hint=hint
    )
    return ConfigError(told, [argument])


def text_of(value: Any) -> str:
    """A parsed value as it was written."""
    return value if isinstance(value, str) else value.text if isinstance(value, Written) else str(plain(value))


def write(key: str, value: object) -> str:
    """The override that sets a key to a value: the inverse of ``parse``."""
    return f"{key}={_literal(value)}"


def _key(name: object) -> str:  # Of a dict, which Hydra's grammar takes without quotes only.
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", name) if isinstance(name, str) else _literal(name)


def _literal(value: object) -> str:
    value = plain(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(name)}:{_literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_literal, value)) + "]"
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(f"key={value}") and isinstance(parse(f"key={value}").value, str):
        return value
    # Hydra unescapes the backslashes that stand before a quote, and only those.
    return "'" + re.sub(r"(\\*)('|$(?!\n))", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value) + "'"
