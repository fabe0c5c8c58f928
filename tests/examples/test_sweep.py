"""The notebook about composing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_it_compares_the_points_of_a_sweep(python: Run, examples: Path) -> None:
    """Six configs with six fingerprints share three science fingerprints, one for each learning rate."""
    done = python(examples / "sweep.py")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +([\d.e-]+) +(\d+)  (\w{12})  (\w{12})$", done.stdout, re.MULTILINE)
    rates, workers, fingerprints, sciences = zip(*rows, strict=True)
    assert workers == ("8", "16") * 3
    assert len(set(fingerprints)) == 6
    assert len(set(sciences)) == len(set(rates)) == len(set(zip(rates, sciences, strict=True))) == 3
    assert done.stdout.endswith("6 different configs, 3 different results to expect\n")


def test_it_tells_who_set_what(python: Run, examples: Path) -> None:
    """Origins, overrides and a mistake, each as text."""
    output = python(examples / "sweep.py").stdout
    assert "precision = bf16-mixed, set by local=hpc (HpcLocal)\n  over 16-mixed of trainer=multi_gpu" in output
    assert "overrides: devices (was 4)" in output
    assert "nearest:  local.devices" in output


def test_it_needs_no_torch(python: Run, examples: Path) -> None:
    """Composing imports no framework."""
    code = f"import runpy, sys; runpy.run_path({str(examples / 'sweep.py')!r}); print('torch' in sys.modules)"
    assert python("-c", code).stdout.endswith("\nFalse\n")
