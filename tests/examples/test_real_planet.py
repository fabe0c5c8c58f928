"""The picture of one planet, from a file or of a simulated one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def places(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Outputs of its own, and the cache that all tests share."""
    cache = tmp_path_factory.getbasetemp().parent / "spectramind-cache"
    return {"SM_CACHE_DIR": cache, "SM_OUTPUT_DIR": tmp_path / "outputs"}


def test_a_simulated_planet_and_then_a_file_are_drawn(
    python: Run, examples: Path, tmp_path: Path, places: dict[str, Path]
) -> None:
    """Without a run one is trained; it serves for a file with a grid for each instrument, which is flagged."""
    script = examples / "real_planet" / "draw.py"
    small = ("local=debug", "data.simulation.planets=24", "data.simulation.airs_frames=100")
    done = python(script, "--train", *small, **places)
    assert done.returncode == 0, done.stderr
    assert "planet simulated: a transit explains all of it" in done.stdout
    assert (tmp_path / "planet.png").read_bytes().startswith(PNG)

    def dip(bins: int, middle: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
        time = (np.arange(bins) + 0.5) * 7.5 / bins
        inside = np.clip((1.3 - abs(time - middle)) / 0.3, 0.0, 1.0)
        return time, 1.0 - 0.01 * inside + noise * np.random.default_rng(bins).normal(size=bins)

    fgs1_time, fgs1 = dip(400, 4.75, 1e-4)
    airs_time, white = dip(100, 3.75, 1e-5)
    airs = white[:, None] * (1.0 + 1e-3 * np.random.default_rng(1).normal(size=(100, 282)))
    np.savez(tmp_path / "late.npz", fgs1_time=fgs1_time, fgs1_flux=fgs1, airs_time=airs_time, airs_flux=airs)
    run = next((tmp_path / "outputs").glob("*/manifest.json"))
    done = python(script, tmp_path / "late.npz", "--run", run, "--out", tmp_path / "late.png", **places)
    assert done.returncode == 0, done.stderr
    assert "FGS1 transits 60 min later than AIRS" in done.stdout
    assert (tmp_path / "late.png").read_bytes().startswith(PNG)


def test_mistakes_are_one_message(python: Run, examples: Path, tmp_path: Path) -> None:
    """A file that is not there is named before any run is opened."""
    done = python(examples / "real_planet" / "draw.py", tmp_path / "nothing.npz", "--run", tmp_path)
    assert done.returncode == 2
    assert "nothing.npz: no such file" in done.stderr
    assert "Traceback" not in done.stderr
