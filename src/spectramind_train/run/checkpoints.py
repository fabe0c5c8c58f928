"""Checkpoint files: written beside their final name, flushed, renamed, and loaded as tensors and primitives only."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from typing_extensions import override

from spectramind_config import ConfigError
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.memory import require_readable


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
        require_readable(path)
        _require_stored(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{path}: the checkpoint cannot be read: {error.strerror or error}") from error
    except UnpicklingError as error:
        raise ConfigError(
            f"{path}: the checkpoint is refused: it holds more than tensors and plain values, which could run code"
        ) from error
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: the checkpoint cannot be read, it is damaged ({reason})") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ConfigError(f"{path}: the checkpoint holds no weights; it was not written by a training")
    return checkpoint


def _require_stored(path: Path) -> None:
    """Raise BadZipFile unless a checkpoint takes no more memory than disk, as all do that ``torch.save`` writes."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise zipfile.BadZipFile("its members are compressed, which no training does")
    if sum(one.file_size for one in members) > size:
        raise zipfile.BadZipFile("its members are larger than it is")
