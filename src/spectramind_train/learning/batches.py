"""Planets as batches: tensors, the sampler and the loaders."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from scipy import constants
from torch.utils.data import DataLoader, DistributedSampler
from torch.utils.data import Dataset as TorchDataset

from spectramind_config import ConfigError
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.planets.preparation import Planet
from spectramind_train.run.children import keep_tracker, load
from spectramind_train.simulated.spectra import JUPITER_MASS, SOLAR_RADIUS, equilibrium_temperature, scale_height
from spectramind_train.v50.inputs import SMALLEST_DEPTH
from spectramind_train.v50.network import Batch

_FEWEST_OUTSIDE: Final = 8


def to_batch(planets: Sequence[Planet]) -> Batch:
    """The model's input, float32, for planets (B) with equally many time bins (T).

    * ``flux`` (B, T, 283): (flux / baseline - 1) / white depth, 0 out of transit and about -1 in it;
    * ``fit_depth``, ``fit_sigma`` (B, 283): the classical spectrum and its standard deviation, (Rp/Rs)^2;
    * ``shared_errors`` (B, 7, 283): the part of it that channels have in common, five of limb darkening first;
    * ``limb_darkening`` (B, 5), ``limb_covariance`` (B, 5, 5): what the fit says of that;
    * ``star`` (B, 6): what the star's table tells, see ``star_features``;
    * ``white_depth`` (B, 1): the classical depth of AIRS's white light curve, (Rp/Rs)^2;
    * ``noise`` (B, 283): out-of-transit rms of flux / baseline;
    * ``target`` (B, 283): the true spectrum; only if every planet has one.

    Raises:
        ConfigError: No planet, or planets with different numbers of time bins.
    """
    if not planets:
        raise ConfigError("there is no planet to make a batch of; check the data set and the split")
    bins = {planet.curves.time.size: planet.planet_id for planet in planets}
    if len(bins) > 1:
        (few, name), (many, other) = sorted(bins.items())[:2]
        raise ConfigError(
            f"planet {name} has {few} time bins and planet {other} {many}; the planets of one split need equally many"
        )
    arrays = {
        "flux": [(planet.curves.flux / planet.fit.baseline - 1.0) / planet.fit.white_depth for planet in planets],
        "fit_depth": [planet.fit.depth for planet in planets],
        "fit_sigma": [planet.fit.sigma for planet in planets],
        "shared_errors": [planet.fit.shared_errors for planet in planets],
        "limb_darkening": [planet.fit.limb_darkening for planet in planets],
        "limb_covariance": [planet.fit.limb_covariance for planet in planets],
        "star": [star_features(planet) for planet in planets],
        "white_depth": [np.array([planet.fit.white_depth]) for planet in planets],
        "noise": [out_of_transit_noise(planet) for planet in planets],
    }
    labels = [planet.label for planet in planets if planet.label is not None]
    if len(labels) == len(planets):
        arrays["target"] = labels
    return {name: torch.from_numpy(np.stack(values, dtype=np.float32)) for name, values in arrays.items()}


def out_of_transit_noise(planet: Planet) -> FloatArray:
    """Rms (283,) of flux / baseline - 1 out of transit; of the fit's residuals where hardly a bin is out of transit."""
    fit = planet.fit
    relative = planet.curves.flux / fit.baseline - 1.0
    outside = fit.shape == 0.0
    if np.count_nonzero(outside) >= _FEWEST_OUTSIDE:
        relative = relative[outside]
    else:
        relative = relative + fit.depth * fit.shape[:, None]
    return np.asarray(np.sqrt(np.mean(relative**2, axis=0)), dtype=np.float64)


def star_features(planet: Planet) -> FloatArray:
    """What the table of stars says of a planet (6,), each of order one, and all 0 where it says nothing.

    A 1; the logarithms of what one scale height of the atmosphere adds to the depth, relative to the depth, of the
    star's temperature, of the time to cross it, and of its radius; the impact parameter. Of the scale height's absolute
    value nothing is assumed, as the model learns what it means.
    """
    star = planet.star
    if star is None:
        return np.zeros(6)
    impact = star.sma * np.cos(np.deg2rad(star.i))
    ratio = np.sqrt(max(planet.fit.white_depth, SMALLEST_DEPTH))
    radius = ratio * star.Rs * SOLAR_RADIUS
    gravity = constants.G * star.Mp * JUPITER_MASS / radius**2
    with np.errstate(divide="ignore", invalid="ignore"):
        height = scale_height(equilibrium_temperature(star.Ts, star.sma), gravity)
        logs = np.log([2.0 * height / radius / 0.005, star.Ts / 5200.0, star.P / star.sma / 0.4, star.Rs / 0.85])
    features = np.array([1.0, *(logs / (0.5, 0.2, 0.4, 0.25)), (impact - 0.35) / 0.2])
    return features if np.isfinite(features).all() else np.zeros(6)


def collate(samples: Sequence[Batch] | Batch) -> Batch:
    """Stack single planets' tensors into a batch; one that the data set has made is left as it is."""
    if isinstance(samples, dict):
        return samples
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


class PlanetDataset(TorchDataset[Batch]):
    """A split's planets as tensors, made once.

    An item is ``to_batch`` of one planet without the first axis and its number in the split as ``index`` (int64), by
    which a planet that a distributed sampler gave to two processes is recognised.
    """

    def __init__(self, planets: Sequence[Planet]) -> None:
        self.tensors = {**to_batch(planets), "index": torch.arange(len(planets))}

    def __len__(self) -> int:
        return len(self.tensors["index"])

    def __getitem__(self, index: int) -> Batch:
        return {name: values[index] for name, values in self.tensors.items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of several planets, which a loader takes at once."""
        rows = torch.tensor(indices)
        return {name: values.index_select(0, rows) for name, values in self.tensors.items()}


class EpochSampler(DistributedSampler[Any]):
    """Shuffles by (seed, epoch) only, deals the permutation out to the ranks and can start within an epoch.

    Being a ``DistributedSampler`` already, Lightning calls its ``set_epoch`` and does not wrap or replace it. As
    there, the permutation is filled up from its own beginning so that every rank gets equally many samples.

    Args:
        dataset: The samples.
        seed: Seed of the permutations.
        replicas: Number of ranks.
        rank: This process's rank.
        shuffle: Whether to shuffle at all.
    """

    def __init__(
        self, dataset: PlanetDataset, *, seed: int, replicas: int = 1, rank: int = 0, shuffle: bool = True
    ) -> None:
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed, drop_last=False)
        self._count = len(dataset)
        self._resumed: tuple[int, int] | None = None

    def resume(self, epoch: int, samples: int) -> None:
        """Go on in ``epoch``, without the first ``samples`` of this rank's; other epochs stay whole."""
        self._resumed = (epoch, samples)
        self.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """This rank's samples of the epoch."""
        order = np.arange(self._count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self._count)
        dealt = np.resize(order, self.total_size)[self.rank :: self.num_replicas]
        start = self._resumed[1] if self._resumed and self._resumed[0] == self.epoch else 0
        return iter(dealt[start:].tolist())


def loader(
    planets: PlanetDataset,
    *,
    batch_size: int,
    sampler: EpochSampler | None = None,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
    pin_memory: bool = False,
    persistent_workers: bool = False,
) -> DataLoader[Batch]:
    """Batches of planets, every one of them; in order, unless a sampler says otherwise.

    Args:
        planets: The planets.
        batch_size: Planets per batch.
        sampler: Their order.
        num_workers: Processes that load; 0 loads in this one, and what concerns workers does not matter then.
        prefetch_factor: Batches that each worker loads ahead.
        pin_memory: Whether batches are put into page-locked memory.
        persistent_workers: Whether workers live on for the next pass.
    """
    options: dict[str, Any] = {}
    if num_workers:
        options = {"persistent_workers": persistent_workers, "prefetch_factor": prefetch_factor}
        options["worker_init_fn"] = load
        if multiprocessing.get_start_method() == "loky":
            # A launcher's job: joblib makes its own way of starting processes the default there, which pickles what
            # cannot be pickled.
            options["multiprocessing_context"] = multiprocessing.get_all_start_methods()[0]
        keep_tracker()
    return DataLoader(
        planets,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        drop_last=False,
        **options,
    )


class SpectraDataModule(LightningDataModule):
    """Loaders of training, validation and test planets.

    Args:
        train: Training planets, with labels.
        val: Validation planets, with labels.
        test: Test planets.
        batch_size: Planets per batch and process.
        seed: Seed of the training permutations.
        num_workers: Loader processes of training, validation and test; 0 loads in the main process.
        prefetch_factor: Batches that each worker loads ahead.
        pin_memory: Whether batches are put into page-locked memory.
        persistent_workers: Whether workers live on between epochs.
        shuffle: Whether training planets are shuffled.
    """

    def __init__(
        self,
        train: Sequence[Planet],
        val: Sequence[Planet],
        test: Sequence[Planet],
        *,
        batch_size: int,
        seed: int,
        num_workers: tuple[int, int, int] = (0, 0, 0),
        prefetch_factor: int | None = None,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        self.planets: dict[str, Sequence[Planet]] = {"train": train, "val": val, "test": test}
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers: dict[str, int] = dict(zip(self.planets, num_workers, strict=True))
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self.shuffle = shuffle
        self._datasets: dict[str, PlanetDataset] = {}
        self._resumed: tuple[int, int] | None = None

    def resume(self, epoch: int, batches: int) -> None:
        """Have training go on in an epoch, without its first batches, those done before an interruption."""
        self._resumed = (epoch, batches)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training batches, shuffled by (seed, epoch)."""
        replicas, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        dataset = self.dataset("train")
        sampler = EpochSampler(dataset, seed=self.seed, replicas=replicas, rank=rank, shuffle=self.shuffle)
        if self._resumed:
            sampler.resume(self._resumed[0], self._resumed[1] * self.batch_size)
        return self._loader("train", sampler=sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, every planet in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, every planet in order."""
        return self._loader("test")

    def dataset(self, name: str) -> PlanetDataset:
        """The planets of a split as tensors, which are made once."""
        if name not in self._datasets:
            self._datasets[name] = PlanetDataset(self.planets[name])
        return self._datasets[name]

    def _loader(self, name: str, sampler: EpochSampler | None = None) -> DataLoader[Batch]:
        return loader(
            self.dataset(name),
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers[name],
            prefetch_factor=self.prefetch_factor,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers,
        )
