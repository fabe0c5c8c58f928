"""All that is predicted of a run from its config and a host; nothing here touches a machine or imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from spectramind_config import EffectiveConfig
from spectramind_config.host import Host
from spectramind_train.planets.sizes import Sizes, sizes_of
from spectramind_train.planning.duration import PROBED_FACTOR, Time, time_of
from spectramind_train.planning.memory import Memory, batch_of, doubt, largest_batch, memory_of, require_fit
from spectramind_train.run.plan import RunPlan
from spectramind_train.v50.costs import CHANNELS, model_costs

MEMORY_FACTOR = 1.3
"""How many times too much or too little the memory may be that is predicted."""
PACKED = 0.49
"""Bytes of a raw frame's parquet file, with those of calibration, for each of its own. Measured."""
ENTRY = 2_000
"""Bytes of an entry of the cache besides its numbers."""
FRAME = 2 * (32 * 356 + 12 * 32 * 32)
"""Bytes of a frame of AIRS and the twelve of FGS1 beside it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a probe has measured on this machine: seconds of a step, and bytes of a process at its peak."""

    step_s: float
    peak: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """All that is predicted of a run.

    Attributes:
        sizes: Planets and time bins.
        parameters: Numbers that are trained.
        memory: Of each process.
        memory_factor: How far off its total may be, either way.
        largest_batch: The most planets per batch whose memory is predicted to fit; None where the limit is unknown.
        cache: Bytes of the cache of prepared planets.
        simulated: Bytes of the simulated data set beside it; 0 where there is a data set.
        time: None where nobody knows how fast the device is.
    """

    sizes: Sizes
    parameters: int
    memory: Memory
    memory_factor: float
    largest_batch: int | None
    cache: int
    simulated: int
    time: Time | None


def estimate(
    config: EffectiveConfig,
    plan: RunPlan,
    host: Host,
    *,
    planets: int | None = None,
    here: bool = False,
    measured: Measured | None = None,
) -> Estimate | None:
    """Predict what a run of a config takes on a host.

    Args:
        config: What to train.
        plan: How the host does it.
        host: The host.
        planets: Labelled planets, see ``sizes_of``.
        here: Whether the host is this machine.
        measured: What a probe found here; it takes the place of what is modelled.

    Returns:
        None for a model without registered costs, and for data of one's own.
    """
    sizes = sizes_of(config, plan, planets)
    costs = model_costs(config.model, sizes.bins) if sizes else None
    if sizes is None or costs is None:
        return None
    memory = memory_of(config, plan, host, sizes, costs, batch_of(config, plan, sizes))
    if measured is not None:
        memory = dataclasses.replace(memory, process=max(0, memory.process + measured.peak - memory.total))
    visit = 8 * (sizes.bins * (2 * CHANNELS + 2) + 2 * CHANNELS + 2) + ENTRY
    return Estimate(
        sizes=sizes,
        parameters=costs.parameters,
        memory=memory,
        memory_factor=MEMORY_FACTOR if measured is None else PROBED_FACTOR,
        largest_batch=largest_batch(config, plan, host, sizes, costs),
        cache=sizes.planets * visit,
        simulated=round(PACKED * FRAME * sizes.frames * sizes.planets) if sizes.simulated else 0,
        time=time_of(config, plan, host, sizes, costs, here=here, measured_s=measured.step_s if measured else None),
    )


def foresee_memory(config: EffectiveConfig, plan: RunPlan, host: Host, warn: Callable[[str], None]) -> None:
    """Before a run does anything: refuse what cannot fit, and warn of what most likely does not.

    Raises:
        ConfigError: It cannot fit.
    """
    require_fit(config, plan, host)
    found = estimate(config, plan, host, here=True)
    if told := found and doubt(found.memory, found.largest_batch):
        warn(told)
