"""Whether a model fits into this machine's memory, known before any of it is taken."""

from __future__ import annotations

import torch

from spectramind_config import ConfigError, ModelConfig
from spectramind_train.run.memory import available
from spectramind_train.v50.network import build_model

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
    try:
        with torch.device("meta"):
            model = build_model(config)
    except Exception as error:
        if "overflow" in str(error).lower():
            raise ConfigError(f"model={config.name}: its sizes are beyond what any machine holds") from error
        return
    tensors = [*model.parameters(), *model.buffers()]
    needed = copies * sum(one.numel() * one.element_size() for one in tensors if one.is_meta)
    if needed > (room := available()):
        raise ConfigError(
            f"model={config.name}: {copies} copies of its {sum(one.numel() for one in tensors):.3g} weights take "
            f"{needed / 1e9:.1f} GB, and {room / 1e9:.1f} GB of memory are left; make the model smaller"
        )
