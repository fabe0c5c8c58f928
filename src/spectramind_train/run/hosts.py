"""Hosts that are not here: by name, or from a file that ``plan --save-host`` wrote."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from spectramind_config import ConfigError, Problem, files
from spectramind_config.errors import listed, nearest
from spectramind_config.host import Host
from spectramind_train.run.atomic_files import write_atomically

VERSION = 1
LARGEST = 100_000
"""Bytes of a host file; ours have some hundreds."""
MOST_GPUS = 16
"""GPUs of a host that is named; more machines are ``trainer.num_nodes``."""
_MIB, _GB = 2**20, 10**9
_LIMITS = {"cores": (1, 2**20), "memory": (0, 2**60), "gpu_memory": (0, 2**60), "files": (0, 2**60)}
_MOST, _LONGEST = 1024, 1000
"""Entries of a list, and characters of a name, that a host file may have."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A kind of GPU, and of the hosts that it is most often found in.

    Attributes:
        name: What its driver calls it.
        memory: Bytes, as the driver counts them.
        capability: CUDA compute capability; 0 for what is no CUDA device.
        half: Peak of dense products in bf16, or in fp16 where there is no bf16, in FLOP/s.
        single: Peak in float32 without TF32, in FLOP/s.
        bandwidth: Peak of its memory, in bytes/s.
        link: From one to another of the same host, each way, in bytes/s.
        cores: CPU cores of the host for each.
        ram: Bytes of RAM of the host for each.
        source: Where the figures come from.
    """

    name: str
    memory: int
    capability: float
    half: float
    single: float
    bandwidth: float
    link: float
    cores: int
    ram: int
    source: str


def _device(name: str, mib: int, capability: float, rates: tuple[float, float, float, float], host: str) -> Device:
    """One row: TFLOP/s in half and single precision, GB/s of memory and link; host as ``cores, GB of RAM: source``."""
    half, single, bandwidth, link = rates
    parts, _, source = host.partition(": ")
    cores, ram = (int(one) for one in parts.split(", "))
    return Device(
        name=name,
        memory=mib * _MIB,
        capability=capability,
        half=half * 1e12,
        single=single * 1e12,
        bandwidth=bandwidth * 1e9,
        link=link * 1e9,
        cores=cores,
        ram=ram * _GB,
        source=f"NVIDIA's data sheet; {source}",
    )


DEVICES: dict[str, Device] = {
    "A100": _device("NVIDIA A100-SXM4-80GB", 81920, 8.0, (312, 19.5, 2039, 300), "16, 256: DGX A100 640GB"),
    "A100-40GB": _device("NVIDIA A100-SXM4-40GB", 40960, 8.0, (312, 19.5, 1555, 300), "16, 128: DGX A100 320GB"),
    "H100": _device("NVIDIA H100 80GB HBM3", 81559, 9.0, (989, 67, 3350, 450), "14, 256: DGX H100"),
    "H200": _device("NVIDIA H200", 143771, 9.0, (989, 67, 4800, 450), "14, 256: DGX H200"),
    "V100": _device("Tesla V100-SXM2-32GB", 32768, 7.0, (125, 15.7, 900, 150), "5, 64: DGX-1"),
    "T4": _device("Tesla T4", 15360, 7.5, (65, 8.1, 320, 16), "2, 14: half of Kaggle's notebook with two"),
    "P100": _device("Tesla P100-PCIE-16GB", 16384, 6.0, (18.7, 9.3, 732, 16), "4, 29: Kaggle's notebook"),
    "L4": _device("NVIDIA L4", 23034, 8.9, (121, 30.3, 300, 32), "4, 16: Google's g2-standard-4"),
    "L40S": _device("NVIDIA L40S", 46068, 8.9, (362, 91.6, 864, 32), "4, 32: AWS's g6e.xlarge"),
    "A10G": _device("NVIDIA A10G", 23028, 8.6, (70, 31.2, 600, 32), "4, 16: AWS's g5.xlarge"),
    "RTX3090": _device("NVIDIA GeForce RTX 3090", 24576, 8.6, (71, 35.6, 936, 32), "8, 32: a workstation, assumed"),
    "RTX4090": _device("NVIDIA GeForce RTX 4090", 24564, 8.9, (165, 82.6, 1008, 32), "8, 32: a workstation, assumed"),
}
"""CUDA GPUs by the name that ``--host`` knows."""

APPLE = Device(
    name="Apple M2",
    memory=16 * _GB,
    capability=0.0,
    half=3.6e12,
    single=3.6e12,
    bandwidth=100e9,
    link=0.0,
    cores=8,
    ram=16 * _GB,
    source="Apple's specifications of a MacBook Pro with M2",
)

HOSTS: dict[str, Host] = {
    "mac": Host(name="mac", mps=True, mps_bf16=True, cores=APPLE.cores, memory=APPLE.ram),
    "laptop": Host(name="laptop", cores=8, memory=16 * _GB),  # No source: what is common.
}
"""Hosts without CUDA GPUs by name; those with are ``8xA100`` and the like."""


def host_of(text: str) -> Host:
    """The host of a name, such as ``8xA100``, ``t4x2``, ``A100``, ``mac`` or ``laptop``, or of a host file.

    Raises:
        ConfigError: There is none of that name, or the file is none.
    """
    if not text or "/" in text or text.lower().endswith(".json") or _is_file(text):
        return read_host(Path(text))
    if host := HOSTS.get(text.lower()):
        return host
    labels = {label.lower(): label for label in DEVICES}
    found = re.fullmatch(rf"(?:(\d{{1,9}})x)?({'|'.join(labels)})(?:x(\d{{1,9}}))?", text.lower())
    if found is None or (found[1] and found[3]):
        raise _no_such_host(text, labels)
    count = int(found[1] or found[3] or 1)
    if not 1 <= count <= MOST_GPUS:
        hint = "several machines are trainer.num_nodes, each of them like the host"
        what = f"--host {text}: a host has 1 to {MOST_GPUS} GPUs, not {count}"
        raise ConfigError(Problem(what=what, hint=hint, see="plan --help"))
    label = labels[found[2]]
    device = DEVICES[label]
    return Host(
        name=f"{count}x{label}",
        gpus=(device.name,) * count,
        gpu_memory=(device.memory,) * count,
        cuda_bf16=device.capability >= 8.0,
        cuda_fp16=device.capability >= 5.3,
        cores=count * device.cores,
        memory=count * device.ram,
    )


def _no_such_host(text: str, labels: dict[str, str]) -> ConfigError:
    parts = re.fullmatch(r"(?:(\d{1,9})x)?(.*?)(?:x(\d{1,2}))?", text.lower(), re.DOTALL)
    count, word = (parts[1] or parts[3] or "1", parts[2]) if parts else ("1", text)
    close = nearest(word, [*labels, *HOSTS], 0.5)
    expected = f"{', '.join(HOSTS)}, a file of 'plan --save-host', or 4xGPU, where GPU is {listed(DEVICES)}"
    suggestion = close if close is None or close in HOSTS else f"{count}x{labels[close]}"
    what = f"--host {text}: there is no host of this name"
    return ConfigError(Problem(what=what, expected=expected, nearest=suggestion, see="plan --help"))


def device_of(host: Host) -> Device | None:
    """The kind of the slowest of a host's GPUs; None where one of them is of no kind that is known, or only a part."""
    sizes = host.gpu_memory or (0,) * len(host.gpus)
    kinds = [_kind(name, memory) for name, memory in zip(host.gpus, sizes, strict=True)]
    if host.mps and not kinds:
        return APPLE
    known = [kind for kind in kinds if kind is not None]
    return min(known, key=lambda kind: kind.half) if known and len(known) == len(kinds) else None


def _kind(name: str, memory: int) -> Device | None:
    if " MIG " in name:
        return None
    words = set(re.split(r"[\s-]+", name.upper().replace("RTX ", "RTX")))
    alike = [device for label, device in DEVICES.items() if label.partition("-")[0] in words]
    return min(alike, key=lambda device: abs(device.memory - memory), default=None)


def save_host(host: Host, path: Path) -> None:
    """Write a host file that ``host_of`` reads.

    Raises:
        ConfigError: It cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode({"version": VERSION, **dataclasses.asdict(host)}), indent=2)
    try:
        write_atomically(path, text + b"\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--save-host {path}: it cannot be written ({reason}); name another file") from error


def read_host(path: Path) -> Host:
    """Read a host file, whoever wrote it.

    Raises:
        ConfigError: It is none; the message has every mistake in it.
    """
    try:
        values = msgspec.json.decode(files.read(path, LARGEST))
    except FileNotFoundError:
        names = f"{', '.join(HOSTS)}, or a number of GPUs as 4xA100"
        raise ConfigError(Problem(what=f"--host {path}: there is no such file", expected=names)) from None
    except OSError as error:
        raise ConfigError(f"--host {path}: it cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ConfigError(f"--host {path}: it is no host file: {error}") from None
    if not isinstance(values, dict) or values.get("version") is True or values.get("version") != VERSION:
        what = f'--host {path}: it is no host file; one is a JSON object with "version": {VERSION}'
        raise ConfigError(Problem(what=what, hint="'spectramind plan --save-host FILE' writes one"))
    del values["version"]
    problems = [*_unknown(values, path), *_mistyped(values, path)]
    if problems:
        raise ConfigError(problems)
    host = msgspec.convert(values, Host)
    if host.gpu_memory and len(host.gpu_memory) != len(host.gpus):
        raise ConfigError(f"--host {path}: gpu_memory has {len(host.gpu_memory)} entries, and gpus {len(host.gpus)}")
    return host


def _unknown(values: dict[str, Any], path: Path) -> list[Problem]:
    names = [field.name for field in dataclasses.fields(Host)]
    return [
        Problem(what=f"--host {path}: a host has no '{name}'", expected=listed(names), nearest=nearest(name, names))
        for name in values
        if name not in names
    ]


def _mistyped(values: dict[str, Any], path: Path) -> list[Problem]:
    problems = []
    for field in dataclasses.fields(Host):
        if field.name not in values:
            if field.default is dataclasses.MISSING:
                problems.append(Problem(what=f"--host {path}: '{field.name}' is missing"))
            continue
        try:
            msgspec.convert({"name": "", field.name: values[field.name]}, Host)
        except msgspec.ValidationError as error:
            problems.append(Problem(what=f"--host {path}: {field.name}: {str(error).partition(' - at ')[0]}"))
            continue
        found = values[field.name]
        low, high = _LIMITS.get(field.name, (0, 0))
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, str) and not (len(one) <= _LONGEST and one.isprintable()):
                what = f"--host {path}: {field.name}: at most {_LONGEST} printable characters are a text here"
                problems.append(Problem(what=what))
            elif type(one) is int and not low <= one <= high:
                problems.append(Problem(what=f"--host {path}: {field.name}: {one} is not from {low} to {high}"))
        if isinstance(found, list) and len(found) > _MOST:
            problems.append(Problem(what=f"--host {path}: {field.name}: {len(found)} entries are more than {_MOST}"))
    return problems


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
