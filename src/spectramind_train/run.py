"""A run's directory: its own, made atomically, with everything that the run leaves behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.host import Host
from spectramind_train.manifest import (
    CheckpointRecord,
    DataRecord,
    Manifest,
    Status,
    now,
    read_manifest,
    sha256_of,
    write_atomically,
    write_manifest,
)
from spectramind_train.plan import RunPlan

LAST_CHECKPOINT = "last.ckpt"


class Run:
    """One training run on disk.

    Its directory holds ``manifest.json``, ``config.yaml``, ``metrics.csv``, ``checkpoints/``, the predictions of the
    test planets and pictures. ``paths.run_manifest`` always holds the newest run's manifest.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(cls, config: EffectiveConfig, plan: RunPlan, host: Host, data: DataRecord) -> Run:
        """Make a directory that no other run has, and write the manifest of a run that has started.

        Raises:
            ConfigError: The directory cannot be made.
        """
        path = _new_directory(config)
        run = cls(path, Manifest.of(path.name, config, plan, host, data))
        write_atomically(path / "config.yaml", config.to_yaml().encode())
        run.write()
        return run

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
        """Write the manifest into the directory and to ``paths.run_manifest``."""
        newest = Path(self.manifest.config["paths"]["run_manifest"]).expanduser()
        write_manifest(self.manifest, self.path / "manifest.json", newest)

    def finish(self, status: Status, best: Path | None = None, error: str | None = None) -> None:
        """Record how the run ended, and every checkpoint with its sha256."""
        kinds = {best: "best", self.checkpoints / LAST_CHECKPOINT: "last"}
        files = sorted(self.checkpoints.glob("*.ckpt"))
        self.manifest.checkpoints = [
            CheckpointRecord(
                str(file.relative_to(self.path)),
                sha256_of(file),
                "best" if kinds.get(file) == "best" else "last" if kinds.get(file) == "last" else "other",
            )
            for file in files
        ]
        self.manifest.status, self.manifest.error, self.manifest.finished = status, error, now()
        self.write()

    def checkpoint(self) -> Path:
        """The best checkpoint, or the last where none was better, verified against the manifest.

        Raises:
            ConfigError: The run has no checkpoint, or its file is damaged.
        """
        records = {record.kind: record for record in self.manifest.checkpoints}
        record = records.get("best") or records.get("last")
        if record is None:
            raise ConfigError(f"{self.path}: the run has no checkpoint (its status is {self.manifest.status})")
        file = self.path / record.file
        if not file.is_file():
            raise ConfigError(f"{file}: the checkpoint is missing")
        if sha256_of(file) != record.sha256:
            raise ConfigError(f"{file}: the checkpoint is damaged: its sha256 differs from the manifest's")
        return file


def require_writable(config: EffectiveConfig, names: Iterable[str] = ("output_dir", "cache_dir")) -> None:
    """Check, before any work, that the run's directories can be written; makes none of them.

    Raises:
        ConfigError: With every directory that cannot, who set it and what to write instead.
    """
    problems = []
    for name in names:
        path = Path(getattr(config.paths, name)).expanduser()
        existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
        if not existing.is_dir():
            problems.append(_unwritable(config, name, f"{existing} is not a directory"))
        elif not os.access(existing, os.W_OK | os.X_OK):
            problems.append(_unwritable(config, name, f"{existing} cannot be written"))
    if problems:
        raise ConfigError(problems, config.overrides)


def _unwritable(config: EffectiveConfig, name: str, reason: str) -> Problem:
    origin = config.origin(f"paths.{name}")
    setter = "command line" if origin.layer == "override" else f"{origin.layer}={origin.option}, {origin.source}"
    variable = f" ({origin.raw})" if origin.raw else ""
    here = {"output_dir": "outputs", "cache_dir": ".cache/spectramind"}[name]
    return Problem(
        what=f"paths.{name}={origin.value}: {reason}",
        origin=f"{setter}{variable}",
        expected="a directory that you may write to",
        argument=origin.option if origin.layer == "override" else f"{name} added",
        instead=f"local.paths.{name}={here}",
    )


def _new_directory(config: EffectiveConfig) -> Path:
    root = Path(config.paths.output_dir).expanduser()
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    name = f"{stamp}_{config.local.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = root / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise ConfigError(
            _unwritable(config, "output_dir", os.strerror(error.errno or errno.EIO)), config.overrides
        ) from None
    raise ConfigError(f"{root}: 10000 runs started in one second")
