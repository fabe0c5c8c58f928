"""The root ``train``: what a training run uses, and the functions of this package with it as their default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectramind_config.compose import composition, experiments, saved
from spectramind_config.compose.config import Config, root
from spectramind_config.compose.experiments import Listing
from spectramind_config.profiles.data import DataConfig
from spectramind_config.profiles.local import Dev, LocalConfig, MLflow, NumWorkers, Paths
from spectramind_config.profiles.logger import LoggerConfig
from spectramind_config.profiles.loss import LossConfig
from spectramind_config.profiles.model import ModelConfig
from spectramind_config.profiles.optimizer import OptimizerConfig
from spectramind_config.profiles.trainer import Checkpoint, Console, EarlyStopping, NonFinite, Strategy, TrainerConfig
from spectramind_config.schema.root import folded, group
from spectramind_config.settings import Devices, Duration, Precision

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from typing_extensions import TypeVar

    C = TypeVar("C", bound=Config, default="EffectiveConfig")


@root(
    "train",
    program="spectramind",
    command="spectramind train",
    variable="SM_PROFILES",
    entry_points="spectramind.profiles",
    short={"local.cache_dir": "local.paths.cache_dir", "local.output_dir": "local.paths.output_dir"},
)
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectiveConfig(Config):
    """What a run uses, after ``trainer``, ``local`` and the command line have been folded into one.

    What both groups set stands at the top (``cfg.precision``); what a site's own profile adds, at ``cfg.local``.
    """

    trainer: TrainerConfig = group("defaults")
    local: LocalConfig = group("default", over="trainer")
    model: ModelConfig = group("v50")
    data: DataConfig = group("nominal")
    loss: LossConfig = group("composite")
    logger: LoggerConfig = group("rich_console")
    optimizer: OptimizerConfig = group("adamw")
    devices: Devices = folded()
    precision: Precision = folded()
    seed: int = folded()
    deterministic: bool = folded()
    cudnn_benchmark: bool = folded()
    num_workers: NumWorkers = folded()
    prefetch_factor: int = folded()
    pin_memory: bool = folded()
    persistent_workers: bool = folded()
    accumulate_grad_batches: int = folded()
    max_epochs: int = folded()
    mlflow: MLflow = folded()
    paths: Paths = folded()
    dev: Dev = folded()
    strategy: Strategy = folded()
    num_nodes: int = folded()
    cpu_processes: int = folded()
    max_restarts: int = folded()
    sync_batchnorm: bool = folded()
    gradient_clip_val: float = folded()
    non_finite: NonFinite = folded()
    max_skipped_batches: int = folded()
    log_grad_norm: bool = folded()
    max_time: Duration | None = folded()
    max_steps: int | None = folded()
    offline: bool = folded()
    checkpoint: Checkpoint = folded()
    early_stopping: EarlyStopping = folded()
    console: Console = folded()

    def science(self) -> Mapping[str, Any]:
        """The batch is per device, so the number of processes decides how many planets a step sees."""
        everything = self.devices == "auto" and self.strategy == "ddp" and self.cpu_processes == 1
        processes = self.devices if isinstance(self.devices, int) else self.cpu_processes
        return {"processes": "all" if everything else processes * self.num_nodes}


def compose(overrides: Sequence[str] = (), *, root: type[C] = EffectiveConfig) -> C:  # type: ignore[assignment]
    """Compose the config of a root from overrides in Hydra's grammar, ``["local=hpc", "local.devices=8"]``.

    Layers are folded left to right: profiles in the order of the root's groups (``trainer`` under ``local``: where
    both set a value, ``local`` wins unless it says null), then experiments, then the overrides, the last of several.
    The result is frozen and knows the origin of every value. A ConfigError has every mistake, not only the first.
    """
    return composition.compose(overrides, root)


def from_dict(values: Mapping[str, Any], source: str, *, root: type[C] = EffectiveConfig) -> C:  # type: ignore[assignment]
    """Rebuild a config from what ``to_dict`` gave, which chooses the profiles too; checked like a command line.

    Where the values come from, such as a file's path, is told in the ConfigError with every mistake in them.
    """
    return saved.from_dict(values, source, root)


def from_file(path: str | Path, *, root: type[C] = EffectiveConfig) -> C:  # type: ignore[assignment]
    """Rebuild the config that a YAML or JSON file, a run's manifest or its directory holds.

    A ConfigError has every mistake in the file, each with its line.
    """
    return saved.from_file(path, root)


def from_hydra(config: DictConfig, *, root: type[C] = EffectiveConfig) -> C:  # type: ignore[assignment]
    """The typed config of what another Hydra application composed from our groups, wherever its values came from.

    A group that is not in it has its default profile, and what no group or setting of the root is called is left alone.
    A ConfigError has every value that breaks a range, every setting that does not exist, every contradiction.
    """
    return saved.from_hydra(config, root)


def experiment(name: str, *, root: type[Config] = EffectiveConfig) -> Callable[[Listing], Listing]:
    """Register a function that returns a list of overrides as an experiment, chosen by ``experiment=name``.

    Its docstring says what it is for. It may choose profiles, wins over them, and loses against the command line. A
    ConfigError has every mistake in the overrides.
    """
    return experiments.experiment(name, root)
