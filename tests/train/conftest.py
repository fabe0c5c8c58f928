"""Synthetic batches for the tests of model and training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from spectramind_config import Simulation
from spectramind_train.cli import main
from spectramind_train.simulated.data_set import simulate
from spectramind_train.v50.network import Batch


def synthetic_batch(planets: int = 4, steps: int = 64, seed: int = 0) -> Batch:
    """Planets with smooth spectra, box transits, white noise and a fit that has the noise's errors."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, 282)
    depth = np.exp(rng.normal(np.log(0.012), 0.5, (planets, 1)))
    phase, period = rng.uniform(0, 2 * np.pi, (planets, 1)), rng.uniform(0.2, 0.6, (planets, 1))
    spectrum = depth + 0.006 * depth * np.sin(2 * np.pi * x / period + phase)
    target = np.hstack([depth + rng.normal(0, 2e-4, depth.shape), spectrum])
    noise = np.hstack([[1.1e-4], 6e-4 * np.exp(1.4 * x)]) * np.ones((planets, 1))
    shape = (np.abs(np.linspace(-1, 1, steps)) < 0.4).astype(float)
    inside = shape.sum()
    sigma = noise * np.sqrt(1 / inside + 1 / (steps - inside)) * np.sqrt(steps / 187)
    level, slope = 0.3 * sigma, 0.3 * np.linspace(-1, 1, 283) * sigma
    shared = np.stack([*[0 * sigma] * 5, level, slope], axis=1)
    errors = np.sqrt(sigma**2 - (shared**2).sum(axis=1)) * rng.normal(size=target.shape)
    errors += (shared * rng.normal(size=(planets, 7, 1))).sum(axis=1)
    flux = -shape[:, None] * target[:, None, :] + noise[:, None, :] * rng.normal(size=(planets, steps, 283))
    arrays = {
        "flux": flux / depth[:, None],
        "fit_depth": target + errors,
        "fit_sigma": sigma,
        "shared_errors": shared,
        "limb_darkening": np.zeros((planets, 5)),
        "limb_covariance": 0.01 * np.eye(5) * np.ones((planets, 1, 1)),
        "star": np.hstack([np.ones_like(depth), rng.normal(size=(planets, 5))]),
        "white_depth": depth,
        "noise": noise,
        "target": target,
    }
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in arrays.items()}


class Planets(Dataset[Batch]):
    """A batch taken apart, each planet with its number."""

    def __init__(self, batch: Batch) -> None:
        self.batch = {**batch, "index": torch.arange(len(batch["target"]))}

    def __len__(self) -> int:
        return len(self.batch["index"])

    def __getitem__(self, index: int) -> Batch:
        return {name: values[index] for name, values in self.batch.items()}


def loader(batch: Batch, size: int = 4) -> DataLoader[Any]:
    """Planets in order."""
    return DataLoader(Planets(batch), batch_size=size)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated data set of four labelled planets, one of them visited twice, and two others; nobody damages it."""
    folder = tmp_path_factory.mktemp("data") / "ariel"
    simulate(folder, Simulation(planets=4, airs_frames=40), workers=1)
    return folder


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A working directory without data, and no variable that names any: runs train on simulated planets."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SM_CACHE_DIR", "SM_OUTPUT_DIR", "SM_DATA_ROOT", "SM_MLFLOW_DIR"):
            patch.delenv(name, raising=False)
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Makes planets: ``make_batch(planets, steps, seed)``."""
    return synthetic_batch


@pytest.fixture
def make_loader() -> Callable[..., DataLoader[Any]]:
    """Makes a loader of a batch's planets: ``make_loader(batch, size)``."""
    return loader


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a training that takes seconds: few planets, few frames, a cache that tests share."""
    cache = tmp_path_factory.getbasetemp().parent / "spectramind-cache"
    return [
        "data.simulation.planets=24",
        "data.simulation.airs_frames=100",
        "local.devices=cpu",
        f"local.paths.cache_dir='{cache}'",
    ]


@pytest.fixture(scope="session")
def trained(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed run of three steps, for tests that leave it as it is."""
    outputs = tmp_path_factory.mktemp("trained")
    paths = [f"local.output_dir='{outputs}'", f"local.paths.run_manifest='{outputs / 'run_manifest.json'}'"]
    assert main(["train", "trainer=ci_fast", "trainer.max_steps=3", *small, *paths]) == 0
    return next(outputs.glob("*/manifest.json")).parent
