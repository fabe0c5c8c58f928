"""Kepler's equation, E - e sin E = M, solved for planets all around their orbits."""

from dataclasses import dataclass
from math import cos, sin, tau
from typing import Annotated

import spectramind_config as sc


@sc.profile("solver", "newton")
@dataclass(kw_only=True)
class SolverConfig(sc.Profile):
    """Newton's method: a few steps, each with a derivative."""

    tolerance: Annotated[float, sc.about("Largest last step, in radians", ge=1e-14)] = 1e-12
    derivative: Annotated[bool, sc.about("Divide the error by its derivative")] = True


@sc.profile("solver", "fixed_point")
@dataclass(kw_only=True)
class FixedPoint(SolverConfig):
    """E = M + e sin E, again and again: many cheap steps."""

    derivative: bool = False


@sc.root("kepler")
@dataclass(frozen=True, kw_only=True)
class Kepler(sc.Config):
    """Solves Kepler's equation for planets all around their orbits."""

    planets: Annotated[int, sc.about("Planets to solve for", ge=1)] = 100
    eccentricity: Annotated[float, sc.about("Of every orbit", ge=0, le=0.9)] = 0.3
    solver: SolverConfig = sc.group("newton")
    trainer: sc.TrainerConfig = sc.group("defaults")
    local: sc.LocalConfig = sc.group("default", over="trainer")
    precision: sc.Precision = sc.folded()


@sc.main(Kepler)
def main(cfg: Kepler) -> None:
    """Solve for every planet."""
    steps = 0
    for mean in (tau * number / cfg.planets for number in range(cfg.planets)):
        guess, last = mean, tau
        while abs(last) >= cfg.solver.tolerance:
            slope = 1 - cfg.eccentricity * cos(guess) if cfg.solver.derivative else 1.0
            last = (guess - cfg.eccentricity * sin(guess) - mean) / slope
            guess, steps = guess - last, steps + 1
    print(f"{cfg.solver.name}: {steps / cfg.planets:.1f} steps a planet, precision {cfg.precision}")


if __name__ == "__main__":
    main()
