"""A program with a typed config: its run, its commands about configs and profiles, its help and its exit codes."""

from __future__ import annotations

import errno
import functools
import gc
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spectramind_config.commands import jobs
from spectramind_config.commands.command import Command, Parser, add, fitted, open_streams, out, shown
from spectramind_config.compose.config import Config
from spectramind_config.errors import ConfigError, Problem, listed, nearest, silence
from spectramind_config.schema.fields import Leaf, leaves_of
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.sources import summary_of
from spectramind_config.schema.values import value_at
from spectramind_config.sites.loading import IMPORTING, entries, load

_CANNOT_PRINT = (errno.EPIPE, errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF, errno.EDQUOT)
C = TypeVar("C", bound=Config, contravariant=True)


class Main(Protocol):
    """What ``main`` makes of a function of a config."""

    def __call__(self, argv: Sequence[str] | None = None) -> None:
        """Run a command line; leaves with its exit code where that is not 0."""


def main(root: type[C], *, program: str | None = None) -> Callable[[Callable[[C], object]], Main]:
    """Make a command line of a function of a config: what ``hydra.main`` is to a function of a ``DictConfig``.

    The function returns nothing or an exit code (an int), or a value that a sweeper optimises (a float). The program
    leaves with exit code 2 after a mistake of the user's, which is told in one message. ``program`` is what a user
    types to start it, found out by default.
    """

    def decorate(task: Callable[[C], object]) -> Main:
        @functools.wraps(task)
        def start(argv: Sequence[str] | None = None) -> None:
            if argv is None and IMPORTING:  # A script that does not ask whether it is the one that is run.
                return
            if code := Program(root, program or _typed(), task).main(argv):
                sys.exit(code)

        return start

    return decorate


def _require_folder() -> None:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd does the same, and more.
    except OSError:
        raise ConfigError("the working directory is not there any more; change to another") from None


def _typed() -> str:  # What the user typed to start this process.
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else Path(sys.argv[0]).name


@dataclass(frozen=True)
class Program:
    """A command line."""

    root: type[Config]  # The class of its config.
    name: str  # The program as a user types it.
    task: Callable[[Any], object] | None = None  # What a run does; None where runs are commands of their own.
    commands: Sequence[Command] = ()  # More commands than those about configs and profiles.
    about: str = ""  # What it is for, for its help; the root's docstring by default.

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run one command; returns 0, 2 after a mistake of the user's, 130 if interrupted, or what a run returned."""
        if argv is None:  # What is imported by now stays; the collector need not walk it again, at exit least of all.
            open_streams()
            gc.freeze()
            gc.disable()
        arguments = _command_first(sys.argv[1:] if argv is None else argv)
        spec, words = self.root._root, ""
        variable = os.environ.get(spec.variable)
        try:
            _require_folder()
            command, words = self._selected(arguments)
            if command is None:
                out(*self._help(words))
                return 0
            arguments = arguments[len(words.split()) :]
            parser = Parser(self.name, command)
            if command.is_run and {"-h", "--help"} & set(arguments):
                out(parser.format_help(), *_settings(self.root))
                return 0
            options = parser.parse_intermixed_args(arguments)
            options.command = spec.command if self.task is None else self.name
            options.program = self.name
            found = [*entries(variable or ""), *_sites(options, list(spec.groups))]
            if found:  # Absolute, and in the environment, for the processes that a command starts.
                os.environ[spec.variable] = os.pathsep.join(map(str, found))
            if not words.startswith(("config", "profiles")):  # Only a run lasts long enough to make garbage.
                gc.enable()
            return command.run(options, self.root) or 0
        except ConfigError as error:
            error.program, error.command = self.name, f"{self.name} {words}".strip()
            error.run, error.arguments = self.name if self.task else spec.command, tuple(arguments)
            return error.tell()
        except OSError as error:
            if error.filename is None and error.errno in _CANNOT_PRINT:
                silence()
                if error.errno == errno.EPIPE:  # The reader of our output has gone, as with `| head`.
                    return 0
                error.filename = "the output"
            if error.filename is None and error.errno != errno.ENOENT:
                raise  # Without a name it is a fault of ours, but where there is no folder for temporary files.
            place = "" if error.filename is None else f"{error.filename}: "
            return ConfigError(f"{place}{error.strerror}", (), self.name).tell()
        except KeyboardInterrupt:
            return 130
        except SystemExit as left:  # What argparse does once it has printed a command's help.
            if left.code not in (0, None):
                raise
            return 0
        finally:
            os.environ.pop(spec.variable, None)
            if variable is not None:
                os.environ[spec.variable] = variable

    def _commands(self) -> list[Command]:
        from spectramind_config.commands import configs, profiles

        own = {one.words for one in self.commands}  # One of a program's own may take the place of ours.
        return [*self.commands, *(one for one in (*configs.COMMANDS, *profiles.COMMANDS) if one.words not in own)]

    def _selected(self, arguments: Sequence[str]) -> tuple[Command | None, str]:  # None where help is asked for.
        first, *rest = arguments or [""]
        if first in ("-h", "--help", "help") or (not arguments and self.task is None):
            return None, ""
        named = {tuple(command.words.split()): command for command in self._commands()}
        for words in ((first, *rest[:1]), (first,)):
            if words in named:
                return named[words], " ".join(words)
        below = [words[1] for words in named if words[0] == first]
        if below and (not rest or rest[0] in ("-h", "--help")):
            return None, first
        label, word, known = self.name, first, list(dict.fromkeys(words[0] for words in named))
        if self.task and not below and ("=" in first or not nearest(first, known)):
            return _run_of(self.task), ""
        if below:
            label, word, known = f"{self.name} {first}", rest[0], below
        close, what = nearest(word, known), f"{label} has no command '{word}'"
        problem = Problem(what=what, expected=listed(known), argument=word, instead=close)
        see = f"{first} --help" if below else "--help"
        raise ConfigError(replace(problem, nearest=close and f"{label} {close}", see=see))

    def _help(self, folder: str) -> Iterator[str]:
        commands = [one for one in self._commands() if not folder or one.words.startswith(f"{folder} ")]
        size = max(len(one.words) for one in commands)
        listed = (fitted(f"  {one.words:<{size}}  ", one.help) for one in commands)
        if folder:
            yield from (f"usage: {self.name} {folder} COMMAND [argument…]", "", *listed, "")
            yield f"{self.name} {folder} COMMAND --help tells more."
            return
        about = self.about or summary_of(self.root)
        yield f"usage: {self.name} {'[override…] [flag…]' if self.task else 'COMMAND [argument…]'}"
        yield from (*(["", fitted("", about)] if about else []), "", "commands", *listed, "")
        more = f"{self.name} COMMAND --help tells more of a command."
        yield fitted("", f"An override is GROUP=PROFILE or SETTING=VALUE; {more}")
        if self.task:
            parser = Parser(self.name, _run_of(self.task))
            parser.usage, parser.description = "", None
            yield from ("", parser.format_help().partition("\n\n")[2].rstrip(), "", *_settings(self.root))


def _command_first(arguments: Sequence[str]) -> list[str]:  # Flags before the command go to the end.
    start = 0
    while start < len(arguments) and re.match(r"--(profiles|config-dir)(=|$)", arguments[start]):
        start += 1 if "=" in arguments[start] else 2
    return [*arguments[start:], *arguments[:start]]


def _run_of(task: jobs.Task) -> Command:
    return Command("", "run", functools.partial(jobs.run, task=task), of_run, is_run=True)


def of_run(parser: Parser) -> None:
    """The arguments of a command that runs something with a config."""
    add(parser, {"overrides": {"nargs": "*", "metavar": "OVERRIDE", "help": "GROUP=PROFILE, or SETTING=VALUE"}})
    add(parser.add_argument_group("Hydra"), jobs.FLAGS)


def _settings(root: type[Config]) -> Iterator[str]:
    spec = root._root
    load(spec)
    view = REGISTRY.view(spec)
    yield "groups, and the profiles to choose from (* is the default)"
    for group in spec.groups.values():
        names = (f"{name}{'*' * (name == group.default)}" for name in view[group.name])
        yield fitted(f"  {group.name}=", ", ".join(names))
    if found := REGISTRY.experiments(spec):
        yield fitted("  experiment=", ", ".join(found))
    yield from _part(f"settings of {root.__name__}", "", spec.own, Namespace(**spec.values()))
    for group in spec.groups.values():
        seen = {"name"}
        for one in sorted(view[group.name].values(), key=lambda one: one.name != group.default):
            leaves = {path: leaf for path, leaf in leaves_of(one.cls).items() if path not in seen}
            title = f"settings of {group.name}" if len(seen) == 1 else f"more of {group.name}={one.name}"
            yield from _part(title, f"{group.name}.", leaves, one.instance)
            seen |= leaves.keys()


def _part(title: str, prefix: str, leaves: Mapping[str, Leaf], values: object) -> Iterator[str]:
    yield from ("", title) if leaves else ()
    for path, leaf in leaves.items():
        yield f"  {prefix}{path}={shown(value_at(values, path))}"
        yield fitted("      ", f"{leaf.description + ': ' if leaf.description else ''}{leaf.type.words}")


def _sites(options: Namespace, groups: Sequence[str]) -> Iterator[Path]:
    for file in (file for path in options.profiles for file in entries(path)):
        if not os.path.exists(file):  # noqa: PTH110 - Path.exists raises where a text is no path.
            raise ConfigError(Problem(what=f"--profiles {file}: there is no such file or folder"))
        yield file
    for folder in options.config_dir:
        found = [Path(folder, group) for group in groups if os.path.isdir(Path(folder, group))]  # noqa: PTH112 - likewise.
        overlays = [file.absolute() for one in found for file in sorted(one.glob("*.yaml"))]
        if not overlays:
            what = f"--config-dir {folder}: there is no YAML overlay in it"
            expected = f"{folder}/GROUP/NAME.yaml, with a group of {', '.join(groups)}"
            raise ConfigError(Problem(what=what, expected=expected))
        yield from overlays
