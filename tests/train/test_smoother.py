"""The Gaussian prior of spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectramind_train.ariel.constants import WAVELENGTHS_UM
from spectramind_train.v50.smoother import MOST_KNOWN, SpectralSmoother


def smoother() -> SpectralSmoother:
    """One that has seen nothing."""
    return SpectralSmoother(np.asarray(WAVELENGTHS_UM, dtype=np.float64))


def nothing(planets: int, one: SpectralSmoother) -> tuple[torch.Tensor, torch.Tensor]:
    """No change of scales and of noise."""
    return torch.zeros(planets, one.components), torch.zeros(planets, 283)


def test_the_posterior_is_that_of_a_gaussian() -> None:
    """Conditioning the joint normal law of spectra and measurements, in double precision, gives the same."""
    one, rng = smoother(), np.random.default_rng(0)
    measured, noise = rng.normal(size=(3, 283)), rng.uniform(0.5, 3.0, (3, 283))
    shared = 0.5 * rng.normal(size=(3, 3, 283))
    given = (torch.tensor(values, dtype=torch.float32) for values in (measured, noise, shared))
    with torch.no_grad():
        found = one(*given, *nothing(3, one))
    basis = (one.basis * one.log_scales.exp()).detach().double().numpy()
    prior = basis @ basis.T
    for planet in range(3):
        errors = np.diag(noise[planet] ** 2) + shared[planet].T @ shared[planet]
        gain = np.linalg.solve(prior + errors, prior).T
        spread = np.sqrt(np.diag(prior - gain @ prior))
        np.testing.assert_allclose(found.mean[planet].numpy(), gain @ measured[planet], atol=5e-3)
        np.testing.assert_allclose(found.sigma[planet].numpy(), spread, rtol=5e-3)
        rebuilt = (found.basis[planet] @ found.weights[planet]).numpy()
        np.testing.assert_allclose(rebuilt, found.mean[planet].numpy(), atol=1e-3)
    assert ((found.spread > 0) & (found.spread <= 1)).all()


@pytest.mark.parametrize("count", [16, 300])
def test_known_spectra_become_the_prior(count: int) -> None:
    """Having taken up spectra of a few shapes it recovers others of those shapes better than the hand-made prior."""
    rng = np.random.default_rng(1)
    x = np.linspace(0.0, 1.0, 283)
    shapes = np.stack([np.sin(9 * x), np.cos(25 * x), np.sin(50 * x) * x])
    spectra = torch.tensor(0.4 + rng.normal(size=(count + 50, 3)) @ shapes, dtype=torch.float32)
    known, others = spectra[:count], spectra[count:]
    noise = torch.full((50, 283), 3.0)
    measured = others + noise * torch.tensor(rng.normal(size=(50, 283)), dtype=torch.float32)
    errors = []
    for one, takes_up in ((smoother(), False), (smoother(), True)):
        if takes_up:
            one.take_up(known)
        with torch.no_grad():
            found = one(measured, noise, torch.zeros(50, 3, 283), *nothing(50, one))
        errors.append(float((found.mean - others).square().mean().sqrt()))
        chi2 = float(((found.mean - others) / found.sigma).square().mean())
    assert errors[1] < (0.8 if count == 16 else 0.6) * errors[0]
    assert 0.2 < chi2 < 1.3
    assert one.components > MOST_KNOWN
