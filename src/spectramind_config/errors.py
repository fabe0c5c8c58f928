"""What a user is told about a mistake: one paragraph per mistake, and the command to run instead."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

WIDTH = 120  # No printed line is longer, unless one value alone is or the terminal is narrower.
HIDDEN = "***"  # What stands for a secret wherever one would be shown.
MOST = 20  # As many mistakes of one command line are told in full.
_LONGEST = 2000  # Characters that one text of a message, or a corrected command line, may have.


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake of a user."""

    what: str  # The key and value that are wrong, and why, in one sentence.
    origin: str | None = None  # Where the value came from: the command line, a file and line, an environment variable.
    expected: str | None = None  # The type, range or choices, with the field's own description.
    nearest: str | None = None  # The nearest thing that exists.
    argument: str | None = None  # The override on the command line that is wrong, as it was written.
    instead: str | None = None  # The override to write in its place; empty to leave it out; None when nobody can tell.
    hint: str | None = None  # What to do where no override can help.
    see: str | None = None  # The command to run next where nobody knows what was meant, without the program's name.
    more: str | None = None  # What else there is to say, in lines of its own.

    def __str__(self) -> str:
        details = {"from": self.origin, "expected": self.expected, "nearest": self.nearest, "do": self.hint}
        lines = (wrapped(f"  {label + ':':<10}", _told(text)) for label, text in details.items() if text)
        return "\n".join((_told(self.what), *map(_told, (self.more or "").splitlines()), *lines))


def wrapped(label: str, text: str, width: int = WIDTH) -> str:
    """A text behind a label, broken into lines that stand below each other."""
    if len(label) + len(text) <= width:
        return label + text
    wrapper = textwrap.TextWrapper(width, label, " " * len(label), break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(text)


class ConfigError(Exception):
    """A mistake of the user's, or all those of one command line; ``str(error)`` is the whole message."""

    def __init__(
        self,
        problems: str | Problem | Iterable[Problem],
        arguments: Sequence[str] = (),  # The command line, which the message ends with, corrected.
        program: str = "spectramind",  # The program whose commands the message names.
        command: str = "spectramind train",  # What stands before the arguments.
    ) -> None:
        if isinstance(problems, str):
            problems = Problem(what=problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.arguments, self.program, self.command, self.run = tuple(arguments), program, command, command
        super().__init__(self.problems, self.arguments, program, command)

    def __str__(self) -> str:
        paragraphs = [str(problem) for problem in self.problems[:MOST]]
        if len(self.problems) > 1:
            paragraphs = [f"{number}. {text}" for number, text in enumerate(paragraphs, 1)]
            paragraphs.insert(0, f"{len(self.problems)} mistakes:")
        if len(self.problems) > MOST:
            paragraphs.append(f"… and {len(self.problems) - MOST} more")
        if (corrected := self.corrected()) is not None:
            paragraphs.append(f"run instead: {' '.join([self.command, *map(quoted, corrected)])}")
        else:
            for see in dict.fromkeys(one.see for one in self.problems[:MOST] if one.see and one.instead is None):
                command = see.replace("{run}", self.run, 1) if see.startswith("{run}") else f"{self.program} {see}"
                paragraphs.append(f"see: {_told(command)}")
        text = "\n".join(paragraphs)
        for argument in {*self.arguments, *(one.argument or "" for one in self.problems)}:
            key, _, value = argument.partition("=")
            if is_secret(key.rpartition(".")[2]) and len(value) > 3:  # Whole, for it may hold spaces and commas.
                text = text.replace(value, HIDDEN)
        return hidden(text)

    def corrected(self) -> list[str] | None:
        """The command line with every mistake mended, or None where that needs a decision of the user's."""
        fixes = {problem.argument: problem.instead for problem in self.problems}
        if not fixes or None in fixes or None in fixes.values() or len(fixes) > MOST:
            return None
        arguments = [fixes.get(argument, argument) for argument in self.arguments]
        added = [fix for argument, fix in fixes.items() if argument not in self.arguments]
        found = [argument for argument in dict.fromkeys([*arguments, *added]) if argument]
        return found if sum(map(len, found)) <= _LONGEST else None

    def tell(self) -> int:
        """Write the message to standard error; returns the exit code 2."""
        with suppress(OSError):  # Nobody may be there to be told.
            write(f"error: {self}", sys.stderr)
        return 2


_SECRETS: set[str] = set()
_USERINFO = re.compile(r"(?<=://)((?:\$\{[^}]*\}|[^\s/?#'\"@:])*:)?(?:\$\{[^}]*\}|[^\s/?#'\"])+@")


def keep_secret(name: str) -> None:
    """Have ``hidden`` know a setting, by the last part of its path, whose values nobody may see."""
    _SECRETS.add(name)


def is_secret(name: object) -> bool:
    """Whether a setting or an entry of this name is not to be seen."""
    return name in _SECRETS


def hidden(text: str) -> str:
    """A text without the passwords in its URIs and the values that it gives to secret settings."""
    if "@" in text:
        text = _USERINFO.sub(lambda found: f"{found[1] or ''}{HIDDEN}@", text)
    if _SECRETS:
        value = r"'(?:\\.|[^'\\])*'|\"[^\"]*\"|(?:\$\{[^}]*\}|[^\s,}'\"])+"
        text = re.sub(rf"\b((?:{'|'.join(map(re.escape, _SECRETS))})\s*[=:]\s*)({value})", _without_value, text)
    return text


def hidden_in(argument: str) -> str:
    """An override without what is secret in it: all of a secret's value, for that may hold spaces and commas."""
    key, equals, value = argument.partition("=")
    return f"{key}={HIDDEN}" if equals and value != "null" and is_secret(key.rpartition(".")[2]) else hidden(argument)


def _without_value(found: re.Match[str]) -> str:
    """Null is no secret, and what is hidden already keeps its quotes: YAML takes a bare ``***`` for an alias."""
    bare = found[2].rstrip(")]")
    return found[0] if bare in ("null", "None") or bare.strip("'\"") == HIDDEN else found[1] + HIDDEN


def write(text: str, stream: TextIO | None) -> None:
    """Print lines, whatever the terminal can show, without what is secret and without anything that it would obey."""
    if stream is None:  # The process was started without it.
        return
    encoding = stream.encoding or "utf-8"
    text = "\n".join(map(visible, hidden(text).split("\n")))
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def silence() -> None:
    """Let what waits to be printed go nowhere, where the output takes no more: Python would complain again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def visible(text: str) -> str:
    """A text on one line with what a terminal would obey, and not show, as Python, YAML and JSON write it.

    A name or a value of a stranger's could move the cursor, turn the direction or begin a line, and so forge a message.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _told(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} […] {text[-_LONGEST // 2 :]}"
    return visible(text)


def quoted(argument: str) -> str:
    """An argument as a shell takes it, in the quotes that read best."""
    if not argument.isprintable():
        return f"$'{''.join(map(_in_bash, argument))}'"
    if "'" in argument and not set('"$`\\!') & set(argument):
        return f'"{argument}"'
    return shlex.quote(argument)


def _in_bash(one: str) -> str:
    if one.isprintable():
        return f"\\{one}" if one in "\\'" else one
    half = "surrogateescape" if "\udc80" <= one <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", half))


def nearest(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The candidate that a misspelt word most likely meant, or None when nothing is close."""
    for close in difflib.get_close_matches(word, list(candidates), n=3, cutoff=cutoff) if len(word) <= 200 else ():
        # The first letter is seldom mistyped: where it differs, as in `gpu` and `cpu`, the rest has to be closer.
        if close[:1] == word[:1] or difflib.SequenceMatcher(None, word, close).ratio() >= max(0.75, cutoff):
            return close
    return None


def listed(known: Iterable[str]) -> str:
    """What is expected where one of these is."""
    names = ", ".join(known)
    return f"one of {names}" if names else "nothing, for there is none"


def unknown(kind: str, name: str, known: Sequence[str], *, see: str, at: str = "") -> ConfigError:
    """The error about a name that is none of the known ones."""
    what = f"{at or name}: there is no {kind} '{name}'"
    return ConfigError(Problem(what=what, expected=listed(known), nearest=nearest(name, known), see=see))
