"""How long a hot drink takes to cool: a program on Hydra, with a dataclass and YAML files in ``conf/``."""

from dataclasses import dataclass, field

import hydra
from hydra.core.config_store import ConfigStore


@dataclass
class Drink:
    """What is in the cup."""

    start: float = 90.0
    drinkable: float = 60.0


@dataclass
class Cup:
    """What it is in."""

    rate: float = 0.0008


@dataclass
class Cooling:
    """The config."""

    room: float = 20.0
    step: float = 1.0
    drink: Drink = field(default_factory=Drink)
    cup: Cup = field(default_factory=Cup)


ConfigStore.instance().store(name="cooling", node=Cooling)


def minutes(cfg: Cooling) -> float:
    """Minutes until the drink can be drunk, by Euler's method."""
    temperature, seconds = cfg.drink.start, 0.0
    while temperature > cfg.drink.drinkable:
        temperature -= cfg.step * cfg.cup.rate * (temperature - cfg.room)
        seconds += cfg.step
    return seconds / 60


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: Cooling) -> None:
    """Say it."""
    print(f"drinkable after {minutes(cfg):.1f} minutes")


if __name__ == "__main__":
    main()
