"""The exact Bayesian posterior of simulated spectra: what no method can beat on the simulator's own planets.

A spectrum's likelihood is that of the light curves, linear in the depths around the truth: each channel's scale, the
drifts (a Gaussian process with the covariance of the simulator's), the drift's slope with wavelength and the time of
mid-transit are integrated out; orbit, limb darkening and noise are known, as they are to the simulator. The prior is
the simulator's: depth, abundances, haze, cloud and contamination, given what the star table tells. Its posterior is
sampled by differential evolution (ter Braak 2006, Stat. Comput. 16, 239), started from the prior and tempered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import constants
from scipy.special import ndtr, ndtri

from spectramind_train.ariel.constants import AIRS_COLUMNS, VISIT_H, WAVELENGTHS_UM, FloatArray
from spectramind_train.simulated import observation, population, spectra
from spectramind_train.simulated.population import System
from spectramind_train.transit.occultation import light_curve, separation

BINS = 187
_MOMENTS = 5
_APERTURE_PIXELS = (144, 16)
"""Of FGS1, and of one AIRS column, with the default calibration."""
_LOST = 0.02
"""Share of the light on dead and hot pixels and outside the aperture."""
_DRIFT_RANK = 7

WALKERS = 64
_TEMPERING, _BURN_IN = 700, 500


@dataclass(frozen=True)
class Likelihood:
    """What a planet's light curves say of its spectrum: N(measured, P^-1) with P = diag(precision) - known known^T."""

    measured: FloatArray
    precision: FloatArray
    known: FloatArray


def likelihood(system: System, rng: np.random.Generator) -> Likelihood:
    """Draw what one visit of a system measures, with the simulator's noise."""
    star = system.star
    time = (np.arange(BINS) + 0.5) * VISIT_H / BINS
    moments = time[:, None] + VISIT_H / BINS * ((np.arange(_MOMENTS) + 0.5) / _MOMENTS - 0.5)
    x = np.linspace(-1.0, 1.0, BINS)
    lag = x[:, None] - x
    wave = np.mean([np.cos(f * lag) for f in np.linspace(2.0, 4.0, 21)], axis=0)
    covariance = 25e-8 * np.outer(x, x) + 9e-8 * np.outer(x**2, x**2) + 0.5e-8 * wave
    values, vectors = np.linalg.eigh(covariance)
    basis = vectors[:, -_DRIFT_RANK:] * np.sqrt(np.maximum(values[-_DRIFT_RANK:], 0.0))
    drift = basis @ rng.standard_normal(_DRIFT_RANK)

    # Transit and derivatives on a coarse grid of wavelengths: they are smooth in it.
    grid = np.r_[0, np.linspace(1, len(WAVELENGTHS_UM) - 1, 16).round().astype(int)]
    shapes = []
    for channel in grid:
        u1, u2 = (float(u) for u in spectra.limb_darkening(WAVELENGTHS_UM[channel], star.Ts))
        depth = system.spectrum[channel]

        def curve(mid_time: float, value: float, u1: float = u1, u2: float = u2) -> FloatArray:
            distance = separation(moments, mid_time, star.P, star.sma, star.i)
            return np.asarray(light_curve(distance, float(np.sqrt(value)), u1, u2).mean(axis=1))

        here = curve(system.mid_time, depth)
        by_depth = (curve(system.mid_time, depth * 1.01) - here) / (0.01 * depth)
        by_time = (curve(system.mid_time + 1e-3, depth) - here) / 1e-3
        shapes.append((here, by_depth, by_time))
    coarse = np.array(shapes)
    fine = np.empty((len(WAVELENGTHS_UM), 3, BINS))
    fine[0] = coarse[0]
    for kind in range(3):
        for i in range(BINS):
            fine[1:, kind, i] = np.interp(np.arange(1, len(fine)), grid[1:], coarse[1:, kind, i])
    variance = relative_noise(system) ** 2

    count = 2 * _DRIFT_RANK + 2
    information = np.eye(count)
    information[-2, -2], information[-1, -1] = 1.0 / 0.2**2, 0.0
    precision = np.empty(len(fine))
    known = np.empty((len(fine), count))
    for channel, (transit, by_depth, by_time) in enumerate(fine):
        shared = np.zeros((BINS, count))
        first = 0 if channel == 0 else _DRIFT_RANK
        shared[:, first : first + _DRIFT_RANK] = basis * transit[:, None]
        if channel:
            shared[:, -2] = (WAVELENGTHS_UM[channel] - 2.9) * drift * transit
        shared[:, -1] = by_time
        own = np.column_stack([by_depth, shared])
        own -= np.outer(transit, transit @ own) / (transit @ transit)
        precision[channel] = own[:, 0] @ own[:, 0] / variance[channel]
        known[channel] = own[:, 0] @ own[:, 1:] / variance[channel]
        information += own[:, 1:].T @ own[:, 1:] / variance[channel]
    known = np.linalg.solve(np.linalg.cholesky(information), known.T).T
    matrix = np.diag(precision) - known @ known.T
    error = np.linalg.solve(np.linalg.cholesky(matrix).T, rng.standard_normal(len(fine)))
    return Likelihood(system.spectrum + error, precision, known)


def relative_noise(system: System) -> FloatArray:
    """Relative noise (283,) of one time bin: photons and two reads of every pixel, of all exposures in it."""
    airs = observation._airs_spectrum(system.star.Ts)[AIRS_COLUMNS][::-1]
    flux = system.brightness * np.r_[observation.FGS1_FLUX, airs] * (1.0 - _LOST)
    pixels = np.r_[_APERTURE_PIXELS[0], np.full(len(airs), _APERTURE_PIXELS[1])]
    pairs = np.r_[12 * observation.NOMINAL_PAIRS / BINS, np.full(len(airs), observation.NOMINAL_PAIRS / BINS)]
    return np.asarray(np.sqrt((flux + 2 * pixels * observation._READ_NOISE**2) / pairs) / flux)


class Prior:
    """The simulator's prior of a planet's spectrum, given its star's row of the table; nine numbers from 0 to 1."""

    dimensions = 9

    def __init__(self, systems: Sequence[System]) -> None:
        stars = [system.star for system in systems]

        def column(name: str) -> FloatArray:
            return np.array([getattr(star, name) for star in stars])[:, None]

        self.radius_s, self.mass, self.period, self.sma = (column(name) for name in ("Rs", "Mp", "P", "sma"))
        star_k = column("Ts")
        self.temperature = star_k / np.sqrt(2.0 * self.sma)
        used = WAVELENGTHS_UM
        sections = [*(spectra.cross_section(one, used) for one in spectra.BANDS), spectra.rayleigh_cross_section(used)]
        self.sections = np.stack(sections)
        regions = [
            [spectra.photon_radiance(used, share * k) / spectra.photon_radiance(used, k) for share in (0.82, 1.06)]
            for k in star_k[:, 0]
        ]
        self.contrast = np.array(regions, dtype=np.float32)
        limits = (np.log(population.DEPTH_RANGE) - population.LOG_DEPTH_MEAN) / population.LOG_DEPTH_SD
        self.quantiles = ndtr(limits)
        self.per_day = self.sma / self.period ** (2.0 / 3.0)

    def depths(self, cube: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Spectra (N, W, 283) and log prior densities (N, W) of points (N, W, 9)."""
        inside = np.all((cube > 0.0) & (cube < 1.0), axis=-1)
        u = np.clip(cube, 1e-12, 1.0 - 1e-12)
        low, high = self.quantiles
        white = np.exp(population.LOG_DEPTH_MEAN + population.LOG_DEPTH_SD * ndtri(low + u[..., 0] * (high - low)))
        ratio = np.sqrt(white)
        logs = -7.0 + 4.0 * u[..., 1:6]
        logs[..., 0] = -5.0 + 2.5 * u[..., 1]
        haze, cloud = 10.0 ** (1.0 + 3.0 * u[..., 6]), 10.0 ** (1.5 + 3.5 * u[..., 7])
        excess = -200e-6 + 500e-6 * u[..., 8]
        radius = ratio * self.radius_s * spectra.SOLAR_RADIUS
        gravity = constants.G * self.mass * spectra.JUPITER_MASS / radius**2
        thermal = constants.k * self.temperature
        height = thermal / (spectra.MEAN_WEIGHT * spectra.ATOMIC_MASS * gravity)
        weight = thermal * spectra.MEAN_WEIGHT * spectra.ATOMIC_MASS * gravity
        column = 1e-4 * spectra.REFERENCE_PRESSURE / 0.56 * np.sqrt(2.0 * np.pi * radius / weight)
        # Single precision is enough for heights, contrasts and what they change of the depth, and twice as fast.
        amounts = np.concatenate([10.0**logs, haze[..., None]], axis=-1) * column[..., None]
        level = (amounts @ self.sections).astype(np.float32)
        level += (spectra.REFERENCE_PRESSURE / cloud)[..., None].astype(np.float32)
        np.log(level, out=level)
        mean, spread = level[..., 1:].mean(axis=-1), level[..., 1:].std(axis=-1)
        level -= mean[..., None]
        level *= (height / radius)[..., None].astype(np.float32)
        change = level * (2.0 + level)
        cool = (excess > 0.0)[..., None]
        contrast = np.where(cool, self.contrast[:, None, 0], self.contrast[:, None, 1])
        filling = np.minimum(0.5, (1.0 - 1.0 / (1.0 + excess / white)) / (1.0 - contrast[..., 0]))
        spots = filling[..., None].astype(np.float32) * (1.0 - contrast)
        change = (change + spots) / (1.0 - spots)
        depth = white[..., None] * (1.0 + change)
        # What the table tells of the planet's mass, the star's radius and the period depends on these numbers too.
        relief = 2.0 * white * height * spread / radius
        inside &= (relief > population.SPECTRUM_SD[0]) & (relief < population.SPECTRUM_SD[1])
        earth = population._EARTH_RADIUS / spectra.SOLAR_RADIUS / ratio
        least, most = (
            np.clip(radius * earth, *population.STAR_RADIUS_RANGE) for radius in population.PLANET_RADIUS_RANGE
        )
        inside &= (self.radius_s >= least) & (self.radius_s <= most)
        longest = (population.LONGEST_TRANSIT_H / 24.0 * np.pi * self.per_day / (1.0 + ratio)) ** 3
        longest = np.minimum(20.0, np.maximum(2.0, longest))
        inside &= self.period <= longest
        with np.errstate(divide="ignore", invalid="ignore"):
            log_prior = np.log(relief) - np.log(most - least) - np.log(np.log(longest / 1.5))
        return depth, np.where(inside, log_prior, -np.inf)


def posterior(
    systems: Sequence[System], measured: Sequence[Likelihood], rng: np.random.Generator, steps: int = 2000
) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations (N, 283) of the posterior of each system's spectrum."""
    prior = Prior(systems)
    data = np.stack([one.measured for one in measured])[:, None]
    precision = np.stack([one.precision for one in measured])[:, None]
    known = np.stack([one.known for one in measured])
    count = len(systems)

    def evaluate(cube: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        depth, log_prior = prior.depths(cube)
        residual = data - depth
        misfit = (precision * residual**2).sum(axis=-1) - ((residual @ known) ** 2).sum(axis=-1)
        return depth, log_prior, -0.5 * misfit

    # The best of many draws from the prior, so that every walker begins where the prior is not zero.
    cube, best = np.empty((count, WALKERS, prior.dimensions)), np.full((count, WALKERS), -np.inf)
    for _ in range(300):
        draw = rng.random(cube.shape)
        _, log_prior, log_likelihood = evaluate(draw)
        value = log_prior + 1e-4 * log_likelihood
        better = value > best
        cube[better], best[better] = draw[better], value[better]
    depth, log_prior, log_likelihood = evaluate(cube)
    total, squares, kept = np.zeros((count, depth.shape[-1])), np.zeros((count, depth.shape[-1])), 0
    halves = np.arange(WALKERS // 2), np.arange(WALKERS // 2, WALKERS)
    for step in range(_TEMPERING + _BURN_IN + steps):
        heat = min(1.0, 10.0 ** (-4.0 * (1.0 - step / _TEMPERING)))
        for mine, others in (halves, halves[::-1]):
            pair = np.stack([rng.permutation(others)[:2] for _ in range(len(mine))])
            gamma = 1.0 if step % 10 == 0 else rng.choice([0.35, 0.8]) * 2.38 / np.sqrt(2.0 * prior.dimensions)
            move = gamma * (cube[:, pair[:, 0]] - cube[:, pair[:, 1]])
            if step % 3 == 0:  # Some coordinates only, for those that the data hardly constrain.
                move *= rng.random(move.shape) < 0.4
            proposal = cube[:, mine] + move + 1e-7 * rng.standard_normal(move.shape)
            new_depth, new_prior, new_likelihood = evaluate(proposal)
            change = new_prior - log_prior[:, mine] + heat * (new_likelihood - log_likelihood[:, mine])
            take = np.log(rng.random(change.shape)) < change
            rows, columns = np.nonzero(take)
            chosen = mine[columns]
            cube[rows, chosen] = proposal[rows, columns]
            depth[rows, chosen] = new_depth[rows, columns]
            log_prior[rows, chosen] = new_prior[rows, columns]
            log_likelihood[rows, chosen] = new_likelihood[rows, columns]
        if step >= _TEMPERING + _BURN_IN and step % 4 == 0:
            total += depth.sum(axis=1)
            squares += ((depth - data) ** 2).sum(axis=1)
            kept += WALKERS
    mean = total / kept
    return mean, np.sqrt(squares / kept - (mean - data[:, 0]) ** 2)
