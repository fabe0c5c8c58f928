"""A model of one's own: its settings as a profile of the ``model`` group, its network, and its builder.

Wherever a run, or one of its processes, loads this file (``--profiles``, ``SM_PROFILES``), all three are known:
``model=ridge`` is a choice on the command line, and ``build_model`` builds it by the type of its settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

import spectramind_config as sc
from spectramind_train.model import Batch, SpectrumModel, build_model


@sc.profile("model", "ridge")
@dataclass(kw_only=True)
class RidgeConfig(sc.ModelConfig):
    """Ridge regression of the classical spectrum on cosines along wavelength."""

    cosines: Annotated[int, sc.about("Cosines that make up a spectrum", ge=1, le=282)] = 32
    scale: Annotated[float, sc.about("Initial size of spectral features, relative to the depth", gt=0)] = 0.01


@build_model.register
def _(config: RidgeConfig) -> SpectrumModel:
    return Ridge(config)


class Ridge(SpectrumModel):
    """Bayesian ridge regression: how large each cosine usually is, and how wrong the fit's errors are, is learned.

    In units of the white-light depth, spectrum = 1 + offset + sum of w_k cos(pi k x) over the 282 AIRS channels, with
    w_k ~ N(0, scale_k^2); FGS1 has a component of its own. The posterior of such a spectrum given the classical fit is
    the prediction.
    """

    def __init__(self, config: RidgeConfig) -> None:
        super().__init__()
        x = (torch.arange(282) + 0.5) / 282
        basis = torch.zeros(283, config.cosines + 2)
        basis[:, 0] = 1.0
        basis[0, 1] = 1.0
        basis[1:, 2:] = torch.cos(torch.pi * x[:, None] * torch.arange(1, config.cosines + 1))
        self.basis: Tensor
        self.register_buffer("basis", basis, persistent=False)
        self.log_scale = nn.Parameter(torch.full((config.cosines + 2,), config.scale).log())
        self.log_noise = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predict spectra and their uncertainties, each (B, 283) in (Rp/Rs)^2."""
        depth = batch["white_depth"].clamp_min(1e-5)
        basis = self.basis * self.log_scale.exp()
        # Mixed precision would solve the normal equations in half of the digits they need.
        with torch.autocast(depth.device.type, enabled=False):
            noise = batch["fit_sigma"] / depth * self.log_noise.exp()
            measured = batch["fit_depth"] / depth - 1.0
            weighted = basis / noise.unsqueeze(-1)
            gram = weighted.mT @ weighted + torch.eye(basis.shape[1], device=basis.device)
            factor = torch.linalg.cholesky(gram)
            weights = torch.cholesky_solve(weighted.mT @ (measured / noise).unsqueeze(-1), factor)
            spread = torch.linalg.solve_triangular(factor, basis.T.expand(len(depth), -1, -1), upper=False)
            mean = 1.0 + (basis @ weights).squeeze(-1)
            sigma = spread.square().sum(dim=1).sqrt()
        return depth * mean, depth * sigma
