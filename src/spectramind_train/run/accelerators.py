"""What the installed torch can use of a host's accelerators: it has the last word."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spectramind_config import files
from spectramind_config.host import Host

_REMEDY = "https://pytorch.org/get-started/locally tells how to install one for them"
_LARGEST = 100_000  # Bytes of the file in which torch says how it was built.


def usable(host: Host, warn: Callable[[str], None]) -> Host:
    """This host with the accelerators that torch can use.

    Where the driver's library shows fewer GPUs than torch does, as in a container without it, torch is believed. Of
    those that torch cannot use some are warned of; where it can use none, ``unusable`` says so, and ``plan`` refuses.
    """
    import torch

    version = f"torch {torch.__version__}"
    if host.mps and not torch.backends.mps.is_available():
        host = dataclasses.replace(host, mps=False, mps_bf16=False, unusable=f"an Apple GPU, but not by {version}")
    if torch.version.cuda is None and torch.version.hip is None:
        return _without_gpus(host, f"{version} is built without CUDA; {_REMEDY}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            seen = [torch.cuda.get_device_properties(one) for one in range(count)]
        except RuntimeError as error:
            return _without_gpus(host, f"{version} says: {str(error).splitlines()[0]}")
    archs = torch.cuda.get_arch_list() if torch.version.cuda else []
    reason = f"{version} says: {str(told[0].message).splitlines()[0]}" if told else f"not by {version}; {_REMEDY}"
    able = list(itertools.takewhile(lambda one: runs((one.major, one.minor), archs), seen))
    if not able:
        return _without_gpus(host if host.gpus else _seen(host, seen), reason)
    if lost := max(len(seen), len(host.gpus)) - len(able):
        warn(f"{host.name} has {lost} more GPU(s) that cannot be used: {reason}")
    same = len(able) == len(host.gpus) and host.cuda_fp16
    return host if same else _seen(host, able)


def foreseen(host: Host) -> Host:
    """This host as far as torch's word is known without importing it: a build without CUDA uses no NVIDIA GPU."""
    try:
        found = importlib.util.find_spec("torch") if host.gpus else None
        text = files.read(Path(found.origin).with_name("version.py"), _LARGEST) if found and found.origin else b""
    except (OSError, ValueError, ImportError):
        return host
    built = dict(re.findall(r"^(cuda|hip|__version__)\b[^=\n]* = (.*)$", text.decode(errors="replace"), re.MULTILINE))
    if (built.get("cuda"), built.get("hip")) != ("None", "None"):
        return host
    version = built.get("__version__", "").strip("'\"")
    return _without_gpus(host, f"torch {version} is built without CUDA; {_REMEDY}")


def runs(capability: tuple[int, int], archs: Sequence[str]) -> bool:
    """Whether kernels built for these architectures run on a GPU of a compute capability; any, where none is named.

    Binaries (``sm_80``) run on the same major version and a minor one that is no smaller, and intermediate code
    (``compute_80``) on all that are no older.
    """
    for arch in archs:
        kind, _, number = arch.rstrip("af").partition("_")
        built = divmod(int(number), 10)
        if (kind == "compute" and built <= capability) or (built[0] == capability[0] and built[1] <= capability[1]):
            return True
    return not archs


def _seen(host: Host, properties: Sequence[Any]) -> Host:
    capability = min((one.major + one.minor / 10 for one in properties), default=0.0)
    return dataclasses.replace(
        host,
        gpus=tuple(one.name for one in properties),
        gpu_memory=tuple(one.total_memory for one in properties),
        cuda_bf16=capability >= 8.0,
        cuda_fp16=capability >= 5.3,
        unusable="",
    )


def _without_gpus(host: Host, reason: str) -> Host:
    if not host.gpus:
        return host
    what = f"{len(host.gpus)} x {', '.join(dict.fromkeys(host.gpus))}, but {reason}"
    return dataclasses.replace(host, gpus=(), gpu_memory=(), cuda_bf16=False, cuda_fp16=False, unusable=what)
