"""Predicted spectra: a trained model, applied to planets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from spectramind_config import ConfigError, EffectiveConfig
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.learning.batches import star_features, to_batch
from spectramind_train.planets.preparation import Planet
from spectramind_train.run.checkpoints import load_checkpoint
from spectramind_train.transit.diagnosis import SPECTRAL, Diagnosis
from spectramind_train.transit.spectrum_fit import N_SHARED, fit_transit
from spectramind_train.v50.network import Batch, SpectrumModel, build_model
from spectramind_train.v50.room import require_room

Naive = tuple[float, float]
"""Mean and standard deviation of a run's training labels, in (Rp/Rs)^2."""
LABELS: Naive = (0.014689, 0.010661)
"""Those of the challenge's labels."""

_DEEPEST = 7.0
"""Standard deviations of the labels from their mean beyond which there is none."""
_HEIGHTS, _HEIGHT_WEIGHTS = (-2.35, 0.0, 2.35), (1 / 6, 2 / 3, 1 / 6)
"""Of an unknown star's planet: the feature of the scale height, by Gauss-Hermite quadrature of its spread of 1.36."""

_NEIGHBOURS, _CONTRADICTION = (12, 24, 48, 96), 3.4
"""Channels whose average is compared with the fit's, and the sigmas of that from which the two disagree."""


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
    model: SpectrumModel,
    planets: Sequence[Planet],
    batches: Iterable[Batch],
    *,
    naive: Naive = LABELS,
) -> Prediction:
    """Predict the spectra of planets, in full precision and without randomness.

    A model knows nothing of light curves that no transit explains. Where a planet's are such, sigma is at least what
    the diagnosis says, and what they say nothing about is the mean of the labels. Where AIRS alone is explained better,
    the spectrum is predicted from it.

    Args:
        model: The model, on the CPU.
        planets: N planets.
        batches: The same planets in the same order, as a loader gives them.
        naive: Mean and standard deviation of the training labels, what is not known at all gets.

    Raises:
        ConfigError: A prediction is not finite.
    """
    model.eval()
    mu, sigma = _forward(model, planets, batches)
    diagnoses, floors = [], []
    for row, planet in enumerate(planets):
        airs = _without_fgs1(planet)
        seen, least = airs or planet, planet.diagnosis.least_sigma
        if airs is not None:
            least = np.r_[SPECTRAL, airs.diagnosis.least_sigma[1:]]
        if airs is not None or not _knows_star(planet):
            mu[row], sigma[row] = _forward_one(model, seen)
        mu[row, np.isinf(least)] = naive[0]
        diagnoses.append(replace(planet.diagnosis, least_sigma=np.minimum(least, naive[1])))
        least = np.maximum(np.maximum(least, _extrapolated(seen, naive)), _smoothed_away(seen, mu[row]))
        floors.append(np.minimum(least, naive[1]))
    names = tuple(planet.planet_id for planet in planets)
    return Prediction(names, np.maximum(mu, 0.0), np.maximum(sigma, floors), dict(zip(names, diagnoses, strict=True)))


def _forward(
    model: SpectrumModel, planets: Sequence[Planet], batches: Iterable[Batch]
) -> tuple[FloatArray, FloatArray]:
    """What a model makes of planets: spectra and standard deviations (N, 283), all finite."""
    with torch.inference_mode():
        parts = [model(batch) for batch in batches]
    mu, sigma = (torch.cat(tensors).double().numpy() for tensors in zip(*parts, strict=True))
    for planet, *values in zip(planets, mu, sigma, strict=True):
        if not np.isfinite(values).all():
            raise ConfigError(f"planet {planet.planet_id}: its predicted spectrum is not finite; are its light curves?")
    return mu, sigma


def _forward_one(model: SpectrumModel, planet: Planet) -> tuple[FloatArray, FloatArray]:
    """The same of one planet (283,); of one without a star, the mixture over the scale heights that it may have."""
    if _knows_star(planet):
        (mu,), (sigma,) = _forward(model, [planet], [to_batch([planet])])
        return mu, sigma
    copies = [planet] * len(_HEIGHTS)
    batch = dict(to_batch(copies))
    batch["star"] = torch.zeros_like(batch["star"])
    batch["star"][:, :2] = torch.tensor([(1.0, height) for height in _HEIGHTS])
    mu, sigma = _forward(model, copies, [batch])
    mean = np.average(mu, axis=0, weights=_HEIGHT_WEIGHTS)
    variance = np.average(sigma**2 + (mu - mean) ** 2, axis=0, weights=_HEIGHT_WEIGHTS)
    return mean, np.sqrt(variance)


def _knows_star(planet: Planet) -> bool:
    """Whether the model is told of a planet's star: of one without mass, for one, it is told nothing."""
    return bool(star_features(planet).any())


def _extrapolated(planet: Planet, naive: Naive) -> FloatArray:
    """What sigma (283,) is at least where a planet is beyond all labels, or its depth less sure than theirs; else 0."""
    fit = planet.fit
    if fit.white_depth > naive[0] + _DEEPEST * naive[1]:
        return fit.sigma
    level = np.linalg.norm(fit.shared_errors[: N_SHARED - 1], axis=0)
    return np.where(level > SPECTRAL, level, 0.0)


def _smoothed_away(planet: Planet, mu: FloatArray) -> FloatArray:
    """What sigma (283,) is at least where the fit has features of AIRS's spectrum that the prediction has not; else 0.

    Such as a molecule that no training planet has. Averages of neighbouring channels are compared, which err less than
    each does.
    """
    fit = planet.fit
    own = np.maximum(fit.own_variance, 1e-6 * fit.sigma**2)[1:]
    weights = 1.0 / own
    difference = fit.depth[1:] - mu[1:]
    difference = difference - np.average(difference, weights=weights)
    least = np.zeros_like(mu)
    for width in _NEIGHBOURS:
        precision, total = (
            np.lib.stride_tricks.sliding_window_view(one, width).sum(axis=1) for one in (weights, weights * difference)
        )
        for start in np.flatnonzero(np.abs(total) > _CONTRADICTION * np.sqrt(precision)):
            channels = slice(1 + start, 1 + start + width)
            least[channels] = np.maximum(least[channels], np.abs(total[start]) / precision[start])
    return least


def _without_fgs1(planet: Planet) -> Planet | None:
    """A flagged planet as AIRS alone sees it, where a transit explains more of that; None for every other.

    FGS1's light curve is AIRS's white one, of which the model is told that its depth may be any. Where the instruments
    differ by their depths, either may be wrong.
    """
    flags = planet.diagnosis.flags
    if not flags or any(flag.kind == "depth" for flag in flags):
        return None
    flux = planet.curves.flux.copy()
    flux[:, 0] = flux[:, 1:].sum(axis=1)
    curves = replace(planet.curves, flux=flux)
    try:
        fit = fit_transit(curves, planet.star)
    except ConfigError:
        return None
    alone = replace(planet, curves=curves, fit=replace(fit, sigma=np.r_[LABELS[1], fit.sigma[1:]]))
    return alone if len(alone.diagnosis.flags) < len(flags) else None
