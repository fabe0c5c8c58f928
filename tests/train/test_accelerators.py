"""What torch can use of a host has the last word; this machine's build stands in for others where it says so."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spectramind_config import ConfigError, compose
from spectramind_config.host import Host
from spectramind_train.run.accelerators import foreseen, runs, usable
from spectramind_train.run.plan import plan

NODE = Host(name="node", gpus=("Tesla T4",) * 2, gpu_memory=(16 * 10**9,) * 2, cuda_fp16=True, cores=8)
BARE = Host(name="node", cores=8)
CPU_BUILD = pytest.mark.skipif(torch.version.cuda is not None, reason="torch is built with CUDA here")


class Warned(list[str]):
    """What was warned of."""

    __call__ = list.append


def cuda(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int], archs: str = "sm_75 sm_80 sm_90") -> None:
    """Have torch be a build with CUDA that finds GPUs of these capabilities."""
    found = [SimpleNamespace(name="GPU", total_memory=10**9, major=one, minor=two) for one, two in capabilities]
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(found))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: found[number])
    monkeypatch.setattr(torch.cuda, "get_arch_list", archs.split)


@CPU_BUILD
def test_a_build_without_cuda_uses_no_gpu_and_plan_and_train_say_so() -> None:
    """The torch that is installed here: what is told, and what is known already without importing it, is the same."""
    host = usable(NODE, pytest.fail)
    assert (host.gpus, host.gpu_memory, host.cuda_fp16) == ((), (), False)
    assert host.unusable.startswith(f"2 x Tesla T4, but torch {torch.__version__} is built without CUDA; https://")
    assert foreseen(NODE) == host
    with pytest.raises(ConfigError, match="has accelerators that cannot be used: 2 x Tesla T4"):
        plan(compose([]), host)
    assert usable(BARE, pytest.fail) == BARE == foreseen(BARE)


@CPU_BUILD
def test_a_driver_at_fault_stays_told() -> None:
    """What the driver's library says is kept where torch sees nothing either."""
    host = dataclasses.replace(BARE, unusable="1 NVIDIA GPU(s), but the driver is at fault: it is")
    assert usable(host, pytest.fail) == host


def test_torch_sees_what_a_container_without_the_drivers_library_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs that only torch sees are used, with their names, memory and abilities."""
    cuda(monkeypatch, (8, 0), (8, 6))
    host = usable(dataclasses.replace(BARE, unusable="2 NVIDIA GPU(s), but NVML is not installed"), pytest.fail)
    assert (host.gpus, host.gpu_memory, host.cuda_bf16, host.unusable) == (("GPU", "GPU"), (10**9, 10**9), True, "")
    assert plan(compose([]), host).accelerator == "cuda"


def test_what_both_see_is_left_alone_and_a_capability_nobody_knew_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that says nothing of it is asked through torch."""
    cuda(monkeypatch, (7, 5), (7, 5))
    assert usable(NODE, pytest.fail) == NODE
    silent = usable(dataclasses.replace(NODE, cuda_fp16=False), pytest.fail)
    assert (silent.cuda_fp16, silent.cuda_bf16) == (True, False)


def test_gpus_that_torch_has_no_kernels_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two is warned of; where none is left, the reason stands in the host."""
    warned = Warned()
    cuda(monkeypatch, (7, 5), (6, 0))
    assert usable(NODE, warned).gpus == ("GPU",)
    assert len(warned) == 1
    assert "1 more GPU(s) that cannot be used: not by torch" in warned[0]
    cuda(monkeypatch, (6, 0), (6, 0))
    assert usable(NODE, pytest.fail).unusable.startswith("2 x Tesla T4, but not by torch")
    cuda(monkeypatch, (6, 0))
    assert usable(BARE, pytest.fail).unusable.startswith("1 x GPU, but not by torch")


def test_what_torch_says_of_a_driver_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is too old for the build: torch warns and finds nothing."""
    cuda(monkeypatch)

    def warn() -> bool:
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old (found version 11040).\nUpdate it", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warn)
    assert (
        "says: The NVIDIA driver on your system is too old (found version 11040)." in usable(NODE, pytest.fail).unusable
    )

    def fail(_: int) -> Any:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nmore")

    cuda(monkeypatch, (7, 5), (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    assert usable(NODE, pytest.fail).unusable.endswith("devices are busy or unavailable")


@pytest.mark.parametrize(
    ("capability", "archs", "able"),
    [
        ((8, 0), "sm_75 sm_80", True),
        ((8, 6), "sm_80", True),
        ((8, 0), "sm_86", False),
        ((9, 0), "sm_80", False),
        ((9, 0), "sm_80 compute_80", True),
        ((9, 0), "sm_90a", True),
        ((12, 0), "sm_100 sm_120f", True),
        ((7, 0), "sm_75 compute_75", False),
        ((6, 1), "", True),
    ],
)
def test_kernels_run_where_cuda_says_they_do(capability: tuple[int, int], archs: str, able: bool) -> None:
    """Binaries within a major version, intermediate code on all that is newer; nobody knows where nothing is listed."""
    assert runs(capability, archs.split()) is able
