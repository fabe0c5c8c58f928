"""How long a hot drink takes to cool: with descriptions, limits and rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import spectramind_config as sc


@dataclass(kw_only=True)
class Drink(sc.Profile):
    """What is in the cup."""

    start: Annotated[float, sc.about(gt=0, le=100)] = 90.0
    """Temperature in the beginning, in degrees Celsius"""
    drinkable: Annotated[float, sc.about(gt=0, le=70)] = 60.0
    """Temperature that nobody burns their tongue at"""

    def contradictions(self) -> Iterator[sc.Contradiction]:
        """A drink starts too hot."""
        yield from super().contradictions()
        if self.start <= self.drinkable:
            reason = f"start ({self.start:g}) is not above drinkable ({self.drinkable:g}): there is nothing to wait for"
            yield sc.Contradiction("start", reason, "90.0")


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

    rate: Annotated[float, sc.about(gt=0, le=1)] = 0.0008
    """Share of the difference to the room that is lost in a second"""


@sc.profile("cup", "mug")
@dataclass(kw_only=True)
class Mug(Cup):
    """Open at the top."""


@sc.profile("cup", "thermos")
@dataclass(kw_only=True)
class Thermos(Cup):
    """A vacuum flask."""

    rate: float = 0.0001
    lid: bool = True
    """Whether it is closed"""


@sc.root("cooling")
@dataclass(frozen=True, kw_only=True)
class Cooling(sc.Config):
    """How long a hot drink takes to cool."""

    room: Annotated[float, sc.about("Temperature of the room", ge=-20, le=40)] = 21.0
    step: Annotated[float, sc.about("Seconds between two temperatures", gt=0, le=60)] = 1.0
    drink: Drink = sc.group("coffee")
    cup: Cup = sc.group("mug")


def rate(cup: Cup) -> float:
    """How fast the cup cools."""
    if isinstance(cup, Thermos) and not cup.lid:
        return 5 * cup.rate
    return cup.rate


def minutes(cfg: Cooling) -> float:
    """Minutes until the drink can be drunk, by Euler's method."""
    temperature, seconds = cfg.drink.start, 0.0
    while temperature > max(cfg.drink.drinkable, cfg.room + 0.1):
        temperature -= cfg.step * rate(cfg.cup) * (temperature - cfg.room)
        seconds += cfg.step
    return seconds / 60


@sc.main(Cooling)
def main(cfg: Cooling) -> None:
    """Say it."""
    print(f"drinkable after {minutes(cfg):.1f} minutes")


if __name__ == "__main__":
    main()
