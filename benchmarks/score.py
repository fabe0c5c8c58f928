"""Score V50 beside what needs no training and beside what nothing can beat: ``python benchmarks/score.py``.

One fixed set of simulated planets is written, prepared and split; on its test planets are scored the training mean, the
transit fit of every channel by itself with one sigma, the same with shrinkage towards the training spectra, V50 trained
by ``spectramind train``, and the exact posterior (see ``posterior.py``). With ``--ablations`` V50 is trained with other
seeds and without each of its parts as well. See README.md for how to read the table.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import tables
from posterior import likelihood, posterior

from spectramind_config import Calibration, Simulation, compose
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.ariel.metric import WEIGHTS, score_by_element
from spectramind_train.ariel.spectra import Spectra, read_spectra
from spectramind_train.planets.preparation import Planet, prepare
from spectramind_train.planets.splits import split
from spectramind_train.run.memory import keep_freed
from spectramind_train.simulated.data_set import TEST_PLANETS, simulate
from spectramind_train.simulated.population import draw_system
from spectramind_train.v50.network import RANGES

TRAIN, VAL, TEST = 512, 64, 128
SEED = 2025
"""Of the simulation."""
SETTINGS = ("experiment=challenge", "trainer.early_stopping.enabled=false")
SEEDS = (1, 2, 3)
"""Of trainings whose predictions are averaged."""
ABLATIONS = ("limb_darkening", "rehearsal", "encoders", "fit")
TABLE, SIGMAS = (Path(__file__).with_name(name) for name in ("scores.csv", "sigmas.csv"))
RESAMPLED = 2000
HALF_WIDTHS = 0.9945, 1.96
"""Sigmas to each side of the intervals of 68 and 95 %."""
SIGMA_COLUMNS = ("part", "residual", "68 %", "95 %")
COLUMNS = ("method", "score", "low", "high", "FGS1", "AIRS", "residual", "residual FGS1", "68 %", "95 %", "seconds")


@dataclass(frozen=True)
class Contest:
    """Planets, and what a contender may know of them.

    Attributes:
        train: Planets with labels.
        val: Planets with labels, to set sigmas by.
        test: Planets to predict.
    """

    train: list[Planet]
    val: list[Planet]
    test: list[Planet]

    @property
    def naive(self) -> tuple[float, float]:
        """Mean and standard deviation of the training labels."""
        labels = truth(self.train)
        return float(labels.mean()), float(labels.std())


def truth(planets: Sequence[Planet]) -> FloatArray:
    """Labels (N, 283)."""
    return np.stack([planet.label for planet in planets if planet.label is not None])


Predicted = tuple[FloatArray, FloatArray]


def mean(contest: Contest) -> Predicted:
    """The training mean and standard deviation, whatever the planet."""
    shape = truth(contest.test).shape
    return np.full(shape, contest.naive[0]), np.full(shape, contest.naive[1])


def channels(contest: Contest) -> Predicted:
    """The fit of each channel by itself, with one sigma: the rms error of the validation planets."""

    def depths(planets: Sequence[Planet]) -> FloatArray:
        return np.stack([planet.fit.depth for planet in planets])

    mu = depths(contest.test)
    return mu, np.full_like(mu, np.sqrt(np.mean((depths(contest.val) - truth(contest.val)) ** 2)))


def shrinkage(contest: Contest) -> Predicted:
    """The posterior of a Gaussian prior learnt from the training spectra, sigma set by the validation planets.

    A spectrum is a level, of which nothing is assumed, and a shape of the mean and covariance of the training shapes
    after each has been divided by the size that its star and depth let expect.
    """
    labels = truth(contest.train)
    shapes = labels - labels[:, 1:].mean(axis=1, keepdims=True)
    known, *_ = np.linalg.lstsq(_regressors(contest.train), np.log(shapes[:, 1:].std(axis=1)), rcond=None)
    shapes /= np.exp(_regressors(contest.train) @ known)[:, None]
    middle, covariance = shapes.mean(axis=0), np.cov(shapes.T)
    covariance += 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))

    def predict(planets: Sequence[Planet]) -> Predicted:
        found = []
        for planet, size in zip(planets, np.exp(_regressors(planets) @ known), strict=True):
            fit = planet.fit
            shared = fit.shared_errors
            errors = np.diag(np.maximum(fit.sigma**2 - (shared**2).sum(axis=0), 0.0025 * fit.sigma**2))
            errors += shared.T @ shared
            prior = size**2 * covariance + 1e-4
            expected = np.average(fit.depth[1:], weights=fit.sigma[1:] ** -2) + size * middle
            gain = np.linalg.solve(prior + errors, prior).T
            variance = np.diag(prior - gain @ prior)
            found.append((expected + gain @ (fit.depth - expected), np.sqrt(np.maximum(variance, 1e-12))))
        mu, sigma = (np.stack(parts) for parts in zip(*found, strict=True))
        return mu, sigma

    mu, sigma = predict(contest.val)
    squares = ((truth(contest.val) - mu) / sigma) ** 2
    factor = np.r_[np.sqrt(squares[:, 0].mean()), np.full(282, np.sqrt(squares[:, 1:].mean()))]
    mu, sigma = predict(contest.test)
    return mu, sigma * factor


def _regressors(planets: Sequence[Planet]) -> FloatArray:
    """What tells the size of spectral features (N, 3): 1, log scale height but for a constant, and log depth."""
    rows = []
    for planet in planets:
        star, depth = planet.star, planet.fit.white_depth
        # Scale height over radius, times depth: T R / M, with R the planet's radius and T of equilibrium.
        height = 0.0 if star is None else np.log(star.Ts / np.sqrt(star.sma) * depth**1.5 * star.Rs / star.Mp)
        rows.append((1.0, height, np.log(depth)))
    return np.array(rows)


def _exact(indices: Sequence[int]) -> Predicted:
    """The posterior of some training planets of the simulation, of data drawn for them."""
    keep_freed()
    rng = np.random.default_rng((SEED, *indices))
    systems = [draw_system(SEED, "train", index) for index in indices]
    return posterior(systems, [likelihood(system, rng) for system in systems], rng)


def ceiling(contest: Contest, workers: int) -> Predicted:
    """The exact posterior for the simulator's own prior and noise."""
    indices = [int(planet.planet_id) - 1_000_001 for planet in contest.test]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_exact, [indices[i : i + 4] for i in range(0, len(indices), 4)]))
    mu, sigma = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mu, sigma


def trained(contest: Contest, root: Path, cache: Path, settings: Sequence[str], folder: Path) -> Predicted:
    """V50, trained by the command that a user would give; it has the same split, and writes what it predicts."""
    count = len(contest.train + contest.val + contest.test)
    fractions = f"data.val_fraction={len(contest.val) / count}", f"data.test_fraction={len(contest.test) / count}"
    places = f"local.paths.data_root={root}", f"local.paths.cache_dir={cache}", f"local.paths.output_dir={folder}"
    command = [sys.executable, "-m", "spectramind_train", *fractions, *places, *settings]
    subprocess.run(command, check=True)  # noqa: S603 - our own program.
    spectra = read_spectra(_newest(folder) / "test_predictions.csv", ("wl", "sigma"))
    rows = {name: row for row, name in enumerate(spectra.planet_ids)}
    order = [rows[planet.planet_id] for planet in contest.test]
    return spectra.values["wl"][order], spectra.values["sigma"][order]


def _newest(folder: Path) -> Path:
    """The newest run in a folder."""
    return max((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)


def predicting(run: Path, root: Path) -> float:
    """Seconds that ``spectramind predict`` takes for all labelled planets, calibrated and fitted before."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "spectramind_train.cli", "predict", str(run), "--data", str(root)]
        command += ["--split", "train", "--out", str(Path(folder) / "spectra.csv")]
        began = time.monotonic()
        subprocess.run(command, check=True)  # noqa: S603 - our own program.
        return time.monotonic() - began


def seeds(contest: Contest, root: Path, cache: Path, settings: Sequence[str], folder: Path) -> Predicted:
    """Mean and standard deviation of the mixture of several trainings, as of ``spectramind predict RUN RUN``."""
    same = f"data.split_seed={compose([]).seed}"
    parts = [trained(contest, root, cache, [*settings, same, f"local.seed={seed}"], folder) for seed in SEEDS]
    mu = np.mean([one for one, _ in parts], axis=0)
    return mu, np.sqrt(np.mean([sigma**2 + (one - mu) ** 2 for one, sigma in parts], axis=0))


def ratios(predicted: Predicted, contest: Contest) -> FloatArray:
    """Elements of the score (N, 283)."""
    naive_mean, naive_sigma = contest.naive
    mu = np.maximum(predicted[0], 0.0)
    return score_by_element(mu, predicted[1], truth(contest.test), naive_mean=naive_mean, naive_sigma=naive_sigma)


def interval(ratio: FloatArray) -> tuple[float, float, float]:
    """The mean score, and what holds 95 % of those of test planets drawn again."""
    by_planet = np.average(ratio, axis=1, weights=WEIGHTS)
    drawn = np.random.default_rng(0).integers(0, len(by_planet), (RESAMPLED, len(by_planet)))
    low, high = np.quantile(by_planet[drawn].mean(axis=1), (0.025, 0.975))
    return float(by_planet.mean()), float(low), float(high)


def row(method: str, predicted: Predicted, contest: Contest, seconds: float) -> dict[str, str]:
    """One line of the table."""
    mu, sigma, labels = *predicted, truth(contest.test)
    ratio = ratios(predicted, contest)
    residual = (labels - mu) / sigma
    values = [*interval(ratio), ratio[:, 0].mean(), ratio[:, 1:].mean()]
    shown = [method, *(f"{value:.4f}" for value in values), f"{residual.std():.2f}", f"{residual[:, 0].std():.2f}"]
    shown += [f"{100 * np.mean(np.abs(residual) < width):.0f}" for width in HALF_WIDTHS]
    return dict(zip(COLUMNS, [*shown, f"{seconds:.0f}"], strict=True))


def sigmas(predicted: Predicted, contest: Contest) -> list[dict[str, str]]:
    """How honest sigmas are: of all channels, of FGS1 and of four ranges of AIRS."""
    residual = (truth(contest.test) - predicted[0]) / predicted[1]
    parts = np.split(residual, np.cumsum(RANGES)[:-1], axis=1)
    names = ("all", "FGS1", *(f"AIRS {number}" for number in range(1, len(RANGES))))
    rows = []
    for name, part in zip(names, [residual, *parts], strict=True):
        shares = (f"{100 * np.mean(np.abs(part) < width):.1f}" for width in HALF_WIDTHS)
        rows.append(dict(zip(SIGMA_COLUMNS, (name, f"{part.std():.3f}", *shares), strict=True)))
    return rows


def prepared(root: Path, cache: Path, sizes: tuple[int, int, int], spectra: Path | None, workers: int) -> Contest:
    """The benchmark's planets: simulated where they are not there yet, calibrated, fitted and split."""
    count = sum(sizes)
    names = [str(1_000_001 + index) for index in range(count)]
    parts = split(names, sizes[1] / count, sizes[2] / count, compose([]).seed)
    table = None
    if spectra is not None:
        # The same spectrum may come twice, of another star, but never in two parts.
        found = read_spectra(spectra, ("wl",)).values["wl"]
        ends = np.round(np.cumsum([0, *sizes]) / count * len(found)).astype(int)
        rows = np.random.default_rng(SEED).permutation(len(found))
        source = {
            name: rows[first + number % (end - first)]
            for part, first, end in zip(parts, ends, ends[1:], strict=False)
            for number, name in enumerate(part)
        }
        table = np.stack([found[source[name]] for name in names])
    dataset = _simulated(root, count, table, workers)
    planets = prepare(dataset, names, Calibration(), cache / "planets", progress=_show("calibrating"), workers=workers)
    by_name = {planet.planet_id: planet for planet in planets}
    return Contest(*([by_name[name] for name in part] for part in parts))


def _simulated(root: Path, count: int, table: FloatArray | None, workers: int) -> Dataset:
    settings = Simulation(planets=count, seed=SEED)
    # The simulation's own planets without a label, which nobody scores, take the first two spectra.
    rows = None if table is None else np.concatenate([table, table[:TEST_PLANETS]])
    given = None if rows is None else Spectra(root, tuple(map(str, range(len(rows)))), {"wl": rows})
    return simulate(root, settings, spectra=given, progress=_show("simulating"), workers=workers)


def _show(what: str) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"{what} planets: {done} of {total}", flush=True)

    return progress


def main() -> None:
    """Run the contest and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of some minutes; its scores mean nothing")
    parser.add_argument("--folder", type=Path, help="where planets and runs are kept, to be used again")
    parser.add_argument("--spectra", type=Path, help="labels to simulate, wl_1 to wl_283, instead of physics")
    parser.add_argument("--ablations", action="store_true", help="train V50 without each of its parts, and more seeds")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("settings", nargs="*", help="more settings of the training")
    given = parser.parse_args()
    sizes = (32, 8, 8) if given.quick else (TRAIN, VAL, TEST)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        name = "given" if given.spectra else "physics"
        root, cache = folder / f"{name}-{sum(sizes)}", folder / "cache"
        contest = prepared(root, cache, sizes, given.spectra, given.workers)
        settings = [*SETTINGS, *(["local.max_epochs=2"] if given.quick else []), *given.settings]
        contenders: dict[str, Callable[[], Predicted]] = {
            "training mean": lambda: mean(contest),
            "fit by channel, one sigma": lambda: channels(contest),
            "fit with shrinkage": lambda: shrinkage(contest),
            "V50": partial(trained, contest, root, cache, settings, folder / "runs"),
        }
        if given.ablations:
            for name in ABLATIONS:
                more = [*settings, f"experiment=[challenge,without_{name}]"]
                contenders[f"V50 without {name}"] = partial(trained, contest, root, cache, more, folder / "runs")
            contenders["V50, three seeds"] = partial(seeds, contest, root, cache, settings, folder / "runs")
        if not given.spectra:
            contenders["exact posterior"] = lambda: ceiling(contest, given.workers)
        rows, elements, honest = [], {}, list[dict[str, str]]()
        for method, predict in contenders.items():
            began = time.monotonic()
            predicted = predict()
            elements[method] = ratios(predicted, contest)
            rows.append(row(method, predicted, contest, time.monotonic() - began))
            print(f"{method}: {rows[-1]['score']}", flush=True)
            if method == "V50":
                honest = sigmas(predicted, contest)
                took = predicting(_newest(folder / "runs"), root)
                print(f"predicting {sum(sizes)} planets from the cache: {took:.0f} s", flush=True)
    print(f"\n{name}, {sizes[0]} planets to train on, {sizes[1]} to validate, {sizes[2]} to test\n")
    print(tables.row(COLUMNS), tables.row(["---"] * len(COLUMNS)), sep="\n")
    for one in rows:
        print(tables.row(one.values()))
    print("\nV50 less the others on the same planets, with 95 % intervals")
    own = elements.pop("V50")
    for method, ratio in elements.items():
        print("{}: {:+.4f}, {:+.4f} to {:+.4f}".format(method, *interval(own - ratio)))
    print("\nV50's residuals and intervals\n")
    print(tables.row(SIGMA_COLUMNS), tables.row(["---"] * len(SIGMA_COLUMNS)), sep="\n")
    for one in honest:
        print(tables.row(one.values()))
    if not given.quick:
        _keep(TABLE, name, rows)
        _keep(SIGMAS, name, honest)


def _keep(table: Path, name: str, rows: Sequence[dict[str, str]]) -> None:
    """Append to a table of results, with commit and date."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    new = not table.is_file()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["date", "commit", "benchmark", *rows[0]])
        for one in rows:
            writer.writerow([date.today().isoformat(), commit.stdout.strip(), name, *one.values()])  # noqa: DTZ011


if __name__ == "__main__":
    main()
