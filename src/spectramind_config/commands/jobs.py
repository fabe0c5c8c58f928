"""Jobs that Hydra starts: sweeps, launchers, ``--cfg`` and shell completion, under the contract of a plain run."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import math
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectramind_config.commands.parsing import Parser
from spectramind_config.commands.reporting import out
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.errors import ConfigError, Problem, quoted
from spectramind_config.schema import store
from spectramind_config.schema.fields import leaves_of
from spectramind_config.schema.registry import REGISTRY, Experiment, Registered
from spectramind_config.schema.values import Written

MOST_POINTS = 2000
"""A sweep of as many points is checked whole before its first job; of a larger one, each value once."""

Task = Callable[[Any], Any]


@dataclass(frozen=True)
class Finished:
    """How a job ended: its exit code, and the value that a sweeper optimises."""

    exit_code: int = 0
    value: float | None = None

    @classmethod
    def of(cls, result: object) -> Finished:
        """What a function of a config returned: nothing, an exit code (an int), or a value (a float)."""
        if isinstance(result, Finished):
            return result
        if isinstance(result, int):
            return cls(int(result))
        return cls(value=result) if isinstance(result, float) else cls()


def add_flags(parser: Parser) -> None:
    """Hydra's own flags."""
    hydra = parser.add_argument_group("Hydra")
    hydra.add_argument("--multirun", "-m", action="store_true", help="a run for each point of a sweep")
    hydra.add_argument(
        "--cfg",
        "-c",
        choices=("job", "hydra", "all"),
        metavar="PART",
        help="print the job, hydra or all of what Hydra composes",
    )
    hydra.add_argument("--resolve", action="store_true", help="with --cfg: interpolations looked up")
    hydra.add_argument("--package", "-p", metavar="NAME", help="with --cfg: of one package")
    topics = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    hydra.add_argument(
        "--info", "-i", nargs="?", const="all", choices=topics, metavar="TOPIC", help="about Hydra itself"
    )
    hydra.add_argument("--run", "-r", action="store_true", help="let Hydra start the run")
    hydra.add_argument("--hydra-help", action="store_true", help="Hydra's own help")
    hydra.add_argument("--shell-completion", "-sc", action="store_true", help="with install=bash, zsh or fish")


def _flags(options: Namespace) -> list[str]:
    words = ("multirun", "resolve", "run", "hydra_help", "shell_completion")
    flags = [f"--{word.replace('_', '-')}" for word in words if getattr(options, word)]
    for word in ("cfg", "package", "info"):
        flags += [f"--{word}", getattr(options, word)] if getattr(options, word) else []
    return flags


def _is_hydras(argument: str) -> bool:
    return re.match(r"[+~]*hydra\b", argument) is not None


def run(options: Namespace, root: type[Config], task: Task) -> int:
    """Run a task with the config of a command line: once, or let Hydra start it.

    Returns:
        The exit code; of several runs the largest.

    Raises:
        ConfigError: A value of any of the runs is wrong; none has started.
    """
    hydras = [argument for argument in options.overrides if _is_hydras(argument)]
    overrides = [argument for argument in options.overrides if argument not in hydras]
    flags, names = _flags(options), (options.program, options.command)
    sweeps = options.multirun or any("hydra.mode=MULTIRUN" in argument for argument in hydras)
    if options.shell_completion:
        return _by_hydra(root, task, [*flags, *overrides], names)
    if not (flags or hydras):
        return Finished.of(task(compose(overrides, root))).exit_code
    found = points(overrides, root) if sweeps else iter([overrides])
    checked = list(itertools.islice(found, MOST_POINTS + 1))
    if len(checked) > MOST_POINTS:
        checked = list(_each_once(overrides, root))
    if problems := _mistakes(checked, overrides, root):
        raise root._root.error(problems)
    if sweeps and not options.cfg and not any("hydra/sweeper=" in argument for argument in hydras):
        intervals = [argument for argument in overrides if argument.partition("=")[2].startswith("interval(")]
        if intervals:
            raise root._root.error(list(map(_unsampled, intervals)))
    written = [_written_out(argument, root) for argument in overrides]
    if sweeps and options.cfg:
        codes = [0]
        for point in checked:
            out(f"# {' '.join(map(quoted, point))}")
            shown = [flag for flag in flags if flag != "--multirun"]
            codes.append(_by_hydra(root, task, [*shown, *hydras, *(_written_out(one, root) for one in point)], names))
        return max(codes)
    return _by_hydra(root, task, [*flags, *hydras, *written], names)


def _mistakes(checked: list[list[str]], overrides: Sequence[str], root: type[Config]) -> list[Problem]:
    """What is wrong with some points of a sweep, in the words of its command line."""
    found: dict[Problem, str | None] = {}
    for point in checked:
        try:
            compose(point, root)
        except ConfigError as error:
            swept = dict(zip(point, overrides, strict=True))
            found |= {one: swept.get(one.argument or "", one.argument) for one in error.problems}
    mended: dict[str | None, str | None] = {}
    for one, whole in found.items():
        if whole != one.argument:
            (key, _, before), (other, _, after) = ((text or "").partition("=") for text in (one.argument, one.instead))
            text = mended.get(whole, whole)
            mended[whole] = text.replace(before, after) if text and key == other and text.count(before) == 1 else None
    return [
        dataclasses.replace(one, argument=whole, instead=mended.get(whole, one.instead)) for one, whole in found.items()
    ]


def _unsampled(argument: str) -> Problem:
    return Problem(
        what=f"{argument}: Hydra's basic sweeper takes lists, and no interval",
        origin="command line",
        hint="choose a sweeper that samples, such as hydra/sweeper=optuna, or write some values: a=1,2,3",
        argument=argument,
        see="--help",
    )


def _written_out(argument: str, root: type[Config]) -> str:
    """An override that has been checked, as Hydra takes it: a part of what may be null has to be added."""
    key, equals, value = argument.partition("=")
    if key == "experiment" and "null" in value:  # Hydra takes a list of none for none.
        names = [one.removeprefix("experiment=") for one in _alternatives(argument, root)]
        return f"{key}={','.join('[]' if name == 'null' else name for name in names)}"
    leaves = {
        f"{group}.{path}": leaf
        for group, named in REGISTRY.view(root._root).items()
        if key.startswith(f"{group}.")
        for one in named.values()
        for path, leaf in leaves_of(one.cls).items()
    }
    inside = any(
        leaf.type.optional and leaf.is_container and key.startswith(f"{path}.")
        for path, leaf in (leaves | dict(root._root.own)).items()
    )
    return f"{'++' * inside}{root._root.short.get(key, key)}{equals}{value}"


def points(overrides: Sequence[str], root: type[Config]) -> Iterator[list[str]]:
    """The command lines that a sweep stands for."""
    return map(list, itertools.product(*(_alternatives(argument, root) for argument in overrides)))


def _each_once(overrides: Sequence[str], root: type[Config]) -> Iterator[list[str]]:
    choices = [_alternatives(argument, root) for argument in overrides]
    for number, several in enumerate(choices):
        for one in several:
            yield [one if other == number else options[0] for other, options in enumerate(choices)]


def _alternatives(argument: str, root: type[Config]) -> list[str]:
    """The single overrides that a sweep stands for; of an interval its ends; the override itself where it is none."""
    from hydra.errors import HydraException

    from spectramind_config.compose.grammar import parser_of_hydra

    try:
        parsed = parser_of_hydra().parse_override(argument)
        key, value = parsed.get_key_element(), parsed._value
        if parsed.is_interval_sweep():
            return [f"{key}={value.start}", f"{key}={value.end}"]  # type: ignore[union-attr]
        if hasattr(value, "include"):
            names = REGISTRY.view(root._root).get(key, {})
            include, exclude = value.include, value.exclude  # type: ignore[union-attr]
            matching = [name for name in names if any(fnmatch.fnmatch(name, one) for one in include)]
            return [f"{key}={name}" for name in matching if not any(fnmatch.fnmatch(name, one) for one in exclude)]
        if parsed.is_discrete_sweep():
            return [ours for _, ours in _spellings(argument)]
    except HydraException:
        pass  # The composition tells what is wrong.
    return [argument]


def _spellings(argument: str) -> list[tuple[str, str]]:
    """What Hydra makes of each value of an override, and as it was written: Hydra has 1.1 for 1.10, inf for 7e12345."""
    from hydra.errors import HydraException

    from spectramind_config.compose import grammar

    try:
        parsed = grammar.parser_of_hydra().parse_override(argument)
        written = grammar.parsed(argument)._value
        key = parsed.get_key_element()
        if not parsed.is_sweep_override():
            return [(f"{key}={parsed.get_value_element_as_str()}", argument)]
        theirs = [f"{key}={one}" for one in parsed.sweep_string_iterator()] if parsed.is_discrete_sweep() else []
        elements = getattr(written, "list", None)
        if not getattr(written, "simple_form", False) or not isinstance(elements, list):
            return [(one, one) for one in theirs]
        return [(one, f"{key}={_spelled(item)}") for one, item in zip(theirs, elements, strict=True)]
    except (HydraException, ValueError):
        return []  # The composition tells what is wrong.


def _spelled(value: Any) -> str:
    from hydra.core.override_parser.types import Override

    if isinstance(value, Written):
        return value.text
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_spelled(key)}:{_spelled(item)}' for key, item in value.items())}}}"
    return str(Override._get_value_element_as_str(value))


class _Job:
    """What Hydra calls in each job, in this process or in another one."""

    def __init__(
        self, root: type[Config], task: Task, folder: str, names: tuple[str, str], words: Sequence[str]
    ) -> None:
        self.root = root
        self.program, self.command = names
        self.written = {theirs: ours for word in words if "=" in word for theirs, ours in _spellings(word)}
        self.task = task
        self.folder = folder
        view = REGISTRY.view(root._root)
        self.profiles: list[Registered] = [one for group in view.values() for one in group.values()]
        self.experiments: list[Experiment] = list(REGISTRY.experiments(root._root).values())

    def __call__(self, _: object) -> float | None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        job = HydraConfig.get()
        code = Path(self.folder, str(job.job.num if job.mode is RunMode.MULTIRUN else 0))
        code.write_text("1", encoding="ascii")
        REGISTRY.adopt(self.root._root, self.profiles, self.experiments)
        try:
            overrides = [self.written.get(one, one) for one in job.overrides.task]
            finished = Finished.of(self.task(compose(overrides, self.root)))
        except ConfigError as error:
            error.program, error.command = self.program, self.command
            error.arguments = tuple(job.overrides.task)
            finished = Finished(error.tell(), math.nan)
        code.write_text(str(finished.exit_code), encoding="ascii")
        return finished.value


def _by_hydra(root: type[Config], task: Task, words: Sequence[str], names: tuple[str, str]) -> int:
    import shutil
    import tempfile

    import hydra

    try:  # Below the working directory, which the machines that a launcher reaches share.
        folder = tempfile.mkdtemp(prefix=".exit-codes-", dir=".")
    except OSError:
        folder = tempfile.mkdtemp(prefix="exit-codes-")
    job = _Job(root, task, str(Path(folder).absolute()), names, words)

    def start(config: object) -> float | None:
        return job(config)

    if line := os.environ.get("COMP_LINE"):
        # The shell asks Hydra to complete `program command …`, and Hydra knows of no commands.
        command = root._root.command.partition(" ")[2] or r"config\s+\S+"
        before = rf"^((?:python\S*\s+)?\S+\s+)(?:{command}|(?:config|profiles)\s+\S+)\s+"
        os.environ["COMP_LINE"] = re.sub(before, r"\1", line)
    named = [] if any("hydra.job.name=" in word for word in words) else [f"hydra.job.name={root._root.name}"]
    argv, sys.argv = sys.argv, [sys.argv[0], *words, *named]
    store.ACTIVE.append(root._root.name)
    try:
        hydra.main(version_base="1.3", config_path=None, config_name=root._root.name)(start)()
    except SystemExit as exit_:
        if exit_.code in (0, None):
            return 0
        if not any(Path(folder).iterdir()):
            return 2  # Hydra has told what is wrong with its own settings, and started nothing.
        if not isinstance(exit_.code, int):
            raise
        return max([exit_.code, *_codes(folder)])
    finally:
        sys.argv = argv
        store.ACTIVE.pop()
        codes = _codes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return max(codes, default=0)


def _codes(folder: str) -> list[int]:
    return [int(file.read_text(encoding="ascii") or "1") for file in Path(folder).iterdir()]
