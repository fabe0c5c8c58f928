"""How long a hot drink takes to cool: with experiments, and profiles from elsewhere."""

import spectramind_config as sc
from settings import Cooling, Cup, Thermos


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
