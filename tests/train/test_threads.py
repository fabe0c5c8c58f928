"""What the number of threads of a process changes, and what it does not."""

from __future__ import annotations

import math
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
