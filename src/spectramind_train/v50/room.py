"""Whether a model fits into this machine's memory, known before any of it is taken.

What a training takes is counted from below: its weights, their gradients and the two averages of Adam, and what a
forward pass of a batch keeps for the backward pass. Tensors without memory go through the model for that, so that it
holds for every model. Beside what processes took in truth (two steps with Adam on a CPU, in MB):

==========================================  =======  ==========  =======  =====
model                                       weights  activations  counted  truth
==========================================  =======  ==========  =======  =====
v50, 16 planets of 187 bins                       2         177      179    352
width 128, 4 and 4 layers, the same batch        17         713      730   1097
v50, 128 planets                                  3        1748     1751   2401
width 1024, 2 planets                           662         341     1003   1334
width 2048, state size 2, 1 planet of 40       2639         139     2778   2908
==========================================  =======  ==========  =======  =====

So nothing is refused that fits, and what passes may still be too large: up to twice for a small model.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from spectramind_config import ConfigError, ModelConfig
from spectramind_train.run.memory import available
from spectramind_train.v50.network import Batch, SpectrumModel, build_model

TRAINED = 4
"""Copies of its weights that a training holds: they, their gradients and the two averages of Adam."""
USED = 2
"""Copies that loading a model for use holds: the model and the checkpoint."""


def require_room(config: ModelConfig, copies: int = USED) -> None:
    """Refuse a model whose weights alone do not fit into memory.

    The model is built without memory for its weights, to count them. One that cannot be built so passes: what ails it
    shows when it is built in earnest.

    Raises:
        ConfigError: It does not fit; the message states both sizes.
    """
    model = _without_memory(config)
    if model is None:
        return
    needed = copies * _weights(model)
    if needed > (room := available()):
        count = sum(one.numel() for one in _tensors(model))
        raise ConfigError(
            f"model={config.name}: {copies} copies of its {count:.3g} weights take {needed / 1e9:.1f} GB, and "
            f"{room / 1e9:.1f} GB of memory are left; make the model smaller"
        )


def require_training_room(config: ModelConfig, sample: Batch, planets: int, *, half: bool, processes: int = 1) -> None:
    """Refuse a training on this machine's CPUs that cannot fit into memory.

    A model that takes no tensors without memory is counted by its weights.

    Args:
        config: The model.
        sample: A planet, without the first axis, of which a batch has many.
        planets: How many.
        half: Whether it is trained in mixed precision, in which what is kept takes at least half of the bytes.
        processes: How many train, each with a model and a batch of its own.

    Raises:
        ConfigError: It does not fit; the message states what takes how much, and what to change.
    """
    weights, kept = training_bytes(config, sample, planets)
    kept = kept // 2 if half else kept
    needed = processes * (weights + kept)
    if needed > (room := available()):
        each = f" in each of {processes} processes" if processes > 1 else ""
        raise ConfigError(
            f"model={config.name}: training it takes at least {needed / 1e9:.1f} GB, and {room / 1e9:.1f} GB of memory "
            f"are left: {weights / 1e9:.1f} GB for its weights, gradients and optimizer, {kept / 1e9:.1f} GB for a "
            f"batch of {planets} planets{each}; set a smaller data.batch_size (accumulate_grad_batches keeps what a "
            "step sees) or make the model smaller"
        )


def training_bytes(config: ModelConfig, sample: Batch, planets: int) -> tuple[int, int]:
    """Bytes that a training takes at least, for what belongs to the weights and for a batch of planets."""
    model = _without_memory(config)
    return (0, 0) if model is None else (TRAINED * _weights(model), _kept(model, sample, planets))


def _without_memory(config: ModelConfig) -> SpectrumModel | None:
    try:
        with torch.device("meta"):
            return build_model(config)
    except Exception as error:
        if "overflow" in str(error).lower():
            raise ConfigError(f"model={config.name}: its sizes are beyond what any machine holds") from error
        return None


def _tensors(model: SpectrumModel) -> list[torch.Tensor]:
    return [one for one in (*model.parameters(), *model.buffers()) if one.is_meta]


def _weights(model: SpectrumModel) -> int:
    return sum(one.numel() * one.element_size() for one in _tensors(model))


def _kept(model: SpectrumModel, sample: Mapping[str, torch.Tensor], planets: int) -> int:
    """Bytes of a forward pass that stay until the backward pass; each storage counts once, weights do not."""
    own = {one.untyped_storage()._cdata for one in _tensors(model)}
    found: dict[int, torch.UntypedStorage] = {}  # Held, so that no two share an address.

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta and (storage := tensor.untyped_storage())._cdata not in own:
            found[storage._cdata] = storage
        return tensor

    batch = {name: one.new_empty((planets, *one.shape), device="meta") for name, one in sample.items()}
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one), torch.device("meta"):
            model(batch)
    except Exception:  # noqa: BLE001 - a model of somebody else's may need values; what ails ours shows in earnest.
        return 0
    return sum(storage.nbytes() for storage in found.values())
