"""The training objective."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from spectramind_config import CompositeLoss as CompositeLossConfig
from spectramind_config import LossConfig

STRUCTURE = 1e-4
"""Unit of all terms, (Rp/Rs)^2: 100 ppm, the height of a typical spectral feature."""
SHORTEST_PERIOD = 8.0
"""Spectral structure with a period below this many channels counts as high frequency."""


class Loss(nn.Module):
    """An objective; subclasses register a builder with :func:`build_loss`.

    ``forward(mu, sigma, target)``, all (B, 283) in (Rp/Rs)^2, returns scalars: ``loss``, the one to minimise, and every
    term by its name, unweighted.
    """

    def forward(self, mu: Tensor, sigma: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the loss and its terms."""
        raise NotImplementedError


@functools.singledispatch
def build_loss(config: LossConfig) -> Loss:
    """Build the loss that a config describes; dispatches on the config's type.

    Raises:
        TypeError: if no builder is registered for the type.
    """
    raise TypeError(
        f"no loss is registered for {type(config).__name__}; decorate a function that takes one with "
        "@spectramind_train.loss.build_loss.register"
    )


@build_loss.register
def _(config: CompositeLossConfig) -> Loss:
    return CompositeLoss(config)


class CompositeLoss(Loss):
    """Gaussian likelihood, smoothness, non-negativity and high-frequency power.

    All terms are dimensionless, in units of u = 100 ppm, and means over channels and planets, so that a weight means
    the same for any batch and number of channels:

    * ``nll``: ln(sigma / u) + ((target - mu) / sigma)^2 / 2, averaged with FGS1 weighted as in the metric. The score is
      linear in it but for the slowly varying normalisation per element.
    * ``smoothness``: squared second difference of mu / u over AIRS. White noise of 100 ppm from channel to channel
      costs 6, a sinusoidal band of 100 ppm amplitude and 40 channels' period 3e-4: real bands are free.
    * ``nonnegativity``: the amount by which mu / u is below zero.
    * ``high_frequency``: power of mu / u over AIRS in periods below 8 channels, scaled so that all frequencies together
      give the variance (Parseval). The spectrum is mirrored at its end first: a slope is not a jump.
    """

    def __init__(self, config: CompositeLossConfig) -> None:
        super().__init__()
        self.weights = {
            "nll": config.nll,
            "smoothness": config.smoothness,
            "nonnegativity": config.nonnegativity,
            "high_frequency": config.high_frequency,
        }
        self.fgs1_weight = config.fgs1_weight

    def forward(self, mu: Tensor, sigma: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the loss and its terms in single precision, whatever the inputs' dtype."""
        mu, sigma, target = (x.float() / STRUCTURE for x in (mu, sigma, target))
        airs = mu[:, 1:]
        terms = {
            "nll": self._likelihood(mu, sigma, target),
            "smoothness": airs.diff(n=2, dim=1).square().mean(),
            "nonnegativity": torch.relu(-mu).mean(),
            "high_frequency": high_frequency_power(airs),
        }
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def _likelihood(self, mu: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
        negative_log = torch.log(sigma) + 0.5 * ((target - mu) / sigma).square()
        fgs1, airs = negative_log[:, 0], negative_log[:, 1:]
        total = self.fgs1_weight * fgs1 + airs.sum(dim=1)
        return total.mean() / (self.fgs1_weight + airs.shape[1])


def high_frequency_power(spectra: Tensor) -> Tensor:
    """Mean square of the part of spectra (B, N) with periods below ``SHORTEST_PERIOD`` channels, a scalar."""
    mirrored = torch.cat([spectra, spectra.flip(1)], dim=1)
    count = mirrored.shape[1]
    spectrum = torch.view_as_real(torch.fft.rfft(mirrored, dim=1, norm="ortho"))
    power = spectrum.square().sum(dim=-1)
    frequency = torch.fft.rfftfreq(count, device=spectra.device)
    # All frequencies but zero and the highest stand for a conjugate pair.
    multiplicity = torch.full_like(frequency, 2.0)
    multiplicity[0] = multiplicity[-1] = 1.0
    selected = multiplicity * (frequency > 1.0 / SHORTEST_PERIOD)
    result: Tensor = (power * selected).sum(dim=1).mean() / count
    return result
