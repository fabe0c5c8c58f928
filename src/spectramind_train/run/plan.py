"""The plan of a run: a pure function of the effective config and the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from spectramind_config import ConfigError, EffectiveConfig, Problem, pick_precision
from spectramind_config.host import Host

Accelerator = Literal["cuda", "mps", "cpu"]
_SPLITS: Final = ("train", "val", "test")
_FILES: Final = 64
"""Files that a training may have open besides."""
_FILES_A_BATCH: Final = 11
"""Of a batch that a worker has loaded each tensor is a file."""
_NAMED: Final = ("override", "experiment")
"""Layers that speak of one run; a profile says what its machine can bear."""

_IN_MEMORY: Final = "planets lie in memory, where workers cost time; an override starts them"


@dataclass(frozen=True)
class Decision:
    """One thing that differs from what was asked for.

    Attributes:
        setting: Path of the effective config.
        requested: The value that the config asks for.
        effective: The value that the run uses.
        reason: Why, in one sentence.
        loud: Whether the user would be surprised to learn it only from the manifest.
    """

    setting: str
    requested: object
    effective: object
    reason: str
    loud: bool = False


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a host does with a config.

    Attributes:
        accelerator: Kind of device.
        devices: Processes on this node, one a device; on a CPU, as many as share it.
        num_nodes: Number of nodes.
        strategy: ``auto`` for one process, ``ddp`` for several.
        precision: Numeric precision, never automatic.
        num_workers: Loader workers of the training, validation and test split, per process.
        prefetch_factor: Batches that each worker loads ahead.
        pin_memory: Whether batches are copied to page-locked memory first.
        persistent_workers: Whether workers stay alive between epochs.
        sync_batchnorm: Whether batch-norm statistics are shared.
        threads: Threads of one process's tensor operations.
        decisions: What differs from the config, and why.
    """

    accelerator: Accelerator
    devices: int
    num_nodes: int
    strategy: str
    precision: str
    num_workers: tuple[int, int, int]
    prefetch_factor: int
    pin_memory: bool
    persistent_workers: bool
    sync_batchnorm: bool
    threads: int
    decisions: tuple[Decision, ...] = ()

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.num_nodes

    def reason(self, setting: str) -> str | None:
        """Why a setting differs from the config; None where it does not."""
        return next((decision.reason for decision in self.decisions if decision.setting == setting), None)


def plan(config: EffectiveConfig, host: Host) -> RunPlan:
    """Decide how a host runs a config.

    A count of devices that the host cannot give is refused, but for one case: a host without any accelerator and
    outside a scheduler job trains on its CPU instead, so that every profile can be tried on a laptop. An accelerator
    that is there and cannot be used is no such case: the CPU takes its place only where it is asked for.

    Raises:
        ConfigError: The host cannot run the config; the message names the remedy.
    """
    decisions: list[Decision] = []

    def settle(setting: str, requested: object, effective: object, reason: str, *, loud: bool = False) -> None:
        if requested != effective or type(requested) is not type(effective):
            decisions.append(Decision(setting, requested, effective, reason, loud))

    accelerator, devices, fallback = _devices(config, host)
    if fallback:
        reason = f"{host.name} has no accelerator, so the run falls back to its CPU and will be slow"
        settle("devices", config.devices, "cpu", reason, loud=True)
    elif config.devices == "auto" and config.cpu_processes > 1:
        reason = f"trainer.cpu_processes={config.cpu_processes} trains on the CPU"
        settle("devices", "auto", "cpu", reason, loud=bool(host.gpus or host.mps))
    elif config.devices == "auto":
        settle("devices", "auto", _device_words(accelerator, devices), _auto_reason(config, host, devices))

    num_nodes = 1 if fallback else config.num_nodes
    settle("num_nodes", config.num_nodes, num_nodes, "the CPU of this one machine stands in for the GPUs")
    several = devices * num_nodes > 1
    strategy = "ddp" if several else "auto"
    reason = "several devices need data-parallel processes" if several else "one device needs no other process"
    settle("strategy", config.strategy, strategy, reason)

    precision = _precision(config, host, accelerator, fallback=fallback)
    if config.precision == "auto-mixed":
        reason = f"the best mixed precision that {_device_words(accelerator, devices)} computes in"
        settle("precision", config.precision, precision, reason if precision != "32" else "full precision is safe here")
    else:
        settle("precision", config.precision, precision, "the CPU does not compute in float16", loud=True)

    per_process = max(1, host.cores // devices)
    workers = []
    for split in _SPLITS:
        setting = f"num_workers.{split}"
        asked, named = getattr(config.num_workers, split), config.origin(setting).layer in _NAMED
        workers.append(min(asked, per_process) if named else 0)
        reason = f"{host.cores} cores for {devices} process(es)" if named else _IN_MEMORY
        settle(setting, asked, workers[-1], reason)
    _require_files(config, host, tuple(workers))
    persistent = config.persistent_workers and any(workers)
    pin = config.pin_memory and accelerator == "cuda"
    settle("pin_memory", config.pin_memory, pin, "page-locked memory speeds up copies to a CUDA GPU only")
    sync = config.sync_batchnorm and several and accelerator == "cuda"
    settle("sync_batchnorm", config.sync_batchnorm, sync, "there is no second GPU to share statistics with")
    if config.dev.fast_dev_run and config.origin("max_epochs").layer in _NAMED:
        reason = "dev.fast_dev_run takes one batch and stops"
        settle("max_epochs", config.max_epochs, 1, reason, loud=True)
    return RunPlan(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
        num_workers=(workers[0], workers[1], workers[2]),
        prefetch_factor=config.prefetch_factor,
        pin_memory=pin,
        persistent_workers=persistent,
        sync_batchnorm=sync,
        threads=per_process,
        decisions=tuple(decisions),
    )


def _devices(config: EffectiveConfig, host: Host) -> tuple[Accelerator, int, bool]:
    """Kind and number of devices, and whether the CPU stands in for GPUs that are not there."""
    asked = config.devices
    if config.cpu_processes > 1 and asked not in ("auto", "cpu"):
        what = f"trainer.cpu_processes={config.cpu_processes} trains on the CPU, and on nothing else"
        raise refusal(config, "devices", what, "local.devices=cpu")
    if asked == "cpu" or config.cpu_processes > 1:
        return "cpu", config.cpu_processes, False
    if asked == "mps":
        if not host.mps:
            raise refusal(config, "devices", f"{host.name} has no Apple GPU (mps)", "local.devices=auto")
        return "mps", 1, False
    lost = "the scheduler gave this job GPUs, but none is visible; ask for them again, or train on the CPU"
    if host.unusable and not host.gpus and not host.mps:
        what = f"{host.name} has accelerators that cannot be used: {host.unusable}"
        raise refusal(config, "devices", what, "local.devices=cpu")
    if asked == "auto":
        if host.gpus:
            return "cuda", len(host.gpus) if config.strategy == "ddp" else 1, False
        if host.allocated_gpus:
            raise refusal(config, "devices", f"{host.name}: {lost}", "local.devices=cpu")
        return ("mps" if host.mps else "cpu"), 1, False
    if len(host.gpus) >= asked:
        return "cuda", asked, False
    if host.gpus:
        what = f"{host.name} has {len(host.gpus)} GPU(s), not {asked}"
        raise refusal(config, "devices", what, f"local.devices={len(host.gpus)}")
    if host.mps:
        if asked == 1:
            return "mps", 1, False
        raise refusal(config, "devices", f"{host.name} has one Apple GPU, not {asked} GPUs", "local.devices=mps")
    if host.scheduler:
        what = lost if host.allocated_gpus else f"this {host.scheduler} job has no GPU, and {asked} are asked for"
        raise refusal(config, "devices", f"{host.name}: {what}", "local.devices=cpu")
    return "cpu", 1, True


def _require_files(config: EffectiveConfig, host: Host, workers: tuple[int, ...]) -> None:
    """Refuse workers that could not open another file for a batch: they drop it, and the training waits for ever."""
    each = _FILES_A_BATCH * config.prefetch_factor
    lacking = [
        split for split, count in zip(_SPLITS, workers, strict=True) if count and _FILES + each * count > host.files
    ]
    if not host.files or not lacking:
        return
    most, fitting = max(workers), max(0, host.files - _FILES) // each
    setting = f"num_workers.{_SPLITS[workers.index(most)]}"
    origin, needed = config.origin(setting), _FILES + each * most
    fewer = [f"local.num_workers.{split}={fitting}" for split in lacking]
    fewer += ["local.persistent_workers=false"] if config.persistent_workers and not fitting else []
    what = f"{most} loader workers take {needed} open files, and a process may have {host.files}"
    hint = f"allow more with 'ulimit -n {needed}' and start again, or take fewer: {' '.join(fewer)}"
    problem = Problem(
        what=f"{setting}={origin.value}: {what}", origin=origin.place, argument=origin.argument, hint=hint
    )
    raise ConfigError(problem, config.overrides)


def refusal(config: EffectiveConfig, setting: str, what: str, instead: str, **more: str) -> ConfigError:
    """The mistake of a setting that this host cannot follow.

    Args:
        config: What was asked for.
        setting: The setting's name.
        what: Why it cannot be.
        instead: The override that can.
        **more: Further fields of the ``Problem``.
    """
    origin = config.origin(setting)
    problem = Problem(
        what=f"{setting}={origin.value}: {what}", origin=origin.place, argument=origin.argument, instead=instead, **more
    )
    return ConfigError(problem, config.overrides)


def _precision(config: EffectiveConfig, host: Host, accelerator: Accelerator, *, fallback: bool) -> str:
    cuda = accelerator == "cuda"
    picked = pick_precision(config.precision, cuda and host.cuda_bf16, cuda and host.cuda_fp16)
    able = {
        "32": True,
        "bf16-mixed": {"cuda": host.cuda_bf16, "mps": host.mps_bf16, "cpu": True}[accelerator],
        "16-mixed": cuda and host.cuda_fp16,
    }
    if able[picked]:
        return picked
    if fallback:
        return "32"
    origin = config.origin("precision")
    device = host.gpus[0] if cuda else f"the {accelerator.upper()}"
    problem = Problem(
        what=f"precision={picked}: {device} of {host.name} does not compute in it",
        origin=origin.place,
        expected=", ".join(name for name, possible in able.items() if possible) + " or auto-mixed",
        argument=origin.argument,
        instead="local.precision=auto-mixed",
    )
    raise ConfigError(problem, config.overrides)


def _device_words(accelerator: Accelerator, devices: int) -> str:
    return accelerator if accelerator != "cuda" else f"{devices} GPU(s)"


def _auto_reason(config: EffectiveConfig, host: Host, devices: int) -> str:
    if not host.gpus:
        return "Apple's GPU is there" if host.mps else "there is no GPU"
    if devices < len(host.gpus):
        return f"strategy {config.strategy} uses one of {len(host.gpus)} GPUs; trainer=multi_gpu uses all"
    return f"{len(host.gpus)} GPU(s) are visible"
