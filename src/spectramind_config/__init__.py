"""Typed training profiles on Hydra: schemas, profiles, checked merging, and the origin of every value."""

from spectramind_config.composition import compose
from spectramind_config.data import AdcGain, Augmentation, Calibration, DataConfig, NominalData, Simulation
from spectramind_config.effective import EffectiveConfig
from spectramind_config.errors import ConfigError, Problem
from spectramind_config.local import Dev, LocalConfig, MLflow, NumWorkers, Paths
from spectramind_config.logger import LoggerConfig, Style
from spectramind_config.loss import CompositeLoss, LossConfig
from spectramind_config.model import ModelConfig, V50Config
from spectramind_config.optimizer import AdamW, OptimizerConfig, Schedule
from spectramind_config.precision import pick_precision
from spectramind_config.provenance import Origin, Setter
from spectramind_config.registry import profile
from spectramind_config.root import TrainRoot
from spectramind_config.saved import from_dict, from_file
from spectramind_config.settings import Batches, Contradiction, Devices, Precision, Settings, about, one_of
from spectramind_config.trainer import (
    BatchLimits,
    Checkpoint,
    Console,
    EarlyStopping,
    Refresh,
    Strategy,
    TrainerConfig,
)

__all__ = [
    "AdamW",
    "AdcGain",
    "Augmentation",
    "BatchLimits",
    "Batches",
    "Calibration",
    "Checkpoint",
    "CompositeLoss",
    "ConfigError",
    "Console",
    "Contradiction",
    "DataConfig",
    "Dev",
    "Devices",
    "EarlyStopping",
    "EffectiveConfig",
    "LocalConfig",
    "LoggerConfig",
    "LossConfig",
    "MLflow",
    "ModelConfig",
    "NominalData",
    "NumWorkers",
    "OptimizerConfig",
    "Origin",
    "Paths",
    "Precision",
    "Problem",
    "Refresh",
    "Schedule",
    "Setter",
    "Settings",
    "Simulation",
    "Strategy",
    "Style",
    "TrainRoot",
    "TrainerConfig",
    "V50Config",
    "about",
    "compose",
    "from_dict",
    "from_file",
    "one_of",
    "pick_precision",
    "profile",
]
