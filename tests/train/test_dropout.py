"""Dropout with few random numbers."""

from __future__ import annotations

import pytest
import torch

from spectramind_train.v50.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drops_the_share_asked_for_and_keeps_the_mean(p: float) -> None:
    """A million ones: as many zeros as asked for, the others scaled so that the mean stays, independently."""
    torch.manual_seed(0)
    x = torch.ones(1000, 1001, requires_grad=True)
    y = Dropout(p)(x)
    dropped = y == 0
    assert dropped.float().mean().item() == pytest.approx(p, abs=2e-3)
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    assert y[~dropped].unique().numel() == 1
    # Neighbours in memory share a random number, and must not share a fate.
    flat = dropped.flatten()
    for distance in (1, 2, 3, 4):
        together = (flat[:-distance] & flat[distance:]).float().mean().item()
        assert together == pytest.approx(p * p, abs=2e-3)
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_the_seed_decides() -> None:
    """The same seed drops the same, another one others."""
    x, layer = torch.ones(999), Dropout(0.3)

    def dropped(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return layer(x)  # type: ignore[no-any-return]

    assert torch.equal(dropped(1), dropped(1))
    assert not torch.equal(dropped(1), dropped(2))


@pytest.mark.parametrize("p", [0.0, 1e-6])
def test_nothing_is_dropped_where_nothing_should(p: float) -> None:
    """In evaluation, and where the probability is none: the same numbers."""
    x = torch.randn(7, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    torch.manual_seed(0)
    assert torch.equal(Dropout(p)(x), x) or p > 0
