"""The costs that are counted from a config are those of the model that is built from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from spectramind_config import CompositeLoss, ModelConfig, V50Config
from spectramind_train.ariel.constants import N_CHANNELS
from spectramind_train.learning.loss import build_loss
from spectramind_train.v50 import costs
from spectramind_train.v50.costs import ModelCosts, model_costs
from spectramind_train.v50.graph import RELATIONS
from spectramind_train.v50.inputs import TIME_BINS
from spectramind_train.v50.network import TIME_TOKENS, V50, Batch
from spectramind_train.v50.room import TRAINED, training_bytes

CONFIGS: list[dict[str, Any]] = [
    {},
    {"width": 16, "heads": 2, "airs_layers": 1, "fgs1_layers": 1, "state_size": 4},
    {"width": 128, "airs_layers": 4, "fgs1_layers": 4},
    {"width": 64, "residual": False, "state_size": 16},
    {"width": 20, "heads": 5},
    {"heads": 8, "airs_layers": 3},
    {"state_size": 64},
]


def counted(config: ModelConfig, bins: int) -> ModelCosts:
    """The costs; every config here has some."""
    found = model_costs(config, bins)
    assert found is not None
    return found


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
@pytest.mark.parametrize("bins", [187, 40])
def test_v50_is_counted(settings: dict[str, Any], bins: int, make_batch: Callable[..., Batch]) -> None:
    """Parameters and constants exactly; products and what is kept for the backward pass to a tenth."""
    config, planets = V50Config(**settings), 4
    found = counted(config, bins)
    with torch.device("meta"):
        model = V50(config)
    assert found.parameters == sum(one.numel() for one in model.parameters())
    assert found.constants == sum(one.numel() for one in model.buffers())
    batch = make_batch(planets, bins)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        model({name: one.to("meta") for name, one in batch.items()})
    # The biases of the relations are products, too, once for all planets.
    once = 2 * config.airs_layers * config.heads * len(RELATIONS) * costs.NODES * costs.NEIGHBOURS
    # It knows no product along edges, and no convolution by shifts.
    unseen = config.airs_layers * costs.NODES * costs.NEIGHBOURS * (4 * config.width + 2 * config.heads)
    unseen += config.fgs1_layers * bins * 16 * config.width
    assert found.flops - unseen == pytest.approx((counter.get_total_flops() - once) / planets, rel=0.1)
    weights, kept = training_bytes(config, {name: one[0] for name, one in batch.items()}, planets)
    assert weights == 4 * TRAINED * (found.parameters + found.constants)
    assert 4 * found.kept == pytest.approx(kept / planets, rel=0.1)
    assert 0 < found.maps < found.kept


class Started(TorchDispatchMode):
    """Counts operations, but for those that only look at a tensor in another way."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)
        self.count += not views
        return result


@pytest.mark.parametrize("settings", [{}, {"airs_layers": 5}, {"fgs1_layers": 5}], ids=str)
def test_operations_are_counted(settings: dict[str, Any], make_batch: Callable[..., Batch]) -> None:
    """Of a whole step, but for augmentation and optimizer; they are about a quarter of all, hence the tolerance."""
    config, batch = V50Config(**settings), make_batch(2, 60)
    model, loss = V50(config), build_loss(CompositeLoss())
    with Started() as started:
        mu, sigma = model(batch)
        loss(mu, sigma, batch["target"])["loss"].backward()
    assert started.count == pytest.approx(counted(config, 60).kernels, rel=0.3)


def test_sizes_that_are_restated_are_those_of_the_model() -> None:
    """The counts know them without importing torch."""
    with torch.device("meta"):
        model = V50(V50Config())
    found = (N_CHANNELS, len(RELATIONS), model.smoother.components)
    assert found == (costs.CHANNELS, costs.RELATIONS, costs.COMPONENTS)
    assert (TIME_TOKENS, TIME_BINS, model.position.shape[1]) == (costs.TOKENS, costs.TIME_BINS, costs.POSITION)


def test_a_model_that_says_nothing_costs_nothing_that_is_known() -> None:
    """Nothing is predicted of it then."""
    assert model_costs(ModelConfig(), 187) is None
