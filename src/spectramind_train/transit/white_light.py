"""Joint fit of the two white light curves of a visit, FGS1 and AIRS: orbit, radius ratios, limb darkening, drifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.dataset import Star
from spectramind_train.transit.occultation import light_curve, separation

DRIFT_ORDERS: Final = (2, 3, 4)
LIMB_PRIOR: Final = ((0.38, 0.22), (0.15, 0.15))
LIMB_PRIOR_SD: Final = 0.15
"""Means of u1 and u2 for FGS1 (0.7 um) and AIRS (2 to 4 um), FGK dwarfs, and their common standard deviation."""
_IMPACT_PRIOR: Final = (0.35, 0.35)
_ROBUST_SCALE: Final = 3.0
_LONGEST_EXPOSURE_H: Final = 50.0 / 3600.0
_STEPS: Final = 1e-4
_SMALLEST_NOISE: Final = 1e-9
"""Relative noise below any detector's, which a light curve may have that is none: a constant, for one."""
_CONTRADICTION: Final = 1.3
"""Scatter of the residuals, over the noise, from which a given orbit is doubted."""


@dataclass(frozen=True)
class WhiteFit:
    """The best model of the two white light curves; index 0 is FGS1, 1 is AIRS.

    Attributes:
        mid_time: Mid-transit, in hours.
        radius_ratio: Rp/Rs of each instrument (2,).
        limb_darkening: u1 and u2 of FGS1, then of AIRS (4,), a weak prior included.
        covariance: Of the two ratios and these four (6, 6), red noise and every other parameter accounted for.
        drift: Out-of-transit flux of each instrument (2, T), relative to its median.
        shape: (1 - light curve) / radius_ratio**2 of each instrument (2, T).
        shape_slope: Derivative of AIRS's shape with respect to u1 (T,).
    """

    mid_time: float
    radius_ratio: FloatArray
    limb_darkening: FloatArray
    covariance: FloatArray
    drift: FloatArray
    shape: FloatArray
    shape_slope: FloatArray


def unit_time(time: FloatArray) -> FloatArray:
    """Time (T,) mapped linearly to -1 ... 1, on which drifts are Legendre series."""
    return np.asarray(2.0 * (time - time[0]) / (time[-1] - time[0]) - 1.0, dtype=np.float64)


def red_noise(residuals: FloatArray) -> float:
    """How much more slowly than white noise residuals (T,) or (T, n) average out in time (Pont et al. 2006), >= 1.

    The ratio of the scatter of bins of 4, 8 and 16 samples to that expected of white noise, root mean square over
    series, median over bin lengths.
    """
    columns = residuals.reshape(residuals.shape[0], -1)
    columns = columns - columns.mean(axis=0)
    variance = np.maximum(columns.var(axis=0), np.finfo(np.float64).tiny)
    ratios = []
    for length in (4, 8, 16):
        bins = columns.shape[0] // length
        if bins >= 8:
            binned = columns[: bins * length].reshape(bins, length, -1).mean(axis=1)
            ratios.append(float(np.sqrt(np.mean(binned.var(axis=0, ddof=1) * length / variance))))
    return max(1.0, float(np.median(ratios))) if ratios else 1.0


class _WhiteModel:
    """Residuals and Jacobian of the joint model.

    The parameters are mid-time, with a free orbit also the logarithm of the star's crossing time Rs/v in hours and
    the impact parameter, then Rp/Rs, u1, u2 of each instrument, then the Legendre coefficients of each drift.
    """

    def __init__(self, time: FloatArray, flux: FloatArray, star: Star | None) -> None:
        self.time, self.flux, self.star = time, flux, star
        step = float(np.median(np.diff(time)))
        exposures = max(1, int(np.ceil(step / _LONGEST_EXPOSURE_H)))
        offsets = (np.arange(exposures) + 0.5) / exposures - 0.5
        self.moments = time[:, None] + step * offsets
        self.legendre = np.polynomial.legendre.legvander(unit_time(time), max(DRIFT_ORDERS))
        self.n_orbit = 1 if star is not None else 3
        self.n_physical = self.n_orbit + 6
        self.orders = [DRIFT_ORDERS[0]] * 2
        self.choice_variance, self.choice_shift = np.zeros(2), np.zeros(2)
        self.drift_shift = np.zeros((2, max(DRIFT_ORDERS) + 1))
        noise = 1.4826 * np.median(np.abs(np.diff(flux, axis=1)), axis=1) / np.sqrt(2.0)
        self.sigma = np.maximum(noise, _SMALLEST_NOISE)
        self.priors = [(self.n_orbit + 3 * i + j, LIMB_PRIOR[i][j - 1], LIMB_PRIOR_SD) for i in (0, 1) for j in (1, 2)]
        if star is None:
            self.priors.append((2, *_IMPACT_PRIOR))
        lower, upper = [time[0] - 1.0], [time[-1] + 1.0]
        if star is None:
            lower += [np.log(0.05), 0.0]
            upper += [np.log(10.0), 1.2]
        self.lower = np.array(lower + 2 * [0.005, -0.3, -0.4])
        self.upper = np.array(upper + 2 * [0.6, 1.0, 0.9])

    def distances(self, orbit: FloatArray) -> FloatArray:
        """Separations at every moment (T, exposures)."""
        if self.star is not None:
            return separation(self.moments, float(orbit[0]), self.star.P, self.star.sma, self.star.i)
        return np.asarray(np.hypot(orbit[2], (self.moments - orbit[0]) / np.exp(orbit[1])), dtype=np.float64)

    def transit(self, distances: FloatArray, star_planet: FloatArray) -> FloatArray:
        """One instrument's transit light curve (T,), averaged over each bin's exposures."""
        radius_ratio, u1, u2 = (float(value) for value in star_planet)
        return np.asarray(light_curve(distances, radius_ratio, u1, u2).mean(axis=1), dtype=np.float64)

    def split(self, parameters: FloatArray) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
        """Orbit, star-and-planet parameters of each instrument, drift coefficients of each instrument."""
        n, m = self.n_orbit, self.n_physical
        middle = m + self.orders[0] + 1
        return (
            parameters[:n],
            [parameters[n : n + 3], parameters[n + 3 : m]],
            [parameters[m:middle], parameters[middle:]],
        )

    def drifts(self, coefficients: list[FloatArray]) -> FloatArray:
        """Both drifts (2, T)."""
        return np.stack([self.legendre[:, : order + 1] @ c for order, c in zip(self.orders, coefficients, strict=True)])

    def residuals(self, parameters: FloatArray) -> FloatArray:
        """Weighted residuals (2 T + priors,)."""
        orbit, planets, coefficients = self.split(parameters)
        distances = self.distances(orbit)
        model = self.drifts(coefficients) * np.stack([self.transit(distances, planet) for planet in planets])
        prior = [(parameters[index] - mean) / sigma for index, mean, sigma in self.priors]
        return np.concatenate([((model - self.flux) / self.sigma[:, None]).ravel(), prior])

    def jacobian(self, parameters: FloatArray) -> FloatArray:
        """Derivatives of the residuals: forward differences of the transit, exact ones of the drifts."""
        orbit, planets, coefficients = self.split(parameters)
        drifts = self.drifts(coefficients)
        distances = self.distances(orbit)
        transits = [self.transit(distances, planet) for planet in planets]
        bins = self.time.size
        jacobian = np.zeros((2 * bins + len(self.priors), parameters.size))
        rows = [slice(0, bins), slice(bins, 2 * bins)]
        for j in range(self.n_orbit):
            moved = orbit.copy()
            moved[j] += _STEPS
            moved_distances = self.distances(moved)
            for i in (0, 1):
                change = self.transit(moved_distances, planets[i]) - transits[i]
                jacobian[rows[i], j] = drifts[i] * change / (_STEPS * self.sigma[i])
        column = self.n_physical
        for i in (0, 1):
            for j in range(3):
                moved = planets[i].copy()
                moved[j] += _STEPS
                change = self.transit(distances, moved) - transits[i]
                jacobian[rows[i], self.n_orbit + 3 * i + j] = drifts[i] * change / (_STEPS * self.sigma[i])
            width = self.orders[i] + 1
            jacobian[rows[i], column : column + width] = transits[i][:, None] * self.legendre[:, :width] / self.sigma[i]
            column += width
        for row, (index, _, sigma) in enumerate(self.priors):
            jacobian[2 * bins + row, index] = 1.0 / sigma
        return jacobian

    def search(self) -> FloatArray:
        """Starting point: the box-shaped transit under a parabolic drift that explains AIRS best."""
        flux, time = self.flux[1], self.time
        basis, _ = np.linalg.qr(self.legendre[:, : DRIFT_ORDERS[0] + 1])
        durations = np.geomspace(0.5, 6.0, 16) if self.star is None else np.array([self._star_duration(self.star)])
        middles = np.linspace(time[0], time[-1], 121)
        boxes = (
            (np.abs(time - middles[:, None, None]) < 0.5 * durations[:, None]).astype(np.float64).reshape(-1, time.size)
        )
        clipped = np.clip(flux, *np.quantile(flux, [0.005, 0.995]))
        rest = boxes - (boxes @ basis) @ basis.T
        power = np.einsum("bt,bt->b", rest, rest)
        depth = -(rest @ clipped) / np.maximum(power, 1e-9)
        gain = np.where((power > 0.5) & (depth > 0.0), depth**2 * power, 0.0)
        best = int(np.argmax(gain))
        radius_ratio = float(np.clip(np.sqrt(max(depth[best], 0.0)), 0.03, 0.4))
        middle, duration = middles[best // durations.size], durations[best % durations.size]
        orbit = [middle]
        if self.star is None:
            orbit += [
                np.log(0.5 * duration / np.sqrt((1.0 + radius_ratio) ** 2 - _IMPACT_PRIOR[0] ** 2)),
                _IMPACT_PRIOR[0],
            ]
        physical = [*orbit, radius_ratio, *LIMB_PRIOR[0], radius_ratio, *LIMB_PRIOR[1]]
        outside = boxes[best] == 0.0
        coefficients = [
            np.linalg.lstsq(self.legendre[outside, : DRIFT_ORDERS[0] + 1], f[outside], rcond=None)[0] for f in self.flux
        ]
        return np.concatenate([np.clip(physical, self.lower, self.upper), *coefficients])

    def _star_duration(self, star: Star) -> float:
        """Time in hours that the planet's centre needs to cross the star, with a floor for grazing orbits."""
        impact = star.sma * np.cos(np.deg2rad(star.i))
        chord = np.sqrt(max(1.0 - impact**2, 0.05)) / star.sma
        return float(24.0 * star.P / np.pi * np.arcsin(min(chord, 1.0)))

    def solve(self, start: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Best parameters and the Jacobian there, outliers weighted down."""
        free = np.full(start.size - self.n_physical, np.inf)
        lower, upper = np.concatenate([self.lower, -free]), np.concatenate([self.upper, free])
        margin = 1e-6 * np.concatenate([self.upper - self.lower, np.zeros(free.size)])
        found = least_squares(
            self.residuals,
            np.clip(start, lower + margin, upper - margin),
            jac=self.jacobian,
            bounds=(lower, upper),
            x_scale="jac",
            loss="soft_l1",
            f_scale=_ROBUST_SCALE,
            ftol=1e-7,
            xtol=1e-7,
            max_nfev=60,
        )
        return np.asarray(found.x, dtype=np.float64), np.asarray(found.jac, dtype=np.float64)

    def excess(self, parameters: FloatArray) -> float:
        """Robust scatter of AIRS's residuals over its noise from one bin to the next."""
        bins = self.time.size
        return float(1.4826 * np.median(np.abs(self.residuals(parameters)[bins : 2 * bins])))

    def criterion(self, parameters: FloatArray) -> float:
        """Bayesian information criterion, outliers weighted down as in ``solve``."""
        scaled = (self.residuals(parameters) / _ROBUST_SCALE) ** 2
        misfit = 2.0 * _ROBUST_SCALE**2 * np.sum(np.sqrt(1.0 + scaled) - 1.0)
        return float(misfit + parameters.size * np.log(2 * self.time.size))

    def choose_orders(self, parameters: FloatArray) -> FloatArray:
        """Set each drift's order by Akaike's criterion and return the start of the next solution.

        A stricter criterion prefers drifts too stiff for what they describe, and the rest biases the depth.

        The transit's parameters enter linearly, by their derivatives at ``parameters``, so that no further nonlinear
        fit is needed. The noise is set to what the residuals show. Kept is how far drift and radius ratio are from
        averages over orders, weighted by the criterion, and what the choice adds to the ratio's variance.
        """
        bins = self.time.size
        residuals = -self.residuals(parameters)[: 2 * bins].reshape(2, bins)
        jacobian = self.jacobian(parameters)
        orbit, planets, coefficients = self.split(parameters)
        distances, drifts = self.distances(orbit), self.drifts(coefficients)
        chosen = []
        for i in (0, 1):
            # Radius ratio and u1 stand for the planet's parameters: u2 hardly adds a shape of its own.
            own = np.r_[0 : self.n_orbit, self.n_orbit + 3 * i : self.n_orbit + 3 * i + 2]
            physical = jacobian[i * bins : (i + 1) * bins, own]
            weights = 1.0 / np.sqrt(1.0 + (residuals[i] / _ROBUST_SCALE) ** 2)
            transit = self.transit(distances, planets[i])
            drift = drifts[i] * transit / self.sigma[i]
            criteria, solutions, ratios = [], [], []
            for order in DRIFT_ORDERS:
                polynomials = transit[:, None] * self.legendre[:, : order + 1] / self.sigma[i]
                design = np.column_stack([polynomials, physical]) * np.sqrt(weights)[:, None]
                wanted = (residuals[i] + drift) * np.sqrt(weights)
                solution = np.linalg.lstsq(design, wanted, rcond=1e-10)[0]
                left = wanted - design @ solution
                criteria.append(bins * np.log(max(left @ left / bins, np.finfo(np.float64).tiny)) + 2.0 * order)
                solutions.append(np.pad(solution[: order + 1], (0, max(DRIFT_ORDERS) - order)))
                ratios.append(solution[order + 1 + self.n_orbit])
            best = int(np.argmin(criteria))
            likelihood = np.exp(-0.5 * (np.array(criteria) - criteria[best]))
            middle = np.average(ratios, weights=likelihood)
            self.choice_variance[i] = np.average((ratios - middle) ** 2, weights=likelihood)
            self.choice_shift[i] = middle - ratios[best]
            self.drift_shift[i] = np.average(solutions, axis=0, weights=likelihood) - solutions[best]
            chosen.append(solutions[best][: DRIFT_ORDERS[best] + 1])
            self.orders[i] = DRIFT_ORDERS[best]
            kept = residuals[i][np.abs(residuals[i]) < 5.0]
            if kept.size > bins // 2:
                spread = np.sqrt(np.sum(kept**2) / max(kept.size - own.size - DRIFT_ORDERS[best] - 1, 1))
                shown = self.sigma[i] * spread * red_noise(np.clip(residuals[i], -5.0, 5.0))
                self.sigma[i] = max(shown, _SMALLEST_NOISE)
        return np.concatenate([parameters[: self.n_physical], *chosen])


def fit_white_light(time: FloatArray, flux: FloatArray, star: Star | None) -> WhiteFit:
    """Fit drift x transit to both instruments at once.

    Args:
        time: Bin middles (T,), in hours.
        flux: White light curves (2, T) of FGS1 and AIRS, each divided by its median.
        star: Orbit; where None, or where the light curves contradict it, a straight path of free duration and impact
            parameter takes its place.
    """
    model = _WhiteModel(time, flux, star)
    first, _ = model.solve(model.search())
    if star is not None and model.excess(first) > _CONTRADICTION:
        free = _WhiteModel(time, flux, None)
        other, _ = free.solve(free.search())
        if free.criterion(other) < model.criterion(first):
            model, first = free, other
    parameters, jacobian = model.solve(model.choose_orders(first))
    scale = 1.0 / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-12)
    covariance = np.linalg.pinv((jacobian * scale).T @ (jacobian * scale), rcond=1e-12, hermitian=True) * np.outer(
        scale, scale
    )
    orbit, planets, coefficients = model.split(parameters)
    distances = model.distances(orbit)
    # The average of the orders errs less than the best.
    radius_ratio = np.array([planet[0] for planet in planets]) + model.choice_shift
    # Without a transit to tell orders by, it can be far out, and even negative.
    ratios = model.n_orbit + np.array([0, 3])
    radius_ratio = np.clip(radius_ratio, model.lower[ratios], model.upper[ratios])
    planets = [np.r_[ratio, planet[1:]] for ratio, planet in zip(radius_ratio, planets, strict=True)]
    transits = np.stack([model.transit(distances, planet) for planet in planets])
    shape = (1.0 - transits) / radius_ratio[:, None] ** 2
    darker = planets[1] + np.array([0.0, 0.01, 0.0])
    slope = (transits[1] - model.transit(distances, darker)) / (0.01 * radius_ratio[1] ** 2)
    index = model.n_orbit + np.array([0, 3, 1, 2, 4, 5])
    return WhiteFit(
        mid_time=float(orbit[0]),
        radius_ratio=radius_ratio,
        limb_darkening=np.concatenate([planet[1:] for planet in planets]),
        covariance=covariance[np.ix_(index, index)] + np.diag(np.r_[model.choice_variance, np.zeros(4)]),
        drift=model.drifts(coefficients) + model.drift_shift @ model.legendre.T,
        shape=shape,
        shape_slope=slope,
    )
