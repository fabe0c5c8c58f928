"""A command: its arguments, read by argparse with mistakes in this package's words, and how it prints."""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from spectramind_config.compose.config import Config
from spectramind_config.errors import WIDTH, ConfigError, Problem, nearest, wrapped, write
from spectramind_config.schema.values import plain

Arguments = Mapping[str, Mapping[str, Any]]
JSON = {"--json": {"action": "store_true", "help": "print JSON"}}
_SITES = {
    "--profiles": {"action": "append", "default": [], "metavar": "PATH", "help": "Python files, or folders"},
    "--config-dir": {"action": "append", "default": [], "metavar": "DIR", "help": "DIR/GROUP/NAME.yaml"},
}


@dataclass(frozen=True)
class Command:
    """One command."""

    words: str  # What selects it, such as `config show`.
    help: str  # What it is for, in a line.
    run: Callable[[argparse.Namespace, type[Config]], int | None]  # Does it; an exit code other than 0.
    arguments: Callable[[Parser], None] | Arguments  # What it takes, or what adds that to a parser.
    epilog: str = ""  # What its help ends with.
    is_run: bool = False  # Whether it runs something with a config, so that its help lists the settings.

    def parser(self, program: str) -> Parser:
        """The parser of its command line."""
        return Parser(program, self)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ``ConfigError`` and whose help fits the terminal."""

    def __init__(self, program: str, command: Command) -> None:
        self.words = command.words
        about = f"{command.help[0].upper()}{command.help[1:]}."
        layout = functools.partial(argparse.HelpFormatter, max_help_position=26, width=width())
        super().__init__(f"{program} {self.words}".strip(), None, about, command.epilog, [], layout, allow_abbrev=False)
        add(self.add_argument_group("profiles from elsewhere"), _SITES)
        command.arguments(self) if callable(command.arguments) else add(self, command.arguments)

    def error(self, message: str) -> NoReturn:
        """A mistake of the user's."""
        problem = functools.partial(Problem, see=f"{self.words} --help".strip())
        if found := re.match(r"unrecognized arguments: (-[^\s=]*)(\S*)", message):
            flag, value = found.groups()
            flags = [flag for action in self._actions for flag in action.option_strings]
            problem = functools.partial(problem, what=f"{flag}: there is no such flag", expected=", ".join(flags))
            close = nearest(flag, flags)
            raise ConfigError(problem(nearest=close, argument=flag + value, instead=close and close + value))
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            names = " ".join(str(action.metavar) for action in self._actions if not action.option_strings)
            limit = f"no more than {names}" if names else "flags only"
            raise ConfigError(problem(what=f"{found[1]}: {self.prog} takes {limit}"))
        if found := re.match(r"the following arguments are required: ([^,]+)", message):
            raise ConfigError(problem(what=f"{found[1]} is missing", expected=self._named(found[1]).help))
        if found := re.match(r"argument (\S+): (.*)", message):
            flag, reason = max(found[1].split("/"), key=len), found[2]
            action = self._named(flag)
            if action.choices and (word := re.match(r"invalid choice: '(.*?)'", reason)):
                what, expected = f"{flag}: there is no '{word[1]}'", "one of " + ", ".join(action.choices)
                raise ConfigError(problem(what=what, expected=expected, nearest=nearest(word[1], action.choices)))
            reason = "it needs a value" if reason.startswith("expected") else reason
            raise ConfigError(problem(what=f"{flag}: {reason}", expected=action.help))
        raise ConfigError(problem(what=message))

    def _named(self, name: str) -> argparse.Action:
        unknown = argparse.Action([], name)
        return next((one for one in self._actions if name in (*one.option_strings, one.metavar)), unknown)


def add(parser: argparse._ActionsContainer, arguments: Arguments) -> None:
    """Add arguments, of one or several names each, to a parser or to a group in its help."""
    for names, meaning in arguments.items():
        parser.add_argument(*names.split(), **meaning)


def width() -> int:
    """Columns that a line may fill."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(sys.__stdout__.fileno()).columns)  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        columns = WIDTH
    return max(40, min(WIDTH, columns))


def fitted(label: str, text: str) -> str:
    """A text behind a label, in lines that fit the terminal."""
    return wrapped(label, text, width())


def out(*lines: str) -> None:
    """Print lines."""
    for line in lines:
        write(line, sys.stdout)


def out_json(data: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2))


def shown(value: object) -> str:
    """A value as JSON writes it, which shows its type."""
    return json.dumps(plain(value), ensure_ascii=False)


def short(source: str) -> str:
    """A source as a reader recognizes it: the path below the working directory, or the file's name alone."""
    path, here = Path(source), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name
