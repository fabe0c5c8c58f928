"""Profiles from elsewhere: installed packages, and the files that a root's environment variable names.

Nothing is loaded before the first composition; after that, a look at the variable and at the files' times is all that
a composition pays. What is loaded is published whole, so that other threads see all of it or none. A source that cannot
be loaded is told once, and stops the runs that choose a profile which it claims.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

from spectramind_config import files
from spectramind_config.errors import ConfigError, Problem
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.root import Root
from spectramind_config.sites.overlay import Overlay

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
_YOUNG_S = 0.1
_PATIENCE = 20
_MOST_BYTES = 10_000_000  # Of a file of profiles.
_Stamp = tuple[int, int] | None
_Failures = dict[str, tuple[Problem, ...]]


class _Loaded(NamedTuple):
    """What the profiles of a root were loaded from: the variable, and when the folders and files in it changed."""

    variable: str = ""
    stamps: tuple[tuple[str, _Stamp], ...] = ()
    sources: frozenset[str] = frozenset()

    def is_current(self, variable: str) -> bool:
        """Whether nothing has changed since."""
        return variable == self.variable and all(_stamp(path) == stamp for path, stamp in self.stamps)


_LOADED: dict[str, _Loaded] = {}
_LOADING: set[str] = set()
_TOLD: set[str] = set()
_UNTOLD: list[Problem] = []
IMPORTING: list[str] = []
"""The scripts that are being imported for a job, as modules that start nothing."""


class _UnsettledError(Exception):
    """A file changes while it is read."""


def load(root: Root, *, quiet: bool = False) -> None:
    """Load what is new: everything at the first call, later only what changed in the variable or in its files.

    One that is ``quiet`` leaves it to ``warn`` to tell what could not be loaded.
    """
    variable, loaded = os.environ.get(root.variable, ""), _LOADED.get(root.name)
    if loaded is not None and loaded.is_current(variable):
        return
    with _LOCK:
        loaded = _LOADED.get(root.name)
        if root.name in _LOADING or (loaded is not None and loaded.is_current(variable)):
            return  # A profile's own module may compose; and another thread may have been faster.
        _LOADING.add(root.name)
        failures: _Failures = {}
        try:
            for patience in reversed(range(_PATIENCE)):
                with suppress(_UnsettledError):
                    with REGISTRY.change():
                        found, failures = _read(root, variable, loaded, patient=patience > 0)
                    _LOADED[root.name] = found  # Only now, for other threads look at it without the lock.
                    break
                time.sleep(0.02)
        finally:
            _LOADING.discard(root.name)
        for label, problems in failures.items():
            for problem in problems:
                if f"{label}{problem}" not in _TOLD:
                    _TOLD.add(f"{label}{problem}")
                    _UNTOLD.append(problem)
    if not quiet:
        warn()


def warn(errors: Sequence[Problem] = ()) -> None:
    """Tell once which profiles were not loaded, except those that an error tells."""
    while _UNTOLD:
        problem = _UNTOLD.pop(0)
        if not any(problem.what in error.what for error in errors):
            _LOG.warning("warning: a profile was not loaded: %s", problem)


def _read(root: Root, variable: str, before: _Loaded | None, *, patient: bool) -> tuple[_Loaded, _Failures]:
    importable(root)
    watched: list[str] = []
    files: list[Path] = []
    absent: list[Path] = []
    for entry in entries(variable):
        watched.append(str(entry))
        if os.path.isdir(entry):  # noqa: PTH112 - Path.is_dir raises where a folder above cannot be read.
            watched += [str(entry / group) for group in root.groups if _stamp(str(entry / group))]
            files += sorted(entry.glob("*.py"))
            files += [file for group in root.groups for file in sorted((entry / group).glob("*.yaml"))]
        else:
            (files if _stamp(str(entry)) else absent).append(entry)
    files = [file for file in dict.fromkeys(files) if not _is_imported(file)]
    stamps = tuple((path, _stamp(path)) for path in dict.fromkeys([*watched, *map(str, files)]))
    loaded = _Loaded(variable, stamps, frozenset(map(str, [*files, *absent])))
    known = {key for key, one in REGISTRY.known.profiles.items() if one.provider in loaded.sources}
    stale = loaded.sources | (before.sources if before else frozenset())
    REGISTRY.discard(stale)
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__name__}.") and getattr(module, "__file__", "") in stale:
            del sys.modules[name]
    failures: _Failures = {}
    for entry in absent:
        what = f"{root.variable}: there is no file or folder {entry}"
        failures[str(entry)] = (Problem(what=what, hint="correct the variable"),)
        REGISTRY.refuse({("", entry.stem)}, str(entry), failures[str(entry)])
    failures |= _attempt([file for file in files if file.suffix != ".yaml"], _module)
    if before is None:
        failures |= dict(_packages(root))
    overlays = [file for file in files if file.suffix == ".yaml"]
    while len(pending := _attempt(overlays, lambda file: _overlay(file, root))) not in (0, len(overlays)):
        overlays = [Path(label) for label in pending]  # One may change another that has been loaded after it.
    failures |= pending
    # While somebody writes a file, it fails or holds less than before: then it is read again.
    is_young = any(time.time() - stamp[0] / 1e9 < _YOUNG_S for _, stamp in stamps if stamp)
    is_broken = failures or known - REGISTRY.known.profiles.keys()
    if patient and (not loaded.is_current(variable) or (is_young and is_broken)):
        raise _UnsettledError
    return loaded, failures


def _attempt(files: list[Path], loader: Callable[[Path], None]) -> _Failures:
    failures: _Failures = {}
    for file in files:
        try:
            loader(file)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a site's code may fail in any way.
            problems = failures[str(file)] = _problems(error, str(file), file)
            REGISTRY.discard({str(file)})
            REGISTRY.refuse(_claims(file), str(file), problems)
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
    script()
    try:
        # Compiled here, not imported: a byte-code cache takes no notice of a second change within a second.
        exec(compile(files.read(file, _MOST_BYTES), file, "exec"), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise


def _is_imported(file: Path) -> bool:
    """Whether a file is the script that is run, or a module of the program's own: its profiles are there already."""
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None) or ""
        if place.endswith(file.name) and not name.startswith(f"{__name__}."):
            with suppress(OSError):  # One of them may be gone.
                if file.samefile(place):
                    return True
    return False


def script() -> str:
    """The module that the script which is run is to others, who must not run it a second time; empty where none is."""
    main = sys.modules.get("__main__")
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    name: str = spec.name if spec is not None else Path(file).stem if file else ""
    if name:
        sys.modules.setdefault(name, sys.modules["__main__"])
    return name


def import_as(name: str, file: str) -> None:
    """Import a module; with a file, it is the script that another process runs, and starts nothing here."""
    if file and name not in sys.modules:
        sys.path.insert(0, str(Path(file).parents[name.count(".")]))
    IMPORTING.append(name)
    try:
        importlib.import_module(name)
    finally:
        IMPORTING.pop()


def _overlay(file: Path, root: Root) -> None:
    group = file.parent.name
    if group not in root.groups:
        expected = "; ".join(root.groups)
        raise ConfigError(Problem(what="an overlay lies in a folder named as its group", expected=expected))
    Overlay(file, group, root).register()


def _packages(root: Root) -> Iterator[tuple[str, tuple[Problem, ...]]]:
    if not _provided(root.entry_points):
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=root.entry_points):
        distribution = entry.dist.name if entry.dist else entry.module
        try:
            REGISTRY.local.provider = distribution
            entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a third party's code may fail in any way.
            file = None
            with suppress(Exception):  # A package above it may be broken as well.
                spec = importlib.util.find_spec(entry.module)
                file = Path(spec.origin) if spec and spec.origin else None
            label = f"package {distribution}, entry point {entry.name} = {entry.value}"
            problems = _problems(error, label, file)
            REGISTRY.refuse({("", entry.name), *_claims(file)}, label, problems)
            yield label, problems
        finally:
            REGISTRY.local.provider = ""


def _provided(group: str) -> bool:
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
            if name[-5:].lower() == "-info":
                with suppress(OSError), open(f"{folder}/{name}/entry_points.txt", "rb") as file:  # noqa: PTH123 - likewise.
                    if group.encode() in file.read():
                        return True
    return False


def _problems(error: BaseException, label: str, file: Path | None) -> tuple[Problem, ...]:
    if isinstance(error, ConfigError):
        places = [one.origin or label for one in error.problems]
        places = [place if label in place or str(file) in place else f"{label}: {place}" for place in places]
        return tuple(dataclasses.replace(one, origin=place) for one, place in zip(error.problems, places, strict=True))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    try:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # noqa: BLE001 - likewise.
        reason = "it cannot be shown"
    where = ", ".join(dict.fromkeys([label, f"{file}:{line}" if line else str(file or label)]))
    return (Problem(what=f"{type(error).__name__}: {reason}", origin=where),)


def _claims(file: Path | None) -> set[tuple[str, str]]:
    """The groups and names that a source mentions."""
    text = ""
    if file is not None:
        with suppress(OSError):
            text = files.read(file, _MOST_BYTES).decode(errors="replace")
    claims = set(re.findall(r"""profile\(\s*["'](\w+)["']\s*,\s*["']([\w-]+)["']""", text))
    claims |= {("experiment", name) for name in re.findall(r"""experiment\(\s*["']([\w-]+)["']""", text)}
    return claims | ({(file.parent.name, file.stem)} if file is not None and file.suffix == ".yaml" else set())


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path costs more than the call, at every composition.
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def entries(variable: str) -> list[Path]:
    """The absolute paths in the value of a variable, separated as in ``PATH``."""
    return [Path(entry).absolute() for entry in variable.split(os.pathsep) if entry]


def importable(root: Root) -> None:
    """Let Python find a root's files as modules of this one: a pickle may be read before anything is loaded."""
    with suppress(FileNotFoundError):  # The working directory has been removed; a command says so.
        found = entries(os.environ.get(root.variable, ""))
        __path__[:] = dict.fromkeys([*(str(one.parent if one.suffix else one) for one in found), *__path__])


__path__: list[str] = []
