"""How much memory a training takes, counted from the config alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.host import Host
from spectramind_train.planets.sizes import Sizes, sizes_of
from spectramind_train.run.plan import RunPlan
from spectramind_train.v50.costs import CHANNELS, ModelCosts, model_costs

PROCESS, CONTEXT = 540 * 10**6, 600 * 10**6
"""Bytes that a process takes before it has a model, and that CUDA takes on a GPU. The first measured."""
HALF_KEPT, LEAST_HALF = 0.75, 0.5
"""What is kept in mixed precision, as a share: most likely, and at least."""
CPU_TEMPORARY, CPU_MOST_TEMPORARY, CPU_HEAP = 1.2, 400 * 10**6, 50 * 10**6
"""Temporaries of a step on a CPU, as a share of what is kept; their most, for what is larger goes back to the system at
once; and what is there always. Measured."""
GPU_TEMPORARY = 0.3
CERTAIN = 0.9
"""What is counted as kept is certain to this share; a run is refused for no more."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one process on its device at the peak of a step; ``limit`` is what the device has for it, 0 unknown."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    temporary: int
    process: int
    limit: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum((self.weights, self.gradients, self.optimizer, self.activations, self.temporary, self.process))


def memory_of(
    config: EffectiveConfig, plan: RunPlan, host: Host, sizes: Sizes, costs: ModelCosts, batch: int
) -> Memory:
    """What a process takes for a batch of so many planets."""
    half = plan.precision != "32"
    kept = 4 * costs.kept * batch * (HALF_KEPT if half else 1.0)
    weights = 4 * (costs.parameters + costs.constants) + (2 * costs.parameters if half else 0)
    if plan.accelerator == "cpu":
        temporary = min(CPU_TEMPORARY * kept, CPU_MOST_TEMPORARY) + CPU_HEAP
        process = PROCESS + data_bytes(sizes, sizes.planets)
    else:
        temporary, process = GPU_TEMPORARY * kept, CONTEXT if plan.accelerator == "cuda" else PROCESS
    return Memory(
        weights=weights,
        gradients=4 * costs.parameters * (2 if plan.world_size > 1 else 1),  # DDP has buckets of its own.
        optimizer=8 * costs.parameters,
        activations=round(kept),
        temporary=round(temporary),
        process=process,
        limit=limit_of(plan, host),
    )


def doubt(memory: Memory, most: int | None) -> str:
    """What is told first of a run that most likely does not fit; empty where it does."""
    if not memory.limit or memory.total <= memory.limit:
        return ""
    remedy = f"data.batch_size={most} does" if most else "a smaller model may"
    return (
        f"this run most likely does not fit into memory: it is predicted to take {memory.total / 1e9:.3g} GB of "
        f"{memory.limit / 1e9:.3g} GB; {remedy}"
    )


def largest_batch(config: EffectiveConfig, plan: RunPlan, host: Host, sizes: Sizes, costs: ModelCosts) -> int | None:
    """The most planets whose memory is predicted to fit; None where nobody knows how much there is."""
    limit = limit_of(plan, host)
    if not limit:
        return None
    low, high = 0, 2**24
    while low < high:
        middle = (low + high + 1) // 2
        if memory_of(config, plan, host, sizes, costs, middle).total <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def require_fit(config: EffectiveConfig, plan: RunPlan, host: Host, planets: int | None = None) -> None:
    """Refuse a run whose weights and batch alone are more than a device of the host has.

    What is certain is counted, not what is likely, so that nothing is refused that fits.

    Raises:
        ConfigError: It cannot fit; the message names the largest batch that may.
    """
    sizes = sizes_of(config, plan, planets)
    costs = model_costs(config.model, sizes.bins) if sizes else None
    limit = limit_of(plan, host)
    if sizes is None or costs is None or not limit:
        return
    fixed = 4 * (4 * costs.parameters + costs.constants)
    each = 4 * CERTAIN * (costs.kept - costs.maps) * (1.0 if plan.precision == "32" else LEAST_HALF)
    batch = batch_of(config, plan, sizes)
    needed = fixed + each * batch
    if needed <= limit:
        return
    most = math.floor((limit - fixed) / each)
    device = f"a {host.gpus[0]}" if plan.accelerator == "cuda" else host.name
    shared = f" for each of {plan.devices} processes" if plan.accelerator == "cpu" and plan.devices > 1 else ""
    origin = config.origin("data.batch_size")
    what = (
        f"data.batch_size={origin.value}: the run cannot fit into memory: a step takes at least {needed / 1e9:.3g} GB"
    )
    what += f", and {device} has {limit / 1e9:.3g} GB{shared}"
    more = f"  {fixed / 1e9:.3g} GB for {costs.parameters:.3g} weights, their gradients and the optimizer, "
    more += f"{each * batch / 1e9:.3g} GB for {batch} planets"
    if most < 1:
        raise ConfigError(
            Problem(what=what, more=more, origin=origin.place, hint="make the model smaller: model.width")
        )
    many = math.ceil(batch / most) * config.accumulate_grad_batches
    hint = f"local.accumulate_grad_batches={many} lets a step see as many planets all the same"
    fix = f"data.batch_size={most}"
    problem = Problem(what=what, more=more, origin=origin.place, hint=hint, argument=origin.argument, instead=fix)
    raise ConfigError(problem, config.overrides)


def data_bytes(sizes: Sizes, planets: int) -> int:
    """Of so many planets in memory: flux and baseline in double precision, and the tensors that the model sees."""
    return planets * (2 * 8 + 4) * sizes.bins * CHANNELS


def batch_of(config: EffectiveConfig, plan: RunPlan, sizes: Sizes) -> int:
    """Planets of a batch of one process; a small data set fills none."""
    return min(config.data.batch_size, math.ceil(sizes.train / plan.world_size))


def limit_of(plan: RunPlan, host: Host) -> int:
    """Bytes that the host has for each process; 0 where nobody knows."""
    if plan.accelerator == "cuda":
        return min(host.gpu_memory[: plan.devices], default=0)
    return host.memory // (plan.devices if plan.accelerator == "cpu" else 1)
