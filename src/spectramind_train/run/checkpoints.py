"""Checkpoint files: written beside their final name, flushed, renamed, and loaded as tensors and primitives only."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from spectramind_config import ConfigError
from spectramind_train.run.atomic_files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints without its two weak spots.

    Its own saving goes through the temporary directory, and across file systems a kill in between leaves a truncated
    file; its loading runs whatever code a pickle holds.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    @override
    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_checkpoint(Path(path), map_location)


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint that holds tensors and primitives only.

    Raises:
        ConfigError: The file is damaged, or holds anything else.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path}: the checkpoint cannot be read: {type(error).__name__}: {reason}") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ConfigError(f"{path}: the checkpoint holds no weights; it was not written by a training")
    return checkpoint
