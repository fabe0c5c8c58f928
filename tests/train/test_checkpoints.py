"""Checkpoint files that are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spectramind_config import ConfigError
from spectramind_train.run.checkpoints import load_checkpoint


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_files_that_are_no_checkpoint_are_named(tmp_path: Path, content: bytes) -> None:
    """Whatever torch stumbles over, the message names the file."""
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.ckpt: the checkpoint cannot be read"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_files_without_weights_are_named(tmp_path: Path) -> None:
    """Torch reads them, but no training has written them."""
    for content in (torch.zeros(3), {"weights": torch.zeros(3)}):
        torch.save(content, tmp_path / "a.ckpt")
        with pytest.raises(ConfigError, match=r"a\.ckpt: the checkpoint holds no weights"):
            load_checkpoint(tmp_path / "a.ckpt")
