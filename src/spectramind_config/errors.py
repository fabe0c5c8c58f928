"""What a user is told about a mistake: one paragraph per mistake, and the command to run instead."""

from __future__ import annotations

import difflib
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake of a user.

    Args:
        what: The key and value that are wrong, and why, in one sentence.
        origin: Where the value came from: the command line, a file and line, an environment variable.
        expected: The type, range or choices, with the field's own description.
        nearest: The nearest thing that exists.
        argument: The override on the command line that is wrong, as it was written.
        instead: The override to write in its place; empty to leave it out; None when nobody can tell.
        hint: What to do where no override can help.
        see: The command to run next where nobody can tell what was meant.
    """

    what: str
    origin: str | None = None
    expected: str | None = None
    nearest: str | None = None
    argument: str | None = None
    instead: str | None = None
    hint: str | None = None
    see: str | None = None

    def __str__(self) -> str:
        details = {"from": self.origin, "expected": self.expected, "nearest": self.nearest, "do": self.hint}
        lines = [_wrapped(f"  {label + ':':<10}", text) for label, text in details.items() if text]
        return "\n".join([self.what, *lines])


def _wrapped(label: str, text: str) -> str:
    if len(label) + len(text) <= 120:
        return label + text
    indent = " " * len(label)
    return textwrap.fill(
        text, 120, initial_indent=label, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


class ConfigError(Exception):
    """A mistake of the user's; ``str(error)`` is the whole message.

    Args:
        problems: One sentence, one problem, or all the problems that one command line has.
        arguments: The command line they were found in, for the corrected command at the end of the message.
    """

    def __init__(self, problems: str | Problem | Iterable[Problem], arguments: Sequence[str] = ()) -> None:
        if isinstance(problems, str):
            problems = Problem(what=problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.arguments = tuple(arguments)
        self.command = "spectramind train"
        super().__init__(self.problems, self.arguments)

    def __str__(self) -> str:
        paragraphs = [str(problem) for problem in self.problems]
        if len(paragraphs) > 1:
            paragraphs = [f"{number}. {text}" for number, text in enumerate(paragraphs, 1)]
            paragraphs.insert(0, f"{len(self.problems)} mistakes:")
        corrected = self.corrected()
        if corrected is not None:
            paragraphs.append(f"run instead: {' '.join([self.command, *map(quoted, corrected)])}")
        else:
            commands = dict.fromkeys(
                problem.see for problem in self.problems if problem.see and problem.instead is None
            )
            paragraphs += [f"see: {command}" for command in commands]
        return "\n".join(paragraphs)

    def corrected(self) -> list[str] | None:
        """The command line with every mistake mended, or None where that needs a decision of the user's."""
        fixes = {problem.argument: problem.instead for problem in self.problems}
        if not fixes or None in fixes or None in fixes.values():
            return None
        arguments = [fixes.get(argument, argument) for argument in self.arguments]
        added = [fix for argument, fix in fixes.items() if argument not in self.arguments]
        return [argument for argument in dict.fromkeys([*arguments, *added]) if argument]


def quoted(argument: str) -> str:
    """An argument as a shell takes it, in the quotes that read best."""
    if "'" in argument and not set('"$`\\!') & set(argument):
        return f'"{argument}"'
    return shlex.quote(argument)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a misspelt word most likely meant, or None when nothing is close."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return matches[0] if matches else None
