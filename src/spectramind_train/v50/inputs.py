"""What V50 makes of a batch before any of its layers: numbers of order one, whatever the planet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spectramind_train.v50.graph import BANDS_UM, in_band
from spectramind_train.v50.precision import full_precision
from spectramind_train.v50.smoother import bounded

TIME_BINS = 8
"""Time bins that an AIRS node sees of its light curve, whatever the number of samples."""
AMPLITUDE = 0.01
"""Typical height of spectral features relative to the depth (one scale height or two on a hot planet)."""
TYPICAL_DEPTH = 0.0147
SMALLEST_DEPTH, LARGEST_DEPTH = 1e-5, 1.0
SMALLEST_SIGMA, LARGEST_SIGMA = 1e-7, 1.0
LARGEST_FLUX = 20.0
DEPTH_SPREAD = 0.66
"""Standard deviation of the logarithm of depths."""
SYSTEM, STAR_RANGE = 7, 10.0
"""Features of a star and its planet's depth, and the largest that is taken seriously."""
LEAST_OWN = 0.05
"""Least share of its own of a channel's error."""
FREQUENCIES = 6
"""Sine and cosine pairs that encode a node's wavelength."""
LOG_PRECISION_RANGE = 5.0
"""Largest difference of log precision from its mean that a node is told."""


class Fit(NamedTuple):
    """The classical fits of B planets, in units of their spectral amplitudes."""

    measured: Tensor
    """(B, 283): the spectrum minus its AIRS mean."""
    noise: Tensor
    """(B, 283): the uncertainty that each channel has of its own."""
    shared: Tensor
    """(B, E, 283): the errors that channels share."""
    level: Tensor
    """(B, 1), (Rp/Rs)^2: the AIRS mean."""
    amplitude: Tensor
    """(B, 1), (Rp/Rs)^2: the unit."""
    system: Tensor
    """(B, 7): the star's features and the logarithm of the depth, of order one."""


class Inputs(NamedTuple):
    """A batch in dimensionless units; B planets, T times, 282 AIRS nodes."""

    depth: Tensor
    """(B, 1), (Rp/Rs)^2: the scale of everything."""
    fgs1: Tensor
    """(B, T): FGS1 light curve, about -1 in transit."""
    features: Tensor
    """(B, 282, features) of the nodes."""
    log_precision: Tensor
    """(B, 282), standardised."""


def fits(batch: Mapping[str, Tensor], log_amplitude: Tensor) -> Fit:
    """The classical fits of a batch of ``to_batch``, in units of its planets' spectral amplitudes.

    Args:
        batch: The planets.
        log_amplitude: The logarithm of the spectral amplitude at a typical planet, and how it grows with the
            features of scale height and depth (3,).
    """
    sigma = batch["fit_sigma"].float().clamp(SMALLEST_SIGMA, LARGEST_SIGMA)
    depth = batch["fit_depth"].float().clamp(-LARGEST_DEPTH, LARGEST_DEPTH)
    shared = batch["shared_errors"].float()
    own = own_errors(sigma, shared).maximum(LEAST_OWN * sigma)
    level = weighted_mean(depth[:, 1:], own[:, 1:])
    relative_depth = torch.log(white_depth(batch) / TYPICAL_DEPTH) / DEPTH_SPREAD
    system = torch.cat([batch["star"].float().clamp(-STAR_RANGE, STAR_RANGE), relative_depth], dim=1)
    with full_precision(system.device):  # Predictions have it, and a logarithm of -9 is 3 % off in half precision.
        amplitude = torch.exp(size_regressors(system) @ log_amplitude)
    amplitude = amplitude.clamp(SMALLEST_SIGMA, LARGEST_SIGMA).unsqueeze(1)
    return Fit((depth - level) / amplitude, own / amplitude, shared / amplitude.unsqueeze(1), level, amplitude, system)


def dimensionless(batch: Mapping[str, Tensor], position: Tensor, fit: Fit | None) -> Inputs:
    """A batch of ``to_batch`` in units of its planets' depths.

    Args:
        batch: The planets.
        position: What encodes the wavelengths of nodes (282, features), see ``position_of``.
        fit: Their classical fits, of which the nodes are told; None for a model without them.
    """
    flux = batch["flux"].float().clamp(-LARGEST_FLUX, LARGEST_FLUX)
    depth = white_depth(batch)
    noise = batch["noise"].float().clamp(SMALLEST_SIGMA, LARGEST_SIGMA)[:, 1:] / depth
    binned = time_bins(flux[:, :, 1:], TIME_BINS)
    white = weighted_mean(binned, noise.unsqueeze(1))
    colour = (binned - white) * (math.sqrt(flux.shape[1] / TIME_BINS) / noise.unsqueeze(1))
    log_sigma = torch.log(noise)
    scalars = [log_sigma, torch.log(depth / TYPICAL_DEPTH).expand(-1, noise.shape[1])]
    if fit is not None:
        measured, sigma = fit.measured[:, 1:], fit.noise[:, 1:]
        log_sigma = torch.log(sigma)
        scalars += [log_sigma, torch.asinh(measured), torch.asinh(measured / sigma)]
    features = torch.cat(
        [
            torch.asinh(colour.transpose(1, 2)),
            torch.stack(scalars, dim=-1),
            position.expand(len(flux), -1, -1),
        ],
        dim=-1,
    )
    centred = log_sigma - log_sigma.mean(dim=1, keepdim=True)
    return Inputs(depth, flux[:, :, 0], features, bounded(-2.0 * centred, LOG_PRECISION_RANGE))


def white_depth(batch: Mapping[str, Tensor]) -> Tensor:
    """The depths of white light curves (B, 1), (Rp/Rs)^2, kept within what a transit can have."""
    return batch["white_depth"].float().clamp(SMALLEST_DEPTH, LARGEST_DEPTH)


def size_regressors(system: Tensor) -> Tensor:
    """What tells the size of a planet's spectral features (B, 3): 1, its scale height and its depth."""
    return torch.cat([torch.ones_like(system[:, :1]), system[:, 1:2], system[:, -1:]], dim=1)


def own_errors(sigma: Tensor, shared: Tensor) -> Tensor:
    """The part of errors (B, 283) that channels do not share (B, E, 283)."""
    return (sigma.square() - shared.square().sum(dim=1)).clamp_min(0.0).sqrt()


def measured_anew(batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
    """The true spectra (B, 283) of a batch with errors drawn from what the fit says of them.

    Args:
        batch: Labelled planets, see ``to_batch``.
        generator: A generator on the CPU; by default torch's own.
    """
    shared = batch["shared_errors"]
    own = own_errors(batch["fit_sigma"], shared)
    # The draws are made on the CPU: they are then the same whatever device trains.
    errors = own * torch.randn(own.shape, generator=generator).to(own)
    errors = errors + (shared * torch.randn(*shared.shape[:2], 1, generator=generator).to(shared)).sum(dim=1)
    return batch["target"] + errors


def position_of(airs_um: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    """Sines and cosines of wavelength and membership in the molecular bands, (282, 2 * FREQUENCIES + 5)."""
    x = (airs_um - airs_um[0]) / (airs_um[-1] - airs_um[0])
    phase = np.pi * x[:, None] * np.arange(1, FREQUENCIES + 1)
    bands = np.stack([in_band(airs_um, molecule) for molecule in BANDS_UM], axis=1)
    return torch.tensor(np.concatenate([np.sin(phase), np.cos(phase), bands], axis=1), dtype=torch.float32)


def weighted_mean(values: Tensor, sigma: Tensor) -> Tensor:
    """Inverse-variance mean over the last dimension, kept."""
    weights = torch.softmax(-2.0 * torch.log(sigma), dim=-1)
    return (values * weights).sum(dim=-1, keepdim=True)


def time_bins(series: Tensor, bins: int) -> Tensor:
    """Average (B, T, N) over equal spans of time into (B, bins, N); samples across an edge count in part."""
    samples = series.shape[1]
    edges = torch.linspace(0, samples, bins + 1, device=series.device)
    sample = torch.arange(samples, device=series.device)
    start = torch.maximum(edges[:-1, None], sample)
    stop = torch.minimum(edges[1:, None], sample + 1)
    overlap = (stop - start).clamp_min(0.0)
    return (overlap / overlap.sum(dim=1, keepdim=True)).to(series.dtype) @ series
