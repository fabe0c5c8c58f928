"""A plan and its predictions in words, and as JSON has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from spectramind_config.errors import wrapped
from spectramind_config.host import Host
from spectramind_train.planning.duration import Time
from spectramind_train.planning.estimate import Estimate
from spectramind_train.planning.memory import Memory, doubt
from spectramind_train.run.plan import RunPlan

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def as_json(host: Host, plan: RunPlan, found: Estimate | None) -> dict[str, Any]:
    """What ``plan --json`` prints; sizes are bytes, times seconds, and what is not predicted is null."""
    prediction = None
    if found is not None:
        prediction = dataclasses.asdict(found)
        prediction["memory"]["total"] = found.memory.total
        prediction["sizes"]["planets"] = found.sizes.planets
    planned = {**dataclasses.asdict(plan), "world_size": plan.world_size}
    return {"host": dataclasses.asdict(host), "plan": planned, "prediction": prediction}


def lines(host: Host, plan: RunPlan, found: Estimate | None) -> Iterator[str]:
    """What ``plan`` prints: what would happen and why, and then what is only predicted."""
    if found is not None and (told := doubt(found.memory, found.largest_batch)):
        yield wrapped("warning: ", told)
    yield f"{host.name}: {_accelerators(host)}, {host.cores} CPU cores{_ram(host)}{_scheduler(host)}"
    yield f"devices      {plan.devices} x {plan.accelerator}, {plan.num_nodes} node(s)"
    yield f"strategy     {plan.strategy}"
    yield f"precision    {plan.precision}"
    workers = "/".join(map(str, plan.num_workers))
    yield f"loaders      {workers} workers for train/val/test, {plan.threads} threads each process"
    for decision in plan.decisions:
        change = f"{decision.setting}: {decision.requested} -> {decision.effective}"
        yield f"  {change}, because {decision.reason}"
    yield ""
    if found is None:
        yield "Nothing is predicted of this model or these data: they have not said what they cost."
        return
    factor = found.memory_factor
    yield f"Predicted; memory may be {factor:g} times as much or as little:"
    sizes = found.sizes
    simulated = ", simulated" if sizes.simulated else ""
    split = f"{sizes.train}/{sizes.val}/{sizes.test} planets to train on/validate/test"
    yield f"planets      {split}, {sizes.bins} time bins{simulated}"
    yield f"memory       {_memory(plan, found.memory)}"
    yield wrapped(" " * 13, _parts(found))
    if found.largest_batch is not None:
        yield f"batch        data.batch_size up to {found.largest_batch} fits"
    data = f", and {size(found.simulated)} of simulated data" if found.simulated else ""
    yield f"cache        {size(found.cache)} of prepared planets{data}"
    if found.time is None:
        yield "time         nobody knows how fast this device is; spectramind plan --host names those that are known"
        return
    yield from _times(plan, found.time)


def size(count: float) -> str:
    """A number of bytes."""
    unit, name = next((one for one in _UNITS if count >= one[0]), (1.0, "B"))
    return f"{count / unit:.3g} {name}"


def seconds(time: float) -> str:
    """A span of time."""
    if time < 1.0:
        return f"{1000 * time:.3g} ms"
    if time < 120.0:
        return f"{time:.3g} s"
    return f"{time / 60:.3g} min" if time < 7200.0 else f"{time / 3600:.3g} h"


def _times(plan: RunPlan, time: Time) -> Iterator[str]:
    yield ""
    yield f"Predicted; times may be {time.factor:g} times as long or as short ({time.basis}):"
    between = f"{seconds(time.step_s / time.factor)} to {seconds(time.step_s * time.factor)}"
    yield f"step         {seconds(time.step_s)} ({between}), {time.steps} an epoch"
    yield f"epoch        {seconds(time.epoch_s)} with its validation"
    if time.epochs:
        yield f"run          {time.epochs} epochs in {seconds(time.run_s)} with a warm cache, unless it stops early"
    else:
        yield "run          not one epoch fits into trainer.max_time"
    if len(time.scaling) == 1:
        return
    yield "scaling      devices  nodes       step      epoch  efficiency"
    for row in time.scaling:
        step, epoch = seconds(row.step_s), seconds(row.epoch_s)
        yield f"             {row.devices:7}  {row.nodes:5} {step:>10} {epoch:>10}  {row.efficiency:10.0%}"


def _accelerators(host: Host) -> str:
    if not host.gpus:
        return "Apple GPU" if host.mps else f"no usable GPU: {host.unusable}" if host.unusable else "no GPU"
    memory = f" of {size(min(host.gpu_memory))}" if host.gpu_memory else ""
    return f"{len(host.gpus)} x {', '.join(dict.fromkeys(host.gpus))}{memory}"


def _ram(host: Host) -> str:
    return f", {size(host.memory)} of memory" if host.memory else ""


def _scheduler(host: Host) -> str:
    return f", {host.scheduler} job" if host.scheduler else ""


def _memory(plan: RunPlan, memory: Memory) -> str:
    device = {"cuda": "GPU", "mps": "process", "cpu": "process"}[plan.accelerator]
    limit = f" of {size(memory.limit)}" if memory.limit else ""
    return f"{size(memory.total)}{limit} for each {device}"


def _parts(found: Estimate) -> str:
    memory = found.memory
    words = {
        f"{found.parameters} weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
        "temporaries": memory.temporary,
        "all else": memory.process,
    }
    return ", ".join(f"{name} {size(count)}" for name, count in words.items())
