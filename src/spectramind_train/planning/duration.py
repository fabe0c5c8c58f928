"""How long a training takes, by a model of the device.

Arithmetic and traffic go at a share of a device's peak rates, and every operation that is started costs some time.
Several processes add one ring all-reduce of the gradient a step, none of it hidden behind the backward pass. The
constants were measured where that is said, and are guesses elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from spectramind_config import EffectiveConfig
from spectramind_config.host import Host
from spectramind_train.planets.sizes import Sizes
from spectramind_train.planning.memory import HALF_KEPT, batch_of
from spectramind_train.run.hosts import APPLE, Device, device_of
from spectramind_train.run.plan import RunPlan
from spectramind_train.v50.costs import ModelCosts

TRAFFIC = 8.0
"""Times that a number kept for the backward pass moves through memory in a step. Measured on a CPU."""
CORE_FLOPS, CORE_BANDWIDTH, CORE_KERNEL_S = 50e9, 6.7e9, 18e-6
"""Of one core: FLOP/s, bytes/s, and what starting an operation takes. Measured on a Xeon with AVX-512, torch 2.13."""
HALF_ON_CPU = 5.0
"""How many times as long a mixed-precision step takes on a CPU. Measured on one without instructions for bf16."""
GPU_FLOPS, GPU_BANDWIDTH, GPU_KERNEL_S = 0.3, 0.6, 10e-6
"""Of a GPU: share of peak FLOP/s, share of peak bandwidth, and what starting an operation takes. Not measured."""
VALIDATION = 0.3
"""A validation batch, in training steps."""
NETWORK, NETWORK_LATENCY_S, LINK_LATENCY_S = 12.5e9, 50e-6, 20e-6
"""Between nodes 100 Gbit/s; time of a hop of a ring between and within nodes. Assumed."""
GLOO, GLOO_LATENCY_S = 1e9, 1e-3
"""Bytes/s between processes of a CPU, and time of a hop. Assumed."""
START_S, END_S, EPOCH_S = 12.0, 10.0, 0.1
"""From the start of a process to its first step with a warm cache, from its last to its end, and of a checkpoint."""

TIME_FACTOR, CPU_FACTOR, PROBED_FACTOR = 3.0, 2.0, 1.25
"""How many times too long or too short a prediction may be: for a host elsewhere, this CPU, and after a probe."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Of a number of processes: seconds of a step and an epoch, and planets per second as a share of the ideal."""

    devices: int
    nodes: int
    step_s: float
    epoch_s: float
    efficiency: float


@dataclass(frozen=True, kw_only=True)
class Time:
    """Predicted times; the truth lies within ``factor`` of them, either way.

    Attributes:
        step_s: Seconds of an optimizer step.
        epoch_s: Seconds of an epoch, with its validation.
        steps: Optimizer steps of an epoch.
        epochs: Epochs that fit into ``trainer.max_time``, ``max_steps`` and ``max_epochs``; early stopping may end
            before.
        run_s: Seconds of the whole run with a warm cache.
        factor: How far off all of these may be.
        basis: Where they come from.
        scaling: One device, and each doubling up to what is planned.
    """

    step_s: float
    epoch_s: float
    steps: int
    epochs: int
    run_s: float
    factor: float
    basis: str
    scaling: tuple[Scaling, ...]


def time_of(
    config: EffectiveConfig,
    plan: RunPlan,
    host: Host,
    sizes: Sizes,
    costs: ModelCosts,
    *,
    here: bool,
    measured_s: float | None,
) -> Time | None:
    """How long a run takes; see ``estimate`` for what is given. None where nobody knows how fast the device is."""
    device = device_of(host) if plan.accelerator != "cpu" else None
    if plan.accelerator != "cpu" and device is None and measured_s is None:
        return None
    planned = batch_of(config, plan, sizes)
    factor, basis = TIME_FACTOR, "a model; nothing was measured on such a host"
    if measured_s is not None:
        factor, basis = PROBED_FACTOR, "a step was measured here, by --probe"
    elif here and plan.accelerator == "cpu":
        factor, basis = CPU_FACTOR, "a model of such a CPU; --probe measures this one"

    def alone_s(devices: int, batch: int) -> float:
        """An optimizer step of one process beside others that share the CPU with it."""
        if plan.accelerator != "cpu" and device is None:
            return measured_s or 0.0
        cases = ((max(1, host.cores // devices), batch), (plan.threads, planned))
        modelled, there = (config.accumulate_grad_batches * _batch_s(plan, costs, device, *case) for case in cases)
        return modelled if measured_s is None else measured_s * modelled / there

    rows, steps = [], 1
    for world, devices, nodes in _doublings(plan):
        batch = min(config.data.batch_size, math.ceil(sizes.train / world))
        steps = math.ceil(_batches(config, math.ceil(sizes.train / world / batch)) / config.accumulate_grad_batches)
        step_s = alone_s(devices, batch) + _reduce_s(plan, costs, device, devices, nodes)
        batch_s = alone_s(devices, batch) / config.accumulate_grad_batches
        validation_s = VALIDATION * batch_s * math.ceil(sizes.val / world / batch)
        epoch_s = steps * step_s + validation_s / config.dev.check_val_every_n_epoch + EPOCH_S
        rows.append(Scaling(devices=devices, nodes=nodes, step_s=step_s, epoch_s=epoch_s, efficiency=batch / step_s))
    ideal = rows[0].efficiency
    rows = [dataclasses.replace(row, efficiency=row.efficiency / ideal) for row in rows]
    most = config.max_epochs if config.max_steps is None else min(config.max_epochs, -(-config.max_steps // steps))
    most = 1 if config.dev.fast_dev_run else most
    # Labels are taken up by every process for itself, on its CPU.
    taken_up = sizes.train if sizes.train >= costs.take_up_from else 0
    around_s = START_S + END_S + taken_up * costs.take_up_s
    left = math.inf if config.max_time is None else config.max_time.total_seconds() - around_s
    epochs = max(0, min(most, math.floor(min(left / rows[-1].epoch_s, 1e9))))
    return Time(
        step_s=rows[-1].step_s,
        epoch_s=rows[-1].epoch_s,
        steps=steps,
        epochs=epochs,
        run_s=around_s + epochs * rows[-1].epoch_s,
        factor=factor,
        basis=basis,
        scaling=tuple(rows),
    )


def _batches(config: EffectiveConfig, whole: int) -> int:
    """Batches of an epoch of one process, with the caps on them."""
    cap = config.dev.overfit_batches or config.dev.limit_train_batches
    if config.dev.fast_dev_run:
        return 1
    if cap is None:
        return whole
    return max(1, int(cap * whole)) if isinstance(cap, float) else max(1, min(cap, whole))


def _doublings(plan: RunPlan) -> list[tuple[int, int, int]]:
    """World size, devices and nodes: one device, doublings within a node, doublings of nodes, what is planned."""
    devices = [2**power for power in range(plan.devices.bit_length()) if 2**power < plan.devices] + [plan.devices]
    nodes = [2**power for power in range(1, plan.num_nodes.bit_length()) if 2**power < plan.num_nodes]
    rows = [(one, 1) for one in devices] + [(plan.devices, one) for one in nodes]
    rows += [(plan.devices, plan.num_nodes)] if plan.num_nodes > 1 else []
    return [(one * many, one, many) for one, many in rows]


def _batch_s(plan: RunPlan, costs: ModelCosts, device: Device | None, threads: int, batch: int) -> float:
    half = plan.precision != "32"
    flops, traffic = 3 * batch * costs.flops, 4 * TRAFFIC * batch * costs.kept
    if device is None:
        work = (flops / CORE_FLOPS + traffic / CORE_BANDWIDTH) / threads
        return (costs.kernels * CORE_KERNEL_S + work) * (HALF_ON_CPU if half else 1.0)
    rate = GPU_FLOPS * (device.half if half else device.single)
    work = flops / rate + traffic * (HALF_KEPT if half else 1.0) / (GPU_BANDWIDTH * device.bandwidth)
    # A GPU works while operations are started: the slower of the two counts.
    return max(costs.kernels * GPU_KERNEL_S * (2 if device is APPLE else 1), work)


def _reduce_s(plan: RunPlan, costs: ModelCosts, device: Device | None, devices: int, nodes: int) -> float:
    """One ring all-reduce of the gradient."""
    world = devices * nodes
    if world == 1:
        return 0.0
    link, latency = (GLOO, GLOO_LATENCY_S) if device is None else (device.link, LINK_LATENCY_S)
    if nodes > 1:
        link, latency = min(link, NETWORK), max(latency, NETWORK_LATENCY_S)
    return 2 * (world - 1) / world * 4 * costs.parameters / link + 2 * (world - 1) * latency
