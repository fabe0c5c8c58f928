"""Repeated visits of a planet as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectramind_train.ariel.constants import N_CHANNELS, FloatArray
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.transit.spectrum_fit import N_LIMB, TransitFit, limb_prior


def average_visits(visits: Sequence[tuple[LightCurves, TransitFit]]) -> tuple[LightCurves, TransitFit]:
    """Combine repeated visits of a planet into one, weighted by the inverse variance of each channel's depth.

    Depths are averaged as they are. Light curves are divided by their own baselines, moved by whole time bins so
    that mid-transits fall together, averaged where visits overlap, and set on the first visit's times and baseline.
    """
    first_curves, first = visits[0]
    if len(visits) == 1:
        return first_curves, first
    step = float(np.median(np.diff(first_curves.time)))
    weight_sum = np.zeros_like(first_curves.flux)
    flux_sum = np.zeros_like(first_curves.flux)
    for curves, fit in visits:
        moved = curves.time - fit.mid_time + first.mid_time
        source = np.rint((first_curves.time - moved[0]) / step).astype(int)
        target = np.flatnonzero((source >= 0) & (source < curves.time.size))
        weight_sum[target] += fit.sigma**-2
        flux_sum[target] += (curves.flux / fit.baseline)[source[target]] * fit.sigma**-2
    precision = np.array([fit.sigma**-2 for _, fit in visits])
    shares = precision / precision.sum(axis=0)
    shared = np.array([fit.shared_errors for _, fit in visits]) * shares[:, None]
    others = shared[:, N_LIMB:]
    white_weights = precision[:, 1:].mean(axis=1)
    # One star has one limb darkening: visits tell of it together, and their depths move to what they tell.
    limb_darkening, limb_covariance = _together([fit for _, fit in visits])
    depths, effects = [], np.zeros((N_LIMB, N_CHANNELS))
    for share, (_, fit) in zip(shares, visits, strict=True):
        factor = np.linalg.cholesky(fit.limb_covariance)
        effect = np.linalg.solve(factor.T, fit.shared_errors[:N_LIMB])
        depths.append(fit.depth + (limb_darkening - fit.limb_darkening) @ effect)
        effects += share * effect
    limb_errors = np.linalg.cholesky(limb_covariance).T @ effects
    other_errors = np.copysign(np.sqrt((others**2).sum(axis=0)), others.sum(axis=0))
    own = np.array([fit.own_variance for _, fit in visits])
    shared_errors = np.concatenate([limb_errors, other_errors])
    fit = TransitFit(
        depth=(shares * np.array(depths)).sum(axis=0),
        sigma=np.sqrt((shares**2 * np.maximum(own, 0.0)).sum(axis=0) + (shared_errors**2).sum(axis=0)),
        shared_errors=shared_errors,
        limb_darkening=limb_darkening,
        limb_covariance=limb_covariance,
        white_depth=float(np.average([fit.white_depth for _, fit in visits], weights=white_weights)),
        mid_time=first.mid_time,
        baseline=first.baseline,
        shape=first.shape,
        fgs1_shape=first.fgs1_shape,
    )
    return LightCurves(first_curves.planet_id, first_curves.time, flux_sum / weight_sum * first.baseline), fit


def _together(fits: Sequence[TransitFit]) -> tuple[FloatArray, FloatArray]:
    """Limb darkening (5,) and its covariance, of fits of one star; what each assumed beforehand counts once."""
    mean, deviation = limb_prior()
    precision = np.diag(deviation**-2)
    total, weighted = precision, precision @ mean
    for fit in fits:
        own = np.linalg.inv(fit.limb_covariance)
        total = total + own - precision
        weighted = weighted + own @ fit.limb_darkening - precision @ mean
    covariance = np.linalg.inv(total)
    return np.asarray(covariance @ weighted), np.asarray(covariance, dtype=np.float64)
