"""The classical transmission spectrum: a white-light transit fit, then a linear fit of each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from spectramind_config import ConfigError
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.dataset import Star
from spectramind_train.ariel.lightcurves import MINIMUM_BINS, LightCurves
from spectramind_train.transit.white_light import (
    DRIFT_ORDERS,
    LIMB_PRIOR,
    LIMB_PRIOR_SD,
    WhiteFit,
    fit_white_light,
    red_noise,
    unit_time,
)

N_LIMB: Final = 5
"""Parameters of limb darkening: u1 and u2 of FGS1, of AIRS, and the change of u1 from AIRS's middle to its end."""
N_SHARED: Final = N_LIMB + 2
"""Independent errors that channels share."""

_CHANNEL_ORDERS: Final = (0, 1, 2)
_DRIFT_PRIOR: Final = 0.5
"""Standard deviation of the change of the drift's amplitude, relative to it, over half of AIRS's range."""
_ROBUST_SCALE: Final = 3.0


@dataclass(frozen=True)
class TransitFit:
    """What the classical fit says about one visit.

    Attributes:
        depth: (Rp/Rs)^2 of each channel (283,); noise may make a channel's value negative.
        sigma: Its standard deviation (283,), positive.
        shared_errors: The part of ``sigma`` that channels have in common (7, 283): for each of five independent errors
            of limb darkening, the columns of its covariance's Cholesky factor, what one standard deviation does to
            depths; then one of AIRS's white depth where limb darkening is known, with what FGS1's has of it, and one of
            the drift's trend.
        limb_darkening: u1 and u2 of FGS1, of AIRS, and the change of u1 from AIRS's middle to its end (5,), under the
            prior of ``limb_prior``.
        limb_covariance: Their covariance (5, 5).
        white_depth: (Rp/Rs)^2 of AIRS's white light curve, positive.
        mid_time: Mid-transit, in hours since the visit's start.
        baseline: Out-of-transit flux (T, 283) in detector units, drift included.
        shape: AIRS's white-light transit signal (T,), (1 - light curve) / (Rp/Rs)^2: 0 out of transit, about 1 in it.
        fgs1_shape: The same of FGS1 (T,), whose limb is darker.
    """

    depth: FloatArray
    sigma: FloatArray
    shared_errors: FloatArray
    limb_darkening: FloatArray
    limb_covariance: FloatArray
    white_depth: float
    mid_time: float
    baseline: FloatArray
    shape: FloatArray
    fgs1_shape: FloatArray

    @property
    def own_variance(self) -> FloatArray:
        """The part of ``sigma``'s square that channels do not share (283,); rounding may leave less than nothing."""
        return np.asarray(self.sigma**2 - (self.shared_errors**2).sum(axis=0))


def limb_prior() -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation (5,) of limb darkening that every fit assumes: that of FGK dwarfs, and wide."""
    return np.array([*LIMB_PRIOR[0], *LIMB_PRIOR[1], 0.0]), np.full(N_LIMB, LIMB_PRIOR_SD)


@dataclass(frozen=True)
class _Channels:
    """Linear fit of n channels with m drift terms and, last, the transit (and the slope of its shape, if asked for)."""

    depth: FloatArray
    covariance: FloatArray
    drift: FloatArray
    residuals: FloatArray
    slope: FloatArray


def fit_transit(curves: LightCurves, star: Star | None) -> TransitFit:
    """Fit a visit's light curves by the classical method.

    FGS1 and the sum of the AIRS channels are fitted together for mid-time, radius ratios, quadratic limb darkening
    (weak priors) and drifts, on the orbit of ``star`` or, where it is None or contradicted by the light curves, with
    duration and impact parameter free.
    Each AIRS channel divided by the white drift is then a low-order polynomial times (1 - depth x shape), solved by
    robust linear least squares. The shape follows a trend of limb darkening with wavelength that all channels
    determine together. A channel's sigma joins its residual scatter (red noise included), the trend's uncertainty
    and the white fit's, which all channels share.

    Raises:
        ConfigError: Fewer than 16 time bins, values that are not finite, or a channel without light.
    """
    flux = _checked(curves)
    level = np.median(flux, axis=0)
    airs = flux[:, 1:].sum(axis=1)
    white = fit_white_light(curves.time, np.stack([flux[:, 0] / level[0], airs / np.median(airs)]), star)
    lever = np.linspace(-1.0, 1.0, flux.shape[1] - 1)
    lever -= np.average(lever, weights=level[1:])
    relative = flux[:, 1:] / (level[1:] * white.drift[1][:, None])
    legendre = np.asarray(np.polynomial.legendre.legvander(unit_time(curves.time), max(DRIFT_ORDERS)), np.float64)
    drift_trend, drift_error = _drift_trend(relative, lever, legendre, white)
    relative = relative / (1.0 + lever * drift_trend[:, None])
    fits = [_fit_channels(relative, legendre[:, : order + 1], white.shape[1]) for order in _CHANNEL_ORDERS]
    order = int(np.argmin([_criterion(fit, order) for order, fit in zip(_CHANNEL_ORDERS, fits, strict=True)]))
    polynomials = legendre[:, : _CHANNEL_ORDERS[order] + 1]

    trend, trend_sigma = _limb_trend(
        _fit_channels(relative, polynomials, white.shape[1], white.shape_slope), lever, white.radius_ratio[1] ** 2
    )
    shapes = white.shape[1][:, None] + trend * lever * white.shape_slope[:, None]
    channels = _fit_channels(relative, polynomials, shapes)
    shifted = _fit_channels(relative, polynomials, shapes + trend_sigma * lever * white.shape_slope[:, None])

    white_depths = white.radius_ratio**2
    unit = np.r_[2.0 * white.radius_ratio, np.ones(4)]
    white_covariance = np.outer(unit, unit) * white.covariance
    white_sigmas = np.sqrt(np.maximum(np.diag(white_covariance)[:2], 1e-18))
    limb_covariance = np.zeros((N_LIMB, N_LIMB))
    # Rounding may leave hardly any variance, or too little for a Cholesky factor.
    limb_covariance[:4, :4] = white_covariance[2:, 2:] + 1e-6 * np.eye(4)
    limb_covariance[4, 4] = trend_sigma**2
    factor = np.linalg.cholesky(limb_covariance[:4, :4])
    limb_effect = np.linalg.solve(factor, white_covariance[2:, :2])
    rest = white_covariance[:2, :2] - limb_effect.T @ limb_effect
    rest_sigmas = np.sqrt(np.maximum(np.diag(rest), 1e-18))
    own = np.sqrt(channels.covariance) * red_noise(channels.residuals)
    trend_error = shifted.depth - channels.depth
    sigma = np.sqrt(own**2 + drift_error**2 + trend_error**2 + white_sigmas[1] ** 2)
    correlation = np.clip(rest[0, 1] / np.prod(rest_sigmas), -0.99, 0.99)
    shared_errors = np.zeros((N_SHARED, sigma.size + 1))
    shared_errors[:4, 0], shared_errors[:4, 1:] = limb_effect[:, 0], limb_effect[:, 1:]
    shared_errors[5] = np.r_[correlation * rest_sigmas[0], np.full(sigma.size, rest_sigmas[1])]
    shared_errors[[4, 6], 1:] = trend_error, drift_error
    airs_drift = white.drift[1][:, None] * (1.0 + lever * drift_trend[:, None]) * channels.drift
    baseline = level * np.column_stack([white.drift[0], airs_drift])
    return TransitFit(
        depth=np.concatenate([white_depths[:1], channels.depth]),
        sigma=np.maximum(np.concatenate([white_sigmas[:1], sigma]), 1e-9),
        shared_errors=shared_errors,
        limb_darkening=np.r_[white.limb_darkening, trend],
        limb_covariance=limb_covariance,
        white_depth=float(white_depths[1]),
        mid_time=white.mid_time,
        baseline=baseline,
        shape=white.shape[1],
        fgs1_shape=white.shape[0],
    )


def _checked(curves: LightCurves) -> FloatArray:
    """The flux, refused where no fit is possible."""
    flux, name = curves.flux, curves.planet_id
    if curves.time.size < MINIMUM_BINS:
        raise ConfigError(f"planet {name}: {curves.time.size} time bins; a transit fit needs at least {MINIMUM_BINS}")
    if not (np.isfinite(flux).all() and np.isfinite(curves.time).all()):
        raise ConfigError(f"planet {name}: its light curves hold values that are not finite; check its raw files")
    dark = np.flatnonzero(np.median(flux, axis=0) <= 0.0)
    if dark.size:
        raise ConfigError(
            f"planet {name}: {dark.size} channels have no light (median flux <= 0), the first is channel {dark[0]}; "
            "check its raw files and the apertures in data.calibration"
        )
    return flux


def _fit_channels(
    relative: FloatArray, polynomials: FloatArray, shape: FloatArray, shape_slope: FloatArray | None = None
) -> _Channels:
    """Robust linear fit of drift x (1 - depth x shape) to relative fluxes (T, n).

    ``shape`` is (T,) or (T, n). The product of drift and depth is made linear with the drift of the round before.
    """
    count = relative.shape[1]
    terms = polynomials.shape[1]
    shapes = np.broadcast_to(shape if shape.ndim == 2 else shape[:, None], relative.shape)
    drift = np.ones_like(relative)
    weights = np.ones_like(relative)
    solution = np.zeros((count, terms))
    inverse = np.zeros((count, terms, terms))
    variance = np.ones(count)
    residuals = relative
    for _ in range(4):
        columns = [*(np.broadcast_to(p[:, None], relative.shape) for p in polynomials.T), -shapes * drift]
        if shape_slope is not None:
            columns.append(-shape_slope[:, None] * drift)
        design = np.stack(columns, axis=2).transpose(1, 0, 2)
        weighted = design * weights.T[:, :, None]
        normal = design.transpose(0, 2, 1) @ weighted
        inverse = np.asarray(np.linalg.pinv(normal, rcond=1e-10, hermitian=True), dtype=np.float64)
        solution = np.einsum("nij,ntj,nt->ni", inverse, weighted, relative.T)
        residuals = relative - np.einsum("ntj,nj->tn", design, solution)
        drift = polynomials @ solution[:, :terms].T
        spread = 1.4826 * np.median(np.abs(residuals), axis=0)
        weights = 1.0 / np.sqrt(1.0 + (residuals / (_ROBUST_SCALE * np.maximum(spread, 1e-12))) ** 2)
        # Of an M-estimator (Huber 1981, section 7.6); the weights' cube is the derivative of its influence function.
        freedom = np.maximum(len(weights) - design.shape[2], 1)
        variance = np.sum((weights * residuals) ** 2, axis=0) / freedom * weights.mean(axis=0)
        variance /= (weights**3).mean(axis=0) ** 2
    return _Channels(
        depth=solution[:, terms],
        covariance=variance * inverse[:, terms, terms],
        drift=drift,
        residuals=residuals,
        slope=np.stack([solution[:, -1], variance * inverse[:, -1, -1]]),
    )


def _criterion(fit: _Channels, order: int) -> float:
    """Bayesian information criterion of all channels together."""
    bins, count = fit.residuals.shape
    return float(bins * np.sum(np.log(np.mean(fit.residuals**2, axis=0))) + count * order * np.log(bins))


def _drift_trend(
    relative: FloatArray, lever: FloatArray, polynomials: FloatArray, white: WhiteFit
) -> tuple[FloatArray, FloatArray]:
    """How drifts change per unit of ``lever`` (n,): (T,), and what its uncertainty does to depths (n,).

    In proportion to the white drift or, as far as the light curves contradict that, by polynomials of their own: all
    are averaged with the weights that the Bayesian information criterion gives them.
    """
    drift = white.drift[1] - white.drift[1].mean()
    known = np.column_stack([np.ones_like(drift), white.shape[1], white.shape_slope])
    basis, _ = np.linalg.qr(known)

    def unexplained(series: FloatArray) -> FloatArray:
        return np.asarray(series - basis @ (basis.T @ series))

    residuals = unexplained(relative)
    spread = np.maximum(1.4826 * np.median(np.abs(residuals), axis=0), 1e-15)
    weights = lever / spread**2
    variance = 1.0 / (weights @ lever)
    slope = unexplained(np.clip(residuals, -5.0 * spread, 5.0 * spread) @ weights * variance)
    own = [polynomials[:, 1 : order + 1] for order in range(1, polynomials.shape[1])]
    kinds = [(drift[:, None], variance / _DRIFT_PRIOR**2, 0.0)]
    kinds += [(kind, 0.0, kind.shape[1] * np.log(drift.size)) for kind in own]
    criteria, trends, effects, errors = [], [], [], []
    for kind, prior, penalty in kinds:
        rest = unexplained(kind)
        inverse = np.linalg.pinv(rest.T @ rest + prior * np.eye(kind.shape[1]), rcond=1e-10, hermitian=True)
        growth = inverse @ (rest.T @ slope)
        left = slope - rest @ growth
        alike = np.linalg.lstsq(known, kind, rcond=None)[0][1]
        criteria.append(left @ left / variance + penalty)
        trends.append(kind @ growth)
        effects.append(alike @ growth)
        errors.append(variance * alike @ inverse @ alike)
    shares = np.exp(-0.5 * (np.array(criteria) - min(criteria)))
    middle = np.average(effects, weights=shares)
    error = np.average(np.array(errors) + (np.array(effects) - middle) ** 2, weights=shares)
    return np.average(trends, axis=0, weights=shares), lever * np.sqrt(max(error, 0.0))


def _limb_trend(fit: _Channels, lever: FloatArray, white_depth: float) -> tuple[float, float]:
    """Change of u1 per unit of ``lever`` (n,) and its standard deviation, from each channel's own estimate of u1."""
    difference, variance = fit.slope[0] / white_depth, np.maximum(fit.slope[1], 1e-30) / white_depth**2
    precision = np.sum(lever**2 / variance) + 1.0 / LIMB_PRIOR_SD**2
    return float(np.sum(lever * difference / variance) / precision), float(1.0 / np.sqrt(precision))
