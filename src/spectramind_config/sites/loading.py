"""Profiles from elsewhere: installed packages, and the files that a root's environment variable names.

Nothing is loaded before the first composition; a later one looks at the variable and the files' times. What is loaded
is published whole. A source that cannot be loaded is told once, and stops the runs that choose what it claims.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from spectramind_config.errors import ConfigError, Problem
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.root import Root
from spectramind_config.sites.overlay import Overlay

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
_YOUNG_S = 0.1
_PATIENCE = 20
_CLAIM = re.compile(r"""(?:profile\(\s*["'](\w+)["']\s*,|experiment\()\s*["']([\w-]+)["']""")
_Failures = dict[str, tuple[Problem, ...]]
_Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class _Loaded:
    """What the profiles of a root were loaded from; the variable is None before anything was."""

    variable: str | None = None
    stamps: dict[str, _Stamp] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    failures: _Failures = field(default_factory=dict)

    def unchanged(self) -> bool:
        return all(_stamp(path) == stamp for path, stamp in self.stamps.items())


class _UnsettledError(Exception):
    """A file changes while it is read."""


_LOADED: dict[str, _Loaded] = {}
_LOADING: set[str] = set()
_TOLD: set[str] = set()


def load(root: Root) -> None:
    """Load what is new: everything at the first call, later only what changed in the variable or in its files."""
    loaded = _LOADED.get(root.name)
    if loaded and os.environ.get(root.variable, "") == loaded.variable and loaded.unchanged():
        return
    with _LOCK:
        if root.name in _LOADING:  # A profile's own module may compose.
            return
        _LOADING.add(root.name)
        try:
            found = _LOADED[root.name] = _settled(root, _LOADED.get(root.name, _Loaded()))
        finally:
            _LOADING.discard(root.name)
        for label, problems in found.failures.items():
            for problem in problems:
                if (told := f"{label}{problem}") not in _TOLD:
                    _TOLD.add(told)
                    _LOG.warning("warning: a profile was not loaded: %s", problem)


def _settled(root: Root, before: _Loaded) -> _Loaded:
    """What is loaded once nobody seems to be writing a file: till then it fails, or holds half."""
    for patience in reversed(range(_PATIENCE)):
        with suppress(_UnsettledError), REGISTRY.change():
            found = _read(root, before)
            young = any(time.time() - (_stamp(label) or (0,))[0] / 1e9 < _YOUNG_S for label in found.failures)
            if patience and (young or not found.unchanged()):
                raise _UnsettledError
            return found
        time.sleep(0.02)
    raise AssertionError


def _read(root: Root, before: _Loaded) -> _Loaded:
    variable = os.environ.get(root.variable, "")
    importable(root)
    watched, found = entries(variable), list[Path]()
    for entry in entries(variable):
        if os.path.isdir(entry):  # noqa: PTH112 - Path.is_dir raises where a folder above cannot be read.
            groups = [group for name in root.groups if _stamp(str(group := entry / name))]
            watched += groups
            found += [*sorted(entry.glob("*.py")), *(file for one in groups for file in sorted(one.glob("*.yaml")))]
        else:
            found.append(entry)
    stamps = {path: _stamp(path) for path in map(str, [*watched, *found])}
    files = {str(file): file for file in found}
    stale = files.keys() | before.files
    REGISTRY.discard(stale)
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__name__}.") and getattr(module, "__file__", "") in stale:
            del sys.modules[name]
    failures: _Failures = {}
    for label, file in sorted(files.items(), key=lambda item: bool(stamps[item[0]])):  # What is absent is told first.
        if not stamps[label]:
            what = f"{root.variable}: there is no file or folder {file}"
            failures[label] = (Problem(what=what, hint="correct the variable"),)
            REGISTRY.refuse({("", file.stem)}, label, failures[label])
        elif file.suffix != ".yaml":
            with _attempt(failures, label, [file]):
                _run(file)
    if before.variable is None and _provided(root.entry_points):
        _load_packages(root.entry_points, failures)
    overlays = [file for label, file in files.items() if stamps[label] and file.suffix == ".yaml"]
    return _Loaded(variable, stamps, frozenset(files), failures | _overlays(overlays, root))


@contextmanager
def _attempt(failures: _Failures, label: str, files: Iterable[Path], *claims: tuple[str, str]) -> Iterator[None]:
    """Load from a source; where it fails, note why, and refuse what it claims or the first of its files mentions."""
    try:
        yield
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a site's code may fail in any way.
        file, text = next(iter(files), None), ""
        with suppress(OSError):
            text = file.read_text(encoding="utf-8", errors="replace") if file else ""
        failures[label] = _problems(error, label, file)
        mentioned = {(group or "experiment", name) for group, name in _CLAIM.findall(text)}
        REGISTRY.discard({label})
        REGISTRY.refuse({*claims, *mentioned}, label, failures[label])


def _run(file: Path) -> None:
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
    if script():  # Or a profile that imports a schema from it would run it a second time, with a second schema.
        sys.modules.setdefault(script(), sys.modules["__main__"])
    try:
        # Compiled here, not imported: a byte-code cache takes no notice of a second change within a second.
        exec(compile(file.read_bytes(), file, "exec"), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise


def script() -> str:
    """The name that the script which is run has as a module; empty where none is."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file and getattr(main, "__spec__", None) is None else ""


def _overlays(files: list[Path], root: Root) -> _Failures:
    failures: _Failures = {}
    for file in files:
        with _attempt(failures, str(file), [file], (file.parent.name, file.stem)):
            if (group := file.parent.name) not in root.groups:
                expected = "; ".join(root.groups)
                raise ConfigError(Problem(what="an overlay lies in a folder named as its group", expected=expected))
            Overlay(file, group, root).register()
    if len(failures) in (0, len(files)):
        return failures
    return _overlays([Path(label) for label in failures], root)  # One may change another that was loaded after it.


def _load_packages(group: str, failures: _Failures) -> None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist else entry.module
        found = [Path(folder, *entry.module.split(".")) for folder in sys.path]
        files = (file for one in found for file in (one.with_suffix(".py"), one / "__init__.py") if file.is_file())
        label = f"package {package}, entry point {entry.name} = {entry.value}"
        with _attempt(failures, label, files, ("", entry.name)), REGISTRY.provided_by(package):
            entry.load()


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
        for name in (name for name in names if name.lower().endswith("-info")):
            with suppress(OSError):
                if group.encode() in Path(folder, name, "entry_points.txt").read_bytes():
                    return True
    return False


def _problems(error: BaseException, label: str, file: Path | None) -> tuple[Problem, ...]:
    if isinstance(error, ConfigError):
        places = [one.origin or label for one in error.problems]
        places = [place if label in place or str(file) in place else f"{label}: {place}" for place in places]
        return tuple(dataclasses.replace(one, origin=place) for one, place in zip(error.problems, places, strict=True))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    reason = error.msg if isinstance(error, SyntaxError) else error
    where = ", ".join(dict.fromkeys([label, f"{file}:{line}" if line else str(file or label)]))
    return (Problem(what=f"{type(error).__name__}: {reason}", origin=where),)


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
    folders = [one.parent if one.suffix else one for one in entries(os.environ.get(root.variable, ""))]
    __path__[:] = dict.fromkeys([*map(str, folders), *__path__])


__path__: list[str] = []
