"""The numbers that every file and every model of the challenge shares."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

N_CHANNELS: Final = 283
"""Channels of a spectrum: FGS1 first, then 282 of AIRS ascending in wavelength."""

AIRS_SHAPE: Final = (32, 356)
FGS1_SHAPE: Final = (32, 32)
AIRS_COLUMNS: Final = slice(39, 321)
"""The AIRS detector columns that are part of a spectrum; reversed they ascend in wavelength."""

FGS1_FRAMES_PER_AIRS_FRAME: Final = 12
FGS1_EXPOSURES_S: Final = (0.1, 0.2)
"""Time since the reset at which the two frames of an FGS1 pair are read."""

VISIT_H: Final = 7.5
"""Length of a visit, in hours."""

_DISPERSION: Final = np.polynomial.Polynomial.fit([0, 39, 320, 355], [4.0785, 3.8950, 1.9518, 1.6333], 2)
AIRS_AXIS_UM: Final[FloatArray] = _DISPERSION(np.arange(AIRS_SHAPE[1], dtype=np.float64))
"""Wavelength of each AIRS detector column (356,), in um, descending: a quadratic through the published points."""

WAVELENGTHS_UM: Final[FloatArray] = np.concatenate([[0.7], AIRS_AXIS_UM[AIRS_COLUMNS][::-1]])
"""Wavelength of each channel of a spectrum (283,), in um, ascending: FGS1 first, then AIRS."""
