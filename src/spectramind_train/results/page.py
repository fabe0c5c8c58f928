"""A run on one page that needs nothing else: scores, pictures, planets, settings and who has set them."""

from __future__ import annotations

import base64
import functools
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from spectramind_config import EffectiveConfig
from spectramind_train.results import figures
from spectramind_train.results.assessment import Assessment
from spectramind_train.results.evaluation import Evaluation
from spectramind_train.run import journal
from spectramind_train.run.checkpoints import Index
from spectramind_train.run.directory import Run

_SHOWN = 6
_MEANING = (
    "1 is the score of a perfect spectrum, 0 that of the mean of all training labels. Intervals are honest where they "
    "hold 68 % and 95 % of the true values, and where the residuals, divided by sigma, have a standard deviation of 1."
)


@dataclass(frozen=True)
class _Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def page(
    run: Run, config: EffectiveConfig, checkpoint: Path, evaluation: Evaluation, found: Mapping[str, Assessment]
) -> str:
    """The page, in HTML.

    Args:
        run: The run.
        config: Its config.
        checkpoint: The weights that were evaluated.
        evaluation: What they predict of the test planets.
        found: What that is worth, and its rivals, by names that a user knows.
    """
    model, planets, prediction = evaluation.worth["test"], evaluation.planets, evaluation.prediction
    chosen = Index.read(run.checkpoints).epochs(checkpoint.name)
    rows = {planet.planet_id: row for row, planet in enumerate(planets)}
    worst = model.planets[: _SHOWN - 2]
    shown = [*worst, *(one for one in model.planets[-2:] if one not in worst)]
    pictures = [
        (
            one.planet_id,
            _png(
                figures.draw_planet,
                planets[rows[one.planet_id]],
                prediction.mu[rows[one.planet_id]],
                prediction.sigma[rows[one.planet_id]],
                f"planet {one.planet_id}, score {one.score:.3f}",
            ),
        )
        for one in shown
    ]
    calibration = Figure(figsize=(5.6, 4.2), layout="constrained")
    figures.draw_calibration(calibration.subplots(), planets, prediction)
    manifest, host = run.manifest, run.manifest.host.get("name", "an unknown host")
    return _template().render(
        run_id=manifest.run_id,
        about=f"{manifest.profiles.get('model', '')}, {manifest.describe()}, started {manifest.started}, on {host}",
        scores=_scores(found),
        meaning=_MEANING,
        learning=_png(
            functools.partial(
                figures.draw_learning,
                chosen=chosen,
                fit_score=manifest.metrics.get("fit_val_score"),
                stacked=True,
            ),
            journal.rows(run.path / journal.JOURNAL),
        ),
        calibration=_png(calibration.savefig),
        choice=f"Those with the lowest scores and, last, the highest, of {len(planets)} test planets.",
        pictures=pictures,
        planets=_Table(
            ("planet", "score", "FGS1 error (ppm)", "AIRS rms (ppm)", "chi²", "what no transit explains"),
            [
                (
                    one.planet_id,
                    f"{one.score:.3f}",
                    f"{one.rmse_fgs1_ppm:.0f}",
                    f"{one.rmse_airs_ppm:.0f}",
                    f"{one.chi2:.0f}",
                    prediction.diagnoses[one.planet_id].words,
                )
                for one in model.planets
            ],
        ),
        command=shlex.join(["spectramind", "train", *manifest.overrides]),
        asked=_settings(config, manifest.overrides),
        settings=_settings(config),
        surroundings=_surroundings(run),
    )


def _scores(found: Mapping[str, Assessment]) -> _Table:
    columns = ("", "score", "part", "score", "rms (ppm)", "in 68 %", "in 95 %", "residuals / sigma")
    rows = []
    for name, one in found.items():
        for part, words in ((one.fgs1, "FGS1"), (one.airs, "AIRS")):
            head = (name, f"{one.score:.4f}") if part is one.fgs1 else ("", "")
            coverage = (f"{100 * part.coverage_68:.0f} %", f"{100 * part.coverage_95:.0f} %")
            rows.append(
                (*head, words, f"{part.score:.4f}", f"{part.rmse_ppm:.0f}", *coverage, f"{part.residual_std:.2f}")
            )
    return _Table(columns, rows)


def _settings(config: EffectiveConfig, asked: Sequence[str] | None = None) -> _Table:
    """Settings with their values and who has set them: all, or those of experiments and of these overrides."""
    rows = [
        (one.path, str(one.value), str(one))
        for one in config.origins()
        if asked is None or one.layer == "experiment" or str(one) in asked
    ]
    return _Table(("setting", "value", "set by"), rows)


def _surroundings(run: Run) -> _Table:
    manifest = run.manifest
    commit = f"{manifest.git.commit}{' with changes' if manifest.git.dirty else ''}" if manifest.git else "unknown"
    rows = [
        ("devices", f"{manifest.devices.effective}, {manifest.precision.effective}"),
        ("commit", commit),
        ("data", f"{manifest.data.root}, fingerprint {manifest.data.fingerprint[:12]}" if manifest.data else "unknown"),
        ("fingerprint", manifest.fingerprint),
        *((name, version) for name, version in manifest.packages.items()),
    ]
    return _Table(("what", "then"), rows)


def _png(draw: Callable[..., Any], *arguments: Any) -> str:
    """A picture as text."""
    file = io.BytesIO()
    draw(*arguments, file)
    return base64.b64encode(file.getvalue()).decode()


@functools.cache
def _template() -> jinja2.Template:
    source = (files("spectramind_train.results") / "page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
