"""The root config under the name ``train``: what ``hydra.compose("train", overrides)`` composes."""

from dataclasses import dataclass, field
from typing import Any

from spectramind_config.config_store import ship
from spectramind_config.data import DataConfig
from spectramind_config.local import LocalConfig
from spectramind_config.logger import LoggerConfig
from spectramind_config.loss import LossConfig
from spectramind_config.model import ModelConfig
from spectramind_config.optimizer import OptimizerConfig
from spectramind_config.registry import DEFAULTS, ROOT
from spectramind_config.trainer import TrainerConfig


@dataclass(kw_only=True)
class TrainRoot:
    """One node per group; ``_self_`` comes first, or these defaults would be merged over the chosen profiles."""

    defaults: list[Any] = field(
        default_factory=lambda: ["_self_", *({group: name} for group, name in DEFAULTS.items())]
    )
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


ship(None, ROOT, TrainRoot)
