"""Typed profiles on Hydra: schemas, profiles, checked merging, and the origin of every value."""

# isort: off
from spectramind_config.commands.program import main
from spectramind_config.compose.config import Config, root
from spectramind_config.compose.layers import Origin, Setter
from spectramind_config.errors import ConfigError, Problem
from spectramind_config.profiles import experiments as _shipped_experiments  # noqa: F401 - importing registers them.
from spectramind_config.profiles.data import (
    AdcGain,
    AdcOffset,
    Augmentation,
    Calibration,
    DataConfig,
    NominalData,
    Simulation,
)
from spectramind_config.profiles.local import Dev, LocalConfig, MLflow, NumWorkers, Paths, pick_precision
from spectramind_config.profiles.logger import LoggerConfig, Style
from spectramind_config.profiles.loss import CompositeLoss, LossConfig
from spectramind_config.profiles.model import ModelConfig, V50Config
from spectramind_config.profiles.optimizer import AdamW, OptimizerConfig, Schedule
from spectramind_config.profiles.train import EffectiveConfig, compose, experiment, from_dict, from_file, from_hydra
from spectramind_config.profiles.trainer import BatchLimits, Checkpoint, Console, EarlyStopping
from spectramind_config.profiles.trainer import Refresh, Strategy, TrainerConfig
from spectramind_config.schema.registry import profile
from spectramind_config.schema.root import folded, group
from spectramind_config.settings import Batches, Contradiction, Devices, Duration, Precision, Profile, Settings
from spectramind_config.settings import about, one_of

# fmt: off
__all__ = [
    "AdamW", "AdcGain", "AdcOffset", "Augmentation", "BatchLimits", "Batches", "Calibration", "Checkpoint",
    "CompositeLoss", "Config", "ConfigError", "Console", "Contradiction", "DataConfig", "Dev", "Devices", "Duration",
    "EarlyStopping", "EffectiveConfig", "LocalConfig", "LoggerConfig", "LossConfig", "MLflow", "ModelConfig",
    "NominalData", "NumWorkers", "OptimizerConfig", "Origin", "Paths", "Precision", "Problem", "Profile", "Refresh",
    "Schedule", "Setter", "Settings", "Simulation", "Strategy", "Style", "TrainerConfig", "V50Config", "about",
    "compose", "experiment", "folded", "from_dict", "from_file", "from_hydra", "group", "main", "one_of",
    "pick_precision", "profile", "root",
]
