"""The effective configuration: what a run really uses, frozen, with the origin of every value."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from spectramind_config.data import DataConfig
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.layers import FOLDED, Layers
from spectramind_config.local import Dev, LocalConfig, MLflow, NumWorkers, Paths
from spectramind_config.logger import LoggerConfig
from spectramind_config.loss import LossConfig
from spectramind_config.model import ModelConfig
from spectramind_config.optimizer import OptimizerConfig
from spectramind_config.provenance import Origin
from spectramind_config.registry import GROUPS
from spectramind_config.settings import Devices, Precision
from spectramind_config.trainer import Checkpoint, Console, EarlyStopping, Strategy, TrainerConfig


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectiveConfig:
    """What a run uses, after ``trainer``, ``local`` and the command line have been folded into one.

    The settings of ``trainer`` and ``local`` stand at the top (``cfg.precision``, ``cfg.paths.output_dir``); the
    layers themselves, with the fields that a site's own profile adds, at ``cfg.trainer`` and ``cfg.local``. Equal
    configs have equal fingerprints; assigning to any part of one raises.
    """

    # From local.
    devices: Devices
    precision: Precision
    seed: int
    deterministic: bool
    cudnn_benchmark: bool
    num_workers: NumWorkers
    prefetch_factor: int
    pin_memory: bool
    persistent_workers: bool
    accumulate_grad_batches: int
    max_epochs: int
    mlflow: MLflow
    paths: Paths
    dev: Dev
    # From trainer.
    strategy: Strategy
    num_nodes: int
    sync_batchnorm: bool
    gradient_clip_val: float
    log_grad_norm: bool
    max_time: str | None
    max_steps: int | None
    offline: bool
    checkpoint: Checkpoint
    early_stopping: EarlyStopping
    console: Console
    # The layers.
    trainer: TrainerConfig
    local: LocalConfig
    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    logger: LoggerConfig
    optimizer: OptimizerConfig
    overrides: tuple[str, ...]
    warnings: tuple[str, ...]
    _layers: Layers

    @property
    def profiles(self) -> dict[str, str]:
        """The chosen profile of each group."""
        return {group: getattr(self, group).name for group in GROUPS}

    def to_dict(self) -> dict[str, Any]:
        """Every resolved value as JSON has it; ``local`` and ``trainer`` hold what is not folded to the top."""
        return dict(msgspec.json.decode(msgspec.json.encode(self._content())))

    def to_yaml(self) -> str:
        """``to_dict`` as YAML, which ``config validate --file`` reads back."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def origin(self, path: str) -> Origin:
        """Who set the value at a dotted path such as ``precision`` or ``dev.limit_train_batches``.

        Raises:
            ConfigError: There is no such path.
        """
        try:
            return self._layers.origin(path)
        except KeyError:
            close = nearest(path, self._layers.paths())
            what = f"there is no setting '{path}'"
            problem = Problem(what=what, nearest=close, argument=path, instead=close, see="spectramind config explain")
            error = ConfigError(problem, [path, *self.overrides])
            error.command = "spectramind config explain"
            raise error from None

    def origins(self) -> list[Origin]:
        """The origin of every leaf, in the order of ``to_dict``."""
        return [self._layers.origin(path) for path in self._layers.paths()]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) of every value; the same in every process, on every machine, for any order of overrides."""
        return hashlib.sha256(msgspec.json.encode(self._content(), order="sorted")).hexdigest()

    @functools.cached_property
    def science_fingerprint(self) -> str:
        """Sha256 (hex) of the values that decide the result, without those that say where it was computed."""
        return hashlib.sha256(msgspec.json.encode(self._layers.science(), order="sorted")).hexdigest()

    def with_overrides(self, overrides: Sequence[str]) -> EffectiveConfig:
        """A new config: this one's command line with more overrides behind it."""
        from spectramind_config.composition import compose

        return compose([*self.overrides, *overrides])

    def _content(self) -> dict[str, Any]:
        content = {name: getattr(self, name) for name in FOLDED}
        content |= {group: getattr(self, group) for group in GROUPS[2:]}
        content |= {group: self._layers.remainder(group) for group in GROUPS[:2]}
        return content

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, EffectiveConfig) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        choices = ", ".join(f"{group}={name}" for group, name in self.profiles.items())
        return f"<EffectiveConfig {choices}, fingerprint {self.fingerprint[:12]}>"

    def __copy__(self) -> EffectiveConfig:
        return self

    def __deepcopy__(self, _memo: object) -> EffectiveConfig:
        return self
