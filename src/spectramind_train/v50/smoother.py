"""Denoising a measured spectrum with a learned Gaussian prior of what spectra look like."""

from __future__ import annotations

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

LARGEST_LOG_CHANGE = 4.0
"""The encoder can change a prior scale or a noise by at most this factor's logarithm."""

SMALLEST_NOISE, LARGEST_NOISE = 0.02, 1e4
"""Limits of the noise, in units of the spectral amplitude, between which single precision solves the regression."""


class Smoothed(NamedTuple):
    """The posterior of a spectrum, both (B, 283)."""

    mean: Tensor
    sigma: Tensor


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
    """Bayesian linear regression of a measured spectrum on a learned basis, with independent noise per channel.

    spectrum = basis @ (scales * z) with z ~ N(0, 1), measured = spectrum + N(0, noise^2). Its posterior mean is the
    optimal linear smoother for that prior (Rasmussen & Williams 2006, section 2.1), its posterior sigma says how sure
    it is. The basis is learned; scales and noise are adjusted per planet and channel by the caller's encoder.
    """

    def __init__(self, wavelengths_um: NDArray[np.float64]) -> None:
        super().__init__()
        basis, scales = basis_spectra(wavelengths_um)
        self.basis = nn.Parameter(torch.tensor(basis, dtype=torch.float32))
        self.log_scales: Tensor
        self.register_buffer("log_scales", torch.tensor(np.log(scales), dtype=torch.float32), persistent=False)

    @property
    def components(self) -> int:
        """Number of component spectra, R."""
        return self.basis.shape[1]

    def forward(self, measured: Tensor, noise: Tensor, scale_change: Tensor, noise_change: Tensor) -> Smoothed:
        """Smooth spectra given in units of the spectral amplitude.

        Args:
            measured: (B, 283), its mean level already removed.
            noise: (B, 283) standard deviations, positive.
            scale_change: (B, R) change of the log prior scales.
            noise_change: (B, 283) change of the log noise.
        """
        with full_precision(measured.device):
            scales = torch.exp(self.log_scales + bounded(scale_change.float(), LARGEST_LOG_CHANGE))
            noise = noise.float() * torch.exp(bounded(noise_change.float(), LARGEST_LOG_CHANGE))
            precision = noise.clamp(SMALLEST_NOISE, LARGEST_NOISE) ** -2
            basis = self.basis * scales.unsqueeze(1)
            weighted = basis * precision.unsqueeze(-1)
            gram = basis.transpose(1, 2) @ weighted
            jitter = 1.0 + 1e-6 * gram.diagonal(dim1=1, dim2=2).amax(dim=1)
            eye = torch.eye(self.components, device=gram.device)
            factor, _ = torch.linalg.cholesky_ex(gram + jitter[:, None, None] * eye)
            whitened = torch.linalg.solve_triangular(factor, basis.transpose(1, 2), upper=False)
            projected = whitened @ (precision * measured.float()).unsqueeze(-1)
            mean = (whitened.transpose(1, 2) @ projected).squeeze(-1)
            sigma = whitened.square().sum(dim=1).clamp_min(1e-12).sqrt()
            return Smoothed(mean, sigma)


def bounded(x: Tensor, limit: float) -> Tensor:
    """A smooth clamp to (-limit, limit) with slope 1 at zero."""
    return limit * torch.tanh(x / limit)
