"""Pictures of a run: how it learned, and what it predicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import erf

from spectramind_train.ariel.constants import WAVELENGTHS_UM, FloatArray
from spectramind_train.transit.diagnosis import INSTRUMENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import Prediction
    from spectramind_train.run.trials import Row

mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

_PPM = 1e6
_TRUTH, _MODEL, _FIT, _TRAINING, _FGS1 = "black", "tab:blue", "tab:orange", "tab:gray", "tab:green"


def draw_learning(
    rows: Sequence[Mapping[str, float]],
    path: Path | BinaryIO,
    *,
    chosen: float | None = None,
    fit_score: float | None = None,
    stacked: bool = False,
) -> None:
    """Losses and validation score over the epochs.

    Args:
        rows: The run's metrics, see ``run.journal.rows``.
        path: The picture.
        chosen: Epochs after which the weights were those that the run is scored with; None where that is not known.
        fit_score: Score of the classical fit on the same validation planets.
        stacked: Whether the score stands below the losses, not beside them.
    """
    figure = Figure(figsize=(5.6, 6.4) if stacked else (9, 3.4), layout="constrained")
    loss, score = figure.subplots(*((2, 1) if stacked else (1, 2)))
    _draw_metric(loss, rows, "train_loss", _TRAINING, "training planets, augmented")
    _draw_metric(loss, rows, "val_loss", _MODEL, "validation planets")
    loss.set(xlabel="epochs", ylabel="loss")
    _draw_metric(score, rows, "val_score", _MODEL, "model")
    if fit_score is not None:
        score.axhline(fit_score, color=_FIT, linestyle="--", label="classical transit fit")
    score.set(xlabel="epochs", ylabel="score of the validation planets")
    for axis in (loss, score):
        if chosen is not None:
            axis.axvline(chosen, color=_TRUTH, lw=0.8, ls=":", label=f"chosen: epoch {chosen:g}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def _draw_metric(axis: Axes, rows: Sequence[Mapping[str, float]], name: str, color: str, label: str) -> None:
    """A metric after each epoch in which it was measured."""
    known = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
    if known:
        axis.plot(*zip(*known, strict=True), color=color, marker=".", ms=4, label=label)


def draw_sweep(rows: Sequence[Row], path: Path) -> None:
    """Scores of trials in their order with the best so far, and how each learned; the best is drawn in black.

    Both axes hold all scores, so that one that is far off shows how little the others differ.
    """
    figure = Figure(figsize=(9, 3.7), layout="constrained")
    order, curves = figure.subplots(1, 2, sharey=True)
    whole = [row for row in rows if row.score is not None and row.status != "pruned"]
    pruned = [row for row in rows if row.score is not None and row.status == "pruned"]
    failed = [row for row in rows if row.status == "failed"]
    numbers = [row.number for row in whole]
    scores = np.array([row.score for row in whole], dtype=float)
    order.plot(numbers, scores, "o", ms=4, color=_MODEL, label="whole training")
    order.plot(
        [row.number for row in pruned],
        [row.score for row in pruned],
        "v",
        ms=4,
        color=_FIT,
        label="pruned, when it ended",
    )
    best = np.maximum.accumulate(scores) if len(scores) else scores
    order.step(numbers, best, where="post", color=_TRUTH, lw=1, label="best so far")
    for number, row in enumerate(failed):
        order.axvline(row.number, color="tab:red", lw=0.6, ls=":", label="failed" if number == 0 else None)
    order.xaxis.set_major_locator(MaxNLocator(integer=True))
    order.set(xlabel="trial", ylabel="validation score", title="score of each trial")
    figure.legend(*order.get_legend_handles_labels(), frameon=False, fontsize=8, ncol=4, loc="outside lower center")
    first = whole[int(scores.argmax())].number if len(scores) else None
    for row in rows:
        if row.validations:
            epochs, values = zip(*sorted(row.validations.items()), strict=True)
            color = _TRUTH if row.number == first else _FIT if row.status == "pruned" else _MODEL
            style = {"lw": 1.4, "zorder": 3} if row.number == first else {"lw": 0.8, "alpha": 0.5}
            curves.plot(np.array(epochs) + 1, values, color=color, marker=".", ms=3, **style)
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    curves.set(xlabel="epoch", title="score after each epoch")
    figure.savefig(path, dpi=120)


def draw_spectra(
    planets: Sequence[Planet],
    prediction: Prediction,
    path: Path,
    *,
    scores: Mapping[str, float] | None = None,
    most: int = 6,
) -> None:
    """True, fitted and predicted spectra of some planets, what is left of them, and how often intervals hold the truth.

    Args:
        planets: The planets.
        prediction: Their predicted spectra.
        path: The picture.
        scores: The scores of planets by name, where they are known.
        most: How many planets are drawn.
    """
    shown = min(most, len(planets))
    known = [row for row, planet in enumerate(planets) if planet.label is not None]
    lines = -(-shown // 2)
    figure = Figure(figsize=(11, 3.3 * lines + (3.4 if known else 0.5)), layout="constrained")
    grid = figure.add_gridspec(lines + 1, 2, height_ratios=[3.3] * lines + [3.2 if known else 0.3])
    first: Axes | None = None
    for row in range(shown):
        cell = grid[row // 2, row % 2].subgridspec(2, 1, height_ratios=(2.4, 1), hspace=0.04)
        upper, lower = figure.add_subplot(cell[0]), figure.add_subplot(cell[1])
        lower.sharex(upper)
        upper.tick_params(labelbottom=False)
        draw_spectrum(upper, planets[row], prediction.mu[row], prediction.sigma[row])
        _draw_residuals(lower, planets[row], prediction.mu[row], prediction.sigma[row])
        name = planets[row].planet_id
        words = f", score {scores[name]:.3f}" if scores and name in scores else ""
        upper.set_title(f"planet {name}{words}", loc="left", fontsize=9)
        first = first or upper
    if known:
        draw_calibration(figure.add_subplot(grid[lines, 0]), planets, prediction)
    legend = figure.add_subplot(grid[lines, 1])
    legend.set_axis_off()
    if first is not None:
        legend.legend(*first.get_legend_handles_labels(), frameon=False, loc="center left", fontsize=9)
    figure.savefig(path, dpi=120)


def draw_spectrum(axis: Axes, planet: Planet, mu: FloatArray, sigma: FloatArray) -> None:
    """A planet's predicted spectrum (283,) and its sigma, the classical fit, and the truth where it is known; in ppm.

    The axis leaves out single values of the fit that lie far off.
    """
    fit, model, deviation = planet.fit, mu * _PPM, sigma * _PPM
    fitted = "classical transit fit and its sigma, a channel each"
    axis.errorbar(
        WAVELENGTHS_UM, fit.depth * _PPM, fit.sigma * _PPM, fmt=".", ms=2, lw=0.4, color=_FIT, alpha=0.4, label=fitted
    )
    _band(axis, model, deviation, 2, "model, two sigma")
    _band(axis, model, deviation, 1, "model, one sigma")
    axis.plot(WAVELENGTHS_UM[1:], model[1:], color=_MODEL, lw=1.2, label="model")
    axis.errorbar(
        WAVELENGTHS_UM[:1], model[:1], deviation[:1], fmt="o", ms=4, color=_MODEL, label="model, FGS1, one sigma"
    )
    if planet.label is not None:
        truth = planet.label * _PPM
        axis.plot(WAVELENGTHS_UM[1:], truth[1:], color=_TRUTH, lw=1, label="truth")
        axis.plot(WAVELENGTHS_UM[:1], truth[:1], "x", color=_TRUTH, label="truth, FGS1")
    reference = model if planet.label is None else planet.label * _PPM
    middle, spread = float(np.median(reference)), 1.5 * float(np.ptp(reference))
    spread = max(6 * float(np.median(deviation)), spread, 1.2 * abs(float(model[0]) - middle))
    axis.set_ylim(middle - spread, middle + spread)
    axis.set_ylabel("(Rp/Rs)² in ppm")


def _draw_residuals(axis: Axes, planet: Planet, mu: FloatArray, sigma: FloatArray) -> None:
    """What the prediction lacks of the truth, or of the classical fit where there is none, beside its sigma; in ppm."""
    known = planet.label is not None
    left = ((planet.fit.depth if planet.label is None else planet.label) - mu) * _PPM
    deviation = sigma * _PPM
    for times in (2, 1):
        _band(axis, np.zeros_like(mu), deviation, times, None)
    color = _TRUTH if known else _FIT
    axis.errorbar(WAVELENGTHS_UM[:1], [0.0], deviation[:1], fmt="none", color=_MODEL)
    axis.plot(WAVELENGTHS_UM[1:], left[1:], color=color, lw=0.7)
    axis.plot(WAVELENGTHS_UM[:1], left[:1], "x", color=color)
    spread = max(4 * float(np.median(deviation)), 1.1 * float(np.abs(left).max()) if known else 0.0)
    axis.set(ylim=(-spread, spread), xlabel="wavelength in µm", ylabel=f"{'truth' if known else 'fit'} - model")


def _band(axis: Axes, model: FloatArray, deviation: FloatArray, times: int, label: str | None) -> None:
    low, high = model - times * deviation, model + times * deviation
    axis.fill_between(WAVELENGTHS_UM[1:], low[1:], high[1:], color=_MODEL, alpha=0.2, lw=0, label=label)


def draw_planet(planet: Planet, mu: FloatArray, sigma: FloatArray, title: str, path: Path | BinaryIO) -> None:
    """A planet's white light curves with the classical fit, and its spectra, each above what is left of it.

    FGS1 and AIRS are fitted together, to one mid-time and one orbit.
    """
    figure = Figure(figsize=(6.2, 8.6), layout="constrained")
    white, above, below, upper, lower = figure.subplots(5, 1, height_ratios=(2, 0.8, 0.8, 2.4, 1))
    lower.sharex(upper)
    for axis in (above, below):
        axis.sharex(white)
    for axis in (white, above, upper):
        axis.tick_params(labelbottom=False)
    curves, fit = planet.curves, planet.fit
    models = [1.0 - fit.depth[0] * fit.fgs1_shape, 1.0 - fit.white_depth * fit.shape]
    fluxes = [curves.flux[:, part].sum(axis=1) / fit.baseline[:, part].sum(axis=1) for part in INSTRUMENTS.values()]
    scatter = max(float(np.std(flux - model)) for flux, model in zip(fluxes, models, strict=True))
    apart = 1.1 * max(float(np.ptp(model)) for model in models) + 6.0 * scatter
    for flux, model, left, color, name, up in zip(
        fluxes, models, (above, below), (_FGS1, _FIT), INSTRUMENTS, (apart, 0.0), strict=True
    ):
        label = f"{name}, moved up" if up else f"{name}, all channels"
        white.plot(curves.time, flux + up, ".", ms=2, color=color, label=label)
        white.plot(curves.time, model + up, color=_TRUTH, lw=1, label=None if up else "transit fit")
        left.plot(curves.time, (flux - model) * _PPM, ".", ms=2, color=color)
        left.axhline(0.0, color=_TRUTH, lw=0.8)
        left.set_ylabel(f"{name} - fit,\nppm")
    white.set_ylabel("flux / fitted baseline")
    white.legend(frameon=False, fontsize=8, ncol=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    below.set_xlabel("hours since the visit's start")
    draw_spectrum(upper, planet, mu, sigma)
    _draw_residuals(lower, planet, mu, sigma)
    lower.set_ylabel(f"{lower.get_ylabel()}, ppm")
    figure.legend(*upper.get_legend_handles_labels(), frameon=False, fontsize=8, ncol=2, loc="outside lower center")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.savefig(path, dpi=110)


def draw_calibration(axis: Axes, planets: Sequence[Planet], prediction: Prediction) -> None:
    """How often central intervals hold the truth against how often they should, of the planets whose truth is known.

    A curve below the diagonal is that of sigmas that are too small.
    """
    rows = [row for row, planet in enumerate(planets) if planet.label is not None]
    truth = np.stack([planet.label for planet in planets if planet.label is not None])
    fit = np.stack([planets[row].fit.depth for row in rows]), np.stack([planets[row].fit.sigma for row in rows])
    expected = np.linspace(0.0, 1.0, 101)
    axis.plot(expected, expected, color="gray", lw=0.8, ls=":", label="honest")
    for (mu, sigma), color, name in (
        ((prediction.mu[rows], prediction.sigma[rows]), _MODEL, "model"),
        (fit, _FIT, "transit fit"),
    ):
        levels = erf(np.abs(truth - mu) / sigma / math.sqrt(2.0))
        for part, style, words in ((np.s_[:, 1:], "-", "AIRS"), (np.s_[:, :1], "--", "FGS1")):
            observed = [float((levels[part] <= level).mean()) for level in expected]
            axis.plot(expected, observed, color=color, ls=style, lw=1.2, label=f"{name}, {words}")
    axis.set(
        xlabel="share of the truth that an interval should hold",
        ylabel="share that it holds",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axis.set_title(f"calibration, {len(rows)} planets", loc="left", fontsize=9)
    axis.legend(frameon=False, fontsize=8)
