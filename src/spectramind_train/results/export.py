"""A trained model to hand on: its weights as safetensors, and all that is needed to use them as JSON."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
import safetensors.torch

from spectramind_config import ConfigError, EffectiveConfig, Problem
from spectramind_train.ariel.constants import WAVELENGTHS_UM
from spectramind_train.results.prediction import load_model
from spectramind_train.run.atomic_files import making, write_atomically
from spectramind_train.run.directory import Run

FORMAT: Final = "spectramind export 1"
WEIGHTS: Final = "model.safetensors"
DESCRIPTION: Final = "model.json"
_UNITS: Final = {
    "wavelengths": "um",
    "mu": "(Rp/Rs)^2, (planets, 283)",
    "sigma": "its standard deviation, (Rp/Rs)^2, (planets, 283)",
}


def export(run: Run, config: EffectiveConfig, checkpoint: Path, folder: Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` into a new folder, which appears with both or not at all.

    Args:
        run: The run.
        config: Its config.
        checkpoint: Whose weights.
        folder: The folder to make.

    Raises:
        ConfigError: The checkpoint is not of the config's model, or the folder is there or cannot be made.
    """
    if folder.exists():
        raise _exists(folder)
    model = load_model(config, checkpoint)
    # Copies, for safetensors refuses tensors that share memory.
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()}
    # One entry, as others write it: of several the order is not the same each time, nor would the file be.
    content = safetensors.torch.save(weights, {"format": "pt"})
    described = _description(run, type(model), checkpoint, content)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        with making(folder) as unfinished:
            write_atomically(unfinished / WEIGHTS, content)
            write_atomically(unfinished / DESCRIPTION, msgspec.json.format(msgspec.json.encode(described)) + b"\n")
    except FileExistsError:
        raise _exists(folder) from None
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{folder}: cannot be written ({error.strerror}); name another with --out")


def _exists(folder: Path) -> ConfigError:
    return ConfigError(Problem(what=f"{folder}: it is there already", hint="remove it, or name another with --out"))


def _description(run: Run, model: type, checkpoint: Path, content: bytes) -> dict[str, Any]:
    manifest = run.manifest
    data = manifest.data
    return {
        "format": FORMAT,
        "model": {"class": f"{model.__module__}.{model.__qualname__}", "profile": manifest.profiles.get("model")},
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest()},
        "wavelengths": WAVELENGTHS_UM.tolist(),
        "units": _UNITS,
        "config": manifest.config,
        "fingerprint": manifest.fingerprint,
        "science_fingerprint": manifest.science_fingerprint,
        "run": {
            "run_id": manifest.run_id,
            "status": manifest.status,
            "started": manifest.started,
            "finished": manifest.finished,
            "metrics": manifest.metrics,
            "checkpoint": {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()},
            "data": None if data is None else {"simulated": data.simulated, "fingerprint": data.fingerprint},
        },
        "versions": {"git": manifest.git, "code": manifest.code, "packages": manifest.packages},
    }
