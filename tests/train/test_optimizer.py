"""Optimizers and schedules."""

from __future__ import annotations

import math

import pytest
import torch

from spectramind_config import AdamW, OptimizerConfig, V50Config
from spectramind_train.learning.optimizer import build_optimizer, build_schedule, parameter_groups
from spectramind_train.v50.network import build_model


def rates(config: OptimizerConfig, steps: int, total: float) -> list[float]:
    """Learning rates of the first steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.lr)
    schedule = build_schedule(config, optimizer, total)
    result = []
    for _ in range(steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return result


def test_only_layer_matrices_decay() -> None:
    """Weights of linear and convolution layers decay; biases, norms, decay rates and the basis do not."""
    model = build_model(V50Config(width=16))
    decayed, others = parameter_groups(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(names[id(p)] for p in decayed + others) == sorted(names.values())
    assert all(p.ndim >= 2 and names[id(p)].endswith("weight") for p in decayed)
    assert all(p.ndim == 1 for p in others if not names[id(p)].endswith(("log_rate", "basis", "_bias")))
    kept = {names[id(p)] for p in others}
    assert "smoother.basis" in kept
    assert "fgs1_encoder.layers.0.log_rate" in kept
    assert "fgs1_encoder.norm.weight" in kept


def test_adamw_takes_its_settings() -> None:
    """Rate, betas and decay come from the config, the decay for one group alone."""
    config = AdamW(lr=1e-2, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3)
    optimizer = build_optimizer(config, build_model(V50Config(width=8)))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert all(g["lr"] == 1e-2 and g["betas"] == (0.8, 0.9) and g["fused"] for g in optimizer.param_groups)


def test_cosine_schedule() -> None:
    """The rate rises linearly over the warm-up, peaks at lr and ends near zero on half a cosine."""
    lr = rates(AdamW(lr=1.0, warmup_fraction=0.1), 100, 100)
    assert lr[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert lr[10] == 1.0
    assert lr[55] == pytest.approx(0.5)
    assert lr[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))


def test_constant_schedule() -> None:
    """After the warm-up the rate stays, in an endless training from the start."""
    assert rates(AdamW(lr=1.0, schedule="constant", warmup_fraction=0.5), 20, 20)[10:] == [1.0] * 10
    assert rates(AdamW(lr=1.0, schedule="constant"), 3, math.inf) == [1.0] * 3


def test_cosine_needs_an_end() -> None:
    """A cosine over infinitely many steps is refused."""
    with pytest.raises(ValueError, match="max_epochs or max_steps"):
        rates(AdamW(), 1, math.inf)


def test_unknown_config_is_refused_by_name() -> None:
    """The error says what is missing and how to add it."""
    with pytest.raises(TypeError, match=r"OptimizerConfig.*register"):
        build_optimizer(OptimizerConfig(), torch.nn.Linear(1, 1))
