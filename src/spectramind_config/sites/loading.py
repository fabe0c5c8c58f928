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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

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


@dataclass(frozen=True)
class _Loaded:
    """What the profiles of a root were loaded from."""

    variable: str = ""
    stamps: tuple[tuple[str, _Stamp], ...] = ()
    files: frozenset[str] = frozenset()
    failures: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)

    shrunk: frozenset[str] = frozenset()

    @property
    def settled(self) -> bool:
        """Whether nobody seems to be writing a file right now: then it fails, or holds half, until it is whole."""
        young = any(
            time.time() - (_stamp(label) or (0,))[0] / 1e9 < _YOUNG_S for label in (*self.failures, *self.shrunk)
        )
        return not young and all(_stamp(path) == stamp for path, stamp in self.stamps)


class _UnsettledError(Exception):
    """A file changes while it is read."""


_LOADED: dict[str, _Loaded] = {}
_LOADING: set[str] = set()
_TOLD: set[str] = set()


def load(root: Root) -> None:
    """Load what is new: everything at the first call, later only what changed in the variable or in its files."""
    loaded = _LOADED.get(root.name)
    if loaded is not None and os.environ.get(root.variable, "") == loaded.variable:
        for path, stamp in loaded.stamps:
            if _stamp(path) != stamp:
                break
        else:
            return
    with _LOCK:
        if root.name in _LOADING:  # A profile's own module may compose.
            return
        _LOADING.add(root.name)
        try:
            found = _load(root, _LOADED.get(root.name))
        finally:
            _LOADING.discard(root.name)
        _LOADED[root.name] = found
        for label, problems in found.failures.items():
            for problem in problems:
                if f"{label}{problem}" not in _TOLD:
                    _TOLD.add(f"{label}{problem}")
                    _LOG.warning("warning: a profile was not loaded: %s", problem)


def _load(root: Root, before: _Loaded | None) -> _Loaded:
    for attempt in range(_PATIENCE):
        try:
            with REGISTRY.change():
                found = _read(root, before)
                if not found.settled and attempt < _PATIENCE - 1:
                    raise _UnsettledError  # noqa: TRY301 - it takes back the change.
                return found
        except _UnsettledError:
            time.sleep(0.02)
    raise AssertionError


def _read(root: Root, before: _Loaded | None) -> _Loaded:
    variable = os.environ.get(root.variable, "")
    importable(root)
    watched: list[str] = []
    files: list[Path] = []
    failures: dict[str, tuple[Problem, ...]] = {}
    absent: list[Path] = []
    for entry in entries(variable):
        watched.append(str(entry))
        if os.path.isdir(entry):  # noqa: PTH112 - Path.is_dir raises where a folder above cannot be read.
            watched += [str(entry / group) for group in root.groups if _stamp(str(entry / group))]
            files += sorted(entry.glob("*.py"))
            files += [file for group in root.groups for file in sorted((entry / group).glob("*.yaml"))]
        else:
            (files if _stamp(str(entry)) else absent).append(entry)
    files = list(dict.fromkeys(files))
    stamps = tuple((path, _stamp(path)) for path in dict.fromkeys([*watched, *map(str, files)]))
    sources = frozenset(map(str, [*files, *absent]))
    held = _held()
    REGISTRY.discard(sources | (before.files if before else frozenset()))
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__name__}.") and getattr(module, "__file__", "") in sources | (before or _Loaded()).files:
            del sys.modules[name]
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
    now = _held()  # A file that has just been emptied is about to be written, as a rule.
    shrunk = frozenset(file for file, count in held.items() if file in sources and now.get(file, 0) < count)
    return _Loaded(variable, stamps, sources, failures | pending, shrunk)


def _held() -> Counter[str]:
    """How many profiles each source has brought."""
    known = REGISTRY.known.profiles.values()
    return Counter(one.provider for named in known for several in named.values() for one in several)


def _attempt(files: list[Path], loader: Callable[[Path], None]) -> dict[str, tuple[Problem, ...]]:
    failures: dict[str, tuple[Problem, ...]] = {}
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
    if script():  # Or a profile that imports a schema from it would run it a second time, with a second schema.
        sys.modules.setdefault(script(), sys.modules["__main__"])
    try:
        # Compiled here, not imported: a byte-code cache takes no notice of a second change within a second.
        exec(compile(files.read(file, _MOST_BYTES), file, "exec"), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise


def script() -> str:
    """The name that the script which is run has as a module; empty where none is."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file and getattr(main, "__spec__", None) is None else ""


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
            with REGISTRY.provided_by(distribution):
                entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a third party's code may fail in any way.
            parts = entry.module.split(".")
            found = [Path(folder, *parts[:-1], parts[-1]) for folder in sys.path]
            files = [file for one in found for file in (one.with_suffix(".py"), one / "__init__.py") if file.is_file()]
            file = files[0] if files else None
            label = f"package {distribution}, entry point {entry.name} = {entry.value}"
            problems = _problems(error, label, file)
            REGISTRY.refuse({("", entry.name), *_claims(file)}, label, problems)
            yield label, problems


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
            if name.lower().endswith("-info"):
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


def folders(variable: str) -> list[str]:
    """The folders that hold the files of a variable."""
    return [str(entry.parent if entry.suffix else entry) for entry in entries(variable)]


def importable(root: Root) -> None:
    """Let Python find a root's files as modules of this one: a pickle may be read before anything is loaded."""
    with suppress(FileNotFoundError):  # The working directory has been removed; a command says so.
        __path__[:] = dict.fromkeys([*folders(os.environ.get(root.variable, "")), *__path__])


__path__: list[str] = []
