"""What a finished command says: tables of scores and of predicted spectra."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from spectramind_train.results.assessment import PARTS, Assessment, Part
from spectramind_train.run.directory import Run
from spectramind_train.run.terminal import Terminal

if TYPE_CHECKING:  # What is scored may come from a file, without a model.
    from spectramind_train.planets.preparation import Planet
    from spectramind_train.results.prediction import Prediction
    from spectramind_train.transit.diagnosis import Diagnosis

MOST_PLANETS: Final = 20


def _figure(value: float, digits: int = 0) -> str:
    """A number of a table; in short where a submission is so far off that it would fill the screen with digits."""
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.1e}"


_FIGURES: Final[dict[str, Callable[[Part], str]]] = {
    "score, {}": lambda part: _figure(part.score, 4),
    "rms error, {} (ppm)": lambda part: _figure(part.rmse_ppm),
    "within 68 %, {}": lambda part: f"{100 * part.coverage_68:.1f} %",
    "within 95 %, {}": lambda part: f"{100 * part.coverage_95:.1f} %",
    "sd of error / sigma, {}": lambda part: _figure(part.residual_std, 2),
}


def report_assessments(title: str, found: Mapping[str, Assessment], terminal: Terminal) -> None:
    """What predictions of the same planets are worth, each in a column."""
    rows = [("score", *(f"{one.score:.4f}" for one in found.values()))]
    for words, figure in _FIGURES.items():
        rows.append((words.format("FGS1"), *(figure(one.fgs1) for one in found.values())))
        rows.append((words.format("AIRS"), *(figure(one.airs) for one in found.values())))
    terminal.table(title, ("", *found), rows)


def report_flags(diagnoses: Mapping[str, Diagnosis], terminal: Terminal) -> None:
    """The planets whose light curves no transit explains, if there are any, and how large their sigma is at least."""
    flagged = {name: one for name, one in diagnoses.items() if one.flags}
    if not flagged:
        return
    rows = [
        (name, one.words, *(f"{1e6 * np.median(one.least_sigma[part]):.0f}" for part in PARTS.values()))
        for name, one in list(flagged.items())[:MOST_PLANETS]
    ]
    more = f" ({len(rows)} of {len(flagged)})" if len(rows) < len(flagged) else ""
    columns = ("planet", "light curves", "FGS1 sigma at least (ppm)", "AIRS sigma at least (ppm)")
    terminal.table(f"What no transit explains{more}", columns, rows)


def report_planets(found: Assessment, terminal: Terminal) -> None:
    """The planets that a prediction is worst at."""
    shown = found.planets[:MOST_PLANETS]
    rows = [
        (one.planet_id, _figure(one.score, 4), *map(_figure, (one.rmse_fgs1_ppm, one.rmse_airs_ppm, one.chi2)))
        for one in shown
    ]
    more = f" ({len(shown)} of {len(found.planets)})" if len(shown) < len(found.planets) else ""
    columns = ("planet", "score", "FGS1 rms (ppm)", "AIRS rms (ppm)", "chi² of 283")
    terminal.table(f"Planets, the worst first{more}", columns, rows)


def report_scores(run: Run, terminal: Terminal) -> None:
    """The scores of a run beside those of its rivals, and where to find the rest."""
    metrics = run.manifest.metrics
    names = {"test": run.manifest.profiles["model"], "fit": "classical transit fit", "mean": "training mean"}
    rows = [
        (
            words,
            f"{metrics[f'{name}_score']:.4f}",
            f"{metrics[f'{name}_rmse_fgs1_ppm']:.0f}",
            f"{metrics[f'{name}_rmse_airs_ppm']:.0f}",
        )
        for name, words in names.items()
    ]
    terminal.table("Test planets", ("prediction", "score", "FGS1 rms (ppm)", "AIRS rms (ppm)"), rows)
    terminal.say(f"{run.manifest.status}: see {run.path} for manifest.json, checkpoints, predictions and pictures")


def report_spectra(planets: Sequence[Planet], prediction: Prediction, terminal: Terminal) -> None:
    """The mean of each predicted spectrum, beside the white-light fit's depth."""
    rows = [
        (
            planet.planet_id,
            f"{100 * mu.mean():.3f} %",
            f"{1e6 * sigma.mean():.0f}",
            f"{100 * planet.fit.white_depth:.3f} %",
        )
        for planet, mu, sigma in zip(planets, prediction.mu, prediction.sigma, strict=True)
    ]
    terminal.table("Predicted spectra", ("planet", "mean (Rp/Rs)²", "mean sigma (ppm)", "white-light fit"), rows)
