"""Jobs that Hydra starts: sweeps, launchers, ``--cfg`` and shell completion, under the contract of a plain run."""

from __future__ import annotations

import fnmatch
import functools
import inspect
import io
import itertools
import math
import operator
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spectramind_config.commands import ranking
from spectramind_config.commands.command import out
from spectramind_config.commands.ranking import Finished, Record, Stop
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.errors import HIDDEN, ConfigError, Problem, is_secret, quoted
from spectramind_config.schema import store
from spectramind_config.schema.fields import leaves_of
from spectramind_config.schema.registry import REGISTRY, Experiment, Registered
from spectramind_config.sites import yaml
from spectramind_config.sites.loading import import_as, load, script

MOST_POINTS = 2000  # A sweep of as many is checked whole before its first job; of a larger one, each value once.
_SAMPLE = "choose a sweeper that samples, such as hydra/sweeper=optuna, or write some values: a=1,2,3"
_PART = "print the job, hydra or all of what Hydra composes"
_TOPICS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS: dict[str, dict[str, Any]] = {  # Hydra's own.
    "--multirun -m": {"action": "store_true", "help": "a run for each point of a sweep"},
    "--cfg -c": {"choices": ("job", "hydra", "all"), "metavar": "PART", "help": _PART},
    "--resolve": {"action": "store_true", "help": "with --cfg: interpolations looked up"},
    "--package -p": {"metavar": "NAME", "help": "with --cfg: of one package"},
    "--info -i": {"nargs": "?", "const": "all", "choices": _TOPICS, "metavar": "TOPIC", "help": "about Hydra itself"},
    "--run -r": {"action": "store_true", "help": "let Hydra start the run"},
    "--hydra-help": {"action": "store_true", "help": "Hydra's own help"},
    "--shell-completion -sc": {"action": "store_true", "help": "with install=bash, zsh or fish"},
}
_SWEEPING = ("--multirun", "-m")
Task = Callable[[Any], Any]
_Points = Sequence[Sequence[str]]
Launching = Callable[[Sequence[str], Iterable[Any]], list[str]]


def sweeps(options: Namespace) -> bool:
    """Whether a command line asks for a run for each point of a sweep."""
    return bool(options.multirun) or any("hydra.mode=MULTIRUN" in argument for argument in options.overrides)


def run(options: Namespace, root: type[Config], task: Task, launching: Launching | None = None) -> int:
    """Run a task with the config of a command line, once or as Hydra starts it; returns the largest exit code.

    Args:
        options: The command line.
        root: What it composes.
        task: A function of a config.
        launching: Given Hydra's own settings of the command line and the configs of a sweep, more such settings.
    """
    hydras = [argument for argument in options.overrides if re.match(r"[+~]*hydra\b", argument)]
    overrides = [argument for argument in options.overrides if argument not in hydras]
    flags = list(_flags(options))
    start = functools.partial(_by_hydra, root, task, (options.program, options.command))
    by_hydra = functools.partial(_without_secrets, start, options.package or "") if options.cfg else start
    if options.shell_completion:
        if not any(re.match("(install|uninstall|query)=", one) for one in overrides):
            expected = "install=, uninstall= or query=, with bash, zsh or fish"
            raise ConfigError(Problem(what="--shell-completion: it needs a value", expected=expected, see="--help"))
        return _completed(lambda: by_hydra([*flags, *overrides]))
    if not (flags or hydras):
        return Finished.of(task(compose(overrides, root))).exit_code
    many = sweeps(options)
    found = list(points(overrides, root)) if many else [overrides]
    if problems := mistakes(found, overrides, root):
        raise root._root.error(problems)
    if launching is not None:
        hydras += launching(hydras, (compose(point, root) for point in found))
    if many and options.cfg:
        flags, codes = [flag for flag in flags if flag != "--multirun"], [0]
        for point in found:
            out(f"# {' '.join(map(quoted, point))}")
            codes.append(by_hydra([*flags, *hydras, *(_written_out(one, root) for one in point)]))
        return max(codes)
    if many and not any("hydra/sweeper=" in argument for argument in hydras):
        unsampled = functools.partial(Problem, origin="command line", hint=_SAMPLE, see="--help")
        intervals = [argument for argument in overrides if argument.partition("=")[2].startswith("interval(")]
        what = "Hydra's basic sweeper takes lists, and no interval"
        if problems := [unsampled(what=f"{argument}: {what}", argument=argument) for argument in intervals]:
            raise root._root.error(problems)
    words = [*flags, *hydras, *(_written_out(one, root) for one in overrides)]
    if not many:
        return by_hydra(words)
    whole = len(found) == math.prod(len(alternatives(one, root)) for one in overrides)
    is_product = whole and not any("hydra/sweeper=" in argument for argument in hydras)
    return start(words, points=found if is_product else ())


def _completed(start: Callable[[], int]) -> int:
    """What the shell asks Hydra to complete, which knows of no commands, and would list the folder of our store."""
    line = os.environ.get("COMP_LINE")
    if not line:
        return start()
    *words, last = [*line.split(), ""] if line[-1] == " " else line.split()
    os.environ["COMP_LINE"] = " ".join(["app", *(one for one in words if "=" in one or one in _SWEEPING), last])
    with redirect_stderr(io.StringIO()):
        code, found = _printed(start)
    out(" ".join(word for word in found.split() if word != store.SCHEME))
    return code


def _printed(start: Callable[[], int]) -> tuple[int, str]:
    with redirect_stdout(io.StringIO()) as found:
        code = start()
    return code, found.getvalue()


def _without_secrets(by_hydra: Callable[[Sequence[str]], int], package: str, words: Sequence[str]) -> int:
    """What ``--cfg`` has Hydra print, which knows of no secrets."""
    code, found = _printed(lambda: by_hydra(words))
    out(HIDDEN if is_secret(package.rpartition(".")[2]) else yaml.without_secrets(found).rstrip("\n"))
    return code


def _flags(options: Namespace) -> Iterator[str]:
    for names in FLAGS:
        flag = names.partition(" ")[0]
        if value := getattr(options, flag[2:].replace("-", "_")):
            yield from (flag,) if value is True else (flag, value)


def mistakes(points: Iterable[Sequence[str]], overrides: Sequence[str], root: type[Config]) -> list[Problem]:
    """What is wrong with some points of a sweep, in the words of its command line."""
    found: dict[Problem, str | None] = {}
    for point in points:
        try:
            compose(point, root)
        except ConfigError as error:
            swept = dict(zip(point, overrides, strict=True))
            found |= {one: swept.get(one.argument or "", one.argument) for one in error.problems}
    mended: dict[str | None, str | None] = {}
    for one, whole in found.items():
        if whole != one.argument:
            (key, _, before), (other, _, after) = ((text or "").partition("=") for text in (one.argument, one.instead))
            text = mended.get(whole, whole) or ""
            if key != other and before == after:  # Another setting was meant.
                mended[whole] = f"{other}={text.partition('=')[2]}"
            else:
                mended[whole] = text.replace(before, after) if key == other and text.count(before) == 1 else None
    return [replace(one, argument=whole, instead=mended.get(whole, one.instead)) for one, whole in found.items()]


def _written_out(argument: str, root: type[Config]) -> str:
    """An override that has been checked, as Hydra takes it: a part of what may be null has to be added."""
    key, equals, value = argument.partition("=")
    if key == "experiment" and "null" in value:  # Hydra takes a list of none for none.
        names = (one.removeprefix("experiment=") for _, one in alternatives(argument, root))
        return f"{key}={','.join('[]' if name == 'null' else name for name in names)}"
    group = key.partition(".")[0]
    leaves = dict(root._root.own)
    for one in REGISTRY.view(root._root).get(group, {}).values():
        leaves |= {f"{group}.{path}": leaf for path, leaf in leaves_of(one.cls).items()}
    parts = (leaf for path, leaf in leaves.items() if key.startswith(f"{path}."))
    added = any(leaf.type.optional and leaf.is_container for leaf in parts)
    return f"{'++' * added}{root._root.short.get(key, key)}{equals}{value}"


def points(overrides: Sequence[str], root: type[Config]) -> Iterator[list[str]]:
    """The command lines that a sweep stands for, or enough of them to try each value once."""
    choices = [[ours for _, ours in alternatives(argument, root)] for argument in overrides]
    if math.prod(map(len, choices)) <= MOST_POINTS:
        yield from map(list, itertools.product(*choices))
    else:
        first = [options[0] for options in choices]
        for number, options in enumerate(choices):
            yield from ([*first[:number], one, *first[number + 1 :]] for one in options)


def alternatives(argument: str, root: type[Config]) -> list[tuple[str, str]]:
    """The single overrides that a sweep stands for, as Hydra hands each to a job and as it was written.

    Hydra makes 1.1 of 1.10, and inf of 7e12345. An interval stands for its ends, and what is no sweep for itself.
    """
    from hydra.errors import HydraException

    from spectramind_config.compose import grammar

    try:
        parsed, (_, texts) = grammar.parser_of_hydra().parse_override(argument), grammar.parsed(argument)
        value: Any = parsed._value
        values: Sequence[Any] = ()
        if parsed.is_interval_sweep():
            ends = value.start, value.end
            values = tuple(map(int, ends)) if all(float(one).is_integer() for one in ends) else ends
        elif hasattr(value, "include"):
            names = REGISTRY.view(root._root).get(parsed.key_or_group, {})
            included = {name for one in value.include for name in fnmatch.filter(names, one)}
            excluded = {name for one in value.exclude for name in fnmatch.filter(names, one)}
            values = [name for name in names if name in included - excluded]
        elif parsed.is_discrete_sweep():
            values = list(parsed.sweep_string_iterator())
        else:
            values, texts = [parsed.get_value_element_as_str()], [argument.partition("=")[2]]
        key = parsed.get_key_element()
        return [(f"{key}={one}", f"{key}={text}") for one, text in zip(values, texts or values, strict=True)]
    except (HydraException, ValueError):
        return [(argument, argument)]  # The composition tells what is wrong.


@dataclass(frozen=True)
class _Job:
    """What Hydra calls in each job, in this process or in another one."""

    root: type[Config]
    task: Task
    folder: Path  # For records.
    names: tuple[str, str]
    written: Mapping[str, str]
    here: bool = True  # Whether it runs in the process that started the sweep.

    def __call__(self) -> float | None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        job = HydraConfig.get()
        # A launcher may start a job as several processes, and again, which then says how it ended.
        record = Record(
            number=job.job.num if job.mode is RunMode.MULTIRUN else 0,
            process=int(os.environ.get("SLURM_PROCID", "0")),
            overrides=[self.written.get(one, one) for one in job.overrides.task],
            folder=job.runtime.output_dir,
        )
        if ranking.is_stopped(self.folder):
            return math.nan
        record.write(self.folder)
        finished = Finished(1, math.nan, "failed")
        try:
            finished = Finished.of(self.task(compose(record.overrides, self.root)))
        except ConfigError as error:
            (error.program, error.command), error.arguments = self.names, tuple(job.overrides.task)
            finished = Finished(error.tell(), math.nan, "mistake")
        except (KeyboardInterrupt, SystemExit) as left:
            code = 130 if isinstance(left, KeyboardInterrupt) else left.code or 0
            stopped = Finished(code if isinstance(code, int) and code >= 0 else 1, status="stopped")
            finished = left.finished if isinstance(left, Stop) else stopped
            launcher = str(job.launcher._target_).lower()
            if self.here or "joblib" in launcher:  # Its processes hear what is said to the sweep.
                ranking.stop(self.folder)
            # A launcher on this machine would lose this end, and with it those of others; SLURM starts the job again.
            if self.here or "slurm" in launcher:
                raise
        finally:
            record.end(finished)
            record.write(self.folder)
        return finished.value

    def __reduce__(self) -> tuple[Callable[..., _Job], tuple[Any, ...]]:
        """Another process imports the script, whose functions and profiles then are what they are here."""
        both, given = (self.root, self.task), (self.folder, self.names, self.written, False)
        with suppress(AttributeError, KeyError):  # What an interpreter or a function made is sent as it is.
            places = [(script() if one.__module__ == "__main__" else one.__module__, one.__qualname__) for one in both]
            if all(_named(*place) is one for place, one in zip(places, both, strict=True)):
                return _imported, (getattr(sys.modules["__main__"], "__file__", None), script(), *places, *given)
        spec = self.root._root
        profiles = [one for group in REGISTRY.view(spec).values() for one in group.values()]
        return _adopted, (profiles, list(REGISTRY.experiments(spec).values()), *both, *given)


def _named(module: str, name: str) -> Any:
    return inspect.unwrap(operator.attrgetter(name)(sys.modules[module]))


def _imported(file: str, name: str, root: tuple[str, str], task: tuple[str, str], *given: Any) -> _Job:
    for module, _ in (root, task):
        import_as(module, file if module == name else "")
    job = _Job(_named(*root), _named(*task), *given)
    load(job.root._root)
    return job


def _adopted(profiles: Sequence[Registered], experiments: Sequence[Experiment], root: Any, *given: Any) -> _Job:
    REGISTRY.adopt(root._root, profiles, experiments)
    return _Job(root, *given)


def _by_hydra(
    root: type[Config], task: Task, names: tuple[str, str], words: Sequence[str], points: _Points | None = None
) -> int:
    """Let Hydra start a run, or the jobs of a sweep, which has points: those of its jobs that are known."""
    import shutil
    import tempfile

    import hydra

    spec = root._root
    try:  # Below the working directory, which the machines that a launcher reaches share.
        folder = Path(tempfile.mkdtemp(prefix=".jobs-", dir=".")).absolute()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    written = dict(pair for word in words if "=" in word for pair in alternatives(word, root))
    job = _Job(root, task, folder, names, written)

    def start(_: object) -> float | None:
        return job()

    named = [] if any("hydra.job.name=" in word for word in words) else [f"hydra.job.name={spec.name}"]
    named += ["+hydra.callbacks.spectramind._target_=hydra_plugins.spectramind_profiles.Unbound"]
    argv, sys.argv = sys.argv, [sys.argv[0], *words, *named]
    store.ACTIVE.append(spec.name)
    records: list[Record] = []
    try:
        hydra.main(version_base="1.3", config_path=None, config_name=spec.name)(start)()
    except SystemExit as left:
        if left.code in (0, None):
            return 0
        records = ranking.read(folder)
        if not records:
            return 2  # Hydra has told what is wrong with its own settings, and started nothing.
        if not isinstance(left.code, int):
            raise
        return max(left.code, *(one.exit_code for one in records))
    finally:
        sys.argv = argv
        store.ACTIVE.pop()
        records = ranking.read(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if points is not None and records:
            out(*ranking.table(records, points))
    return max((one.exit_code for one in records), default=0)
