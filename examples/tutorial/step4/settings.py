"""What a cooling drink is computed from: settings, profiles and experiments."""

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


@dataclass(kw_only=True)
class Plan(sc.Profile):
    """How carefully it is computed."""

    step: Annotated[float, sc.about(gt=0, le=60)] = 1.0
    """Seconds between two temperatures"""


@sc.profile("plan", "careful")
@dataclass(kw_only=True)
class Careful(Plan):
    """Every second."""


@sc.profile("plan", "quick")
@dataclass(kw_only=True)
class Quick(Plan):
    """Every minute."""

    step: float = 60.0


@dataclass(kw_only=True)
class Machine(sc.Profile):
    """What the machine at hand is good for."""

    step: Annotated[float | None, sc.about(gt=0, le=60)] = None
    """Seconds between two temperatures; null leaves the plan's"""


@sc.profile("machine", "any")
@dataclass(kw_only=True)
class AnyMachine(Machine):
    """No opinion."""


@sc.profile("machine", "kettle")
@dataclass(kw_only=True)
class Kettle(Machine):
    """The processor in the kettle, which is slow."""

    step: float | None = 10.0


@sc.root("cooling")
@dataclass(frozen=True, kw_only=True)
class Cooling(sc.Config):
    """How long a hot drink takes to cool."""

    room: Annotated[float, sc.about("Temperature of the room", ge=-20, le=40)] = 21.0
    drink: Drink = sc.group("coffee")
    cup: Cup = sc.group("mug")
    plan: Plan = sc.group("careful")
    machine: Machine = sc.group("any", over="plan")
    step: float = sc.folded()


@sc.experiment("camping", root=Cooling)
def camping() -> list[str]:
    """Tea in the snow, out of a thermos."""
    return ["drink=tea", "cup=thermos", "room=-5"]
