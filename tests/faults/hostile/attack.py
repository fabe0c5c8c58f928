"""``python -m tests.faults.hostile.attack [WORD…]`` tries every hostile input, or those with a word in their name."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from . import surroundings
from .jail import Jail
from .table import cases
from .verdict import attempt
from .world import sound


def main() -> int:
    """Try them; returns 1 where one was not survived."""
    chosen = [case for case in cases() if not sys.argv[1:] or any(word in case.name for word in sys.argv[1:])]
    places = [one for one in surroundings.PLACES if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    survived = 0
    with tempfile.TemporaryDirectory() as name, Jail() as jail:
        folder = Path(name)
        (folder / "sound").mkdir()
        sound(folder / "sound")
        for case in chosen:
            problems = attempt(jail, case, folder / "case", folder / "sound")
            survived += not problems
            if problems:
                print(f"{case.name}: {'; '.join(problems)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for number, place in enumerate(places):
            Path(name).chmod(0o755)
            problems = surroundings.attempt(place, Path(name, str(number)), cache=Path(name, "cache"))
            survived += not problems
            if problems:
                print(f"place: {place.name}: {'; '.join(problems)}", flush=True)
    tried = len(chosen) + len(places)
    print(f"{tried} hostile inputs and places tried, {survived} survived")
    return int(survived < tried)


if __name__ == "__main__":
    sys.exit(main())
