"""Optimizers and schedules, under the name that an optimizer of one's own imports."""

from spectramind_train.learning.optimizer import build_optimizer, build_schedule, parameter_groups

__all__ = ["build_optimizer", "build_schedule", "parameter_groups"]
