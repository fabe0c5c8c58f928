"""The split, the batches, the sampler and the loaders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectramind_config import ConfigError
from spectramind_train.ariel.dataset import Star
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.learning.batches import (
    EpochSampler,
    PlanetDataset,
    SpectraDataModule,
    collate,
    star_features,
    to_batch,
)
from spectramind_train.planets.preparation import Planet
from spectramind_train.planets.splits import split

from . import recording
from .recording import planet


@pytest.fixture(scope="module")
def planets() -> list[Planet]:
    """Eleven labelled planets."""
    return [planet(number) for number in range(11)]


ids = st.lists(st.integers(0, 10**7).map(str), min_size=3, max_size=60, unique=True)


@given(ids, st.floats(0.01, 0.5), st.floats(0.01, 0.4), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_split_is_a_partition_whatever_the_order(
    names: list[str], val_fraction: float, test_fraction: float, seed: int, random: object
) -> None:
    """The three parts are disjoint, not empty, cover everything and do not depend on the input's order."""
    parts = split(names, val_fraction, test_fraction, seed)
    assert Counter(name for part in parts for name in part) == Counter(names)
    assert all(parts)
    shuffled = sorted(names, key=lambda name: random.random())  # type: ignore[attr-defined]
    assert split(shuffled, val_fraction, test_fraction, seed) == parts
    wanted = max(1, round(len(names) * test_fraction))
    assert len(parts[2]) == min(wanted, len(names) - 2)


def test_split_depends_on_the_seed_and_refuses_what_cannot_be_divided() -> None:
    """Another seed is another split; two planets, or one planet twice, are refused."""
    names = [str(number) for number in range(40)]
    assert split(names, 0.2, 0.2, 1) != split(names, 0.2, 0.2, 2)
    with pytest.raises(ConfigError, match="at least 3"):
        split(names[:2], 0.2, 0.2, 1)
    with pytest.raises(ConfigError, match="planet 7 is listed twice"):
        split(["7", "8", "9", "7"], 0.2, 0.2, 1)


def test_star_features_tell_the_scale_height(planets: list[Planet]) -> None:
    """Of HD 209458 b, whose scale height is about 530 km, and nothing of a planet without a star."""
    star = Star(Rs=1.155, Ms=1.12, Ts=6065.0, Mp=0.69, e=0.0, P=3.5247, sma=8.76, i=86.71)
    fit = replace(planets[0].fit, white_depth=0.1209**2)
    features = star_features(replace(planets[0], fit=fit, star=star))
    radius_km = 0.1209 * 1.155 * 695_700
    assert 0.005 * np.exp(0.5 * features[1]) * radius_km / 2 == pytest.approx(530, rel=0.15)
    assert features[5] == pytest.approx((8.76 * np.cos(np.deg2rad(86.71)) - 0.35) / 0.2)
    assert not star_features(planets[0]).any()
    assert not star_features(replace(planets[0], star=replace(star, Mp=0.0))).any()


def test_batches_hold_what_the_model_expects(planets: list[Planet]) -> None:
    """Shapes, type and scale: 0 out of transit, about -1 in it, noise as it was put in."""
    batch = to_batch(planets)
    assert {name: tuple(values.shape) for name, values in batch.items()} == {
        "flux": (11, 20, 283),
        "fit_depth": (11, 283),
        "fit_sigma": (11, 283),
        "shared_errors": (11, 7, 283),
        "limb_darkening": (11, 5),
        "limb_covariance": (11, 5, 5),
        "star": (11, 6),
        "white_depth": (11, 1),
        "noise": (11, 283),
        "target": (11, 283),
    }
    assert all(values.dtype == torch.float32 for values in batch.values())
    outside = torch.from_numpy(planets[0].fit.shape == 0.0)
    assert batch["flux"][:, outside].abs().mean() < 0.05
    assert batch["flux"][:, ~outside].mean() == pytest.approx(-1.0, abs=0.05)
    assert batch["noise"].mean() == pytest.approx(1e-4, rel=0.1)
    np.testing.assert_array_equal(batch["fit_depth"][3].numpy(), planets[3].fit.depth.astype(np.float32))


def test_noise_falls_back_on_residuals_without_bins_out_of_transit(planets: list[Planet]) -> None:
    """A visit that is all transit still has a noise of the right size."""
    inside = planets[0].fit.shape > 0.0
    curves = LightCurves("0", planets[0].curves.time[inside], planets[0].curves.flux[inside])
    fit = replace(planets[0].fit, baseline=planets[0].fit.baseline[inside], shape=planets[0].fit.shape[inside])
    batch = to_batch([Planet("0", curves, fit, None)])
    assert batch["noise"].mean() == pytest.approx(1e-4, rel=0.2)


def test_targets_need_a_label_on_every_planet(planets: list[Planet]) -> None:
    """One planet without a label, and the batch has no target."""
    assert "target" not in to_batch([*planets, planet(20, labelled=False)])


def test_unequal_or_missing_planets_are_refused(planets: list[Planet]) -> None:
    """Planets with other numbers of bins are named; no planet is no batch."""
    with pytest.raises(ConfigError, match="planet 0 has 20 time bins and planet 30 24"):
        to_batch([planets[0], planet(30, bins=24)])
    with pytest.raises(ConfigError, match="no planet"):
        to_batch([])


def test_collated_samples_equal_the_batch(planets: list[Planet]) -> None:
    """Stacking the data set's items gives the batch of the planets, with their numbers."""
    dataset = PlanetDataset(planets)
    batch = collate([dataset[index] for index in (4, 1)])
    for name, values in to_batch([planets[4], planets[1]]).items():
        torch.testing.assert_close(batch[name], values, rtol=0.0, atol=0.0)
    assert batch["index"].tolist() == [4, 1]
    at_once = collate(dataset.__getitems__([4, 1]))
    assert at_once.keys() == batch.keys()
    assert all(torch.equal(at_once[name], values) for name, values in batch.items())


@given(st.integers(1, 11), st.integers(1, 6), st.integers(0, 2**31), st.integers(0, 50))
def test_ranks_share_the_permutation_of_seed_and_epoch(count: int, replicas: int, seed: int, epoch: int) -> None:
    """Ranks interleave to the one permutation, filled up from its start; every planet is seen, none too often."""
    dataset = PlanetDataset([planet(number, bins=16) for number in range(count)])
    whole = EpochSampler(dataset, seed=seed)
    whole.set_epoch(epoch)
    order = list(whole)
    assert sorted(order) == list(range(count))
    shares = []
    for rank in range(replicas):
        sampler = EpochSampler(dataset, seed=seed, replicas=replicas, rank=rank)
        sampler.set_epoch(epoch)
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler)
    dealt = [index for group in zip(*shares, strict=True) for index in group]
    assert dealt == [order[position % count] for position in range(len(dealt))]
    assert len(dealt) < count + replicas


def test_permutations_change_with_epoch_and_seed_only(planets: list[Planet]) -> None:
    """No earlier epoch and no global generator has a say; epochs and seeds differ."""
    dataset = PlanetDataset(planets)
    first, second = EpochSampler(dataset, seed=5), EpochSampler(dataset, seed=5)
    orders = []
    for epoch in range(4):
        first.set_epoch(epoch)
        torch.manual_seed(epoch)
        orders.append(list(first))
    second.set_epoch(3)
    assert list(second) == orders[3] == list(second)
    assert len({tuple(order) for order in orders}) == 4
    assert list(EpochSampler(dataset, seed=6)) != orders[0]


def test_resuming_leaves_out_the_start_of_one_epoch(planets: list[Planet]) -> None:
    """Samples done before the interruption are left out of that epoch, however often it is iterated."""
    sampler = EpochSampler(PlanetDataset(planets), seed=1)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.resume(2, 4)
    assert list(sampler) == list(sampler) == whole[4:]
    sampler.set_epoch(3)
    assert len(list(sampler)) == 11


@pytest.mark.parametrize("workers", [(0, 0, 0), (1, 0, 1)])
def test_loaders_cover_every_split_with_and_without_workers(
    planets: list[Planet], workers: tuple[int, int, int]
) -> None:
    """Worker options never reach a loader without workers; validation and test drop nothing and keep the order."""
    data = SpectraDataModule(
        planets[:5],
        planets[5:8],
        planets[8:],
        batch_size=2,
        seed=0,
        num_workers=workers,
        prefetch_factor=2,
        persistent_workers=True,
    )
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    assert [loader.num_workers for loader in loaders] == list(workers)
    seen = [torch.cat([batch["index"] for batch in loader]).tolist() for loader in loaders]
    assert sorted(seen[0]) == [0, 1, 2, 3, 4]
    assert seen[1:] == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("processes", [1, 2])
def test_lightning_sets_the_epoch_and_leaves_the_sampler_alone(processes: int, tmp_path: Path) -> None:
    """Under the Trainer, in one process and in two, training follows the sampler and validation sees every planet."""
    if processes == 1:
        recording.main(tmp_path, devices=1)
    else:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [*launcher, str(recording.__file__), str(tmp_path)],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
    validated: set[int] = set()
    for rank in range(processes):
        record = json.loads((tmp_path / f"{rank}.json").read_text())
        validated |= set(record["validated"])
        dataset = PlanetDataset([planet(number) for number in range(6)])
        sampler = EpochSampler(dataset, seed=9, replicas=processes, rank=rank)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            assert record["trained"][epoch] == list(sampler)
    assert validated == {0, 1, 2, 3, 4}
