"""What limb darkening a star's temperature lets expect, learnt from training planets, and depths where it is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spectramind_train.transit.spectrum_fit import N_LIMB, limb_prior
from spectramind_train.v50.inputs import own_errors
from spectramind_train.v50.precision import full_precision

SMALLEST_SCATTER = 0.01
"""Of limb darkening around the law, and the step by which nothing more is learnt of it."""
FEWEST_STARS = 24
"""Planets with a row in the table of stars below which nothing is learnt from them."""
ROUNDS = 100
_READ = ("star", "target", "fit_depth", "fit_sigma", "shared_errors", "limb_darkening", "limb_covariance")
"""What the law is learnt from."""


class LimbDarkeningLaw(nn.Module):
    """Coefficients of limb darkening, linear in the logarithm of the star's temperature, and their scatter around that.

    The transit fit assumes hardly anything of limb darkening, so that its error is a large part of that of depths. All
    planets together tell much more of it than each does by itself (a hierarchical model, e.g. Gelman et al. 2013,
    Bayesian Data Analysis, chapter 5), the more so where their depths are known. Before it has learnt, the law is the
    fit's own assumption, which changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        mean, deviation = (torch.tensor(one, dtype=torch.float32) for one in limb_prior())
        self.prior_mean: Tensor
        self.prior_precision: Tensor
        self.coefficients: Tensor
        self.scatter: Tensor
        self.register_buffer("prior_mean", mean, persistent=False)
        self.register_buffer("prior_precision", deviation**-2, persistent=False)
        self.register_buffer("coefficients", torch.stack([mean, torch.zeros(N_LIMB)]))
        self.register_buffer("scatter", deviation)

    def take_up(self, batch: Mapping[str, Tensor]) -> None:
        """Learn the law from labelled planets, see ``to_batch``, by expectation maximisation."""
        known = _known(batch["star"])
        batch = {name: batch[name][known].double() for name in _READ}  # Light curves are large.
        if len(batch["star"]) < FEWEST_STARS:
            return
        information, weighted = self._information(batch)
        features = batch["star"][:, [0, 2]]
        coefficients, variance = self.coefficients.double(), 1.0 / self.prior_precision.double()
        law = features @ coefficients
        for _ in range(ROUNDS):
            covariance = torch.linalg.inv(information + torch.diag(1.0 / variance))
            found = (covariance @ (weighted + law / variance).unsqueeze(-1)).squeeze(-1)
            coefficients = torch.linalg.lstsq(features, found).solution
            law = features @ coefficients
            variance = (covariance.diagonal(dim1=1, dim2=2) + (found - law).square()).mean(dim=0)
            variance = variance.clamp_min(SMALLEST_SCATTER**2).minimum(1.0 / self.prior_precision)
        self.coefficients.copy_(coefficients)
        self.scatter.copy_(variance.sqrt())

    def _information(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Precision (B, 5, 5) of limb darkening where depths are known, without the fit's assumption; that times it."""
        shared = batch["shared_errors"]
        precision = own_errors(batch["fit_sigma"], shared).maximum(1e-2 * batch["fit_sigma"]).pow(-2)
        error = batch["target"] - batch["fit_depth"]
        gram = shared @ (shared * precision.unsqueeze(1)).transpose(1, 2) + torch.eye(shared.shape[1]).double()
        errors = torch.linalg.inv(gram)
        factor = torch.linalg.cholesky(batch["limb_covariance"])
        mean = (errors @ (shared @ (precision * error).unsqueeze(-1)))[:, :N_LIMB]
        value = batch["limb_darkening"] + (factor @ mean).squeeze(-1)
        total = torch.linalg.inv(factor @ errors[:, :N_LIMB, :N_LIMB] @ factor.transpose(1, 2))
        weighted = (total @ value.unsqueeze(-1)).squeeze(-1) - self.prior_precision * self.prior_mean
        return total - torch.diag(self.prior_precision), weighted

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of ``to_batch`` whose depths and errors are those where the law holds; the rest is as it was."""
        with torch.no_grad(), full_precision(batch["star"].device):
            star, found = batch["star"].float(), batch["limb_darkening"].float()
            known = _known(star).unsqueeze(1)
            expected = torch.where(known, star[:, [0, 2]] @ self.coefficients, self.prior_mean)
            precision = torch.where(known, self.scatter**-2, self.prior_precision)
            factor = torch.linalg.cholesky_ex(batch["limb_covariance"].float())[0]
            change = (precision - self.prior_precision).unsqueeze(-1)
            gram = factor.transpose(1, 2) @ (change * factor) + torch.eye(N_LIMB, device=star.device)
            pull = self.prior_precision * (found - self.prior_mean) - precision * (found - expected)
            root = torch.linalg.cholesky_ex(gram)[0]
            shared = batch["shared_errors"].float()
            before = shared[:, :N_LIMB]
            steps = torch.cholesky_solve(factor.transpose(1, 2) @ pull.unsqueeze(-1), root)
            after = torch.linalg.solve_triangular(root, before, upper=False)
            variance = batch["fit_sigma"].square() - before.square().sum(dim=1) + after.square().sum(dim=1)
            changed = {
                "fit_depth": batch["fit_depth"] + (steps.transpose(1, 2) @ before).squeeze(1),
                "fit_sigma": variance.clamp_min(1e-18).sqrt(),
                "shared_errors": torch.cat([after, shared[:, N_LIMB:]], dim=1),
            }
            left = {name: value for name, value in batch.items() if not name.startswith("limb_")}
            return {**left, **changed}


def _known(star: Tensor) -> Tensor:
    """Whether the stars are known (B,): of one that nobody knows all that is taken for known is its scale height."""
    return star[:, 2:].any(dim=1)
