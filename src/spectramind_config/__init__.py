"""Typed training profiles on Hydra: schemas, profiles, checked merging, and the origin of every value."""

from spectramind_config.composition import compose
from spectramind_config.data import DataConfig
from spectramind_config.effective import EffectiveConfig, Origin, Setter
from spectramind_config.errors import ConfigError, Problem
from spectramind_config.local import LocalConfig
from spectramind_config.logger import LoggerConfig
from spectramind_config.loss import LossConfig
from spectramind_config.model import ModelConfig
from spectramind_config.optimizer import OptimizerConfig
from spectramind_config.precision import pick_precision
from spectramind_config.registry import profile
from spectramind_config.root import TrainRoot
from spectramind_config.saved import from_dict, from_file
from spectramind_config.settings import Contradiction, Settings, about, one_of
from spectramind_config.trainer import TrainerConfig

__all__ = [
    "ConfigError",
    "Contradiction",
    "DataConfig",
    "EffectiveConfig",
    "LocalConfig",
    "LoggerConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Origin",
    "Problem",
    "Setter",
    "Settings",
    "TrainRoot",
    "TrainerConfig",
    "about",
    "compose",
    "from_dict",
    "from_file",
    "one_of",
    "pick_precision",
    "profile",
]
