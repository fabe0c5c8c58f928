"""What this machine offers: accelerators, cores and whether a scheduler started us."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

from spectramind_config import errors

_SCHEDULERS = {"SLURM_JOB_ID": "slurm", "PBS_JOBID": "pbs", "LSB_JOBID": "lsf", "JOB_ID": "sge"}
_ALLOCATED_GPUS = ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS")
_MOST_LISTED = 1_000_000  # Bytes that the driver's tool may print.
_LASTING = ("SCRATCH", "/scratch/{USER}", "/scratch", "/local_scratch/{USER}", "/local_scratch")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine, as far as planning a run needs to know it."""

    name: str
    gpus: tuple[str, ...] = ()  # Names of the CUDA GPUs that this process may use.
    cuda_bf16: bool = False  # Whether all of them compute in bfloat16 (compute capability 8.0 and newer).
    cuda_fp16: bool = False  # Whether all of them compute in float16 (compute capability 5.3 and newer).
    mps: bool = False  # Whether Apple's Metal backend is there.
    mps_bf16: bool = False  # Whether it computes in bfloat16 (macOS 14 and newer).
    cores: int = 1  # CPU cores that this process may use, container quotas included.
    scheduler: str | None = None  # The batch system that started this process, such as `slurm`.
    allocated_gpus: bool = False  # Whether the scheduler says that GPUs belong to the job.

    @classmethod
    def detect(cls) -> Host:
        """This machine; asks the driver and the kernel, and imports no framework."""
        gpus = _cuda_gpus()
        capability = min((one for _, one in gpus), default=0.0)
        mps = platform.system() == "Darwin" and platform.machine() == "arm64"
        scheduler = next((name for variable, name in _SCHEDULERS.items() if os.environ.get(variable)), None)
        return cls(
            name=socket.gethostname(),
            gpus=tuple(name for name, _ in gpus),
            cuda_bf16=capability >= 8.0,
            cuda_fp16=capability >= 5.3,
            mps=mps,
            mps_bf16=mps and int(platform.mac_ver()[0].partition(".")[0] or 0) >= 14,
            cores=_cores(),
            scheduler=scheduler,
            allocated_gpus=scheduler is not None and any(os.environ.get(name) for name in _ALLOCATED_GPUS),
        )

    def summary(self) -> str:
        """The host in one line, with a hint where a batch system may show only a part of it."""
        gpus = f"{len(self.gpus)} x {', '.join(dict.fromkeys(self.gpus))}" if self.gpus else "no NVIDIA GPU"
        line = f"{self.name}: {gpus}, {self.cores} CPU cores."
        if self.scheduler:
            return f"{line}\n\nFound inside a {self.scheduler} job, which may see only a part of the machine."
        from shutil import which

        hint = "\n\nSLURM is here, and this was found outside a job: inside one there may be more."
        return f"{line}{hint}" if which("sbatch") else line


def scratch(*, lasting: bool) -> tuple[str, str]:
    """The first scratch disk, one that outlasts a job or not, as variable and path; both empty where there is none."""
    for name in _LASTING if lasting else ("SLURM_TMPDIR", "TMPDIR"):
        place = name.format(USER=os.environ.get("USER", "-")) if "/" in name else os.environ.get(name, "")
        if place.startswith("/") and os.access(place, os.W_OK | os.X_OK):
            return "" if "/" in name else name, place
    return "", ""


def _cuda_gpus() -> list[tuple[str, float]]:  # Name and compute capability of those that are visible.
    import shutil
    import subprocess
    import threading

    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    command = [tool, "--query-gpu=index,uuid,name,compute_cap", "--format=csv,noheader"]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            timer = threading.Timer(30, process.kill)
            timer.start()
            listing = process.stdout.read(_MOST_LISTED) if process.stdout else b""
            if len(listing) == _MOST_LISTED:
                process.kill()
        timer.cancel()
    except OSError:
        return []
    rows = [[part.strip() for part in line.split(",")] for line in listing.decode(errors="replace").splitlines()]
    try:
        found = [(index, uuid, (errors.visible(name), float(capability))) for index, uuid, name, capability in rows]
    except ValueError:  # A driver that is broken prints other things, even with exit code 0.
        return []
    if process.returncode:
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return [gpu for *_, gpu in found]
    chosen: list[tuple[str, float]] = []
    for word in (part.strip() for part in visible.split(",")):
        matching = [gpu for index, uuid, gpu in found if word and (word == index or uuid.startswith(word))]
        if not matching:
            break  # CUDA itself ignores everything from the first invalid entry on.
        chosen += matching[:1]
    return chosen


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))
