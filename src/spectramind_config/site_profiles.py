"""Profiles from elsewhere: installed packages, and the files that ``SM_PROFILES`` names.

Nothing is loaded before the first composition; after that, a look at the variable and at the files' times is all that
a composition pays. A profile that cannot be loaded is told once and stops nothing but the runs that choose it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from spectramind_config.errors import ConfigError, Problem
from spectramind_config.registry import GROUPS, REGISTRY
from spectramind_config.yaml_overlay import Overlay

VARIABLE = "SM_PROFILES"
"""Names Python files, YAML overlays and folders of both, separated as in ``PATH``."""

ENTRY_POINTS = "spectramind.profiles"
"""The entry points of a package whose modules register profiles."""

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
_Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Failure:
    """Profiles that could not be loaded: why, and the groups and names that their source mentions ("" is any)."""

    problems: tuple[Problem, ...]
    names: frozenset[tuple[str, str]]


@dataclass
class _Loaded:
    variable: str | None = None
    stamps: tuple[tuple[str, _Stamp], ...] = ()
    files: frozenset[str] = frozenset()
    packages: tuple[Failure, ...] | None = None
    failures: tuple[Failure, ...] = ()
    loading: bool = False


_LOADED = _Loaded()


def load() -> None:
    """Load what is new: everything at the first call, later only what changed in ``SM_PROFILES`` or in its files."""
    if os.environ.get(VARIABLE, "") == _LOADED.variable:
        for path, stamp in _LOADED.stamps:
            if _stamp(path) != stamp:
                break
        else:
            return
    with _LOCK:
        if not _LOADED.loading:  # A profile's own module may compose.
            _LOADED.loading = True
            try:
                _load()
            finally:
                _LOADED.loading = False


def failure(group: str, name: str) -> Problem | None:
    """Why a profile of this name could not be loaded; None where no source that failed mentions it."""
    for one in (*(_LOADED.packages or ()), *_LOADED.failures):
        if (group, name) in one.names or ("", name) in one.names:
            reasons = "; ".join(problem.what for problem in one.problems)
            return dataclasses.replace(one.problems[0], what=f"{group}={name} could not be loaded: {reasons}")
    return None


def _load() -> None:
    variable = os.environ.get(VARIABLE, "")
    REGISTRY.discard(_LOADED.files)
    if _LOADED.variable is not None:
        for name in [name for name in sys.modules if name.startswith(f"{__name__}.")]:
            del sys.modules[name]
    __path__[:] = _folders()
    watched: list[str] = []
    files: list[Path] = []
    failures: list[Failure] = []
    for entry in entries(variable):
        watched.append(str(entry))
        if os.path.isdir(entry):  # noqa: PTH112 - Path.is_dir raises where a folder above cannot be read.
            watched += [str(entry / group) for group in GROUPS if _stamp(str(entry / group))]
            files += sorted(entry.glob("*.py"))
            files += [file for group in GROUPS for file in sorted((entry / group).glob("*.yaml"))]
        elif _stamp(str(entry)):
            files.append(entry)
        else:
            problem = Problem(what=f"{VARIABLE}: there is no file or folder {entry}", hint="correct the variable")
            failures.append(Failure((problem,), frozenset({("", entry.stem)})))
    files = list(dict.fromkeys(files))
    stamps = tuple((path, _stamp(path)) for path in dict.fromkeys([*watched, *map(str, files)]))
    failures += _attempt([file for file in files if file.suffix != ".yaml"], _module).values()
    if _LOADED.packages is None:
        _LOADED.packages = tuple(_load_packages())
    overlays = [file for file in files if file.suffix == ".yaml"]
    while len(pending := _attempt(overlays, _overlay)) not in (0, len(overlays)):
        overlays = list(pending)  # One may change another that has been loaded after it.
    failures += pending.values()
    _LOADED.files = frozenset(map(str, files))
    _LOADED.failures = tuple(failures)
    _LOADED.variable, _LOADED.stamps = variable, stamps
    for one in failures:
        _tell(one)


def _attempt(files: list[Path], loader: Callable[[Path], None]) -> dict[Path, Failure]:
    failures: dict[Path, Failure] = {}
    for file in files:
        try:
            loader(file)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a site's code may fail in any way.
            failures[file] = _failure(error, str(file), file)
    return failures


def _module(file: Path) -> None:
    """Run a Python file as a module of this one, so that pickles of its classes find it in other processes too."""
    name = f"{__name__}.{file.stem}"
    while (known := sys.modules.get(name)) is not None:
        if known.__file__ == str(file):
            return
        name += "_"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or file.suffix != ".py":
        raise ConfigError(Problem(what="neither a Python file nor a YAML overlay", expected=".py or .yaml"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        # Compiled here, not imported: a byte-code cache takes no notice of a second change within a second.
        exec(compile(file.read_bytes(), file, "exec"), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise


def _overlay(file: Path) -> None:
    group = file.parent.name
    if group not in GROUPS:
        raise ConfigError(Problem(what="an overlay lies in a folder named as its group", expected="; ".join(GROUPS)))
    Overlay(file, group).register()


def _load_packages() -> Iterator[Failure]:
    if not _provided():
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS):
        REGISTRY.distribution = entry.dist.name if entry.dist else entry.module
        try:
            entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a third party's code may fail in any way.
            parts = entry.module.split(".")
            found = [Path(folder, *parts[:-1], parts[-1]) for folder in sys.path]
            files = [file for one in found for file in (one.with_suffix(".py"), one / "__init__.py") if file.is_file()]
            label = f"package {REGISTRY.distribution}, entry point {entry.name} = {entry.value}"
            one = _failure(error, label, files[0] if files else None)
            yield dataclasses.replace(one, names=one.names | {("", entry.name)})
            _tell(one)
        finally:
            REGISTRY.distribution = ""


def _provided() -> bool:
    """Whether a package might have such entry points: ``importlib.metadata`` takes ten times as long to say no."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return True
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - the folders are strings.
        except NotADirectoryError:  # An archive.
            return True
        except OSError:
            continue
        for name in names:
            if name.lower().endswith("-info"):
                with suppress(OSError):
                    if ENTRY_POINTS.encode() in Path(folder, name, "entry_points.txt").read_bytes():
                        return True
    return False


def _failure(error: BaseException, label: str, file: Path | None) -> Failure:
    if isinstance(error, ConfigError):
        problems = tuple(dataclasses.replace(one, origin=one.origin or label) for one in error.problems)
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        reason = error.msg if isinstance(error, SyntaxError) else error
        where = ", ".join(dict.fromkeys([label, f"{file}:{line}" if line else str(file or label)]))
        problems = (Problem(what=f"{type(error).__name__}: {reason}", origin=where),)
    text = file.read_text(encoding="utf-8", errors="replace") if file is not None and file.is_file() else ""
    names = set(re.findall(r"""profile\(\s*["'](\w+)["']\s*,\s*["']([\w-]+)["']""", text))
    if file is not None and file.suffix == ".yaml":
        names.add((file.parent.name, file.stem))
    return Failure(problems, frozenset(names))


def _tell(one: Failure) -> None:
    for problem in one.problems:
        _LOG.warning("warning: a profile was not loaded: %s", problem)


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path costs more than the call, at every composition.
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def entries(variable: str) -> list[Path]:
    """The absolute paths in a value of ``SM_PROFILES``."""
    return [Path(entry).absolute() for entry in variable.split(os.pathsep) if entry]


def _folders() -> list[str]:
    found = entries(os.environ.get(VARIABLE, ""))
    return list(dict.fromkeys(str(entry.parent if entry.suffix else entry) for entry in found))


__path__ = _folders()
