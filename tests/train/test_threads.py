"""What the number of threads of a process changes, and what it does not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spectramind_config import compose
from spectramind_train.cli import main
from spectramind_train.run.directory import Run

from .test_resume import TINY, require_same, run_of


def trained(small: list[str], folder: Path, threads: int) -> Run:
    """A run of a few steps in a folder of its own."""
    config = compose([*small, *TINY, "local.max_epochs=1", f"local.output_dir={folder}"])
    return run_of(config, threads=threads).run


@pytest.mark.fault("other threads, other processes with the same planets in each step")
def test_threads_decide_the_last_bits_alone(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many give the same weights bit for bit, others the same metrics but for rounding; the manifest says how many.

    A run that goes on with others says so, and one that is reproduced has those it had.
    """
    two, again, one = (trained(small, tmp_path / name, threads) for name, threads in (("a", 2), ("b", 2), ("c", 1)))
    require_same(two, again)
    assert [run.manifest.plan["threads"] for run in (two, again, one)] == [2, 2, 1]
    assert two.manifest.metrics.keys() == one.manifest.metrics.keys()
    for name, value in two.manifest.metrics.items():
        assert math.isclose(value, one.manifest.metrics[name], rel_tol=1e-4, abs_tol=1e-6), name

    for run in (two, one):
        assert main(["reproduce", str(run.path), f"local.output_dir={tmp_path / 'd'}"]) == 0
        assert "are equal bit for bit" in capsys.readouterr().out


TELLS = """import os
told = [os.environ.get(name) for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")]
os.write(1, f"torch is imported with {told}\\n".encode())
os._exit(7)
"""


@pytest.mark.parametrize(
    "started",
    [
        ["-c", "from spectramind_train.__main__ import main; main()", "train", "local.devices=cpu"],
        ["-m", "spectramind_train", "local.devices=cpu"],
        ["-m", "spectramind_train.learning.rank", "0", "run", ""],
        ["-m", "spectramind_train.cli", "train", "-m", "local.seed=1,2", "hydra/launcher=joblib", "local.devices=cpu"],
        ["-c", "from spectramind_train.training import train"],
        ["-c", "from spectramind_train.model import SpectrumModel"],
    ],
    ids=["script", "module", "rank", "joblib", "training", "model"],
)
def test_threads_hardly_spin_while_they_wait(
    started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a training starts, OpenMP is told so before torch loads it; what the user has set stays.

    In the place of torch is what tells with which environment it was imported, and ends the process.
    """
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(TELLS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    arguments = [str(os.getpid()) if word.isdecimal() else word for word in started]
    cases: list[tuple[list[str | None], dict[str, str]]] = [
        (["PASSIVE", "10000"], {}),
        (["PASSIVE", "0"], {"GOMP_SPINCOUNT": "0"}),
        (["ACTIVE", None], {"OMP_WAIT_POLICY": "ACTIVE"}),
    ]
    for expected, variables in cases:
        told = subprocess.run(
            [sys.executable, *arguments], env=os.environ | variables, cwd=tmp_path, capture_output=True, check=False
        )
        assert f"torch is imported with {expected}\n".encode() in told.stdout, told.stderr
