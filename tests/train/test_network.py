"""V50."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from spectramind_config import CompositeLoss as CompositeLossConfig
from spectramind_config import ModelConfig, V50Config
from spectramind_train.learning.loss import build_loss
from spectramind_train.v50.inputs import TIME_BINS, fits, time_bins
from spectramind_train.v50.network import Batch, SpectrumModel, build_model

SMALL = {"width": 16, "fgs1_layers": 1, "airs_layers": 1, "state_size": 4, "heads": 2}
MakeBatch = Callable[..., Batch]
INPUTS = ("flux", "fit_depth", "fit_sigma", "shared_errors", "star", "white_depth", "noise")


def model(**changes: object) -> SpectrumModel:
    """A small V50 with fixed weights."""
    torch.manual_seed(0)
    return build_model(V50Config(**{**SMALL, **changes}))  # type: ignore[arg-type]


def loss_of(mu: torch.Tensor, sigma: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The default objective."""
    return build_loss(CompositeLossConfig())(mu, sigma, target)["loss"]


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("steps", [16, 187, 375])
def test_shapes_and_floor(make_batch: MakeBatch, steps: int, residual: bool) -> None:
    """Any number of samples in time gives 283 means and uncertainties above the floor, in float32."""
    data = make_batch(2, steps)
    mu, sigma = model(residual=residual, sigma_floor=2e-5)(data)
    assert mu.shape == sigma.shape == (2, 283)
    assert mu.dtype == sigma.dtype == torch.float32
    assert mu.isfinite().all()
    assert (sigma >= 2e-5).all()


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("scale", [0.0, 1e-12, -1.0, 1e3, 1e12])
@pytest.mark.parametrize("name", [*INPUTS, "all"])
@pytest.mark.parametrize("autocast", [False, True])
def test_extreme_input_is_finite(
    make_batch: MakeBatch, name: str, scale: float, residual: bool, autocast: bool
) -> None:
    """Zeros, negative and absurdly small or large values of any input give finite output and gradients."""
    data = make_batch(2, 16)
    data |= {key: scale * data[key] for key in INPUTS if name in (key, "all")}
    net = model(residual=residual)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        mu, sigma = net(data)
        loss = loss_of(mu, sigma, data["target"])
    loss.backward()
    assert mu.isfinite().all()
    assert (sigma.isfinite() & (sigma > 0)).all()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("residual", [True, False])
def test_gradient_reaches_every_parameter(make_batch: MakeBatch, residual: bool) -> None:
    """No part of the network is unused or starts where its gradient is zero."""
    net = model(residual=residual, airs_layers=2, fgs1_layers=2)
    data = make_batch(4)
    loss_of(*net(data), data["target"]).backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_untrained_model_is_a_denoised_classical_fit(make_batch: MakeBatch) -> None:
    """Before training the mean is closer to the truth than the fit, and sigma is of the size of its error."""
    data = make_batch(16, 187)
    net = model().eval()
    with torch.no_grad():
        mu, sigma = net(data)
    error, classical = (prediction[:, 1:] - data["target"][:, 1:] for prediction in (mu, data["fit_depth"]))
    assert error.square().mean() < 0.25 * classical.square().mean()
    assert 0.3 < (error / sigma[:, 1:]).square().mean() < 3.0
    fgs1 = (mu[:, 0] - data["fit_depth"][:, 0]) / data["fit_sigma"][:, 0]
    assert fgs1.abs().max() < 1.0


def test_prediction_scales_with_the_planet(make_batch: MakeBatch) -> None:
    """The same planet a tenth larger or smaller in every depth is predicted larger or smaller by about as much."""
    data = make_batch(4)
    net = model(sigma_floor=1e-9).eval()
    scaled = {name: values if name == "flux" else 1.5 * values for name, values in data.items()}
    with torch.no_grad():
        (mu, sigma), (scaled_mu, scaled_sigma) = net(data), net(scaled)
    torch.testing.assert_close(scaled_mu, 1.5 * mu, rtol=2e-3, atol=0)
    torch.testing.assert_close(scaled_sigma, 1.5 * sigma, rtol=0.05, atol=0)


def test_planets_do_not_influence_each_other(make_batch: MakeBatch) -> None:
    """A planet's prediction is the same alone and in a batch."""
    data = make_batch(3)
    net = model().eval()
    with torch.no_grad():
        together = net(data)[0]
        alone = net({name: values[1:2] for name, values in data.items()})[0]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("residual", "names"), [(True, INPUTS), (False, ("flux", "white_depth", "noise"))])
def test_every_input_is_used(make_batch: MakeBatch, residual: bool, names: tuple[str, ...]) -> None:
    """The prediction depends on each input it should, and without residual not on the fit."""
    data = make_batch(2)
    net = model(residual=residual).eval()
    with torch.no_grad():
        reference = net(data)[0]
        for name in INPUTS:
            rng = torch.Generator().manual_seed(1)
            changed: Batch = {**data, name: data[name] * (1 + 0.1 * torch.rand(data[name].shape, generator=rng))}
            assert torch.equal(net(changed)[0], reference) == (name not in names), name


def test_overfits_a_small_set(make_batch: MakeBatch) -> None:
    """Sixty steps on four planets lower the loss far below that of the untrained model."""
    net = model(dropout=0.0)
    data = make_batch(4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_of(*net(data), data["target"])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < losses[0] - 0.5


@pytest.mark.parametrize("steps", [16, TIME_BINS * 5, 187])
def test_time_bins_average(steps: int) -> None:
    """Bins of equal length keep the mean; where they divide evenly they are plain means."""
    flux = torch.randn(2, steps, 3)
    bins = time_bins(flux, TIME_BINS)
    torch.testing.assert_close(bins.mean(dim=1), flux.mean(dim=1), atol=1e-6, rtol=1e-4)
    if steps % TIME_BINS == 0:
        torch.testing.assert_close(bins, flux.unflatten(1, (TIME_BINS, -1)).mean(dim=2))


def test_heads_must_divide_the_width() -> None:
    """Sizes that do not fit are refused when the model is built."""
    with pytest.raises(ValueError, match="multiple of heads"):
        model(width=18, heads=4)


def test_unknown_config_is_refused_by_name() -> None:
    """The error says what is missing and how to add it."""
    with pytest.raises(TypeError, match=r"ModelConfig.*register"):
        build_model(ModelConfig())


def test_known_labels_are_taken_up(make_batch: MakeBatch) -> None:
    """Having seen training labels, the untrained model is nearer to the truth of other planets than without them."""
    data, others = make_batch(40, 16, seed=1), make_batch(50, 16, seed=2)
    errors = []
    for takes_up in (False, True):
        net = model().eval()
        if takes_up:
            net.take_up(data)
        with torch.no_grad():
            mu, sigma = net(others)
        residual = (mu - others["target"])[:, 1:]
        errors.append(residual.square().mean().sqrt().item())
    assert errors[1] < 0.95 * errors[0]
    assert 0.7 < (residual / sigma[:, 1:]).std().item() < 1.3


def test_sigma_is_calibrated_for_predictions_only(make_batch: MakeBatch) -> None:
    """Factors by part of the spectrum make residuals scatter by one, however often; training does not see them."""
    data = make_batch(400, 16)
    net = model(dropout=0.0)
    mu, before = net(data)
    net.eval()
    sigma = before.detach()
    with torch.no_grad():
        factors = torch.tensor([0.5, *[2.0] * 71, *[1.0] * 70, *[0.7] * 71, *[4.0] * 70])
        target = mu + factors * sigma * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
        for _ in range(2):
            sigma = net.calibrate(mu, sigma, target)
            assert ((target - mu) / sigma)[:, 1:].std(dim=0).mean().item() == pytest.approx(1.0, abs=0.05)
        torch.testing.assert_close(net(data)[1], sigma)
    net.train()
    torch.testing.assert_close(net(data)[1], before)
    few = model()
    few.calibrate(mu[:4], before.detach()[:4], target[:4])
    assert few.log_calibration.abs().max() < 0.5 * net.log_calibration.abs().max()


def test_the_unit_of_spectral_features_is_that_of_predictions_under_autocast(make_batch: MakeBatch) -> None:
    """In half precision the logarithm of the amplitude would be a few percent off."""
    batch, log_amplitude = make_batch(3), torch.tensor([-8.87, 0.31, 0.66])
    expected = fits(batch, log_amplitude).amplitude
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fits(batch, log_amplitude).amplitude
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)
