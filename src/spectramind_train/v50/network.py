"""V50: from light curves and a classical transit fit to a spectrum with uncertainties."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from spectramind_config import ModelConfig, V50Config
from spectramind_train.ariel.constants import N_CHANNELS, WAVELENGTHS_UM
from spectramind_train.ariel.metric import WEIGHTS
from spectramind_train.v50.attention import CrossAttention
from spectramind_train.v50.costs import FEWEST_SPECTRA
from spectramind_train.v50.graph import GraphEncoder
from spectramind_train.v50.inputs import (
    AMPLITUDE,
    DEPTH_SPREAD,
    LARGEST_FLUX,
    SMALLEST_SIGMA,
    SYSTEM,
    TIME_BINS,
    TYPICAL_DEPTH,
    Fit,
    dimensionless,
    fits,
    measured_anew,
    position_of,
    size_regressors,
    time_bins,
)
from spectramind_train.v50.limb_darkening import LimbDarkeningLaw
from spectramind_train.v50.smoother import Smoothed, SpectralSmoother, bounded
from spectramind_train.v50.statespace import StateSpaceEncoder

Batch = dict[str, Tensor]

TIME_TOKENS = 32
"""Time bins of the encoded FGS1 light curve that AIRS nodes attend to."""
SHAPE_WIDTH = 256
REHEARSED_TOGETHER, REHEARSAL_RATE = 32, 2e-3
"""Labels of a batch that the head of shapes sees before the training proper, and the largest learning rate."""
REGIONS = np.linspace(-1.0, 1.0, 7)
"""Where, from one end of AIRS to the other, the logarithm of sigma can change; FGS1's comes first."""
RANGES = (1, 71, 70, 71, 70)
"""Channels of FGS1 and of four ranges of AIRS, whose sigmas are calibrated each by itself."""
CALIBRATION_PLANETS = 16
"""Validation planets that weigh as much as the belief that sigmas are right."""
UNINFORMED_SIGMA = 0.03
"""Initial relative uncertainty without a classical fit."""
HEAD_GAIN = 0.3
"""Slows the heads down against the encoders: with tens of planets they would learn each one's noise by heart."""
MEAN_RANGE, LOG_SIGMA_RANGE = 30.0, 5.0
"""Largest residual in units of sigma, and largest change of log sigma, that the heads can predict."""


class SpectrumModel(nn.Module, ABC):
    """A model of spectra; subclasses register a builder with :func:`build_model`."""

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predict spectra and their uncertainties, each (B, 283) in (Rp/Rs)^2, from ``to_batch``'s batch."""

    def take_up(self, batch: Batch, progress: Callable[[int, int], None] = lambda *_: None) -> None:
        """Begin with what the training planets' labels tell by themselves.

        Args:
            batch: All of them, on the CPU.
            progress: Called with (steps done, steps in all).
        """

    def condition(self, batch: Batch) -> Batch:
        """The batch as the model takes it: measurements and their errors given what it has learnt before its steps."""
        return batch

    def calibrate(self, mu: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
        """Learn from predictions of validation planets (N, 283) how far sigmas are off; returns those mended."""
        return sigma


@functools.singledispatch
def build_model(config: ModelConfig) -> SpectrumModel:
    """Build the model that a config describes; dispatches on the config's type.

    Raises:
        TypeError: if no builder is registered for the type.
    """
    raise TypeError(
        f"no model is registered for {type(config).__name__}; decorate a function that takes one with "
        "@spectramind_train.model.build_model.register"
    )


@build_model.register
def _(config: V50Config) -> SpectrumModel:
    return V50(config)


class _Shaped(NamedTuple):
    """Spectra in units of the spectral amplitude, all (B, 283), and what they were before the head of shapes."""

    mean: Tensor
    sigma: Tensor
    smoothed: Smoothed


class V50(SpectrumModel):
    """State-space encoder for FGS1, graph attention for AIRS, fused by cross-attention.

    The network works in units of the planet's white-light depth. With ``config.residual`` the classical fit is
    smoothed along wavelength by a Gaussian prior whose scales and noise the encoders adjust
    (:class:`~spectramind_train.v50.smoother.SpectralSmoother`); the heads predict the rest of the mean in units of the
    smoother's sigma, and the logarithm of the factor by which sigma must change. Without it the spectrum is predicted
    from the light curves alone, scaled by the white-light depth.

    sigma = floor + depth * softplus(x): where sigma is far below the depth, as it should be, x is its logarithm, which
    keeps the likelihood well conditioned over orders of magnitude; where it is not, growth is linear.

    Args:
        config: sizes and options.
    """

    def __init__(self, config: V50Config) -> None:
        super().__init__()
        airs_um = np.asarray(WAVELENGTHS_UM[1:], dtype=np.float64)
        width, heads, dropout = config.width, config.heads, config.dropout
        self.residual, self.width, self.rehearsals = config.residual, width, config.rehearsals
        self.learns_limb_darkening = config.limb_darkening
        self.log_calibration: Tensor
        self.register_buffer("log_calibration", torch.zeros(len(RANGES)))
        self.sigma_floor = config.sigma_floor
        self.position: Tensor
        self.register_buffer("position", position_of(airs_um), persistent=False)
        self.fgs1_encoder = StateSpaceEncoder(width, config.fgs1_layers, config.state_size, dropout)
        features = TIME_BINS + self.position.shape[1] + (5 if config.residual else 2)
        self.embedding = nn.Linear(features, width)
        self.airs_encoder = GraphEncoder(
            airs_um,
            width=width,
            layers=config.airs_layers,
            heads=heads,
            neighbours=config.neighbours,
            dropout=dropout,
        )
        self.airs_fusion = CrossAttention(width, heads, dropout)
        self.fgs1_fusion = CrossAttention(width, heads, dropout)
        if config.residual:
            self.limb_darkening = LimbDarkeningLaw()
            self.smoother = SpectralSmoother(np.asarray(WAVELENGTHS_UM, dtype=np.float64))
            components = self.smoother.components
            self.scale_head = _small_linear(width + SYSTEM, components)
            self.noise_head = _small_linear(width, 1)
            self.shape_head = nn.Sequential(
                nn.Linear(2 * components + width + SYSTEM, SHAPE_WIDTH),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(SHAPE_WIDTH, SHAPE_WIDTH),
                nn.GELU(),
                nn.Dropout(dropout),
                _small_linear(SHAPE_WIDTH, components + 2 + len(REGIONS)),
            )
            self.log_amplitude: Tensor
            proportional = [math.log(AMPLITUDE * TYPICAL_DEPTH), 0.0, DEPTH_SPREAD]
            self.register_buffer("log_amplitude", torch.tensor(proportional))
            self.regions: Tensor
            self.register_buffer("regions", _regions(), persistent=False)
        self.head = nn.Sequential(
            nn.LayerNorm(width + (2 if config.residual else 0)),
            nn.Linear(width + (2 if config.residual else 0), width),
            nn.GELU(),
            _small_linear(width, 2),
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predict spectra and uncertainties, see :class:`SpectrumModel`."""
        batch = self.condition(batch)
        fit = fits(batch, self.log_amplitude) if self.residual else None
        inputs = dimensionless(batch, self.position, fit)
        tokens = time_bins(self.fgs1_encoder(inputs.fgs1), TIME_TOKENS)
        nodes = self.airs_encoder(self.embedding(inputs.features), inputs.log_precision)
        nodes = self.airs_fusion(nodes, tokens)
        fgs1 = self.fgs1_fusion(tokens.mean(dim=1, keepdim=True), nodes)
        channels = torch.cat([fgs1, nodes], dim=1)
        return self._predict(channels, inputs.depth, fit)

    def condition(self, batch: Batch) -> Batch:
        """The batch with the depths and errors that the law of limb darkening leaves."""
        return self.limb_darkening(batch) if self.residual and "limb_darkening" in batch else batch

    def take_up(self, batch: Batch, progress: Callable[[int, int], None] = lambda *_: None) -> None:
        """Learn from labels how large spectral features are, given depth and star, and what they look like."""
        if not self.residual or len(batch["target"]) < FEWEST_SPECTRA:
            return
        if self.learns_limb_darkening:
            self.limb_darkening.take_up(batch)
        batch = self.condition(batch)
        target = batch["target"].double()
        shape = target - target[:, 1:].mean(dim=1, keepdim=True)
        known = size_regressors(fits(batch, self.log_amplitude).system).double()
        # A ridge of one planet's weight: what cannot be told apart stays shared out.
        ridge = torch.diag(torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
        size = shape[:, 1:].std(dim=1).clamp_min(SMALLEST_SIGMA).log()
        self.log_amplitude.copy_(torch.linalg.solve(known.T @ known + ridge, known.T @ size))
        self.smoother.take_up((shape / fits(batch, self.log_amplitude).amplitude).float())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._rehearse(batch, progress)

    def _rehearse(self, batch: Batch, progress: Callable[[int, int], None]) -> None:
        """Train smoother and head of shapes by themselves, on labels with errors drawn anew at every step.

        That takes thousands of steps, and the encoders, which make a step slow, add little to what is learnt here.
        """
        planets = len(batch["target"])
        size = min(planets, REHEARSED_TOGETHER)
        steps = self.rehearsals * planets // size
        if steps == 0:
            return
        trained = [*self.smoother.parameters(), *self.shape_head.parameters()]
        optimizer = torch.optim.AdamW(trained, lr=REHEARSAL_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, REHEARSAL_RATE, total_steps=steps)
        weights = torch.tensor(WEIGHTS, dtype=torch.float32)
        weights /= weights.sum()
        for step in range(steps):
            drawn = torch.randint(planets, (size,))
            sample = {name: batch[name][drawn] for name in ("white_depth", "star", "target")}
            # With errors of its own a planet could be told by their sizes.
            other, factor = torch.randint(planets, (size,)), torch.exp(0.1 * torch.randn(size, 1))
            sample["fit_sigma"] = batch["fit_sigma"][other] * factor
            sample["shared_errors"] = batch["shared_errors"][other] * factor.unsqueeze(-1)
            fit = fits({**sample, "fit_depth": measured_anew(sample)}, self.log_amplitude)
            nothing = (torch.zeros(size, count) for count in (self.width, self.smoother.components, N_CHANNELS))
            found = self._shaped(fit, *nothing)
            error = (sample["target"] - fit.level) / fit.amplitude - found.mean
            loss = ((found.sigma.log() + 0.5 * (error / found.sigma).square()) * weights).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            if step % 100 == 99 or step == steps - 1:
                progress(step + 1, steps)

    def calibrate(self, mu: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
        """Scale the sigmas of FGS1 and of four ranges of AIRS to the errors of validation planets, for predictions.

        The best factor for a Gaussian likelihood, drawn towards 1 the more the fewer planets there are.
        """
        sigma = sigma / self._calibration()
        squares = ((target - mu) / sigma).square().mean(dim=0)
        means = torch.stack([part.mean() for part in torch.split(squares, list(RANGES))])
        trust = len(mu) / (len(mu) + CALIBRATION_PLANETS)
        self.log_calibration.copy_(trust * 0.5 * means.clamp(1e-4, 1e4).log())
        return sigma * self._calibration()

    def _calibration(self) -> Tensor:
        """The factor of each channel's sigma (283,)."""
        return torch.cat([one.expand(count) for one, count in zip(self.log_calibration, RANGES, strict=True)]).exp()

    def _shaped(self, fit: Fit, pooled: Tensor, scale_change: Tensor, noise_change: Tensor) -> _Shaped:
        """The smoothed spectra, corrected by the head of shapes, which knows the encoders' mean (B, width), too."""
        smoothed = self.smoother(fit.measured, fit.noise, fit.shared, scale_change, noise_change)
        found = torch.cat([torch.asinh(smoothed.weights), smoothed.spread.log()], dim=1)
        known = torch.cat([found.to(pooled.dtype), pooled, fit.system.to(pooled.dtype)], dim=1)
        parts = (smoothed.weights.shape[1], 1, len(self.regions))
        weights, fgs1, log_change = self.shape_head(known).float().split(parts, dim=1)
        change = (smoothed.basis @ (weights * smoothed.spread).unsqueeze(-1)).squeeze(-1)
        mean = smoothed.mean + change + fgs1 * smoothed.sigma[:, :1] * self.regions[0]
        sigma = smoothed.sigma * torch.exp(bounded(log_change, LOG_SIGMA_RANGE) @ self.regions)
        return _Shaped(mean, sigma, smoothed)

    def _predict(self, channels: Tensor, depth: Tensor, fit: Fit | None) -> tuple[Tensor, Tensor]:
        """Mean and sigma from the encoded channels (B, 283, width)."""
        if fit is not None:
            pooled = 0.5 * (channels[:, 0] + channels[:, 1:].mean(dim=1))
            scale_change = HEAD_GAIN * self.scale_head(torch.cat([pooled, fit.system.to(pooled.dtype)], dim=1))
            noise_change = HEAD_GAIN * self.noise_head(channels).squeeze(-1)
            shaped = self._shaped(fit, pooled, scale_change, noise_change)
            innovation = (fit.measured - shaped.smoothed.mean) / fit.noise
            sureness = torch.log(shaped.smoothed.sigma / fit.noise)
            hints = torch.stack([torch.asinh(innovation), sureness], dim=-1)
            channels = torch.cat([channels, hints.to(channels.dtype)], dim=-1)
            base = fit.level + fit.amplitude * shaped.mean
            relative_sigma = fit.amplitude * shaped.sigma / depth
        else:
            base = depth.expand(-1, channels.shape[1])
            relative_sigma = torch.full_like(base, UNINFORMED_SIGMA)
        shift, log_factor = (HEAD_GAIN * self.head(channels).float()).unbind(dim=-1)
        mu = base + depth * relative_sigma * bounded(shift, MEAN_RANGE)
        log_sigma = torch.log(torch.expm1(relative_sigma.clamp(max=LARGEST_FLUX)))
        sigma = self.sigma_floor + depth * F.softplus(log_sigma + bounded(log_factor, LOG_SIGMA_RANGE))
        if not self.training:
            sigma = sigma * self._calibration()
        return mu, sigma


def _small_linear(inputs: int, outputs: int) -> nn.Linear:
    """A last layer that starts near zero, so that the untrained model is close to the classical method."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _regions() -> Tensor:
    """FGS1 alone and bumps over AIRS that add up to about one (8, 283)."""
    x = np.linspace(-1.0, 1.0, N_CHANNELS - 1)
    bumps = np.exp(-0.5 * ((x - REGIONS[:, None]) / (0.7 * (REGIONS[1] - REGIONS[0]))) ** 2)
    regions = np.zeros((len(REGIONS) + 1, N_CHANNELS))
    regions[0, 0], regions[1:, 1:] = 1.0, bumps / bumps.sum(axis=0)
    return torch.tensor(regions, dtype=torch.float32)
