"""What is found out about a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spectramind_config.host import Host

LISTING = """\
0, GPU-aaaa, NVIDIA A100-SXM4-80GB, 8.0
1, GPU-bbbb, Tesla T4, 7.5
2, GPU-cccc, NVIDIA A100-SXM4-80GB, 8.0
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts an ``nvidia-smi`` that lists three GPUs first on the path."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_this_machine_has_a_name_and_cores() -> None:
    """Detection works wherever the tests run, and never counts more cores than there are."""
    host = Host.detect()
    assert host.name
    assert 1 <= host.cores <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "names", "bf16"),
    [
        (None, ("NVIDIA A100-SXM4-80GB", "Tesla T4", "NVIDIA A100-SXM4-80GB"), False),
        ("0,2", ("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB"), True),
        ("GPU-bb", ("Tesla T4",), False),
        ("", (), False),
        ("-1", (), False),
        ("0,7,2", ("NVIDIA A100-SXM4-80GB",), True),
    ],
)
def test_gpus_are_those_that_cuda_would_show(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: tuple[str, ...], bf16: bool
) -> None:
    """CUDA_VISIBLE_DEVICES takes numbers and prefixes of UUIDs, and ends at the first invalid entry."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    host = Host.detect()
    assert host.gpus == names
    assert host.cuda_bf16 is bf16
    assert host.cuda_fp16 is bool(names)


def test_a_scheduler_and_its_gpus_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM job is recognised, and whether GPUs belong to it."""
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert (Host.detect().scheduler, Host.detect().allocated_gpus) == ("slurm", False)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    assert Host.detect().allocated_gpus


def test_detection_imports_no_framework() -> None:
    """``spectramind plan`` answers quickly because finding out about the host needs no torch."""
    code = (
        "import sys; from spectramind_config.host import Host; Host.detect();"
        "print([name for name in ('torch', 'lightning', 'mlflow') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
