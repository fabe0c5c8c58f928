"""How long a hot drink takes to cool: the same program on spectramind_config."""

from dataclasses import dataclass

import spectramind_config as sc


@dataclass(kw_only=True)
class Drink(sc.Profile):
    """What is in the cup."""

    start: float = 90.0
    drinkable: float = 60.0


@sc.profile("drink", "coffee")
@dataclass(kw_only=True)
class Coffee(Drink):
    """Freshly brewed."""


@sc.profile("drink", "tea")
@dataclass(kw_only=True)
class Tea(Drink):
    """Poured on at once."""

    start: float = 95.0
    drinkable: float = 55.0


@dataclass(kw_only=True)
class Cup(sc.Profile):
    """What it is in."""

    rate: float = 0.0008


@sc.profile("cup", "mug")
@dataclass(kw_only=True)
class Mug(Cup):
    """Open at the top."""


@sc.profile("cup", "thermos")
@dataclass(kw_only=True)
class Thermos(Cup):
    """A vacuum flask."""

    rate: float = 0.0001


@sc.root("cooling")
@dataclass(frozen=True, kw_only=True)
class Cooling(sc.Config):
    """How long a hot drink takes to cool."""

    room: float = 21.0
    step: float = 1.0
    drink: Drink = sc.group("coffee")
    cup: Cup = sc.group("mug")


def minutes(cfg: Cooling) -> float:
    """Minutes until the drink can be drunk, by Euler's method."""
    temperature, seconds = cfg.drink.start, 0.0
    while temperature > cfg.drink.drinkable:
        temperature -= cfg.step * cfg.cup.rate * (temperature - cfg.room)
        seconds += cfg.step
    return seconds / 60


@sc.main(Cooling)
def main(cfg: Cooling) -> None:
    """Say it."""
    print(f"drinkable after {minutes(cfg):.1f} minutes")


if __name__ == "__main__":
    main()
