"""Pictures of a run: how it learned, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spectramind_train.ariel.constants import WAVELENGTHS_UM

if TYPE_CHECKING:
    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import Prediction
    from spectramind_train.run.trials import Row

mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

_PPM = 1e6
_TRUTH, _MODEL, _FIT = "black", "tab:blue", "tab:orange"


def draw_learning(validations: Sequence[dict[str, float]], fit_score: float, path: Path) -> None:
    """Validation loss and score over the epochs, with the classical fit's test score for comparison."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    loss, score = figure.subplots(1, 2)
    epochs = np.arange(1, len(validations) + 1)
    loss.plot(epochs, [row["val_loss"] for row in validations], color=_MODEL, marker=".")
    loss.set(xlabel="validation", ylabel="validation loss")
    score.plot(epochs, [row["val_score"] for row in validations], color=_MODEL, marker=".", label="model")
    score.axhline(fit_score, color=_FIT, linestyle="--", label="transit fit, test planets")
    score.set(xlabel="validation", ylabel="validation score")
    score.legend(frameon=False)
    figure.savefig(path, dpi=120)


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


def draw_spectra(planets: Sequence[Planet], prediction: Prediction, path: Path, *, most: int = 6) -> None:
    """True, fitted and predicted spectra of some planets, in parts per million of the star's light."""
    shown = list(enumerate(planets))[:most]
    rows = -(-len(shown) // 2)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis, (row, planet) in zip(axes, shown, strict=False):
        mu, sigma = prediction.mu[row] * _PPM, prediction.sigma[row] * _PPM
        axis.errorbar(
            WAVELENGTHS_UM,
            planet.fit.depth * _PPM,
            planet.fit.sigma * _PPM,
            fmt=".",
            ms=2,
            lw=0.4,
            color=_FIT,
            alpha=0.4,
            label="transit fit",
            zorder=1,
        )
        axis.fill_between(WAVELENGTHS_UM[1:], (mu - sigma)[1:], (mu + sigma)[1:], color=_MODEL, alpha=0.3, lw=0)
        axis.plot(WAVELENGTHS_UM[1:], mu[1:], color=_MODEL, lw=1.2, label="model")
        axis.errorbar(WAVELENGTHS_UM[:1], mu[:1], sigma[:1], fmt="o", ms=4, color=_MODEL)
        if planet.label is not None:
            axis.plot(WAVELENGTHS_UM[1:], planet.label[1:] * _PPM, color=_TRUTH, lw=1, label="truth")
            axis.plot(WAVELENGTHS_UM[:1], planet.label[:1] * _PPM, "x", color=_TRUTH)
        reference = mu if planet.label is None else planet.label * _PPM
        spread = max(6 * float(np.median(sigma)), 1.5 * float(np.ptp(reference)))
        axis.set_ylim(float(np.median(reference)) - spread, float(np.median(reference)) + spread)
        axis.set_title(f"planet {planet.planet_id}", loc="left", fontsize=9)
        axis.set_ylabel("(Rp/Rs)² in ppm")
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(shown) - 2) : len(shown)]:
        axis.set_xlabel("wavelength in µm")
    axes[0].legend(frameon=False, ncol=3, fontsize=8)
    figure.savefig(path, dpi=120)
