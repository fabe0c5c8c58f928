"""Every hostile input and every odd place; ``tests/train/test_hostile.py`` tries some of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .hostile import surroundings, verdict
from .hostile.jail import Jail
from .hostile.surroundings import PLACES, Place
from .hostile.table import cases
from .hostile.world import Case, sound

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    """Where commands run within limits."""
    with Jail() as one:
        yield one


@pytest.fixture(scope="module")
def sound_things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run, sound light curves, a sound data set."""
    return sound(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of simulated planets that the places share."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.fault("hostile manifests, checkpoints, caches, tables, YAML and profiles")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name.replace("/", "|"))
def test_a_hostile_input_is_one_message(case: Case, jail: Jail, sound_things: Path, tmp_path: Path) -> None:
    """Exit code 2 and one message within the limits, nothing read, written or run outside; or it works."""
    assert verdict.attempt(jail, case, tmp_path / "case", sound_things) == []


@pytest.mark.fault("odd paths, no home, no terminal, a directory that disappears, a file-size limit")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_an_odd_place_is_one_message(place: Place, cache: Path, tmp_path: Path) -> None:
    """One message, or it works; a training is never lost for want of a terminal."""
    if place.nobody and not surroundings.nobody_starts_python():
        pytest.skip("this Python lies in a home that other users cannot enter")
    assert surroundings.attempt(place, tmp_path / "place", cache=cache) == []
