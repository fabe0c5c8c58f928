"""Light curves of one visit, calibrated and binned in time: what is fitted and what the network sees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectramind_config import ConfigError
from spectramind_train.ariel.arrays import read_arrays
from spectramind_train.ariel.constants import AIRS_SHAPE, FGS1_FRAMES_PER_AIRS_FRAME, N_CHANNELS, VISIT_H, FloatArray
from spectramind_train.ariel.time_grid import joined

LONGEST_NAME: Final = 400
LONGEST_VISIT_HOURS: Final = 100.0
DETECTOR_COLUMNS: Final = 1 + AIRS_SHAPE[1]
"""FGS1 and all 356 columns of the AIRS detector, ascending in wavelength."""
AIRS_CHANNELS: Final = slice(36, 318)
"""The 282 AIRS columns with a label, counted as in ``DETECTOR_COLUMNS``."""
MINIMUM_BINS: Final = 16
MAXIMUM_BINS: Final = 5625
"""As many pairs of AIRS frames as the challenge's visits have."""
LARGEST_FLUX: Final = 1e30
"""No detector counts so far, and its square is a number still."""

_OWN_GRIDS: Final = ("fgs1_flux", "fgs1_time", "airs_flux", "airs_time")
"""Arrays of instruments that were binned each for itself."""
_LAYOUT: Final = (
    f"expected an array (planets, time, {N_CHANNELS}), or (planets, time, {DETECTOR_COLUMNS}) with all AIRS columns "
    f"in ascending wavelength, column 0 being FGS1, with {MINIMUM_BINS} to {MAXIMUM_BINS} time bins; or, in a .npz "
    f"file, {', '.join(_OWN_GRIDS)}"
)


@dataclass(frozen=True)
class LightCurves:
    """The 283 light curves of a visit.

    Attributes:
        planet_id: The planet's name in the data set.
        time: Middle of each time bin (T,), in hours since the visit's start, ascending.
        flux: Flux (T, 283) in detector units; column 0 is FGS1, 1 to 282 are AIRS in ascending wavelength.
    """

    planet_id: str
    time: FloatArray
    flux: FloatArray

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        if self.time.ndim != 1 or self.flux.shape != (self.time.size, N_CHANNELS):
            raise ValueError(
                f"light curves of planet {self.planet_id}: time {self.time.shape} and flux {self.flux.shape} "
                f"should be (T,) and (T, {N_CHANNELS})"
            )


def bin_times(bins: int, hours: float = VISIT_H) -> FloatArray:
    """Middles (bins,) of equal time bins that fill a visit, in hours since its start."""
    return (np.arange(bins, dtype=np.float64) + 0.5) * (hours / bins)


def read_binned(path: Path) -> list[LightCurves]:
    """Read light curves that are already calibrated and binned.

    A ``.npy`` file holds the flux alone, (N, T, 283) or (N, T, 357), or for one planet without the first axis: column 0
    is FGS1, the others are AIRS columns in ascending wavelength, of 357 columns 36 to 317 are taken. Its bins fill the
    visit of 7.5 h, and its planets are named after the longest run of digits in the file's name, or its stem where it
    has none, with ``_0``, ``_1``, ... added if there are several. A ``.npz`` file holds the same array as ``flux`` and
    may hold ``time``, (T,) or (N, T) in hours, and ``planet_id`` (N,).

    In the place of ``flux`` and ``time``, a ``.npz`` file may hold ``fgs1_flux`` (N, T1) with ``fgs1_time`` and
    ``airs_flux`` (N, T2, 282) or (N, T2, 356) with ``airs_time``, which are averaged in common time bins, see
    ``time_grid.joined``.

    Raises:
        ConfigError: The file is absent or unreadable, has another layout, or holds values that are not finite.
    """
    arrays = _read_arrays(path)
    if own := [name for name in _OWN_GRIDS if name in arrays]:
        if unwanted := [name for name in ("flux", "time") if name in arrays]:
            raise ConfigError(f"{path}: has both {unwanted[0]} and {own[0]}; {_LAYOUT}")
        if missing := [name for name in _OWN_GRIDS if name not in arrays]:
            raise ConfigError(f"{path}: has {own[0]} but no {missing[0]}; expected {', '.join(_OWN_GRIDS)} together")
        return _read_own_grids(path, arrays)
    if "flux" not in arrays:
        raise ConfigError(f"{path}: no array 'flux' in it; {_LAYOUT}")
    flux = _flux(path, "flux", arrays["flux"], (N_CHANNELS, DETECTOR_COLUMNS), MAXIMUM_BINS)
    if flux.shape[2] == DETECTOR_COLUMNS:
        flux = np.concatenate([flux[:, :, :1], flux[:, :, AIRS_CHANNELS]], axis=2)
    planets, bins = flux.shape[:2]
    times = _times(path, "time", arrays.get("time"), planets, bins)
    names = _names(path, arrays.get("planet_id"), planets)
    return [LightCurves(name, time, curves) for name, time, curves in zip(names, times, flux, strict=True)]


def _read_own_grids(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> list[LightCurves]:
    """Light curves of instruments that have a time grid each."""
    fgs1 = arrays["fgs1_flux"]
    fgs1 = _flux(path, "fgs1_flux", fgs1[..., None], (1,), MAXIMUM_BINS * FGS1_FRAMES_PER_AIRS_FRAME)[:, :, 0]
    airs = _flux(path, "airs_flux", arrays["airs_flux"], (N_CHANNELS - 1, DETECTOR_COLUMNS - 1), MAXIMUM_BINS)
    if airs.shape[2] == DETECTOR_COLUMNS - 1:
        airs = airs[:, :, AIRS_CHANNELS.start - 1 : AIRS_CHANNELS.stop - 1]
    planets = len(airs)
    if len(fgs1) != planets:
        raise ConfigError(f"{path}: fgs1_flux holds {len(fgs1)} planets and airs_flux {planets}; expected the same")
    fgs1_times = _times(path, "fgs1_time", arrays["fgs1_time"], planets, fgs1.shape[1])
    airs_times = _times(path, "airs_time", arrays["airs_time"], planets, airs.shape[1])
    found = []
    for row, name in enumerate(_names(path, arrays.get("planet_id"), planets)):
        time, flux = joined(fgs1_times[row], fgs1[row], airs_times[row], airs[row])
        if time.size < MINIMUM_BINS:
            raise ConfigError(
                f"{path}: planet {name}: fgs1_time, {_span(fgs1_times[row])}, and airs_time, {_span(airs_times[row])}, "
                f"have {time.size} time bins in common; expected at least {MINIMUM_BINS}, both in hours since one start"
            )
        found.append(LightCurves(name, time, flux))
    return found


def _span(time: FloatArray) -> str:
    return f"{time[0]:g} to {time[-1]:g} h"


def _read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays in an npy or npz file by name; that of an npy is ``flux``."""
    try:
        return read_arrays(path, ("flux", "time", "planet_id", *_OWN_GRIDS), alone="flux")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; give a data set's folder, or a .npy or .npz file of binned light curves"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); {_LAYOUT}") from error
    except Exception as error:  # What numpy raises depends on which bytes are damaged.
        raise ConfigError(f"{path}: not a readable .npy or .npz file ({error}); {_LAYOUT}") from error


def _numbers(path: Path, name: str, array: NDArray[np.generic]) -> FloatArray:
    """The array as float64, refused unless real and finite."""
    if array.dtype.kind not in "fiu":
        raise ConfigError(f"{path}: {name} has the type {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):  # What is lost is infinite, and told below.
        numbers = np.asarray(array, dtype=np.float64)
    bad = np.count_nonzero(~np.isfinite(numbers))
    if bad:
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        raise ConfigError(
            f"{path}: {bad} of {numbers.size} values of {name} are not finite, the first at index {first}; "
            "replace or interpolate them before reading"
        )
    return numbers


def _flux(path: Path, name: str, array: NDArray[np.generic], columns: tuple[int, ...], most: int) -> FloatArray:
    """Flux (planets, bins, columns), refused unless it has one of these numbers of columns and at most so many bins."""
    flux = _numbers(path, name, array)
    flux = flux[None] if flux.ndim == 2 else flux
    shape = array.shape if columns != (1,) else array.shape[:-1]
    if flux.ndim != 3 or not MINIMUM_BINS <= flux.shape[1] <= most or flux.shape[2] not in columns:
        raise ConfigError(f"{path}: {name} has the shape {shape}; {_LAYOUT}")
    if flux.shape[0] == 0:
        raise ConfigError(f"{path}: {name} has the shape {shape} and so holds no planet; {_LAYOUT}")
    if max(flux.max(), -flux.min()) > LARGEST_FLUX:
        raise ConfigError(f"{path}: {name} has values beyond {LARGEST_FLUX:g}, which no detector counts")
    return flux


def _times(path: Path, name: str, array: NDArray[np.generic] | None, planets: int, bins: int) -> FloatArray:
    """Bin middles (planets, bins) in hours."""
    if array is None:
        return np.broadcast_to(bin_times(bins), (planets, bins))
    time = _numbers(path, name, array)
    if time.shape not in ((bins,), (planets, bins)):
        raise ConfigError(
            f"{path}: {name} has the shape {time.shape}; expected ({bins},) or ({planets}, {bins}), in hours"
        )
    if np.any(np.diff(time, axis=-1) <= 0.0):
        raise ConfigError(f"{path}: {name} does not ascend; expected the middles of the bins in hours, first to last")
    longest = float(np.ptp(time, axis=-1).max())
    if longest > LONGEST_VISIT_HOURS:
        raise ConfigError(f"{path}: {name} spans {longest:g} hours; expected one visit, in hours")
    return np.broadcast_to(time, (planets, bins))


def _names(path: Path, array: NDArray[np.generic] | None, planets: int) -> list[str]:
    """One distinct name for each planet."""
    if array is None:
        digits = max(re.findall(r"\d+", path.stem), key=len, default=path.stem)
        return [digits] if planets == 1 else [f"{digits}_{index}" for index in range(planets)]
    if array.dtype.kind == "f":
        _numbers(path, "planet_id", array)
    if array.size != planets or array.ndim > 1:
        raise ConfigError(f"{path}: planet_id has the shape {array.shape}; expected {planets} names, one a planet")
    names = [str(int(name)) if array.dtype.kind in "fiu" else str(name) for name in np.atleast_1d(array).tolist()]
    if len(set(names)) != planets:
        raise ConfigError(f"{path}: planet_id holds {names}; expected {planets} distinct names, one for each planet")
    if strange := [name for name in names if not name.isprintable() or len(name) > LONGEST_NAME]:
        raise ConfigError(f"{path}: planet_id holds {strange[0]!r}, which is no name of a planet")
    return names
