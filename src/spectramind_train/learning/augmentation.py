"""Random changes of a training batch that leave what it means intact.

With few planets a network learns each one's noise by heart and becomes overconfident; all of these make that harder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectramind_config import Augmentation
from spectramind_train.v50.inputs import measured_anew
from spectramind_train.v50.network import Batch


def augment(batch: Batch, settings: Augmentation, generator: torch.Generator) -> Batch:
    """Change a batch of labelled planets (see ``batches.to_batch``) at random; the given one is left as it is.

    Args:
        batch: light curves, fit and target.
        settings: which changes to make.
        generator: a generator on the CPU; every draw comes from it.
    """
    batch = dict(batch)
    if settings.time_flip:
        batch["flux"] = flip_in_time(batch["flux"], generator)
    if settings.fresh_noise > 0:
        fresh = measured_anew(batch, generator)
        chosen = torch.rand(len(fresh), 1, generator=generator).to(fresh) < settings.fresh_noise
        batch["fit_depth"] = torch.where(chosen, fresh, batch["fit_depth"])
    if settings.extra_noise > 0:
        batch |= _noisier(batch, settings.extra_noise, generator)
    if settings.depth_scale > 1:
        batch |= _rescaled(batch, settings.depth_scale, generator)
    return batch


def flip_in_time(flux: Tensor, generator: torch.Generator) -> Tensor:
    """Reverse each light curve of (B, T, 283) in time with probability one half."""
    flipped = torch.rand(len(flux), generator=generator) < 0.5
    return torch.where(flipped.to(flux.device)[:, None, None], flux.flip(1), flux)


def _noisier(batch: Batch, largest: float, generator: torch.Generator) -> Batch:
    extra = (largest * torch.rand(len(batch["flux"]), 1, generator=generator)).to(batch["flux"])
    growth = torch.sqrt(1 + extra.square())

    # The draws are made on the CPU: they are then the same whatever device trains.
    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    flux_sigma = extra * batch["noise"] / batch["white_depth"].clamp_min(1e-5)
    return {
        "fit_depth": batch["fit_depth"] + extra * batch["fit_sigma"] * normal(batch["fit_sigma"]),
        "fit_sigma": batch["fit_sigma"] * growth,
        "flux": batch["flux"] + flux_sigma.unsqueeze(1) * normal(batch["flux"]),
        "noise": batch["noise"] * growth,
    }


def _rescaled(batch: Batch, largest: float, generator: torch.Generator) -> Batch:
    exponent = 2 * torch.rand(len(batch["flux"]), 1, generator=generator) - 1
    factor = torch.exp(math.log(largest) * exponent).to(batch["flux"])
    names = ("fit_depth", "fit_sigma", "white_depth", "noise", "target")
    scaled = {name: batch[name] * factor for name in names}
    return {**scaled, "shared_errors": batch["shared_errors"] * factor.unsqueeze(-1)}
