"""Repeated visits become one that tells more than each."""

from __future__ import annotations

import numpy as np

from spectramind_train.planets.visits import average_visits
from spectramind_train.transit.spectrum_fit import fit_transit

from .synthetic import visit


def test_repeated_visits_are_averaged_with_mid_transits_aligned() -> None:
    """Two visits give a smaller sigma, a depth near their average, and a light curve with less noise out of transit."""
    first_curves, star, _ = visit(2, mid_time=3.3)
    second_curves, _, _ = visit(2, mid_time=4.1)
    visits = [(curves, fit_transit(curves, star)) for curves in (first_curves, second_curves)]
    curves, fit = average_visits(visits)
    np.testing.assert_array_less(fit.sigma, np.minimum(visits[0][1].sigma, visits[1][1].sigma))
    middle = np.mean([one.depth for _, one in visits], axis=0)
    np.testing.assert_array_less(np.abs(fit.depth - middle), fit.sigma)
    model = 1.0 - fit.depth * fit.shape[:, None]
    assert np.abs((curves.flux / fit.baseline - model)[:, 1:].mean(axis=1)).max() < 0.15 * fit.white_depth
    part = slice(40, 60)
    assert (curves.flux / fit.baseline)[part, 1:].std() < (first_curves.flux / fit.baseline)[part, 1:].std()


def test_visits_tell_of_limb_darkening_together() -> None:
    """It is one star's: its estimate lies between theirs where they are equally sure, and is surer than each."""
    curves, star, _ = visit(3)
    fit = fit_transit(curves, star)
    _, twice = average_visits([(curves, fit), (curves, fit)])
    one, both = (np.sqrt(np.diag(each.limb_covariance)) for each in (fit, twice))
    assert np.all(both < one)
    assert np.all(both > 0.7 * one)
    own, own_twice = (np.sqrt(each.sigma**2 - (each.shared_errors**2).sum(axis=0)) for each in (fit, twice))
    np.testing.assert_allclose(own_twice, own / np.sqrt(2.0))


def test_one_visit_is_kept_as_it_is() -> None:
    """Averaging a single visit changes nothing."""
    curves, star, _ = visit(4, bins=40)
    fit = fit_transit(curves, star)
    assert average_visits([(curves, fit)]) == (curves, fit)
