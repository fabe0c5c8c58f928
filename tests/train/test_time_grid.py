"""One time grid for two instruments."""

from __future__ import annotations

import numpy as np
import pytest

from spectramind_train.ariel.lightcurves import bin_times
from spectramind_train.ariel.time_grid import joined

HOUR = np.linspace(0.0, 7.5, 16)


def both(fgs1_time: np.ndarray, airs_time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What becomes of light curves that tell their time."""
    return joined(fgs1_time, fgs1_time, airs_time, np.column_stack([airs_time, airs_time]))


@pytest.mark.parametrize(
    ("fgs1", "airs", "bins"),
    [
        (bin_times(187), bin_times(187), 187),
        (bin_times(67500), bin_times(5625), 5625),
        (bin_times(67500), bin_times(187), 187),
        (bin_times(187), bin_times(1870), 187),
        (bin_times(300), bin_times(200), 100),
        (bin_times(160) + 0.02, bin_times(160), 40),
    ],
    ids=["equal", "frames", "fine and coarse", "coarse and fine", "three to two", "half a step apart"],
)
def test_bins_are_as_short_as_both_instruments_allow(fgs1: np.ndarray, airs: np.ndarray, bins: int) -> None:
    """In each bin the mean times agree to an eighth of it, whatever the steps are."""
    time, flux = both(fgs1, airs)
    width = np.median(np.diff(time))
    assert 0.95 * bins <= time.size <= bins
    assert np.abs(flux - time[:, None]).max() <= 0.13 * width


def test_noise_stays_independent_and_falls_as_it_should() -> None:
    """The mean of four samples has half their scatter; neighbours know nothing of each other."""
    rng = np.random.default_rng(0)
    fgs1, airs = rng.normal(size=4000), rng.normal(size=(1000, 1))
    _, flux = joined(bin_times(4000), fgs1, bin_times(1000), airs)
    assert flux[:, 0].std() == pytest.approx(0.5, rel=0.1)
    assert np.corrcoef(flux[:-1, 0], flux[1:, 0])[0, 1] == pytest.approx(0.0, abs=0.1)
    np.testing.assert_array_equal(flux[:, 1:], airs)


@pytest.mark.parametrize("gapped", ["fgs1", "airs"])
def test_a_gap_of_either_instrument_is_a_gap(gapped: str) -> None:
    """No bin spans it, and none is made up in it."""
    grids = {"fgs1": bin_times(2000), "airs": bin_times(200)}
    whole = grids[gapped]
    grids[gapped] = whole[(whole < 3.0) | (whole > 4.0)]
    time, _ = both(grids["fgs1"], grids["airs"])
    assert not ((time > 3.0) & (time < 4.0)).any()
    assert np.diff(time).max() == pytest.approx(1.0, abs=0.08)
    assert 170 <= time.size <= 174


def test_instruments_that_never_meet_have_no_bin() -> None:
    """An empty grid is the caller's to refuse."""
    time, flux = both(HOUR, HOUR + 10.0)
    assert time.shape == (0,)
    assert flux.shape == (0, 3)
