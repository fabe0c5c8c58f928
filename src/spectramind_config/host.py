"""What this machine offers: accelerators, cores and whether a scheduler started us."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spectramind_config import errors

_SCHEDULERS = {"SLURM_JOB_ID": "slurm", "PBS_JOBID": "pbs", "LSB_JOBID": "lsf", "JOB_ID": "sge"}
_ALLOCATED_GPUS = ("SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS")
_PATIENCE_S = 30.0  # A driver that has not answered by then never will.
_DEVICE_FILES = Path("/dev")
_LASTING = ("SCRATCH", "/scratch/{USER}", "/scratch", "/local_scratch/{USER}", "/local_scratch")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine, as far as planning a run needs to know it."""

    name: str
    gpus: tuple[str, ...] = ()  # Names of the CUDA GPUs that this process may use.
    gpu_memory: tuple[int, ...] = ()  # Bytes of each of them; empty where nobody knows.
    unusable: str = ""  # Accelerators that are there and that nothing can use, and why; empty where there are none.
    cuda_bf16: bool = False  # Whether all of them compute in bfloat16 (compute capability 8.0 and newer).
    cuda_fp16: bool = False  # Whether all of them compute in float16 (compute capability 5.3 and newer).
    mps: bool = False  # Whether Apple's Metal backend is there.
    mps_bf16: bool = False  # Whether it computes in bfloat16 (macOS 14 and newer).
    cores: int = 1  # CPU cores that this process may use, container quotas included.
    memory: int = 0  # Bytes of RAM that it may use, container limits included; 0 where nobody knows.
    files: int = 0  # Files that a process may have open; 0 where nobody knows, or as many as it likes.
    scheduler: str | None = None  # The batch system that started this process, such as `slurm`.
    allocated_gpus: bool = False  # Whether the scheduler says that GPUs belong to the job.

    @classmethod
    def detect(cls) -> Host:
        """This machine; asks the driver and the kernel, and imports no framework."""
        gpus, trouble = _cuda_gpus()
        capability = min((one.capability for one in gpus), default=0.0)
        mps = platform.system() == "Darwin" and platform.machine() == "arm64"
        scheduler = next((name for variable, name in _SCHEDULERS.items() if os.environ.get(variable)), None)
        return cls(
            name=socket.gethostname(),
            gpus=tuple(one.name for one in gpus),
            gpu_memory=tuple(one.memory for one in gpus),
            unusable="" if gpus else trouble,
            cuda_bf16=capability >= 8.0,
            cuda_fp16=capability >= 5.3,
            mps=mps,
            mps_bf16=mps and int(platform.mac_ver()[0].partition(".")[0] or 0) >= 14,
            cores=_cores(),
            memory=_memory(),
            files=_files(),
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


class _Gpu(NamedTuple):
    names: tuple[str, ...]  # What CUDA_VISIBLE_DEVICES may call it: its number, and UUIDs, which may be cut short.
    name: str
    memory: int  # Bytes.
    capability: float  # 0 where the driver does not say.


def _cuda_gpus() -> tuple[list[_Gpu], str]:
    """Those that are visible, and what is wrong with others that are there."""
    import ctypes
    import threading

    found: list[_Gpu] = []
    trouble = ["its library NVML does not answer"]

    def ask() -> None:
        try:
            found.extend(_listed())
            trouble.clear()
        except Exception as error:  # noqa: BLE001 - there is no end to what a broken driver answers.
            trouble[:] = [errors.visible(str(error))]

    try:
        if sys.platform == "linux":  # Nearly always there is none, and that is known sooner than pynvml is imported.
            ctypes.CDLL("libnvidia-ml.so.1")
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(_PATIENCE_S)
    except OSError:
        trouble = ["its library NVML is not installed"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if trouble:
        count = len(list(_DEVICE_FILES.glob("nvidia[0-9]*")))
        wanted = visible is None or visible.startswith(("GPU-", "MIG-")) or visible[:1].isdecimal()
        return [], f"{count} NVIDIA GPU(s), but the driver is at fault: {trouble[0]}" if count and wanted else ""
    chosen: list[_Gpu] = []
    for word in [one.names[0] for one in found] if visible is None else visible.split(","):
        matching = [one for one in found if word.strip() and _means(word.strip(), one)]
        if not matching:
            break  # CUDA itself ignores everything from the first invalid entry on.
        chosen += matching[:1]
    # Where it sees a part of a GPU, CUDA uses that one and nothing else.
    return next(([one] for one in chosen if one.names[-1].startswith("MIG-")), chosen), ""


def _means(word: str, gpu: _Gpu) -> bool:
    return any(name == word or (not name.isdecimal() and name.startswith(word)) for name in gpu.names)


def _listed() -> list[_Gpu]:
    """All GPUs of this machine; of one that is divided (MIG) its parts, the first of which answers to its name too."""
    import pynvml as nvml

    found = []
    nvml.nvmlInit()
    try:
        for number in range(nvml.nvmlDeviceGetCount()):
            gpu = nvml.nvmlDeviceGetHandleByIndex(number)
            names, capability = [str(number), nvml.nvmlDeviceGetUUID(gpu)], 0.0
            with contextlib.suppress(nvml.NVMLError):
                major, minor = nvml.nvmlDeviceGetCudaComputeCapability(gpu)
                capability = major + minor / 10
            parts = _parts(gpu)
            for part in [gpu] if parts is None else parts:
                own = [*names, *([] if parts is None else [nvml.nvmlDeviceGetUUID(part)])]
                memory = int(nvml.nvmlDeviceGetMemoryInfo(part).total)
                found.append(_Gpu(tuple(own), errors.visible(nvml.nvmlDeviceGetName(part)), memory, capability))
                names = []
    finally:
        nvml.nvmlShutdown()
    return found


def _parts(gpu: object) -> list[object] | None:
    import pynvml as nvml

    try:
        if nvml.nvmlDeviceGetMigMode(gpu)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return None
    except nvml.NVMLError:  # It cannot be divided.
        return None
    parts = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with contextlib.suppress(nvml.NVMLError):  # There is none of this number.
            parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number))
    return parts


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _limits("cpu.max", 2)
    return max(1, min(allowed, quota // period)) if quota else allowed


def _memory() -> int:
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
    (limit,) = _limits("memory.max", 1)
    return min(installed, limit) if limit else installed


def _files() -> int:
    try:
        import resource
    except ImportError:  # Windows.
        return 0
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if most == resource.RLIM_INFINITY else most


def _limits(name: str, count: int) -> list[int]:
    """The numbers of a container's limit; zeros where there is none."""
    try:
        numbers = [int(one) for one in Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()]
    except (OSError, ValueError):  # No Linux, or ``max``.
        numbers = []
    return numbers if len(numbers) == count else [0] * count
