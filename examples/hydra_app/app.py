"""Another Hydra application, about Kepler's equation, that borrows machine profiles from ``spectramind_config``.

It has its own ``@hydra.main``, its own structured root, its own YAML (``conf/``) and a group of its own, ``solver``.
``spectramind://train`` in the ``hydra.searchpath`` of ``conf/config.yaml`` puts ``local`` and ``trainer`` within its
reach, and ``sc.from_hydra`` checks what they were given and makes typed objects of them:

    python examples/hydra_app/app.py
    python examples/hydra_app/app.py local=debug solver=fixed_point solver.tolerance=1e-6
    python examples/hydra_app/app.py --cfg job
    python examples/hydra_app/app.py --multirun solver=newton,fixed_point

Profiles of installed packages and of ``SM_PROFILES`` are there as well.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

import spectramind_config as sc


@dataclass(kw_only=True)
class Solver:
    """How Kepler's equation is solved; ``conf/solver`` has the choices."""

    method: str = "newton"
    tolerance: float = 1e-12
    max_iterations: int = 50


@dataclass(kw_only=True)
class App:
    """The root: our own settings, and a place for each group that is borrowed; its profile brings the types."""

    planets: int = 100
    eccentricity: float = 0.3
    solver: Solver = field(default_factory=Solver)
    trainer: Any = MISSING
    local: Any = MISSING


ConfigStore.instance().store(name="app", node=App)


def newton(anomaly: float, eccentricity: float, guess: float) -> float:
    """A better guess of E in E - e sin E = M, by Newton's method."""
    error = guess - eccentricity * math.sin(guess) - anomaly
    return guess - error / (1.0 - eccentricity * math.cos(guess))


def fixed_point(anomaly: float, eccentricity: float, guess: float) -> float:
    """Likewise, by E = M + e sin E."""
    return anomaly + eccentricity * math.sin(guess)


METHODS: dict[str, Callable[[float, float, float], float]] = {"newton": newton, "fixed_point": fixed_point}


def steps(solver: Solver, eccentricity: float, anomaly: float) -> int:
    """How many steps a solver takes for one mean anomaly."""
    improve, guess = METHODS[solver.method], anomaly
    for count in range(1, solver.max_iterations + 1):
        before, guess = guess, improve(anomaly, eccentricity, guess)
        if abs(guess - before) < solver.tolerance:
            return count
    return solver.max_iterations


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """Solve for planets all around their orbits; say how long it took and what the machine profile says."""
    try:
        borrowed = sc.from_hydra(config)
    except sc.ConfigError as error:
        sys.exit(error.tell())
    app = cast("App", OmegaConf.to_object(config))
    anomalies = [math.tau * number / app.planets for number in range(app.planets)]
    mean = sum(steps(app.solver, app.eccentricity, anomaly) for anomaly in anomalies) / app.planets
    print(f"{app.solver.method}: {mean:.1f} steps a planet")
    local = borrowed.local
    print(f"local={local.name}: {type(local).__name__} with devices {borrowed.devices}, precision {borrowed.precision}")
    print(f"trainer={borrowed.trainer.name}: strategy {borrowed.strategy}, seed {borrowed.seed}")


if __name__ == "__main__":
    main()
