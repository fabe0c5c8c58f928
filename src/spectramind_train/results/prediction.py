"""Predicted spectra: a trained model, applied to planets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.planets.preparation import Planet
from spectramind_train.run.checkpoints import load_checkpoint
from spectramind_train.transit.diagnosis import Diagnosis
from spectramind_train.v50.network import Batch, SpectrumModel, build_model
from spectramind_train.v50.room import require_room

LABEL_SIGMA: Final = 0.010661
"""Standard deviation of the challenge's labels, in (Rp/Rs)^2."""


@dataclass(frozen=True)
class Prediction:
    """Spectra and their uncertainties.

    Attributes:
        planet_ids: One name a row.
        mu: Predicted spectra (N, 283), in (Rp/Rs)^2, not negative.
        sigma: Their standard deviations (N, 283), in (Rp/Rs)^2, positive.
        diagnoses: What is wrong with the light curves of each planet, by its name, where a model has predicted them.
    """

    planet_ids: tuple[str, ...]
    mu: FloatArray
    sigma: FloatArray
    diagnoses: Mapping[str, Diagnosis] = field(default_factory=dict)


def load_model(config: EffectiveConfig, checkpoint: Path) -> SpectrumModel:
    """The model of a config with the weights of a checkpoint, ready to predict on the CPU.

    Raises:
        ConfigError: The checkpoint is damaged, or belongs to another model.
    """
    require_room(config.model)
    model = build_model(config.model)
    state = load_checkpoint(checkpoint)["state_dict"]
    prefix = "model."
    weights = {str(name).removeprefix(prefix): one for name, one in state.items() if str(name).startswith(prefix)}
    if reason := _misfit(model.state_dict(), weights):
        raise ConfigError(
            f"{checkpoint}: its weights do not fit {config.model.name} as this version builds it ({reason}); "
            "use the version of spectramind that the run's manifest names, or train again"
        )
    model.load_state_dict(weights)
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ConfigError(
                f"{checkpoint}: its weight {name} is not finite, so nothing can be predicted with it; "
                "choose another checkpoint of the run, or train again"
            )
    return model.eval()


class Ensemble(SpectrumModel):
    """Several models as one: the mean and variance of the mixture of what each of them predicts."""

    def __init__(self, members: Sequence[SpectrumModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predict spectra; where the models disagree, sigma grows by how much."""
        predicted = [member(batch) for member in self.members]
        mu, sigma = (torch.stack(parts).double() for parts in zip(*predicted, strict=True))
        return mu.mean(dim=0), (sigma.square().mean(dim=0) + mu.var(dim=0, correction=0)).sqrt()


def _misfit(expected: Mapping[str, Tensor], found: Mapping[str, object]) -> str:
    """Why weights are not those of a model; empty where they are."""
    for name in [*expected, *(found.keys() - expected.keys())]:
        wanted, given = expected.get(name), found.get(name)
        if wanted is None or given is None:
            return f"{name} is {'missing' if given is None else 'not in it'}"
        if not isinstance(given, Tensor):
            return f"{name} is a {type(given).__name__}"
        kinds = [(one.shape, one.dtype, one.layout, one.device.type) for one in (given, wanted)]
        if kinds[0] != kinds[1]:
            differ = next(pair for pair in zip(*kinds, strict=True) if pair[0] != pair[1])
            return f"{name} is {' instead of '.join(map(str, differ))}"
    return ""


def predict(
    model: SpectrumModel, planets: Sequence[Planet], batches: Iterable[Batch], *, naive_sigma: float = LABEL_SIGMA
) -> Prediction:
    """Predict the spectra of planets, in full precision and without randomness.

    A model knows nothing of light curves that no transit explains. Where a planet's are such, sigma is at least what
    the diagnosis says.

    Args:
        model: The model, on the CPU.
        planets: N planets.
        batches: The same planets in the same order, as a loader gives them.
        naive_sigma: Standard deviation of the training labels, the sigma of what is not known at all.

    Raises:
        ConfigError: A prediction is not finite.
    """
    model.eval()
    with torch.inference_mode():
        parts = [model(batch) for batch in batches]
    mu, sigma = (torch.cat(tensors).double().numpy() for tensors in zip(*parts, strict=True))
    for planet, *values in zip(planets, mu, sigma, strict=True):
        if not np.isfinite(values).all():
            raise ConfigError(f"planet {planet.planet_id}: its predicted spectrum is not finite; are its light curves?")
    found = [planet.diagnosis for planet in planets]
    diagnoses = [replace(one, least_sigma=np.minimum(one.least_sigma, naive_sigma)) for one in found]
    sigma = np.maximum(sigma, [one.least_sigma for one in diagnoses])
    names = tuple(planet.planet_id for planet in planets)
    return Prediction(names, np.maximum(mu, 0.0), sigma, dict(zip(names, diagnoses, strict=True)))
