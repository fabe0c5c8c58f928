"""The run manifest: one JSON file that says what ran, where, on what, and how it ended."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_config.host import Host
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.plan import RunPlan

SCHEMA_VERSION = 1
PACKAGES = (
    "spectramind",
    "torch",
    "lightning",
    "numpy",
    "scipy",
    "pyarrow",
    "hydra-core",
    "omegaconf",
    "msgspec",
    "mlflow-skinny",
)
Kind = Literal["best", "last", "other"]
Status = Literal["running", "completed", "walltime", "interrupted", "failed"]


class Choice(msgspec.Struct, frozen=True):
    """A setting whose requested and effective values may differ."""

    requested: Any
    effective: Any
    reason: str | None


class CheckpointRecord(msgspec.Struct, frozen=True):
    """A checkpoint: its file below the run's directory, its sha256 in hex, and what it is."""

    file: str
    sha256: str
    kind: Kind


class DataRecord(msgspec.Struct, frozen=True):
    """The data set: where it is, whether it was simulated, its sha256, and the planets of each split."""

    root: str
    simulated: bool
    fingerprint: str
    planets: dict[str, list[str]]


class GitState(msgspec.Struct, frozen=True):
    """The commit of the working directory, and whether tracked files differ from it."""

    commit: str
    dirty: bool


class Resumption(msgspec.Struct, frozen=True):
    """When a run was taken up again (UTC, ISO 8601), and after how many optimizer steps."""

    time: str
    step: int


class Manifest(msgspec.Struct, kw_only=True):
    """Everything that is needed to know, compare and repeat a run; times are UTC in ISO 8601.

    ``data`` is None until the planets are prepared.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Status
    started: str
    finished: str | None = None
    error: str | None = None
    resumed: list[Resumption] = []
    overrides: list[str]
    profiles: dict[str, str]
    config: dict[str, Any]
    fingerprint: str
    science_fingerprint: str
    seed: int
    devices: Choice
    precision: Choice
    plan: dict[str, Any]
    host: dict[str, Any]
    git: GitState | None
    packages: dict[str, str]
    data: DataRecord | None = None
    checkpoints: list[CheckpointRecord] = []
    metrics: dict[str, float] = {}

    @classmethod
    def of(cls, run_id: str, config: EffectiveConfig, plan: RunPlan, host: Host) -> Manifest:
        """The manifest of a run that starts now."""
        effective = plan.accelerator if plan.accelerator != "cuda" else plan.devices
        return cls(
            run_id=run_id,
            status="running",
            started=now(),
            overrides=list(config.overrides),
            profiles=config.profiles,
            config=config.to_dict(),
            fingerprint=config.fingerprint,
            science_fingerprint=config.science_fingerprint,
            seed=config.seed,
            devices=Choice(config.devices, effective, plan.reason("devices")),
            precision=Choice(config.precision, plan.precision, plan.reason("precision")),
            plan=dataclasses.asdict(plan),
            host={**dataclasses.asdict(host), "platform": platform.platform(), "python": platform.python_version()},
            git=_git_state(Path.cwd()),
            packages=_package_versions(),
        )


def write_manifest(manifest: Manifest, *paths: Path) -> None:
    """Write a manifest to each path, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    for path in paths:
        write_atomically(path, text)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest at a path, or that of the run directory at the path.

    Raises:
        ConfigError: There is none, or it was not written by this version.
    """
    file = path / "manifest.json" if path.is_dir() else path
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no run here; expected a run's directory or its manifest.json") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file}: not a manifest of schema version {SCHEMA_VERSION}: {error}") from None


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git_state(folder: Path) -> GitState | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

    try:
        return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return None


def _package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
