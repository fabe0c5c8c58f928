"""Predicted spectra: from planets to a table in the challenge's submission format."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_train.ariel.dataset import WAVELENGTH_COLUMNS
from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Planet
from spectramind_train.run.checkpoints import load_checkpoint
from spectramind_train.run.manifest import write_atomically
from spectramind_train.v50.network import SpectrumModel, build_model


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


def predict(model: SpectrumModel, planets: Sequence[Planet], batch_size: int) -> Prediction:
    """Predict the spectra of planets, in full precision and without randomness."""
    model.eval()
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    with torch.inference_mode():
        for start in range(0, len(planets), batch_size):
            parts.append(model(to_batch(planets[start : start + batch_size])))  # noqa: PERF401 - one batch at a time.
    mu, sigma = (torch.cat(tensors).double().numpy() for tensors in zip(*parts, strict=True))
    return Prediction(tuple(planet.planet_id for planet in planets), np.maximum(mu, 0.0), sigma)


def write_submission(prediction: Prediction, path: Path) -> None:
    """Write ``planet_id``, 283 spectra columns and 283 sigma columns, as the challenge takes them."""
    sigma_columns = [name.replace("wl_", "sigma_") for name in WAVELENGTH_COLUMNS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["planet_id", *WAVELENGTH_COLUMNS, *sigma_columns])
    for planet_id, mu, sigma in zip(prediction.planet_ids, prediction.mu, prediction.sigma, strict=True):
        writer.writerow([planet_id, *(f"{value:.9g}" for value in (*mu, *sigma))])
    write_atomically(path, text.getvalue().encode())
