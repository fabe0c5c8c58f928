"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import functools
import math

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from spectramind_config import AdamW as AdamWConfig
from spectramind_config import OptimizerConfig


@functools.singledispatch
def build_optimizer(config: OptimizerConfig, model: nn.Module, *, fused: bool = True) -> Optimizer:
    """Build the optimizer that a config describes; dispatches on the config's type.

    Args:
        config: its settings.
        model: whose parameters to optimise.
        fused: whether a single kernel may do the whole update.

    Raises:
        TypeError: if no builder is registered for the type.
    """
    raise TypeError(
        f"no optimizer is registered for {type(config).__name__}; decorate a function that takes one with "
        "@spectramind_train.optimizer.build_optimizer.register"
    )


@build_optimizer.register
def _(config: AdamWConfig, model: nn.Module, *, fused: bool = True) -> Optimizer:
    decayed, others = parameter_groups(model)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split a model's trainable parameters into those to decay and all others.

    Decayed are the weights of linear and convolution layers. Biases, norms, and parameters that mean something by
    themselves (decay rates, a spectral basis) are not: pulling them to zero is no regularisation.
    """
    kinds = (nn.Linear, nn.Conv1d)
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, kinds)}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trainable if id(parameter) in matrices]
    others = [parameter for parameter in trainable if id(parameter) not in matrices]
    return decayed, others


def build_schedule(config: OptimizerConfig, optimizer: Optimizer, total_steps: float) -> LambdaLR:
    """Linear warm-up over a share of all steps, then a constant rate or half a cosine to zero; step it every update.

    Args:
        config: its settings.
        optimizer: whose rate to set.
        total_steps: updates in the whole training; infinite when it has no end.

    Raises:
        ValueError: if a cosine schedule is asked for a training without an end.
    """
    endless = math.isinf(total_steps)
    if endless and config.schedule == "cosine":
        raise ValueError("a cosine schedule needs a known number of steps: set max_epochs or max_steps")
    warmup = 0.0 if endless else config.warmup_fraction * total_steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(total_steps - warmup, 1.0)
        return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))

    return LambdaLR(optimizer, factor)
