"""Tests compose as the command line does."""

import pytest

import spectramind_config as sc
from cooling import minutes
from settings import Cooling, Thermos


def test_a_thermos_keeps_warm() -> None:
    """It takes longer than a mug does."""
    mug = sc.compose(["cup=mug"], root=Cooling)
    thermos = mug.with_overrides(["cup=thermos"])
    assert minutes(thermos) > 5 * minutes(mug)
    assert Thermos.of(thermos.cup).lid


@pytest.mark.parametrize("override", ["drink.start=50", "room=60", "cup.rtae=1"])
def test_nonsense_is_refused(override: str) -> None:
    """A mistake raises before anything is computed."""
    with pytest.raises(sc.ConfigError):
        sc.compose([override], root=Cooling)
