"""The table that the challenge takes: a row for every planet, whatever is wrong with some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from spectramind_config import ConfigError
from spectramind_train.ariel.constants import N_CHANNELS, FloatArray
from spectramind_train.ariel.submission import Layout
from spectramind_train.ariel.tables import write_csv
from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Entry, Failure, Planet
from spectramind_train.results.assessment import PARTS
from spectramind_train.results.prediction import LABELS, Naive, Prediction, predict
from spectramind_train.run.directory import Run
from spectramind_train.transit.diagnosis import Diagnosis
from spectramind_train.v50.network import SpectrumModel

Spectrum = tuple[FloatArray, FloatArray]
"""A planet's spectrum and its standard deviations, (283,) each, in (Rp/Rs)^2."""


def naive_of(run: Run) -> Naive | None:
    """What a planet gets of which nothing is known but the training labels; None where an older run lacks it."""
    record = run.manifest.data
    if record is None or record.naive_mean is None or record.naive_sigma is None:
        return None
    mean, sigma = record.naive_mean, record.naive_sigma
    return (mean, sigma) if 0.0 <= mean < math.inf and 0.0 < sigma < math.inf else None


def predict_entries(
    model: SpectrumModel,
    entries: Sequence[Entry],
    *,
    batch_size: int,
    naive: Naive = LABELS,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[Prediction | Failure]:
    """Predict planets of the cache, of which no more than a batch is in memory at a time.

    Args:
        model: The model, on the CPU.
        entries: The planets.
        batch_size: Planets per batch.
        naive: As for :func:`predict`.
        progress: Called with (planets done, planets in all).

    Yields:
        The spectra of planets, in the order given, and those that cannot be predicted.
    """
    for start in range(0, len(entries), batch_size):
        batch = entries[start : start + batch_size]
        found = [entry.read() for entry in batch]
        yield from (one for one in found if isinstance(one, Failure))
        yield from _predict(model, [one for one in found if isinstance(one, Planet)], naive)
        progress(start + len(batch), len(entries))


def _predict(model: SpectrumModel, planets: Sequence[Planet], naive: Naive) -> Iterator[Prediction | Failure]:
    """Predict a batch; where that fails, a planet at a time, to tell whose fault it is."""
    if not planets:
        return
    try:
        yield _positive(predict(model, planets, [to_batch(planets)], naive=naive))
    except ConfigError as error:
        if len(planets) == 1:
            yield Failure(planets[0].planet_id, error)
        else:
            for planet in planets:
                yield from _predict(model, [planet], naive)


def _positive(prediction: Prediction) -> Prediction:
    """A prediction, refused where a model of somebody's own gives a sigma that the challenge does not take."""
    if not (prediction.sigma > 0.0).all():
        raise ConfigError("its predicted sigma is not positive")
    return prediction


def write_table(
    path: Path, layout: Layout, planet_ids: Sequence[str], spectra: Mapping[str, Spectrum], naive: Naive | None
) -> None:
    """Write a row for each planet: what was predicted, or else the training mean with the sigma of the labels.

    Args:
        path: The file.
        layout: Its columns.
        planet_ids: Its rows.
        spectra: What was predicted, by planet.
        naive: What the other planets get; None where there are none.

    Raises:
        OSError: It cannot be written.
        ValueError: A planet has neither.
    """
    mu, sigma = (np.full((len(planet_ids), N_CHANNELS), value) for value in naive or (math.nan, math.nan))
    for row, planet_id in enumerate(planet_ids):
        if planet_id in spectra:
            mu[row], sigma[row] = spectra[planet_id]
    if not (np.isfinite(mu) & np.isfinite(sigma)).all():
        raise ValueError("a planet has neither a prediction nor a training mean")
    layout.write(path, planet_ids, mu, sigma)


def flags_table(table: Path) -> Path:
    """The table of flags beside a table of predictions."""
    return table.with_name(f"{table.stem}_flags.csv")


def write_flags(path: Path, diagnoses: Mapping[str, Diagnosis]) -> None:
    """Write a row for each flag of each planet, and how large sigma is at least because of them.

    Args:
        path: The file.
        diagnoses: Of each planet, by its name.

    Raises:
        OSError: It cannot be written.
    """
    rows = [(name, flag, one) for name, one in diagnoses.items() for flag in one.flags]
    columns: dict[str, list[str] | list[float]] = {
        "planet_id": [name for name, _, _ in rows],
        "flag": [str(flag.kind) for _, flag, _ in rows],
        "number": [flag.number for _, flag, _ in rows],
        "words": [flag.words for _, flag, _ in rows],
    }
    for part, channels in PARTS.items():
        columns[f"least_sigma_{part}"] = [float(np.median(one.least_sigma[channels])) for _, _, one in rows]
    write_csv(path, columns)
