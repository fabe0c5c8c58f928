"""A few steps of a run on made-up planets, in a process of their own, and what they took."""

from __future__ import annotations

import dataclasses
import itertools
import math
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from spectramind_config import ConfigError, EffectiveConfig, from_dict
from spectramind_config.host import Host
from spectramind_train.ariel.constants import N_CHANNELS, VISIT_H
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.planets.preparation import Planet
from spectramind_train.planets.sizes import Sizes, sizes_of
from spectramind_train.planets.splits import Splits
from spectramind_train.planning.estimate import Measured
from spectramind_train.planning.memory import CONTEXT, batch_of, data_bytes
from spectramind_train.planning.memory import largest_batch as counted_batch
from spectramind_train.run.accelerators import usable
from spectramind_train.run.journal import JOURNAL, Metrics, entries
from spectramind_train.run.manifest import DataRecord
from spectramind_train.run.memory import available
from spectramind_train.run.plan import RunPlan, plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.transit.spectrum_fit import N_LIMB, N_SHARED, TransitFit
from spectramind_train.v50.costs import model_costs

STEPS, WARM_UP, TRIAL_STEPS = 12, 3, 3
"""Optimizer steps of a probe, those at its start that are not counted, and those of which only the memory matters."""
_OUT_OF_MEMORY = 99
"""Exit code of a probing process."""


class _Job(msgspec.Struct):
    """What a probing process is to do."""

    config: dict[str, Any]
    plan: RunPlan
    sizes: Sizes
    steps: int
    batch: int
    address_space: int | None


class Probe:
    """Trains a few steps of a run here, each time in a process of its own.

    Attributes:
        host: This machine as torch sees it.
        plan: How it runs the config.

    Args:
        config: What to train.
        planets: Labelled planets, see ``sizes_of``.
        warn: Told of accelerators that cannot be used.
        address_space: Bytes that a probing process may ask for; None for all that there are.

    Raises:
        ConfigError: The run cannot be planned, or nobody knows how many planets it has.
    """

    def __init__(
        self,
        config: EffectiveConfig,
        planets: int | None,
        warn: Callable[[str], None],
        *,
        address_space: int | None = None,
    ) -> None:
        self.config = config
        self.address_space = address_space
        self.host = usable(Host.detect(), warn)
        self.plan = plan(config, self.host)
        sizes = sizes_of(config, self.plan, planets)
        if sizes is None:
            raise ConfigError(f"data={config.data.name} does not say how many planets and time bins it has: no probe")
        self.sizes = sizes

    def measured(self) -> Measured:
        """A step's time and the peak of memory, of one process.

        Raises:
            ConfigError: There is no room for it.
        """
        found = self._train(STEPS, batch_of(self.config, self.plan, self.sizes))
        if found is None:
            raise ConfigError("--probe: its training ran out of memory; set a smaller data.batch_size")
        return found

    def fits(self, batch: int) -> bool:
        """Whether steps of so many planets, tried here, find the memory that they need."""
        return self._train(TRIAL_STEPS, batch) is not None

    def largest_batch(self) -> int:
        """The most planets per batch that fit, of those that a process has; a twentieth more may fit as well.

        On a GPU steps are tried. On a CPU, where trying takes the memory of everything else that runs, it is counted
        within what is left now; 0 where nothing fits.
        """
        most = math.ceil(self.sizes.train / self.plan.world_size)
        if self.plan.accelerator == "cuda":
            return largest(self.fits, min(self.config.data.batch_size, most), most)
        costs = model_costs(self.config.model, self.sizes.bins)
        if costs is None:
            raise ConfigError(f"model={self.config.model.name} has not said what it costs: no batch can be counted")
        host = dataclasses.replace(self.host, memory=min(self.host.memory, available()))
        return min(most, counted_batch(self.config, self.plan, host, self.sizes, costs) or 0)

    def _train(self, steps: int, batch: int) -> Measured | None:
        """None where memory ran out."""
        job = _Job(self.config.to_dict(), self.plan, self.sizes, steps, batch, self.address_space)
        command = [sys.executable, "-m", __name__]
        done = subprocess.run(command, input=msgspec.json.encode(job), capture_output=True, check=False)  # noqa: S603
        if done.returncode in (_OUT_OF_MEMORY, -signal.SIGKILL):  # The system kills the one that takes the most.
            return None
        try:
            return msgspec.json.decode(done.stdout.splitlines()[-1], type=Measured)
        except (IndexError, msgspec.MsgspecError):
            told = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise ConfigError(f"the probe's training of {steps} steps failed: {told[-1]}") from None


def largest(fits: Callable[[int], bool], start: int, most: int) -> int:
    """The largest number that fits, to a twentieth, found by doubling and then halving; 0 where not even 1 does."""
    low, high = 0, start
    while fits(high):
        low = high
        if low == most:
            return most
        high = min(2 * high, most)
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def step_seconds(journal: Path, warm_up: int = WARM_UP) -> list[float]:
    """Seconds of each step that a journal has the loss of, and the step before it, in the same epoch."""
    seen = [one for _, one in entries(journal) if isinstance(one, Metrics) and "train_loss_step" in one.values]
    pairs = [(one, two) for one, two in itertools.pairwise(seen) if two.epoch == one.epoch and two.step == one.step + 1]
    return [two.time - one.time for one, two in pairs if one.step + 1 >= warm_up]


def made_up(sizes: Sizes, count: int) -> Splits:
    """A split of planets of the right shapes and about the right numbers: a few distinct ones, over and over."""
    random = np.random.default_rng(0)
    time = np.linspace(0.0, VISIT_H, sizes.bins)
    shape = (np.abs(time - VISIT_H / 2) < VISIT_H / 5).astype(np.float64)
    kinds = []
    for _ in range(4):
        depth = 0.01 + 0.001 * random.random(N_CHANNELS)
        baseline = np.full((sizes.bins, N_CHANNELS), 1e4)
        flux = baseline * (1.0 - depth * shape[:, None] + 1e-3 * random.standard_normal(baseline.shape))
        fit = TransitFit(
            depth=depth,
            sigma=np.full(N_CHANNELS, 1e-4),
            shared_errors=np.full((N_SHARED, N_CHANNELS), 1e-5),
            limb_darkening=np.zeros(N_LIMB),
            limb_covariance=0.01 * np.eye(N_LIMB),
            white_depth=float(depth[1:].mean()),
            mid_time=VISIT_H / 2,
            baseline=baseline,
            shape=shape,
            fgs1_shape=shape,
        )
        kinds.append((LightCurves("0", time, flux), fit, depth))
    train = [Planet(str(number), *kinds[number % len(kinds)]) for number in range(count)]
    record = DataRecord(root="", simulated=True, fingerprint="", planets={})
    return Splits(train, train[:1], train[:1], 0.01, 0.001, record)


def _measure(config: EffectiveConfig, job: _Job) -> Measured:
    """Train as a run does, in one of its processes, and read the journal that it leaves."""
    import spectramind_train.training  # noqa: F401 - what a run has in memory by then.
    from spectramind_train.learning.learner import learn

    together = job.batch * config.accumulate_grad_batches
    # Two steps to measure between are in an epoch, even where the planets of a run fill one only.
    count = min(job.steps * together, max(2 * together, math.ceil(job.sizes.train / job.plan.world_size)))
    alone = dataclasses.replace(job.plan, devices=1, num_nodes=1, strategy="auto", sync_batchnorm=False)
    with tempfile.TemporaryDirectory() as folder:
        # What labels tell takes longer than the steps, the more so the larger the batch that is tried, and less memory.
        splits, terminal = made_up(job.sizes, count), Terminal(silent=True)
        learn(config, alone, splits, Path(folder), terminal, deadline=None, take_up=False)
        times = step_seconds(Path(folder) / JOURNAL) if job.steps > WARM_UP else [0.0]
    if job.plan.accelerator == "cuda":
        import torch

        return Measured(step_s=statistics.median(times), peak=CONTEXT + torch.cuda.max_memory_reserved())
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Those that are made up share their light curves, so that only what the model sees of each is here.
    more = data_bytes(job.sizes, job.sizes.planets) - count * 4 * job.sizes.bins * N_CHANNELS
    return Measured(step_s=statistics.median(times), peak=peak + more)


def _main() -> int:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=_Job)
    if job.address_space is not None:
        resource.setrlimit(resource.RLIMIT_AS, (job.address_space, job.address_space))
    config = from_dict(job.config, "the probed config").with_overrides(
        [
            f"data.batch_size={job.batch}",
            f"trainer.max_steps={job.steps}",
            f"local.max_epochs={job.steps}",
            "trainer.checkpoint.save_top_k=0",
            "trainer.early_stopping.enabled=false",
            "local.dev.fast_dev_run=false",
            "local.dev.limit_train_batches=null",
            "local.dev.limit_val_batches=0",
            "local.dev.log_every_n_steps=1",
        ]
    )
    try:
        found = _measure(config, job)
    except ConfigError as error:
        sys.exit(str(error))
    except (MemoryError, RuntimeError) as error:  # Torch says so in words on a CPU; on a GPU it has a class of its own.
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            return _OUT_OF_MEMORY
        raise
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
