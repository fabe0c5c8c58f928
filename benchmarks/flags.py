"""How many simulated planets are flagged: ordinary ones, and ones with a fault.

``python benchmarks/flags.py`` prints rates like those of the page ``docs/training.md``. Planets are simulated to raw
frames and calibrated; each is fitted with its orbit and without.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spectramind_config import Calibration
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.constants import FloatArray
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.simulated.observation import ADC, frame_axis, observe
from spectramind_train.simulated.population import System, draw_system
from spectramind_train.transit.diagnosis import diagnose
from spectramind_train.transit.occultation import separation
from spectramind_train.transit.spectrum_fit import fit_transit

PAIRS = 187
Sight = Callable[[System, int], LightCurves]


def seen(system: System, seed: int) -> LightCurves:
    """A visit's light curves; the same seed has the same noise and drifts, whatever the planet."""
    rng = np.random.default_rng(seed)
    visit = observe(system, "simulated", 0, PAIRS, rng, noise=True)
    return LightCurves("simulated", *calibrate(visit, frame_axis(PAIRS), ADC, Calibration()))


def another_fgs1(change: Callable[[System], System]) -> Sight:
    """FGS1 sees another planet than AIRS."""

    def look(system: System, seed: int) -> LightCurves:
        curves = seen(system, seed)
        flux = np.column_stack([seen(change(system), seed).flux[:, :1], curves.flux[:, 1:]])
        return replace(curves, flux=flux)

    return look


def without(where: Callable[[FloatArray, float], FloatArray]) -> Sight:
    """Bins are missing, chosen by their hours from mid-transit and the hours from there to the transit's end."""

    def look(system: System, seed: int) -> LightCurves:
        curves, star = seen(system, seed), system.star
        touching = 1.0 + np.sqrt(system.spectrum.mean())
        crossed = separation(curves.time, system.mid_time, star.P, star.sma, star.i) < touching
        away = curves.time - system.mid_time
        left = ~where(away, float(np.abs(away[crossed]).max())).astype(bool)
        return LightCurves(curves.planet_id, curves.time[left], curves.flux[left])

    return look


def noisy(size: float, channels: slice, noise: Callable[[np.random.Generator, FloatArray], FloatArray]) -> Sight:
    """Some channels are brighter by ``size`` times something."""

    def look(system: System, seed: int) -> LightCurves:
        curves = seen(system, seed)
        flux = curves.flux.copy()
        flux[:, channels] *= 1.0 + size * noise(np.random.default_rng(seed + 1), curves.time)[:, None]
        return replace(curves, flux=flux)

    return look


def jump(rng: np.random.Generator, time: FloatArray) -> FloatArray:
    """A step at any time but the first and the last hour."""
    return (time > rng.uniform(time[0] + 1.0, time[-1] - 1.0)).astype(np.float64)


def red(hours: float) -> Callable[[np.random.Generator, FloatArray], FloatArray]:
    """Noise of unit variance whose correlation falls by e in so many hours."""

    def draw(rng: np.random.Generator, time: FloatArray) -> FloatArray:
        kept = np.exp(-np.median(np.diff(time)) / hours)
        noise = rng.normal(size=time.size)
        for number in range(1, time.size):
            noise[number] = kept * noise[number - 1] + np.sqrt(1.0 - kept**2) * noise[number]
        return noise

    return draw


def later(minutes: float) -> Callable[[System], System]:
    """A planet that is late."""
    return lambda system: replace(system, mid_time=system.mid_time + minutes / 60.0)


def deeper(factor: float) -> Callable[[System], System]:
    """A planet that is larger."""
    return lambda system: replace(system, depth=system.depth * factor)


FAULTS: dict[str, Sight] = {
    "no transit": lambda system, seed: seen(deeper(1e-9)(system), seed),
    **{f"FGS1 {one} min later": another_fgs1(later(one)) for one in (2, 5, 10, 20, 60, 120)},
    **{f"depth of FGS1 x {one}": another_fgs1(deeper(one)) for one in (0.25, 0.5, 0.8, 0.9, 1.1, 1.3, 2.0)},
    **{
        f"ends {60 * one:.0f} min after mid-transit": without(lambda away, _, one=one: away > one)  # type: ignore[misc]
        for one in (-0.33, 0.0, 0.5)
    },
    **{
        f"{60 * one:.0f} min of baseline": without(lambda away, end, one=one: abs(away) > end + one)  # type: ignore[misc]
        for one in (0.05, 0.2, 0.5)
    },
    **{f"a gap of {one} h": without(lambda away, _, one=one: abs(away) < one / 2) for one in (0.4, 1.1)},  # type: ignore[misc]
    **{
        f"a jump of {size:g} of {name}": noisy(size, part, jump)
        for name, part in (("FGS1", slice(0, 1)), ("AIRS", slice(1, None)), ("both", slice(None)))
        for size in (1e-4, 3e-4, 1e-3)
    },
    **{
        f"red noise of {size:g} over {60 * hours:.0f} min": noisy(size, slice(None), red(hours))
        for size in (1e-4, 3e-4, 1e-3)
        for hours in (0.1, 0.5)
    },
}


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planets", type=int, default=320, help="ordinary planets (default: 320)")
    parser.add_argument("--faulty", type=int, default=6, help="planets with each fault (default: 6)")
    options = parser.parse_args()
    print("| planets | flagged | their flags |\n|---|---|---|")
    for name, sight, planets in (
        ("ordinary", seen, options.planets),
        *((name, sight, options.faulty) for name, sight in FAULTS.items()),
    ):
        kinds: list[str] = []
        flagged = 0
        for index in range(planets):
            system = draw_system(11, "train", index)
            curves = sight(system, index)
            for star in (system.star, None):
                found = diagnose(curves, fit_transit(curves, star)).flags
                flagged += bool(found)
                kinds += [flag.kind for flag in found]
        print(f"| {name} | {flagged} of {2 * planets} | {', '.join(sorted(set(kinds)))} |", flush=True)


if __name__ == "__main__":
    main()
