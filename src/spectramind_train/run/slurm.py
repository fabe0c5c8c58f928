"""What a run asks of SLURM: as a batch script, or as the settings of Hydra's launcher."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_config.errors import quoted
from spectramind_config.host import Host
from spectramind_train.run.plan import plan

WARNING_S: Final = 120
"""Seconds before the end of a job at which its processes are told to save and stop."""

_SPARE_S: Final = 60
_MANY: Final = 1000
_LAUNCHER: Final = "hydra/launcher=submitit_slurm"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that has one task for each process of a run.

    Attributes:
        nodes: Machines.
        tasks: Processes on each.
        gpus: GPUs of each.
        cpus: CPU cores of each process: its own, and those of its loader's workers.
        minutes: Time that it may take; None for what the cluster gives by itself.
    """

    nodes: int
    tasks: int
    gpus: int
    cpus: int
    minutes: int | None

    @classmethod
    def of(cls, config: EffectiveConfig, node: Host | None = None) -> Job:
        """The job of a config.

        Args:
            config: What to train.
            node: A machine of the cluster; without one, any that has as many GPUs as the config names.

        Raises:
            ConfigError: The config leaves the number of GPUs to a node that nobody has described, or the node cannot
                run it.
        """
        workers = config.num_workers
        cpus = 1 + max(workers.train, workers.val, workers.test)
        if node is None:
            node = _node(config, cpus)
        found = plan(config, node)
        return cls(
            nodes=found.num_nodes,
            tasks=found.devices,
            gpus=found.devices if found.accelerator == "cuda" else 0,
            cpus=cpus,
            minutes=None if config.max_time is None else math.ceil((config.max_time.total_seconds() + _SPARE_S) / 60),
        )

    def script(self, overrides: Sequence[str]) -> str:
        """A batch script for ``sbatch`` that trains with some overrides, and goes on where it was stopped."""
        command = " ".join(["spectramind", "train", *map(quoted, overrides)])
        lines = [
            "#!/bin/bash",
            "#SBATCH --job-name=spectramind",
            f"#SBATCH --nodes={self.nodes}",
            f"#SBATCH --ntasks-per-node={self.tasks}",
            f"#SBATCH --cpus-per-task={self.cpus}",
            *([f"#SBATCH --gpus-per-node={self.gpus}"] if self.gpus else []),
            *([f"#SBATCH --time={self.minutes // 60}:{self.minutes % 60:02}:00"] if self.minutes else []),
            "# SLURM says so before it ends the job, and every process saves and stops.",
            f"#SBATCH --signal=USR1@{WARNING_S}",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "",
            "# Exit code 75: stopped on purpose, with a checkpoint. The job is put back, and goes on with its run.",
            f"srun --kill-on-bad-exit=1 {command}",
            "code=$?",
            'if [ "$code" -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
            'exit "$code"',
        ]
        return "\n".join(lines) + "\n"

    def launcher(self) -> dict[str, object]:
        """What Hydra's launcher for SLURM is told, by the name of its setting."""
        return {
            "nodes": self.nodes,
            "tasks_per_node": self.tasks,
            "cpus_per_task": self.cpus,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            **({"timeout_min": self.minutes} if self.minutes else {}),
            "signal_delay_s": WARNING_S,
            "max_num_timeout": _MANY,
        }


def launching(overrides: Sequence[str], configs: Iterable[EffectiveConfig]) -> list[str]:
    """Overrides that have Hydra's launcher ask SLURM for what the runs of a sweep need, but for what is there already.

    None where another launcher, or none, is chosen.

    Raises:
        ConfigError: They need different jobs; or a config does not say what it needs.
    """
    if _LAUNCHER not in overrides:
        return []
    jobs = {Job.of(config) for config in configs}
    if len(jobs) > 1:
        raise ConfigError(
            Problem(
                what=f"{_LAUNCHER}: the runs of this sweep need {len(jobs)} kinds of jobs, and one launch has one",
                hint="sweep each number of nodes, devices and workers by itself",
            )
        )
    # Submitit's own signal is not one of ours; with this one, a run saves before the job is put back.
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    given = {word.partition("=")[0].lstrip("+") for word in overrides}
    settings = next(iter(jobs)).launcher().items() if jobs else ()
    return [f"{key}={value}" for name, value in settings if (key := f"hydra.launcher.{name}") not in given]


def requeue() -> None:
    """Have submitit put this job back into the queue, if it has started it: its own handler does so at its signal."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and callable(signal.getsignal(signal.SIGUSR1)):
        signal.raise_signal(signal.SIGUSR1)


def _node(config: EffectiveConfig, cpus: int) -> Host:
    devices = config.devices
    if devices == "auto" and config.strategy == "ddp" and config.cpu_processes == 1:
        origin = config.origin("devices")
        raise ConfigError(
            Problem(
                what="devices=auto: all GPUs of a node, of which this machine does not know how many it has",
                origin=origin.place,
                expected="a number",
                argument=origin.argument or "devices added",
                instead="local.devices=8",
            ),
            config.overrides,
        )
    gpus = devices if isinstance(devices, int) else int(devices == "auto" and config.cpu_processes == 1)
    processes = max(gpus, config.cpu_processes)
    return Host(
        name="a node", gpus=("GPU",) * gpus, cuda_bf16=True, cuda_fp16=True, cores=processes * cpus, scheduler="slurm"
    )
