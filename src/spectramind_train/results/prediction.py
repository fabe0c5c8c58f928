"""Predicted spectra: a trained model, applied to planets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.planets.preparation import Planet
from spectramind_train.run.checkpoints import load_checkpoint
from spectramind_train.v50.network import Batch, SpectrumModel, build_model


@dataclass(frozen=True)
class Prediction:
    """Spectra and their uncertainties.

    Attributes:
        planet_ids: One name a row.
        mu: Predicted spectra (N, 283), in (Rp/Rs)^2, not negative.
        sigma: Their standard deviations (N, 283), in (Rp/Rs)^2, positive.
    """

    planet_ids: tuple[str, ...]
    mu: FloatArray
    sigma: FloatArray


def load_model(config: EffectiveConfig, checkpoint: Path) -> SpectrumModel:
    """The model of a config with the weights of a checkpoint, ready to predict on the CPU.

    Raises:
        ConfigError: The checkpoint is damaged, or belongs to another model.
    """
    model = build_model(config.model)
    state = load_checkpoint(checkpoint)["state_dict"]
    prefix = "model."
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise ConfigError(
            f"{checkpoint}: its weights do not fit {config.model.name} as this version builds it ({reason}); "
            "use the version of spectramind that the run's manifest names, or train again"
        ) from error
    return model.eval()


def predict(model: SpectrumModel, planets: Sequence[Planet], batches: Iterable[Batch]) -> Prediction:
    """Predict the spectra of planets, in full precision and without randomness.

    Args:
        model: The model, on the CPU.
        planets: N planets.
        batches: The same planets in the same order, as a loader gives them.
    """
    model.eval()
    with torch.inference_mode():
        parts = [model(batch) for batch in batches]
    mu, sigma = (torch.cat(tensors).double().numpy() for tensors in zip(*parts, strict=True))
    return Prediction(tuple(planet.planet_id for planet in planets), np.maximum(mu, 0.0), sigma)
