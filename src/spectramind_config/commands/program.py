"""A program with a typed config: its run, its commands about configs and profiles, its help and its exit codes."""

from __future__ import annotations

import functools
import gc
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spectramind_config.commands.parsing import Command, Parser, listed, select
from spectramind_config.commands.reporting import out, shown, width
from spectramind_config.compose.config import Config
from spectramind_config.errors import ConfigError, Problem, wrapped
from spectramind_config.schema.fields import Leaf, leaves_of
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.values import value_at
from spectramind_config.sites.loading import entries, load

C = TypeVar("C", bound=Config, contravariant=True)


class Main(Protocol):
    """What ``main`` makes of a function of a config."""

    def __call__(self, argv: Sequence[str] | None = None) -> None:
        """Run a command line; leaves with its exit code where that is not 0."""


def main(root: type[C], *, program: str | None = None) -> Callable[[Callable[[C], object]], Main]:
    """Make a command line of a function of a config: what ``hydra.main`` is to a function of a ``DictConfig``.

    The function returns nothing or an exit code (an int), or a value that a sweeper optimises (a float). The program
    leaves with exit code 2 after a mistake of the user's, which is told in one message.

    Args:
        root: The class of its config.
        program: The program as a user types it; found out by default.
    """

    def decorate(task: Callable[[C], object]) -> Main:
        @functools.wraps(task)
        def start(argv: Sequence[str] | None = None) -> None:
            name = program or _program()
            code = Program(root, name, task=task).main(argv)
            if code:
                sys.exit(code)

        return start

    return decorate


def _program() -> str:
    """What the user typed to start this process."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else Path(sys.argv[0]).name


@dataclass(frozen=True)
class Program:
    """A command line.

    Attributes:
        root: The class of its config.
        name: The program as a user types it.
        task: What a run does; None where runs are commands of their own.
        commands: More commands than those about configs and profiles.
        about: What it is for, for its help; the root's docstring by default.
    """

    root: type[Config]
    name: str
    task: Callable[[Any], object] | None = None
    commands: Sequence[Command] = field(default=())
    about: str = ""

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run one command.

        Returns:
            The exit code: 0 done, 2 a mistake of the user's, 130 interrupted; a run has more.
        """
        if argv is None:  # What is imported by now stays; the collector need not walk it again, at exit least of all.
            gc.freeze()
            gc.disable()
        arguments = _command_first(sys.argv[1:] if argv is None else argv)
        spec, words = self.root._root, ""
        variable = os.environ.get(spec.variable)
        try:
            command, words = self._selected(arguments)
            if command is None:
                out(*self._help(words))
                return 0
            arguments = arguments[len(words.split()) :]
            if command.arguments is of_run and {"-h", "--help"} & set(arguments):
                out(command.parser(self.name).format_help(), *settings(self.root))
                return 0
            options = self._options(command, arguments)
            options.command = spec.command if self.task is None else self.name
            options.program = self.name
            found = [*entries(variable or ""), *_sites(options, list(spec.groups))]
            if found:  # Absolute, and in the environment, for the processes that a command starts.
                os.environ[spec.variable] = os.pathsep.join(map(str, found))
            if not words.startswith(("config", "profiles")):  # Only a run lasts long enough to make garbage.
                gc.enable()
            return command.run(options, self.root)
        except ConfigError as error:
            error.program = self.name
            error.command = f"{self.name} {words}".strip()
            error.run = self.name if self.task else spec.command
            error.arguments = tuple(arguments)
            return error.tell()
        except BrokenPipeError:
            # The reader of our output has gone, as with `| head`; Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            return 130
        except SystemExit as left:  # What argparse does once it has printed a command's help.
            if left.code not in (0, None):
                raise
            return 0
        finally:
            if variable is None:
                os.environ.pop(spec.variable, None)
            else:
                os.environ[spec.variable] = variable

    def _selected(self, arguments: Sequence[str]) -> tuple[Command | None, str]:
        first = arguments[0] if arguments else ""
        commands = self._commands()
        if first in ("-h", "--help", "help") or (not arguments and self.task is None):
            return None, ""
        folders = {command.words.partition(" ")[0] for command in commands}
        if first not in folders and self.task is not None:
            return self._run(), ""
        return select(arguments, commands, self.name)

    def _commands(self) -> list[Command]:
        from spectramind_config.commands import configs, profiles

        return [*self.commands, *configs.COMMANDS, *profiles.COMMANDS]

    def _run(self) -> Command:
        from spectramind_config.commands import jobs

        def run(options: Namespace, root: type[Config]) -> int:
            return jobs.run(options, root, self.task or (lambda _: None))

        return Command("", "run", run, of_run)

    def _options(self, command: Command, arguments: Sequence[str]) -> Namespace:
        parser = command.parser(self.name)
        try:
            return parser.parse_intermixed_args(list(arguments))
        except TypeError:
            return parser.parse_args(list(arguments))

    def _help(self, folder: str) -> Iterator[str]:
        """What the program does; of a folder of commands, those in it."""
        commands = [one for one in self._commands() if not folder or one.words.startswith(f"{folder} ")]
        if folder:
            yield f"usage: {self.name} {folder} COMMAND [argument…]"
            yield from ("", *listed(commands), "", f"{self.name} {folder} COMMAND --help tells more.")
            return
        runs = self.task is not None
        yield f"usage: {self.name} {'[override…] [flag…]' if runs else 'COMMAND [argument…]'}"
        yield from ("", wrapped("", self.about or (self.root.__doc__ or "").partition("\n")[0], width()), "")
        yield from ("commands", *listed(commands), "")
        text = f"An override is GROUP=PROFILE or SETTING=VALUE; {self.name} COMMAND --help tells more of a command."
        yield wrapped("", text, width())
        if runs:
            parser = self._run().parser(self.name)
            parser.usage, parser.description = "", None
            yield from ("", parser.format_help().partition("\n\n")[2].rstrip(), "")
            yield from settings(self.root)


def _command_first(arguments: Sequence[str]) -> list[str]:
    """A command line whose flags before the command, those for profiles from elsewhere, stand at its end."""
    start = 0
    while start < len(arguments) and re.match(r"--(profiles|config-dir)(=|$)", arguments[start]):
        start += 1 if "=" in arguments[start] else 2
    return [*arguments[start:], *arguments[:start]]


def of_run(parser: Parser) -> None:
    """The arguments of a command that runs something with a config."""
    from spectramind_config.commands import jobs

    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="GROUP=PROFILE, or SETTING=VALUE")
    jobs.add_flags(parser)


def settings(root: type[Config]) -> Iterator[str]:
    """Groups with their profiles, then every setting with its default, its meaning and what it takes."""
    spec = root._root
    load(spec)
    view = REGISTRY.view(spec)
    yield "groups, and the profiles to choose from (* is the default)"
    for group in spec.groups.values():
        names = ", ".join(f"{name}{'*' * (name == group.default)}" for name in view[group.name])
        yield wrapped(f"  {group.name}=", names, width())
    if found := REGISTRY.experiments(spec):
        yield wrapped("  experiment=", ", ".join(found), width())
    own = spec.values()
    if spec.own:
        yield from ("", f"settings of {root.__name__}")
    for path, leaf in spec.own.items():
        first, _, rest = path.partition(".")
        yield from _setting(path, leaf, value_at(own[first], rest) if rest else own[first])
    for group in spec.groups.values():
        seen: set[str] = {"name"}
        for one in sorted(view[group.name].values(), key=lambda one: one.name != group.default):
            leaves = {path: leaf for path, leaf in leaves_of(one.cls).items() if path not in seen}
            if leaves:
                yield from ("", f"settings of {group.name}" if len(seen) == 1 else f"more of {group.name}={one.name}")
            for path, leaf in leaves.items():
                yield from _setting(f"{group.name}.{path}", leaf, value_at(one.instance, path))
            seen |= leaves.keys()


def _setting(path: str, leaf: Leaf, default: Any) -> Iterator[str]:
    yield f"  {path}={shown(default)}"
    yield wrapped("      ", f"{leaf.description + ': ' if leaf.description else ''}{leaf.type.words}", width())


def _sites(options: Namespace, groups: Sequence[str]) -> list[Path]:
    files = [file for path in options.profiles for file in entries(path)]
    for file in files:
        if not os.path.exists(file):  # noqa: PTH110 - Path.exists raises where a text is no path.
            raise ConfigError(Problem(what=f"--profiles {file}: there is no such file or folder"))
    for folder in options.config_dir:
        overlays = [file.absolute() for group in groups for file in sorted(Path(folder, group).glob("*.yaml"))]
        if not overlays:
            what = f"--config-dir {folder}: there is no YAML overlay in it"
            expected = f"{folder}/GROUP/NAME.yaml, with a group of {', '.join(groups)}"
            raise ConfigError(Problem(what=what, expected=expected))
        files += overlays
    return files
