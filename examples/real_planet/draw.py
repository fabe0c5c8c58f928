"""A planet from light curves of one's own: its spectrum, and whether a transit explains what was seen.

``python examples/real_planet/draw.py planet.npz --run RUN`` predicts with a trained run. Without it, one is
trained for a quick look first, and without a file a simulated planet is looked at. The picture is ``planet.png``.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

import numpy as np

import spectramind_config as sc
from spectramind_config.host import Host
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.lightcurves import LightCurves, read_binned
from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Planet
from spectramind_train.results.figures import draw_planet
from spectramind_train.results.prediction import load_model, predict
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.simulated.observation import ADC, frame_axis, observe
from spectramind_train.simulated.population import draw_system
from spectramind_train.training import train
from spectramind_train.transit.spectrum_fit import fit_transit


def simulated(pairs: int = 187) -> Planet:
    """A planet that no training has seen, its raw frames calibrated as a real one's are."""
    system = draw_system(seed=7, split="test", index=3)
    visit = observe(system, "simulated", 0, pairs, np.random.default_rng(7), noise=True)
    curves = LightCurves("simulated", *calibrate(visit, frame_axis(pairs), ADC, sc.Calibration()))
    return Planet(curves.planet_id, curves, fit_transit(curves, system.star), system.spectrum)


def measured(file: Path) -> Planet:
    """The first planet of a file, whose orbit and spectrum nobody has told."""
    curves = read_binned(file)[0]
    return Planet(curves.planet_id, curves, fit_transit(curves, None), None)


def main() -> int:
    """Predict one planet and draw it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help=".npy or .npz of light curves, see docs/training.md")
    parser.add_argument("--run", type=Path, help="a trained run (default: one is trained now)")
    about = "overrides of the run that is trained (default: local=debug, a single step)"
    parser.add_argument("--train", nargs="*", default=["local=debug"], metavar="OVERRIDE", help=about)
    parser.add_argument("--out", type=Path, default=Path("planet.png"), help="the picture (default: planet.png)")
    options = parser.parse_args()
    try:
        planet = measured(options.file) if options.file else simulated()
        if options.run:
            run = Run.open(options.run)
        else:
            config, host = sc.compose(options.train), Host.detect()
            run = train(config, plan(config, host), host, Terminal()).run
        config = sc.from_dict(run.manifest.config, f"{run.path}/manifest.json")
        model = load_model(config, run.checkpoint(lambda text: print(text, file=sys.stderr)))
        spectra = predict(model, [planet], [to_batch([planet])])
    except sc.ConfigError as error:
        return error.tell()
    found = planet.diagnosis.words or "a transit explains all of it"
    title = textwrap.fill(f"planet {planet.planet_id}: {found}", 90)
    draw_planet(planet, spectra.mu[0], spectra.sigma[0], title, options.out)
    print(f"planet {planet.planet_id}: {found}")
    print(
        f"V50: FGS1 {1e6 * spectra.mu[0, 0]:.0f} +- {1e6 * spectra.sigma[0, 0]:.0f} ppm, "
        f"AIRS {1e6 * spectra.mu[0, 1:].mean():.0f} +- {1e6 * spectra.sigma[0, 1:].mean():.0f} ppm"
    )
    print(f"drawn: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
