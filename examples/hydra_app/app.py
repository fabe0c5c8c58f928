"""Another Hydra application, about Kepler's equation, that borrows machine profiles from ``spectramind_config``.

It has its own ``@hydra.main``, its own structured root, its own YAML (``conf/``) and a group of its own, ``solver``.
Importing ``spectramind_config`` is what puts ``local`` and ``trainer`` within its reach:

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
from typing import cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import spectramind_config as sc


@dataclass(kw_only=True)
class Solver:
    """How Kepler's equation is solved; ``conf/solver`` has the choices."""

    method: str = "newton"
    tolerance: float = 1e-12
    max_iterations: int = 50


@dataclass(kw_only=True)
class App:
    """The root: our own settings, and a node for each group that is borrowed.

    A borrowed node's default is its group's schema; the profile that ``conf/config.yaml`` lists is merged over it.
    """

    planets: int = 100
    eccentricity: float = 0.3
    solver: Solver = field(default_factory=Solver)
    trainer: sc.TrainerConfig = field(default_factory=sc.TrainerConfig)
    local: sc.LocalConfig = field(default_factory=sc.LocalConfig)


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


def check_borrowed() -> None:
    """Have ``spectramind_config`` check what was said about its groups.

    Hydra checks names and types, but not ranges and closed sets (``local.precision=bf17``), and a key that ``+`` adds
    passes for one that exists (``+local.devcies=8``).
    """
    given = HydraConfig.get()
    groups = ("trainer", "local")
    chosen = [f"{group}={given.runtime.choices[group]}" for group in groups]
    settings = [one for one in given.overrides.task if one.lstrip("+~").partition(".")[0] in groups]
    try:
        sc.compose([*chosen, *settings])
    except sc.ConfigError as error:
        error.command = f"python {sys.argv[0]}"
        sys.exit(f"error: {error}")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """Solve for planets all around their orbits; say how long it took and what the machine profile says."""
    check_borrowed()
    app = cast("App", OmegaConf.to_object(config))
    local = cast("sc.LocalConfig", OmegaConf.to_object(config.local))
    anomalies = [math.tau * number / app.planets for number in range(app.planets)]
    mean = sum(steps(app.solver, app.eccentricity, anomaly) for anomaly in anomalies) / app.planets
    print(f"{app.solver.method}: {mean:.1f} steps a planet")
    print(f"local={local.name}: {type(local).__name__} with devices {local.devices}, precision {local.precision}")
    print(f"trainer={app.trainer.name}: strategy {app.trainer.strategy}, seed {local.seed}")


if __name__ == "__main__":
    main()
