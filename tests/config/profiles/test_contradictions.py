"""Values that are each of the right type but make no sense together."""

from __future__ import annotations

import pytest

import spectramind_config as sc


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.calibration.airs_rows=[24,8]", "calibration.airs_rows [24, 8] is no aperture"),
        ("data.calibration.airs_rows=[-1,8]", "0 <= first < past-the-last <= 32"),
        ("data.calibration.fgs1_rows=[10,33]", "calibration.fgs1_rows [10, 33] is no aperture"),
        ("data.calibration.airs_dark_seconds=[-0.1,4.6]", "airs_dark_seconds [-0.1, 4.6] must lie in [0, 60] s"),
        ("data.calibration.fgs1_dark_seconds=[0.1,61]", "fgs1_dark_seconds [0.1, 61.0] must lie in [0, 60] s"),
        ("data.simulation.airs_frames=101", "data.simulation.airs_frames=102"),
        ("optimizer.betas=[0.9,1.0]", "betas [0.9, 1.0] must lie in [0, 1)"),
        ("optimizer.betas=[-0.1,0.9]", "must lie in [0, 1)"),
    ],
)
def test_they_are_refused_before_anything_starts(override: str, words: str) -> None:
    """The message names the setting and its limits, or the value to write instead."""
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose([override])
    assert words in str(caught.value)


def test_the_limits_themselves_are_allowed() -> None:
    """The whole detector, no dark current, an even number of frames, and no memory at all."""
    sc.compose(["data.calibration.airs_dark_seconds=[0,60]", "data.calibration.fgs1_dark_seconds=[0,0]"])
    sc.compose(["data.calibration.airs_rows=[0,32]", "data.simulation.airs_frames=11250", "optimizer.betas=[0.0,0.0]"])
