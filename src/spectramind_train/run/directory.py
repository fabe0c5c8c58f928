"""A run's directory: its own, made atomically before any long work, with everything that the run leaves behind."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.host import Host
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.checkpoints import Index, Saved, newest_whole
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

_RESUMABLE = ("walltime", "interrupted", "failed")


class Run:
    """One training run on disk.

    Its directory holds ``manifest.json``, ``config.yaml``, ``metrics.csv``, ``checkpoints/``, the predictions of the
    test planets and pictures. ``paths.run_manifest`` always holds the manifest of the run that began last.
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
        root = Path(config.paths.output_dir).expanduser()
        missing = tuple(folder for folder in (root, *root.parents) if not folder.exists())
        path = _new_directory(config, root)
        run = cls(path, Manifest.of(path.name, config, plan, host))
        run._parents = missing
        try:
            write_atomically(path / "config.yaml", config.to_yaml().encode())
            write_manifest(run.manifest, path / "manifest.json")
        except OSError as error:
            run.discard()
            raise _cannot_start(path, error) from error
        return run

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
        with suppress(OSError):
            for folder in self._parents:
                folder.rmdir()

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run whose directory, or whose manifest, lies at ``path``.

        Raises:
            ConfigError: There is no run.
        """
        manifest = read_manifest(path)
        directory = path if path.is_dir() else path.parent
        if not (directory / "manifest.json").is_file():
            directory = directory / manifest.run_id
        return cls(directory, manifest)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def write(self) -> None:
        """Write the manifest into the directory and, unless a newer run has, to ``paths.run_manifest``."""
        write_manifest(self.manifest, self.path / "manifest.json")
        newest = Path(self.manifest.config["paths"]["run_manifest"]).expanduser()
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
        self.write()

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
            raise ConfigError(f"{self.path}: the run has no checkpoint (its status is {self.manifest.status})")
        damaged: list[str] = []
        for one in candidates:
            if index.is_whole(one):
                for problem in damaged:
                    warn(f"{problem}; {one.file} is used")
                return self.checkpoints / one.file
            damaged.append(f"{self.checkpoints / one.file}: the checkpoint is damaged: its sha256 is not the index's")
        raise ConfigError("\n".join(damaged))

    def require_resumable(self, warn: Callable[[str], None]) -> Saved:
        """The newest whole checkpoint, from which the run can go on.

        Args:
            warn: Where damaged ones are named.

        Raises:
            ConfigError: The run is done or running, or has no checkpoint that is whole.
        """
        status = self.manifest.status
        if status not in _RESUMABLE:
            reason = "it is completed" if status == "completed" else f"it is {status}, says its manifest"
            raise ConfigError(f"{self.path}: the run cannot be resumed: {reason}")
        newest = newest_whole(self.checkpoints, warn)
        if newest is None:
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
        if before.data is None or (before.data.fingerprint, before.data.planets) != (data.fingerprint, data.planets):
            raise ConfigError(f"{self.path}: the run cannot be resumed: {data.root} does not hold its planets any more")
        index = Index.read(self.checkpoints)
        index.repair(warn)
        step = index.newest.step if index.newest else 0
        self.manifest = Manifest.of(before.run_id, config, plan, host)
        self.manifest.started, self.manifest.data = before.started, data
        self.manifest.resumed = [*before.resumed, Resumption(now(), step)]
        try:
            write_atomically(self.path / "config.yaml", config.to_yaml().encode())
            self.write()
        except OSError as error:
            raise _cannot_start(self.path, error) from error


def newest_resumable(config: EffectiveConfig, warn: Callable[[str], None]) -> Run | None:
    """The newest run of a config's science that can be resumed; None where there is none.

    Args:
        config: Its ``paths.output_dir`` is searched.
        warn: Where damaged checkpoints are named.
    """
    for run in sorted(_runs(Path(config.paths.output_dir).expanduser()), key=_age, reverse=True):
        if run.manifest.science_fingerprint == config.science_fingerprint:
            with suppress(ConfigError):
                run.require_resumable(warn)
                return run
    return None


def _runs(root: Path) -> Iterator[Run]:
    for file in root.glob("*/manifest.json"):
        with suppress(ConfigError):
            yield Run.open(file.parent)


def _age(run: Run) -> tuple[str, str]:
    return run.manifest.started, run.manifest.run_id


def require_writable(config: EffectiveConfig) -> None:
    """Check, before any work, that the run's paths can be written; makes none of them.

    Whether a file can be made is found by making one: permission bits do not tell it of a read-only or virtual file
    system, nor to the superuser.

    Raises:
        ConfigError: With every path that cannot, who set it and what to write instead.
    """
    problems = []
    manifest = Path(config.paths.run_manifest).expanduser()
    folders = {name: Path(getattr(config.paths, name)).expanduser() for name in ("output_dir", "cache_dir")}
    if manifest.is_dir():
        problems.append(_unwritable(config, "run_manifest", "it is a directory"))
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
    here = {"output_dir": "outputs", "cache_dir": ".cache/spectramind", "run_manifest": "run_manifest.json"}[name]
    return Problem(
        what=f"paths.{name}={origin.value}: {reason}",
        origin=f"{origin.place}{variable}",
        expected=f"a {'file' if name == 'run_manifest' else 'directory'} that you may write to",
        argument=origin.argument or f"{name} added",
        instead=f"local.paths.{name}={here}",
    )


def _cannot_start(path: Path, error: OSError) -> ConfigError:
    place = Path(error.filename).parent if error.filename else path
    return ConfigError(
        f"{place}: cannot be written ({error.strerror}); free some space, "
        "or set paths.output_dir or paths.run_manifest to another place"
    )


def _new_directory(config: EffectiveConfig, root: Path) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    name = f"{stamp}_{config.local.name}"
    try:
        for number in range(1, 10_000):
            path = root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return path
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise ConfigError(_unwritable(config, "output_dir", reason), config.overrides) from None
    raise ConfigError(f"{root}: 10000 runs started in one second")
