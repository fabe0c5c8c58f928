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
from spectramind_config.errors import WIDTH, ConfigError, Problem, listed, nearest, wrapped, write
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
        told: dict[str, Any] = {"what": message}
        if found := re.match(r"unrecognized arguments: (-[^\s=]*)(\S*)", message):
            flag, value = found.groups()
            flags = [one for action in self._actions for one in action.option_strings]
            bare = {one.lstrip("-"): one for one in flags}  # All flags resemble each other in their dashes.
            close = bare.get(nearest(flag.lstrip("-"), bare, 0.7) or "")
            told = {"what": f"{flag}: there is no such flag", "expected": ", ".join(flags), "nearest": close}
            told |= {"argument": flag + value, "instead": close and close + value}
        elif found := re.match(r"unrecognized arguments: (\S+)", message):
            names = " ".join(str(action.metavar) for action in self._actions if not action.option_strings)
            told = {"what": f"{found[1]}: {self.prog} takes {f'no more than {names}' if names else 'flags only'}"}
        elif found := re.match(r"the following arguments are required: ([^,]+)", message):
            told = {"what": f"{found[1]} is missing", "expected": self._named(found[1]).help}
        elif found := re.match(r"argument (\S+): (.*)", message):
            flag, reason = max(found[1].split("/"), key=len), found[2]
            action = self._named(flag)
            told = {"what": f"{flag}: {reason}", "expected": action.help}
            if action.choices and (word := re.match(r"invalid choice: '(.*?)'", reason)):
                told = {"what": f"{flag}: there is no '{word[1]}'", "nearest": nearest(word[1], action.choices)}
                told["expected"] = listed(action.choices)
            elif reason.startswith("expected"):
                told["what"] = f"{flag}: it needs a value"
        raise ConfigError(Problem(see=f"{self.words} --help".strip(), **told))

    def _named(self, name: str) -> argparse.Action:
        unknown = argparse.Action([], name)
        return next((one for one in self._actions if name in (one.option_strings or (one.metavar,))), unknown)


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
    if lines:
        write("\n".join(lines), sys.stdout)


def out_json(data: Any) -> None:
    """Print data as JSON."""
    out(json.dumps(data, indent=2))


def open_streams() -> None:
    """Give a process that was started without some of its three streams others, which lead nowhere.

    Else the first file that it opens takes their number, and what is printed goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the smallest number that is free, which is this one.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115


def shown(value: object) -> str:
    """A value as JSON writes it, which shows its type."""
    return json.dumps(plain(value), ensure_ascii=False)


def short(source: str) -> str:
    """A source as a reader recognizes it: the path below the working directory, or the file's name alone."""
    path, here = Path(source), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else path.name
