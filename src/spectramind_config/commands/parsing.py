"""Commands and their flags, read by argparse, with mistakes in this package's words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from spectramind_config.commands.reporting import width
from spectramind_config.compose.config import Config
from spectramind_config.errors import ConfigError, Problem, nearest, wrapped


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ``ConfigError`` and whose help fits the terminal."""

    def __init__(self, program: str, words: str, description: str) -> None:
        self.words = words
        formatter: Any = lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=width())  # noqa: E731
        super().__init__(
            prog=f"{program} {words}".strip(),
            description=description,
            allow_abbrev=False,
            formatter_class=formatter,
        )
        sites = self.add_argument_group("profiles from elsewhere")
        sites.add_argument("--profiles", action="append", default=[], metavar="PATH", help="Python files, or folders")
        sites.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="DIR/GROUP/NAME.yaml")

    def error(self, message: str) -> NoReturn:
        """A mistake of the user's."""
        see = f"{self.words} --help".strip()
        flags = [flag for action in self._actions for flag in action.option_strings]
        expected: str | None
        if found := re.match(r"unrecognized arguments: (-\S*)", message):
            flag = found[1].partition("=")[0]
            close = nearest(flag, flags)
            fix = None if close is None else found[1].replace(flag, close, 1)
            what, expected = f"{flag}: there is no such flag", ", ".join(flags)
            problem = Problem(what=what, expected=expected, nearest=close, argument=found[1], instead=fix, see=see)
            raise ConfigError(problem)
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            names = " ".join(str(action.metavar) for action in self._actions if not action.option_strings)
            limit = f"no more than {names}" if names else "flags only"
            raise ConfigError(Problem(what=f"{found[1]}: {self.prog} takes {limit}", see=see))
        if found := re.match(r"the following arguments are required: ([^,]+)", message):
            action = self._named(found[1])
            expected = action.help if action else None
            raise ConfigError(Problem(what=f"{found[1]} is missing", expected=expected, see=see))
        if found := re.match(r"argument (\S+): (.*)", message):
            flag, reason = max(found[1].split("/"), key=len), found[2]
            action = self._named(flag)
            expected, close = action.help if action else None, None
            if reason.startswith("expected"):
                reason = "it needs a value"
            elif action and action.choices and (word := re.match(r"invalid choice: '(.*?)'", reason)):
                reason, close = f"there is no '{word[1]}'", nearest(word[1], action.choices)
                expected = "one of " + ", ".join(action.choices)
            raise ConfigError(Problem(what=f"{flag}: {reason}", expected=expected, nearest=close, see=see))
        raise ConfigError(Problem(what=message, see=see))

    def _named(self, name: str) -> argparse.Action | None:
        return next((one for one in self._actions if name in (*one.option_strings, one.metavar)), None)


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        words: What selects it, such as ``config show``.
        help: What it is for, in a line.
        run: Does it, and returns the exit code.
        arguments: Adds its arguments to a parser.
    """

    words: str
    help: str
    run: Callable[[argparse.Namespace, type[Config]], int]
    arguments: Callable[[Parser], None]

    def parser(self, program: str) -> Parser:
        """The parser of its command line."""
        text = f"{self.help[0].upper()}{self.help[1:]}."
        parser = Parser(program, self.words, text)
        self.arguments(parser)
        return parser


def select(argv: Sequence[str], commands: Sequence[Command], program: str) -> tuple[Command | None, str]:
    """The command that a command line selects; None with the words of a folder of commands that asks for help.

    Raises:
        ConfigError: There is none of that name.
    """
    words = [command.words.split() for command in commands]
    for length in (2, 1):
        for command in commands:
            if command.words.split() == list(argv[:length]) and len(command.words.split()) == length:
                return command, command.words
    folder = argv[0]
    below = [parts[1] for parts in words if len(parts) == 2 and parts[0] == folder]
    if below and (len(argv) == 1 or argv[1] in ("-h", "--help")):
        return None, folder
    known = below or list(dict.fromkeys(parts[0] for parts in words))
    word = argv[1] if below else folder
    close = nearest(word, known)
    label = f"{program} {folder}" if below else program
    raise ConfigError(
        Problem(
            what=f"{label} has no command '{word}'",
            expected="one of " + ", ".join(known),
            nearest=close and f"{label} {close}",
            argument=word,
            instead=close,
            see=f"{folder} --help" if below else "--help",
        ),
    )


def listed(commands: Sequence[Command]) -> list[str]:
    """The commands with their help, for a list."""
    size = max(len(command.words) for command in commands)
    return [wrapped(f"  {command.words:<{size}}  ", command.help, width()) for command in commands]
