"""Denoising a measured spectrum with a learned Gaussian prior of what spectra look like."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectramind_train.v50.graph import BANDS_UM, in_band
from spectramind_train.v50.precision import full_precision

BUMPS = 32
"""Localised basis spectra; with 282 channels a resolution of nine channels."""

OFFSET_SCALE = 10.0
FGS1_SCALE = 3.0
SHAPE_SCALE = 0.6
BUMP_SCALE = 0.3
"""Initial prior standard deviations of the components, in units of the spectral amplitude."""

FIXED = 2
"""Components that stay as they are: the offsets."""
MOST_KNOWN, SPECTRA_A_COMPONENT = 28, 4
"""Principal components of known spectra, and how many spectra it takes for each."""

LARGEST_LOG_CHANGE = 4.0
"""The encoder can change a prior scale or a noise by at most this factor's logarithm."""

SMALLEST_NOISE, LARGEST_NOISE = 0.02, 1e4
"""Limits of the noise, in units of the spectral amplitude, between which single precision solves the regression."""


class Smoothed(NamedTuple):
    """The posterior of spectra."""

    mean: Tensor
    """(B, 283)"""
    sigma: Tensor
    """(B, 283), standard deviations."""
    basis: Tensor
    """(B, 283, R), component spectra of one prior standard deviation."""
    weights: Tensor
    """(B, R), of the components."""
    spread: Tensor
    """(B, R), their standard deviations, up to 1."""


def basis_spectra(wavelengths_um: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Component spectra of the prior and their initial scales.

    An offset of all channels, one of FGS1 alone, a slope, a curvature, one smooth-edged band spectrum per molecule, and
    localised bumps on a regular grid of AIRS channels.

    Args:
        wavelengths_um: (283,), FGS1 first, then AIRS ascending.

    Returns:
        Basis (283, R) and scales (R,).
    """
    airs = wavelengths_um[1:]
    x = np.linspace(-1.0, 1.0, len(airs))
    shapes = [x, 1.5 * x**2 - 0.5, *(_band_spectrum(airs, molecule) for molecule in BANDS_UM)]
    centres = np.linspace(-1.0, 1.0, BUMPS)
    spacing = centres[1] - centres[0]
    bumps = [np.exp(-0.5 * ((x - centre) / spacing) ** 2) for centre in centres]
    airs_basis = np.stack([np.ones_like(x), np.zeros_like(x), *shapes, *bumps], axis=1)
    fgs1_basis = np.zeros(airs_basis.shape[1])
    fgs1_basis[:2] = 1.0
    scales = np.array([OFFSET_SCALE, FGS1_SCALE, *[SHAPE_SCALE] * len(shapes), *[BUMP_SCALE] * BUMPS])
    return np.vstack([fgs1_basis, airs_basis]), scales


def _band_spectrum(wavelengths_um: NDArray[np.float64], molecule: str) -> NDArray[np.float64]:
    """The molecule's band windows with edges softened over 15 channels, centred."""
    window = in_band(wavelengths_um, molecule).astype(np.float64)
    kernel = np.hanning(17)[1:-1]
    soft = np.convolve(np.pad(window, 7, mode="edge"), kernel / kernel.sum(), mode="valid")
    result: NDArray[np.float64] = soft - soft.mean()
    return result


class SpectralSmoother(nn.Module):
    """Bayesian linear regression of a measured spectrum on a learned basis, with the errors of its measurement.

    spectrum = mean + basis @ (scales * z) with z ~ N(0, 1); measured = spectrum + shared^T e + N(0, noise^2) with
    e ~ N(0, 1). Its posterior mean is the optimal linear smoother for that prior (Rasmussen & Williams 2006, section
    2.1), its posterior sigma says how sure it is. Mean and basis are learned; scales and noise are adjusted per planet
    and channel by the caller's encoder.
    """

    def __init__(self, wavelengths_um: NDArray[np.float64]) -> None:
        super().__init__()
        basis, scales = basis_spectra(wavelengths_um)
        self.mean = nn.Parameter(torch.zeros(len(basis)))
        self.basis = nn.Parameter(torch.tensor(basis, dtype=torch.float32))
        self.log_scales: Tensor
        self.register_buffer("log_scales", torch.tensor(np.log(scales), dtype=torch.float32))

    @property
    def components(self) -> int:
        """Number of component spectra, R."""
        return self.basis.shape[1]

    def take_up(self, spectra: Tensor) -> None:
        """Begin with the principal components of known spectra (N, 283), in units of the spectral amplitude.

        They take the place of hand-made components, as many as the spectra can tell; what is left of those stays
        possible, the less so the more spectra there are.
        """
        count = len(spectra)
        known = min(MOST_KNOWN, count // SPECTRA_A_COMPONENT)
        mean = spectra.mean(dim=0)
        _, sizes, vectors = torch.linalg.svd(spectra - mean, full_matrices=False)
        with torch.no_grad():
            self.mean.copy_(mean)
            shapes = slice(FIXED, FIXED + known)
            self.basis[:, shapes] = vectors[:known].T * math.sqrt(len(mean))
            spread = sizes[:known] / math.sqrt(count * len(mean))
            self.log_scales[shapes] = spread.clamp_min(1e-3).log()
            self.log_scales[FIXED + known :] -= 0.5 * math.log1p(count / SPECTRA_A_COMPONENT)
            self.log_scales[1] -= 0.5 * math.log1p(count / SPECTRA_A_COMPONENT)

    def forward(
        self, measured: Tensor, noise: Tensor, shared: Tensor, scale_change: Tensor, noise_change: Tensor
    ) -> Smoothed:
        """Smooth spectra given in units of the spectral amplitude.

        Args:
            measured: (B, 283), its mean level already removed.
            noise: (B, 283) standard deviations of errors of its own, positive.
            shared: (B, E, 283) one standard deviation of errors that channels share.
            scale_change: (B, R) change of the log prior scales.
            noise_change: (B, 283) change of the log noise.
        """
        with full_precision(measured.device):
            scales = torch.exp(self.log_scales + bounded(scale_change.float(), LARGEST_LOG_CHANGE))
            noise = noise.float() * torch.exp(bounded(noise_change.float(), LARGEST_LOG_CHANGE))
            precision = noise.clamp(SMALLEST_NOISE, LARGEST_NOISE) ** -2
            basis = self.basis * scales.unsqueeze(1)
            errors = shared.float().transpose(1, 2)
            everything = torch.cat([basis, errors], dim=2)
            gram = everything.transpose(1, 2) @ (everything * precision.unsqueeze(-1))
            jitter = 1.0 + 1e-6 * gram.diagonal(dim1=1, dim2=2).amax(dim=1)
            eye = torch.eye(gram.shape[-1], device=gram.device)
            factor, _ = torch.linalg.cholesky_ex(gram + jitter[:, None, None] * eye)
            found = everything.transpose(1, 2) @ (precision * (measured.float() - self.mean)).unsqueeze(-1)
            spectrum = torch.cat([basis, torch.zeros_like(errors)], dim=2).transpose(1, 2)
            whitened = torch.linalg.solve_triangular(factor, torch.cat([spectrum, found], dim=2), upper=False)
            whitened, projected = whitened[..., :-1], whitened[..., -1:]
            mean = self.mean + (whitened.transpose(1, 2) @ projected).squeeze(-1)
            sigma = whitened.square().sum(dim=1).clamp_min(1e-12).sqrt()
            weights = torch.linalg.solve_triangular(factor.transpose(1, 2), projected, upper=True)
            each = eye[:, : self.components].expand(len(factor), -1, -1)
            spread = torch.linalg.solve_triangular(factor, each, upper=False).square().sum(dim=1).sqrt()
            return Smoothed(mean, sigma, basis, weights[:, : self.components, 0], spread)


def bounded(x: Tensor, limit: float) -> Tensor:
    """A smooth clamp to (-limit, limit) with slope 1 at zero."""
    return limit * torch.tanh(x / limit)
