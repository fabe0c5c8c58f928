"""A run's directory: its own, made atomically before any long work, with everything that the run leaves behind."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.errors import quoted
from spectramind_config.host import Host
from spectramind_train.run.atomic_files import making, sweep, write_atomically
from spectramind_train.run.checkpoints import Index, Saved, newest_whole
from spectramind_train.run.liveness import Process
from spectramind_train.run.manifest import (
    CheckpointRecord,
    DataRecord,
    Manifest,
    Resumption,
    Status,
    now,
    read_manifest,
    write_manifest,
)
from spectramind_train.run.plan import RunPlan

RESUMABLE = ("walltime", "interrupted", "failed", "lost")
"""What a run is that can go on from a checkpoint, or begin anew where it has none yet."""
_RESERVE = ".end"
_RESERVE_BYTES = 4096


class _Word(msgspec.Struct, frozen=True):
    """The end of a run that could not be written into its manifest."""

    status: Status
    error: str | None
    finished: str


class Run:
    """One training run on disk.

    Its directory holds ``manifest.json``, ``config.yaml``, ``journal.jsonl``, ``metrics.csv``, ``checkpoints/``, the
    predictions of the test planets and pictures. ``paths.run_manifest`` always holds the manifest of the run that
    began last.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._parents: tuple[Path, ...] = ()

    @classmethod
    def create(cls, config: EffectiveConfig, plan: RunPlan, host: Host) -> Run:
        """Make a directory that no other run has, before its planets are prepared.

        Raises:
            ConfigError: The directory or a file in it cannot be made, or another of the config's paths cannot be
                written; nothing is left of it.
        """
        require_writable(config)
        root, newest = path_of(config, "output_dir"), path_of(config, "run_manifest")
        sweep(root, newest.parent, *root.glob("*/"), *root.glob("*/checkpoints/"))
        missing = tuple(folder for folder in (root, *root.parents) if not folder.exists())
        manifest = Manifest.of("", config, plan, host)
        try:
            run = cls(_new_directory(config, root, manifest), manifest)
        except OSError as error:
            _remove_empty(missing)
            raise _cannot_start(root, error) from error
        run._parents = missing
        return run

    def claim(self) -> None:
        """Make this process the one that runs it: the manifest names it, and there is room for a word of the end.

        A file in its full size holds that room, because a disk may be full by then.
        """
        self.manifest.process = Process.this()
        self.manifest.status, self.manifest.error, self.manifest.finished = "running", None, None
        _reserve(self.path)

    def begin(self, data: DataRecord) -> None:
        """Record the planets; from now on the run is the newest, and is kept however it ends.

        Raises:
            ConfigError: A manifest cannot be written.
        """
        self.manifest.data = data
        try:
            self.write()
        except OSError as error:
            raise _cannot_start(self.path, error) from error

    def discard(self) -> None:
        """Remove a run that has not begun: its directory, and the folders made for it where nothing else is in them."""
        shutil.rmtree(self.path, ignore_errors=True)
        _remove_empty(self._parents)

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run whose directory, or whose manifest, lies at ``path``.

        Raises:
            ConfigError: There is no run, or its manifest leads out of the folder that it lies in.
        """
        manifest = read_manifest(path)
        directory = path if path.is_dir() else path.parent
        if not (directory / "manifest.json").is_file():
            directory = _inside(directory, manifest.run_id, f"{path}: run_id")
        run = cls(directory, manifest)
        if manifest.status == "running" and (word := _read_word(directory)):
            manifest.status, manifest.error, manifest.finished = word.status, word.error, word.finished
        return run

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def write(self) -> None:
        """Write the manifest into the directory and, unless a newer run has, to ``paths.run_manifest``."""
        write_manifest(self.manifest, self.path / "manifest.json")
        newest = Path(os.path.expanduser(self.manifest.config["paths"]["run_manifest"]))  # noqa: PTH111 - it never raises.
        with suppress(ConfigError):
            if read_manifest(newest).started > self.manifest.started:
                return
        write_manifest(self.manifest, newest)

    def finish(self, status: Status, error: str | None = None) -> None:
        """Record how the run ended, and every checkpoint with its sha256."""
        with suppress(ConfigError):
            index = Index.read(self.checkpoints)
            self.manifest.checkpoints = [
                CheckpointRecord(
                    f"{self.checkpoints.name}/{one.file}",
                    one.sha256,
                    "best" if one == index.best else "last" if one == index.newest else "other",
                )
                for one in index.entries
            ]
        self.manifest.status, self.manifest.error, self.manifest.finished = status, error, now()
        try:
            self.write()
        except OSError:
            self._leave_word()
            raise
        (self.path / _RESERVE).unlink(missing_ok=True)

    def _leave_word(self) -> None:
        """Write the end into the room that was reserved for it: what is overwritten takes no space."""
        error = self.manifest.error and self.manifest.error[: _RESERVE_BYTES // 8]  # A character may take six bytes.
        word = msgspec.json.encode(_Word(self.manifest.status, error, self.manifest.finished or now()))
        with suppress(OSError), (self.path / _RESERVE).open("r+b") as file:
            file.write(word.ljust(_RESERVE_BYTES))
            file.flush()
            os.fsync(file.fileno())

    def checkpoint(self, warn: Callable[[str], None] = warnings.warn) -> Path:
        """The best checkpoint that is whole, or the newest where none is kept for its score.

        Args:
            warn: Where damaged ones are named.

        Raises:
            ConfigError: The run has no checkpoint, or none is whole.
        """
        index = Index.read(self.checkpoints)
        best = sorted((one for one in index.entries if "best" in one.kept), key=lambda one: one.score or 0.0)
        candidates = list(dict.fromkeys([*reversed(best), *reversed(index.entries)]))
        if not candidates:
            raise ConfigError(f"{self.path}: the run has no checkpoint; it is {self.manifest.describe()}")
        damaged: list[str] = []
        for one in candidates:
            file = _inside(self.path, f"{self.checkpoints.name}/{one.file}", f"{self.path}: a checkpoint")
            if index.is_whole(one):
                for problem in damaged:
                    warn(f"{problem}; {one.file} is used")
                return file
            what = "damaged: its sha256 is not that of the index" if file.exists() else "missing"
            damaged.append(f"{file}: the checkpoint is {what}")
        raise ConfigError([Problem(what=one) for one in damaged])

    def require_resumable(self, warn: Callable[[str], None]) -> Saved | None:
        """The newest whole checkpoint, from which the run can go on; None for one that begins anew, having none.

        Args:
            warn: Where damaged ones are named.

        Raises:
            ConfigError: The run is done or running, none of its checkpoints is whole, or a link leads out of it.
        """
        for entry in self.path.iterdir():
            if entry.is_symlink():
                _inside(self.path, entry.name, f"{self.path}: the run cannot be resumed: a file to write")
        state = self.manifest.state()
        if state == "unknown":
            warn(f"{self.path} is {self.manifest.describe()}")
        elif state not in RESUMABLE:
            what = f"{self.path}: the run cannot be resumed: it is {self.manifest.describe()}"
            raise ConfigError(Problem(what=what, see=f"runs show {quoted(str(self.path))}"))
        newest = newest_whole(self.checkpoints, warn)
        if newest is None and Index.read(self.checkpoints).entries:
            raise ConfigError(f"{self.path}: the run cannot be resumed: it has no whole checkpoint")
        return newest

    def resume(
        self, config: EffectiveConfig, plan: RunPlan, host: Host, data: DataRecord, warn: Callable[[str], None]
    ) -> None:
        """Take the run up again: clean up after its last process, and record this one.

        Args:
            config: What it goes on with; its science is the run's.
            plan: How this host does it.
            host: This host.
            data: The planets.
            warn: Where damaged checkpoints are named.

        Raises:
            ConfigError: The planets are not those of the run, or it cannot be written.
        """
        before = self.manifest
        # One that ended before its planets were prepared knows none.
        known = before.data or (None if Index.read(self.checkpoints).entries else data)
        if known is None or (known.fingerprint, known.planets) != (data.fingerprint, data.planets):
            raise ConfigError(f"{self.path}: the run cannot be resumed: {data.root} does not hold its planets any more")
        sweep(self.path, self.checkpoints)
        index = Index.read(self.checkpoints)
        index.repair(warn)
        step = index.newest.step if index.newest else 0
        self.manifest = Manifest.of(before.run_id, config, plan, host)
        self.manifest.started, self.manifest.data = before.started, data
        self.manifest.resumed = [*before.resumed, Resumption(now(), step)]
        try:
            self.claim()
            write_atomically(self.path / "config.yaml", config.to_yaml().encode())
            self.write()
        except OSError as error:
            raise _cannot_start(self.path, error) from error


def _inside(folder: Path, name: str, what: str) -> Path:
    """The path below a folder that a manifest names, which may be a stranger's.

    Raises:
        ConfigError: It is the folder itself, or lies outside, be it through a link.
    """
    path = folder / name
    try:
        inside = folder.resolve() in path.resolve().parents
    except (OSError, RuntimeError, ValueError):  # No path: too long, a circle of links, a zero.
        inside = False
    if not inside or ".." in Path(name).parts:
        raise ConfigError(f"{what} is {name!r}, which is no path inside of {folder}")
    return path


def path_of(config: EffectiveConfig, name: str) -> Path:
    """One of the config's ``paths``, with ``~`` as the home folder.

    Raises:
        ConfigError: There is no such home folder, or no path of that name.
    """
    text = str(getattr(config.paths, name))
    try:
        if "\0" in text:
            raise ValueError(text)  # noqa: TRY301 - as every call with it would do.
        return Path(text).expanduser()
    except (RuntimeError, ValueError) as error:
        reason = "there is no such home folder" if text.startswith("~") else "no path has such a name"
        raise ConfigError(_unwritable(config, name, reason), config.overrides) from error


def require_writable(config: EffectiveConfig) -> None:
    """Check, before any work, that the run's paths can be written; makes none of them.

    Whether a file can be made is found by making one: permission bits do not tell it of a read-only or virtual file
    system, nor to the superuser.

    Raises:
        ConfigError: With every path that cannot, who set it and what to write instead.
    """
    problems = []
    manifest = path_of(config, "run_manifest")
    folders = {name: path_of(config, name) for name in ("output_dir", "cache_dir")}
    if manifest.is_dir():
        problems.append(_unwritable(config, "run_manifest", "it is a directory"))
    elif manifest.exists() and not manifest.is_file():
        problems.append(_unwritable(config, "run_manifest", "it is a pipe or a device"))
    elif manifest.parent != folders["output_dir"]:
        folders["run_manifest"] = manifest.parent
    for name, path in folders.items():
        existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except NotADirectoryError:
            problems.append(_unwritable(config, name, f"{existing} is not a directory"))
        except OSError as error:
            problems.append(_unwritable(config, name, f"{existing} cannot be written ({error.strerror or error})"))
    if problems:
        raise ConfigError(problems, config.overrides)


def _unwritable(config: EffectiveConfig, name: str, reason: str) -> Problem:
    origin = config.origin(f"paths.{name}")
    variable = f" ({origin.raw})" if origin.raw else ""
    here = {"output_dir": "outputs", "cache_dir": ".cache/spectramind", "run_manifest": "run_manifest.json"}
    return Problem(
        what=f"paths.{name}={origin.value}: {reason}",
        origin=f"{origin.place}{variable}",
        expected=f"a {'file' if name == 'run_manifest' else 'directory'} that you may write to",
        argument=origin.argument or f"{name} added",
        instead=f"local.paths.{name}={here[name]}" if name in here else None,
    )


def _read_word(directory: Path) -> _Word | None:
    file = directory / _RESERVE
    try:
        # A stranger's may be a pipe, or without an end.
        if not file.is_file() or file.stat().st_size != _RESERVE_BYTES:
            return None
        return msgspec.json.decode(file.read_bytes(), type=_Word)
    except (OSError, msgspec.MsgspecError):
        return None


def _cannot_start(path: Path, error: OSError) -> ConfigError:
    place = Path(error.filename).parent if error.filename else path
    return ConfigError(
        f"{place}: cannot be written ({error.strerror}); free some space, "
        "or set paths.output_dir or paths.run_manifest to another place"
    )


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _reserve(directory: Path) -> None:
    write_atomically(directory / _RESERVE, b" " * _RESERVE_BYTES)


def _new_directory(config: EffectiveConfig, root: Path, manifest: Manifest) -> Path:
    """A directory with a name that no other run has; it appears with its manifest in it, or not at all."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise ConfigError(_unwritable(config, "output_dir", reason), config.overrides) from None
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    name = f"{stamp}_{config.local.name}"
    for number in range(1, 10_000):
        path = root / (name if number == 1 else f"{name}-{number}")
        if path.exists():
            continue
        manifest.run_id = path.name
        try:
            with making(path) as directory:
                write_atomically(directory / "config.yaml", config.to_yaml().encode())
                write_manifest(manifest, directory / "manifest.json")
                _reserve(directory)
        except FileExistsError:
            continue
        return path
    raise ConfigError(f"{root}: 10000 runs started in one second")
