"""What a finished command says: tables of scores and of predicted spectra."""

from __future__ import annotations

from collections.abc import Sequence

from spectramind_train.planets.preparation import Planet
from spectramind_train.results.prediction import Prediction
from spectramind_train.run.directory import Run
from spectramind_train.run.terminal import Terminal


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
