"""Measure the calibration of a planet beside two yardsticks, and print ratios: ``python benchmarks/calibrate.py``.

Contenders live in processes of their own; each round goes through all of them in turn, so that a busy machine slows all
alike, and a ratio is the median over the rounds. See README.md for what each one does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
import tables
from numpy.typing import NDArray

from spectramind_config import Calibration, Simulation
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import AIRS_COLUMNS
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.ariel.detector import AIRS, FGS1, Instrument, Window, apertures
from spectramind_train.planets.preparation import prepare
from spectramind_train.simulated.data_set import simulate

READING, PLAIN, STEPS, OURS, WHOLE = (
    "pyarrow, reading alone",
    "NumPy and pandas, seven steps",
    "ours, seven steps",
    "ours as shipped, outliers rejected",
    "ours, fitted and stored too",
)
SHIPPED = Calibration()
SEVEN_STEPS = replace(SHIPPED, outlier_sigma=0.0)
"""The organisers' list; rejecting outliers in time is ours."""
FRAMES, QUICK_FRAMES = 11_250, 374
TOLERANCE = 1e-5
"""Ours computes in single precision until it bins."""
PLANETS = 1100

Array = NDArray[Any]


def reading(dataset: Dataset, planet: str) -> None:
    """Read the columns that the apertures need, one thread, and leave them as Arrow has them."""
    for instrument, window in zip((AIRS, FGS1), apertures(SHIPPED), strict=True):
        pixels = np.arange(np.prod(instrument.shape)).reshape(instrument.shape)[window]
        file = pq.ParquetFile(instrument.signal_path(dataset.folder(planet), 0))
        file.read(columns=[f"column_{pixel}" for pixel in pixels.ravel()], use_threads=False)


def plain(dataset: Dataset, planet: str) -> Array:
    """The seven steps as the organisers give them: whole detectors, double precision, a step after the other."""
    folder, axis, adc = dataset.folder(planet), dataset.axis, dataset.adc
    airs_window, fgs1_window = apertures(SEVEN_STEPS)
    airs_seconds = axis.airs_integration[:2] + np.array([0.0, 0.1])
    airs = _plain(AIRS, folder, (adc.airs_gain, adc.airs_offset), airs_seconds, airs_window, AIRS_COLUMNS, 30)
    fgs1 = _plain(FGS1, folder, (adc.fgs1_gain, adc.fgs1_offset), [0.1, 0.2], fgs1_window, slice(None), 360)
    bins = min(len(airs), len(fgs1))
    return np.column_stack([fgs1[:bins].sum(axis=(1, 2)), airs[:bins].sum(axis=1)[:, ::-1]])


def _plain(
    instrument: Instrument,
    folder: Path,
    converter: tuple[float, float],
    seconds: Sequence[float] | Array,
    aperture: Window,
    columns: slice,
    pairs: int,
) -> Array:
    """Flux (T, r, c) of an instrument's aperture, in bins of so many pairs of the full number of frames."""
    import pandas as pd

    def table(path: Path) -> Array:
        return pd.read_parquet(path).to_numpy()

    def frame(name: str) -> Array:
        return table(instrument.calibration_path(folder, 0, name)).reshape(-1, *instrument.shape)

    raw = table(instrument.signal_path(folder, 0))
    signal = raw.astype(np.float64).reshape(len(raw), *instrument.shape)[:, :, columns]
    signal = signal / converter[0] + converter[1]
    (dark,), (flat,) = frame("dark"), frame("flat")
    bad = frame("dead")[0].astype(bool)
    for _ in range(5):
        bad |= np.abs(dark - np.median(dark[~bad])) > SEVEN_STEPS.hot_pixel_sigma * dark[~bad].std()
    bad, dark, flat = bad[:, columns], dark[:, columns], flat[:, columns]
    signal = np.polynomial.polynomial.polyval(signal, frame("linear_corr")[..., columns], tensor=False)
    for parity in (0, 1):
        signal[parity::2] -= dark * seconds[parity]
    signal = signal[1::2] - signal[::2]
    pairs = max(1, round(pairs * len(raw) / (FRAMES if instrument is AIRS else 12 * FRAMES)))
    bins = len(signal) // pairs
    signal = signal[: bins * pairs].reshape(bins, pairs, *signal.shape[1:]).mean(axis=1)
    # Bad pixels borrow from good ones of the aperture alone; those of AIRS lie in the columns kept above.
    within = aperture if instrument is FGS1 else (aperture[0], slice(None))
    signal, bad = (signal / flat)[:, *within], bad[within]
    for row in np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1)):
        lost, good = np.flatnonzero(bad[row]), np.flatnonzero(~bad[row])
        for one in signal[:, row]:
            one[lost] = np.interp(lost, good, one[good])
    return signal


def ours(settings: Calibration) -> Callable[[Dataset, str], Array]:
    """Our calibration with these settings, from files to light curves."""

    def work(dataset: Dataset, planet: str) -> Array:
        visit = dataset.read_visit(planet, 0, settings)
        return calibrate(visit, dataset.axis, dataset.adc, settings)[1]

    return work


def whole(dataset: Dataset, planet: str) -> None:
    """What a planet costs a training: calibrated, fitted, and written to a cache that is empty."""
    with tempfile.TemporaryDirectory() as cache:
        prepare(dataset, [planet], SHIPPED, Path(cache))


CONTENDERS: dict[str, Callable[[Dataset, str], Array | None]] = {
    READING: reading,
    PLAIN: plain,
    STEPS: ours(SEVEN_STEPS),
    OURS: ours(SHIPPED),
    WHOLE: whole,
}


def work(name: str, root: Path, out: Path) -> None:
    """Be a contender: calibrate the planet whenever a line comes in, and answer with what it took."""
    dataset = Dataset(root)
    (planet, *_) = dataset.planet_ids("train")
    answers = os.fdopen(os.dup(1), "w")
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        flux = CONTENDERS[name](dataset, planet)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if flux is not None:
            np.save(out, flux)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak}), file=answers, flush=True)


class Contender:
    """A contender in its process.

    Attributes:
        flux: Where it leaves its light curves.
        answers: What it said of each round: seconds by the wall and of the processor, peak memory in bytes.
    """

    def __init__(self, name: str, root: Path, flux: Path) -> None:
        self.name, self.flux = name, flux
        self.answers: list[dict[str, float]] = []
        self._process = subprocess.Popen(  # noqa: S603 - our own program.
            [sys.executable, __file__, "--work", name, str(root), str(flux)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self, *, counts: bool = True) -> None:
        """Have it calibrate once."""
        print("go", file=_pipe(self._process.stdin), flush=True)
        line = _pipe(self._process.stdout).readline()
        if not line:
            sys.exit(f"{self.name} failed")
        if counts:
            self.answers.append(json.loads(line))

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - for type checkers.
    return pipe


def measure(root: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """Time and memory of every contender, and how far two results that should be the same are apart.

    Each calibrates once before the rounds: its imports and the system's cache of files are no matter of theirs.
    """
    running = [Contender(name, root, folder / f"{number}.npy") for number, name in enumerate(CONTENDERS)]
    for contender in running:
        contender.go(counts=False)
    for _ in range(rounds):
        for contender in running:
            contender.go()
    for contender in running:
        contender.stop()
    by_name = {contender.name: contender for contender in running}
    found: dict[str, Any] = {}
    for name, contender in by_name.items():
        one: dict[str, float] = {"peak_mb": max(answer["peak"] for answer in contender.answers) / 1e6}
        for clock in ("cpu", "wall"):
            mine = [answer[clock] for answer in contender.answers]
            one[clock] = statistics.median(mine)
            for other in (READING, OURS):
                theirs = [answer[clock] for answer in by_name[other].answers]
                ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
                one[f"{clock} / {other}"] = ratio
        found[name] = one
    expected, flux = np.load(by_name[PLAIN].flux), np.load(by_name[STEPS].flux)
    return {"contenders": found, "difference": float(np.abs(flux / expected - 1.0).max())}


def report(found: Mapping[str, Any]) -> list[str]:
    """A table for a terminal or a Markdown page, and what it means for the challenge's planets."""
    head = ["contender", "time (reading = 1)", "by the wall", "time (ours = 1)", "by the wall", "seconds", "memory"]
    lines = [tables.row(head), tables.row(["---", *["--:"] * 6])]
    for name, one in found["contenders"].items():
        ratios = [f"{one[f'{clock} / {other}']:.2f}" for other in (READING, OURS) for clock in ("cpu", "wall")]
        lines.append(tables.row([name, *ratios, f"{one['cpu']:.2f} s", f"{one['peak_mb']:.0f} MB"]))
    seconds = found["contenders"][WHOLE]["cpu"]
    minutes = PLANETS * seconds / 60
    cores = ", ".join(f"{minutes / count:.1f} min on {count}" for count in (2, 16, 64))
    lines += ["", f"{found['frames']} AIRS frames; light curves differ by {found['difference']:.1e} at most"]
    return [*lines, f"{PLANETS} planets, fitted and stored: {minutes:.0f} min of one core; estimate: {cores} cores"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the calibration of a planet beside two yardsticks.")
    parser.add_argument("--quick", action="store_true", help="a smoke run on a planet of few frames")
    parser.add_argument("--rounds", type=int, help="rounds through all contenders (5; 2 with --quick)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a data set with such a planet, instead of a new one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number to a file")
    parser.add_argument("--work", nargs=3, metavar=("NAME", "DIR", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        work(options.work[0], Path(options.work[1]), Path(options.work[2]))
        return 0
    frames = QUICK_FRAMES if options.quick else FRAMES
    with tempfile.TemporaryDirectory() as folder:
        root = options.data or Path(folder) / "ariel"
        if options.data is None:
            simulate(root, Simulation(airs_frames=frames), planets=1, workers=1)
        found = measure(root, options.rounds or (2 if options.quick else 5), Path(folder))
        found["frames"] = len(Dataset(root).axis.airs_time)
    found["machine"] = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
    print("\n".join(report(found)))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if found["difference"] > TOLERANCE:
        sys.exit(f"the seven steps differ by {found['difference']:.1e} of the flux, more than {TOLERANCE:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
