"""How long a hot drink takes to cool: with results that say what they are from."""

import json
from pathlib import Path

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
def main(cfg: Cooling) -> float:
    """Say it, and keep it beside the config; what is returned can be optimised by a sweeper."""
    found = minutes(cfg)
    folder = Path("results", cfg.science_fingerprint[:12])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"minutes": found}), encoding="utf-8")
    print(f"drinkable after {found:.1f} minutes: see {folder}")
    return found


if __name__ == "__main__":
    main()
