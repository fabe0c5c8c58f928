"""The run manifest: one JSON file that says what ran, where, on what, and how it ended."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from spectramind_config import ConfigError, EffectiveConfig, files
from spectramind_config.host import Host
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.liveness import Process
from spectramind_train.run.plan import RunPlan
from spectramind_train.run.sources import package_digest, source_digest

SCHEMA_VERSION = 1
CODE = "spectramind_train"
"""The package in which all is that decides a result."""

LARGEST = 10_000_000
"""Bytes of a manifest; ours have some ten thousand."""
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
Status = Literal["running", "completed", "walltime", "pruned", "interrupted", "failed"]
State = Literal[Status, "lost", "unknown"]


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
    """The data set: where it is, whether it was simulated, its sha256, and the planets of each split.

    ``naive_mean`` and ``naive_sigma`` are those of the training labels, in (Rp/Rs)^2; None where an earlier version has
    not recorded them.
    """

    root: str
    simulated: bool
    fingerprint: str
    planets: dict[str, list[str]]
    naive_mean: float | None = None
    naive_sigma: float | None = None


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

    ``data`` is None until the planets are prepared. ``process`` is the one that runs it, and ``code`` the digest of the
    code that decides its result, by module; what the manifest of an earlier version does not say is empty.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Status
    started: str
    finished: str | None = None
    error: str | None = None
    process: Process | None = None
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
    code: dict[str, str] = {}
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
            process=Process.this(),
            overrides=list(config.overrides),
            profiles=config.profiles,
            config=config.to_dict(),
            fingerprint=config.fingerprint,
            science_fingerprint=config.science_fingerprint,
            seed=config.seed,
            devices=Choice(config.devices, effective, plan.reason("devices")),
            precision=Choice(config.precision, plan.precision, plan.reason("precision")),
            plan=dataclasses.asdict(plan),
            host=host_record(host),
            git=git_state(Path.cwd()),
            code=code_digests(config),
            packages=package_versions(),
        )

    def state(self) -> State:
        """The status, but ``lost`` where the run's process ended without a word, and ``unknown`` where nobody can tell.

        That of a run on another machine, or in another container, cannot be told.
        """
        if self.status != "running":
            return self.status
        lives = self.process.lives() if self.process else None
        return "unknown" if lives is None else "running" if lives else "lost"

    def describe(self) -> str:
        """Its state in words, as in "the run is lost: ..."."""
        state = self.state()
        if self.status != "running":
            return f"{state}: {self.error}" if self.error else state
        if self.process is None:
            return "running, says its manifest, which does not name the process"
        process = f"process {self.process.pid} of {self.process.host}"
        if state == "lost":
            return f"lost: {process} is gone and left no word of its end"
        if state == "unknown":
            return f"running, says its manifest; {socket.gethostname()} cannot tell whether {process} still lives"
        return f"running: {process}"


def write_manifest(manifest: Manifest, *paths: Path) -> None:
    """Write a manifest to each path, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    for path in paths:
        write_atomically(path, text)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest at a path, or that of the run directory at the path, whoever wrote it.

    Raises:
        ConfigError: There is none, it has more than ``LARGEST`` bytes, or it was not written by this version.
    """
    file = path / "manifest.json" if os.path.isdir(path) else path  # noqa: PTH112 - Path.is_dir raises for no path.
    try:
        manifest = msgspec.json.decode(files.read(file, LARGEST), type=Manifest)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no run here; expected a run's directory or its manifest.json") from None
    except OSError as error:
        raise ConfigError(f"{file}: not a manifest: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not a manifest of schema version {SCHEMA_VERSION}: {error}") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise ConfigError(
            f"{file}: a manifest of schema version {manifest.schema_version}, and this version of spectramind reads "
            f"{SCHEMA_VERSION}; use the version that wrote it"
        )
    return manifest


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def host_record(host: Host) -> dict[str, Any]:
    """A host, and what else of a machine may change the last bits of a result."""
    software = {"platform": platform.platform(), "python": platform.python_version()}
    machine = dataclasses.asdict(host)
    del machine["files"]  # How many may be open changes no bit.
    return {**machine, "cpu": _cpu(), **software}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def code_digests(config: EffectiveConfig) -> dict[str, str]:
    """Digests of this package's code, and of the modules elsewhere that declare a profile which the config chooses."""
    sections = [type(getattr(config, group)).__module__ for group in config.profiles]
    others = {name for name in sections if name.partition(".")[0] not in ("spectramind_config", "__main__")}
    return {CODE: package_digest(CODE), **{name: source_digest(name) for name in sorted(others - {CODE})}}


def git_state(folder: Path) -> GitState | None:
    """What is checked out in a folder; None where that is nothing of git's."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603

    try:
        return GitState(git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return None


def package_versions() -> dict[str, str]:
    """The versions of the packages that may change a result, of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
