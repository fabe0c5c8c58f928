"""What a trained run makes of planets unlike those it was trained on: ``python benchmarks/robust.py RUN``.

Simulated planets, and the same planets changed, are observed at the level of calibrated light curves, fitted,
predicted, and compared with what they truly are. See README.md for how to read the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import tables
from posterior import BINS, relative_noise

from spectramind_config import ConfigError, from_dict
from spectramind_train.ariel.constants import AIRS_COLUMNS
from spectramind_train.ariel.lightcurves import LightCurves, bin_times
from spectramind_train.ariel.metric import ariel_score
from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Planet
from spectramind_train.results.prediction import LABELS, load_model, predict
from spectramind_train.results.submission import naive_of
from spectramind_train.run.directory import Run
from spectramind_train.run.memory import keep_freed
from spectramind_train.simulated import observation
from spectramind_train.simulated.population import COLUMN_WAVELENGTHS_UM, System, draw_system
from spectramind_train.transit.spectrum_fit import fit_transit

SEED = 11
"""Of planets that no training with the default seed has seen."""
COLUMNS = ("planets", "score", "in 68 %", "in 95 %", "residuals", "FGS1 in 68 %", "FGS1 in 95 %", "flagged")
Change = Callable[[System], System]


def unchanged(system: System) -> System:
    """A planet like those of the training."""
    return system


def depth(value: float) -> Change:
    """Another mean depth; spectral features keep their size, and so the planet its density."""

    def change(system: System) -> System:
        mean = system.spectrum[1:].mean()
        mass = system.star.Mp * (value / mean) ** 1.5
        return replace(system, depth=system.depth + value - mean, star=replace(system.star, Mp=mass))

    return change


def crossing(hours: float) -> Change:
    """A planet that takes another time from the first contact to the last, faster or slower on the same orbit."""

    def change(system: System) -> System:
        star = system.star
        reach = 1.0 + np.sqrt(system.spectrum.mean())
        chord = np.sqrt(reach**2 - (star.sma * np.cos(np.deg2rad(star.i))) ** 2)
        period = hours / 24.0 * np.pi / np.arcsin(chord / star.sma)
        return replace(system, star=replace(star, P=float(period)))

    return change


def molecule(system: System) -> System:
    """A broad band and a narrow one of 200 ppm, where no molecule of the simulator has any."""
    bands = [np.exp(-0.5 * ((COLUMN_WAVELENGTHS_UM - um) / width) ** 2) for um, width in ((3.65, 0.12), (2.48, 0.02))]
    return replace(system, depth=system.depth + 200e-6 * np.sum(bands, axis=0))


def grazing(system: System) -> System:
    """A planet whose centre passes the star's limb."""
    inclination = float(np.rad2deg(np.arccos(1.0 / system.star.sma)))
    return replace(system, star=replace(system.star, i=inclination))


def late(minutes: float) -> Change:
    """A planet that transits later."""
    return lambda system: replace(system, mid_time=system.mid_time + minutes / 60.0)


def elsewhere(system: System) -> System:
    """A planet that does not transit during the visit."""
    return replace(system, mid_time=system.mid_time + 12.0)


def half(system: System) -> System:
    """A planet of half the depth."""
    return replace(system, depth=0.5 * system.depth)


@dataclass(frozen=True)
class Kind:
    """How planets differ from those of the training.

    Attributes:
        truly: What the planet is.
        fgs1: What FGS1 sees instead.
        airs: What AIRS sees instead.
        noise: Relative to the simulator's.
        bins: Time bins of a visit.
        level: Detector units of an electron.
        known: Whether the star's table has a row.
    """

    truly: Change = unchanged
    fgs1: Change = unchanged
    airs: Change = unchanged
    noise: float = 1.0
    bins: int = BINS
    level: float = 1.0
    known: bool = True


KINDS: Mapping[str, Kind] = {
    "as they are": Kind(),
    "depth 0.12": Kind(depth(0.12)),
    "depth 0.0015": Kind(depth(0.0015)),
    "transit of 0.6 h": Kind(crossing(0.6)),
    "transit of 5.5 h": Kind(crossing(5.5)),
    "an unseen molecule": Kind(molecule),
    "grazing": Kind(grazing),
    "grazing, no star row": Kind(grazing, known=False),
    "no transit": Kind(fgs1=elsewhere, airs=elsewhere),
    "noise x 2": Kind(noise=2.0),
    "half the time bins": Kind(bins=BINS // 2),
    "double the time bins": Kind(bins=2 * BINS),
    "half the flux": Kind(level=0.5),
    "double the flux": Kind(level=2.0),
    "no star row": Kind(known=False),
    "FGS1 10 min late": Kind(fgs1=late(10.0)),
    "FGS1 40 min late": Kind(fgs1=late(40.0)),
    "FGS1 of half the depth": Kind(fgs1=half),
}


def observed(name: str, index: int) -> Planet:
    """Planet number ``index`` of a kind, observed and fitted; its drifts are the same whatever the kind."""
    keep_freed()
    kind = KINDS[name]
    rng = np.random.default_rng((SEED, index))
    system = kind.truly(draw_system(SEED, "train", index))
    airs, fgs1 = observation.flux(kind.airs(system), kind.bins)
    if kind.fgs1 is not kind.airs:
        _, fgs1 = observation.flux(kind.fgs1(system), kind.bins)
    drifts = observation._drift(rng, kind.bins), observation._drift(rng, kind.bins)
    slope = 1.0 + rng.normal(0.0, 0.2) * (COLUMN_WAVELENGTHS_UM[1:] - 2.9)
    white = fgs1.reshape(kind.bins, -1).mean(axis=1) * (1.0 + drifts[0])
    channels = (airs.T * (1.0 + np.outer(drifts[1], slope)))[:, AIRS_COLUMNS][:, ::-1]
    flux = kind.level * np.column_stack([white, channels])
    flux *= 1.0 + kind.noise * np.sqrt(kind.bins / BINS) * relative_noise(system) * rng.standard_normal(flux.shape)
    curves = LightCurves(str(index), bin_times(kind.bins), flux)
    star = system.star if kind.known else None
    return Planet(curves.planet_id, curves, fit_transit(curves, star), system.spectrum, star)


def measured(run: Run, planets: Mapping[str, Sequence[Planet]]) -> dict[str, dict[str, float]]:
    """A run's predictions of planets of several kinds beside the truth: score, shares in percent, numbers."""
    model = load_model(from_dict(run.manifest.config, f"{run.path}/manifest.json"), run.checkpoint(print))
    naive = naive_of(run) or LABELS
    found = {}
    for name, group in planets.items():
        predicted = predict(model, group, [to_batch(group)], naive=naive)
        truth = np.stack([planet.label for planet in group if planet.label is not None])
        residual = (truth - predicted.mu) / predicted.sigma
        score = ariel_score(predicted.mu, predicted.sigma, truth, naive_mean=naive[0], naive_sigma=naive[1])
        shares = [
            100.0 * np.mean(np.abs(part) < width) for part in (residual, residual[:, 0]) for width in (0.9945, 1.96)
        ]
        flagged = sum(bool(one.flags) for one in predicted.diagnoses.values())
        values = (score, *shares[:2], residual.std(), *shares[2:], flagged)
        found[name] = dict(zip(COLUMNS[1:], map(float, values), strict=True))
    return found


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a trained run")
    parser.add_argument("--quick", action="store_true", help="a smoke run of a minute; its figures mean nothing")
    parser.add_argument("--planets", type=int, default=64, help="of each kind (default: 64)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to a file")
    options = parser.parse_args()
    count = 2 if options.quick else options.planets
    try:
        run = Run.open(options.run)
        with ProcessPoolExecutor(options.workers) as pool:
            jobs = {name: pool.map(partial(observed, name), range(count), chunksize=4) for name in KINDS}
            print(tables.row(COLUMNS), tables.row(["---", *["--:"] * (len(COLUMNS) - 1)]), sep="\n")
            found = {}
            for name, planets in jobs.items():
                found |= measured(run, {name: list(planets)})
                print(tables.row(shown(name, found[name])), flush=True)
    except ConfigError as error:
        return error.tell()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def shown(name: str, values: Mapping[str, float]) -> list[str]:
    """A row of the table."""
    score, *_, flagged = values.values()
    cells = [f"{values[column]:.0f} %" if column.endswith("%") else f"{values[column]:.2f}" for column in COLUMNS[2:-1]]
    return [name, f"{score:.3f}", *cells, f"{flagged:.0f}"]


if __name__ == "__main__":
    sys.exit(main())
