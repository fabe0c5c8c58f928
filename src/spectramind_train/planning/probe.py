"""A few steps of a run on made-up planets, in a process of their own, and what they took."""

from __future__ import annotations

import dataclasses
import itertools
import math
import resource
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
from spectramind_train.planning.memory import CONTEXT, data_bytes, require_fit
from spectramind_train.run.accelerators import usable
from spectramind_train.run.journal import JOURNAL, Metrics, entries
from spectramind_train.run.manifest import DataRecord
from spectramind_train.run.plan import RunPlan, plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.transit.spectrum_fit import TransitFit

STEPS, WARM_UP = 12, 3
"""Optimizer steps of a probe, and those at its start that are not counted."""


def probe(config: EffectiveConfig, planets: int | None, warn: Callable[[str], None]) -> tuple[Host, RunPlan, Measured]:
    """Train a few steps here, one process of them, and measure: this host as torch sees it, the plan, and the figures.

    Args:
        config: What to train.
        planets: Labelled planets, see ``sizes_of``.
        warn: Told of accelerators that cannot be used.

    Raises:
        ConfigError: The run cannot be planned or probed; the message says why.
    """
    host = usable(Host.detect(), warn)
    run_plan = plan(config, host)
    require_fit(config, run_plan, host, planets)
    sizes = sizes_of(config, run_plan, planets)
    if sizes is None:
        raise ConfigError(f"--probe: data={config.data.name} does not say how many planets and time bins it has")
    job = {"config": config.to_dict(), "plan": dataclasses.asdict(run_plan), "sizes": dataclasses.asdict(sizes)}
    command = [sys.executable, "-m", __name__]
    done = subprocess.run(command, input=msgspec.json.encode(job), capture_output=True, check=False)  # noqa: S603
    try:
        measured = msgspec.json.decode(done.stdout.splitlines()[-1], type=Measured)
    except (IndexError, msgspec.MsgspecError):
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        killed = f"was ended by signal {-done.returncode}, most likely for lack of memory"
        reason = killed if done.returncode < 0 else f"failed: {told[-1]}"
        raise ConfigError(f"--probe: the training of {STEPS} steps {reason}") from None
    return host, run_plan, measured


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
        fit = TransitFit(depth, np.full(N_CHANNELS, 1e-4), float(depth[1:].mean()), VISIT_H / 2, baseline, shape)
        kinds.append((LightCurves("0", time, flux), fit, depth))
    train = [Planet(str(number), *kinds[number % len(kinds)]) for number in range(count)]
    record = DataRecord(root="", simulated=True, fingerprint="", planets={})
    return Splits(train, train[:1], train[:1], 0.01, 0.001, record)


def _measure(config: EffectiveConfig, planned: RunPlan, sizes: Sizes) -> Measured:
    """Train as a run does, in one of its processes, and read the journal that it leaves."""
    import spectramind_train.training  # noqa: F401 - what a run has in memory by then.
    from spectramind_train.learning.learner import learn

    needed = STEPS * config.data.batch_size * config.accumulate_grad_batches
    splits = made_up(sizes, min(math.ceil(sizes.train / planned.world_size), needed))
    alone = dataclasses.replace(planned, devices=1, num_nodes=1, strategy="auto", sync_batchnorm=False)
    with tempfile.TemporaryDirectory() as folder:
        learn(config, alone, splits, Path(folder), Terminal(silent=True), deadline=None)
        times = step_seconds(Path(folder) / JOURNAL)
    if not times:
        raise ConfigError(f"no epoch of {len(splits.train)} planets has two steps, so none can be timed")
    if planned.accelerator == "cuda":
        import torch

        return Measured(step_s=statistics.median(times), peak=CONTEXT + torch.cuda.max_memory_reserved())
    unit = 1 if sys.platform == "darwin" else 1024
    peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    more = data_bytes(sizes, sizes.planets) - data_bytes(sizes, len(splits.train))
    return Measured(step_s=statistics.median(times), peak=peak + more)


def _main() -> None:
    job: dict[str, Any] = msgspec.json.decode(sys.stdin.buffer.read())
    config = from_dict(job["config"], "the probed config").with_overrides(
        [
            f"trainer.max_steps={STEPS}",
            f"local.max_epochs={STEPS}",
            "trainer.checkpoint.save_top_k=0",
            "trainer.early_stopping.enabled=false",
            "local.dev.fast_dev_run=false",
            "local.dev.limit_train_batches=null",
            "local.dev.limit_val_batches=0",
            "local.dev.log_every_n_steps=1",
        ]
    )
    try:
        found = _measure(config, msgspec.convert(job["plan"], RunPlan), msgspec.convert(job["sizes"], Sizes))
    except ConfigError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(found) + b"\n")


if __name__ == "__main__":
    _main()
