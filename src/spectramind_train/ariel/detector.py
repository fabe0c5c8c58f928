"""The two detectors of a visit: their shapes, the names of their files and what they recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.constants import AIRS_COLUMNS, AIRS_SHAPE, FGS1_SHAPE, FloatArray
from spectramind_train.ariel.tables import read_columns

RawFrames = NDArray[np.uint16 | np.float32]
Window = tuple[slice, slice]
"""Rows and columns of a detector."""

LINEARITY_COEFFICIENTS: Final = 6
CALIBRATION_FRAMES: Final = {"dark": 1, "dead": 1, "flat": 1, "read": 1, "linear_corr": LINEARITY_COEFFICIENTS}
"""The calibration frames, and how many maps each stacks."""
SAMPLED_PIXELS: Final = 16
"""Pixels of a signal that are read to see whether it is sound, spread over the detector."""

_USABLE: Final = {"dark": "is finite", "flat": "is positive", "read": "is finite", "linear_corr": "is finite"}


@dataclass(frozen=True)
class Detector:
    """What one detector recorded during a visit, and its calibration frames (R rows and C columns).

    Attributes:
        frames: Raw counts (T, r, c) of the pixels in ``window``: uint16 from files, float32 of an ideal converter.
        window: The rows and columns of the detector that ``frames`` holds.
        dark: Dark current (R, C), in counts per second.
        dead: True for dead pixels (R, C).
        flat: Relative response (R, C).
        read: Read noise (R, C), in counts.
        linear_corr: Coefficients of the linearity polynomial (6, R, C), ascending powers.
    """

    frames: RawFrames
    window: Window
    dark: FloatArray
    dead: NDArray[np.bool_]
    flat: FloatArray
    read: FloatArray
    linear_corr: FloatArray


@dataclass(frozen=True)
class Instrument:
    """How the files of one instrument are named and shaped."""

    name: str
    shape: tuple[int, int]

    def signal_path(self, folder: Path, visit: int) -> Path:
        """The file of raw frames: one row per frame, one column per pixel."""
        return folder / f"{self.name}_signal_{visit}.parquet"

    def calibration_path(self, folder: Path, visit: int, frame: str) -> Path:
        """The file of one calibration frame."""
        return folder / f"{self.name}_calibration_{visit}" / f"{frame}.parquet"

    @property
    def whole(self) -> Window:
        """The window that is the whole detector."""
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    def read(self, folder: Path, visit: int, frames: int, window: Window) -> Detector:
        """Read the pixels in ``window`` of a visit's frames, and the whole calibration frames.

        Raises:
            ConfigError: If a file is missing, damaged or does not hold ``frames`` frames of this detector.
        """
        pixels = np.arange(math.prod(self.shape)).reshape(self.shape)[window]
        counts = self.read_counts(folder, visit, frames, pixels.ravel())
        maps = {frame: self.read_maps(folder, visit, frame) for frame in CALIBRATION_FRAMES}
        return Detector(
            # Time is the innermost axis in memory, as in the files, and the outermost of the view.
            np.moveaxis(counts.reshape(*pixels.shape, frames), -1, 0),
            window,
            dark=maps["dark"][0],
            dead=maps["dead"][0],
            flat=maps["flat"][0],
            read=maps["read"][0],
            linear_corr=maps["linear_corr"],
        )

    def read_counts(self, folder: Path, visit: int, frames: int, pixels: NDArray[np.intp]) -> NDArray[np.uint16]:
        """Read what pixels, numbered row by row, have counted in a visit's frames: (pixels, frames).

        Raises:
            ConfigError: If the file is missing, damaged, does not hold ``frames`` frames of this detector, or one
                and the same count throughout.
        """
        path = self.signal_path(folder, visit)
        counts: NDArray[np.uint16] = read_columns(path, (frames, math.prod(self.shape)), pixels, counts=True)
        if counts.size and counts.min() == counts.max():
            raise ConfigError(f"{path}: each frame holds the count {counts.flat[0]}, no light; download it again")
        return counts

    def read_maps(self, folder: Path, visit: int, frame: str) -> NDArray[Any]:
        """Read one of the calibration frames: its maps (depth, R, C), truth values where it is that of dead pixels.

        Raises:
            ConfigError: If the file is missing, damaged, of another shape, or of no use in any pixel.
        """
        path, depth, (height, width) = (
            self.calibration_path(folder, visit, frame),
            CALIBRATION_FRAMES[frame],
            self.shape,
        )
        columns = read_columns(path, (depth * height, width), np.arange(width))
        maps = columns.T.reshape(depth, height, width).astype(np.bool_ if frame == "dead" else np.float64)
        if frame == "dead" and maps.all():
            raise ConfigError(f"{path}: every pixel is dead; download it again")
        if frame not in ("dead", "read") and not _usable(frame, maps).any():
            raise ConfigError(f"{path}: no pixel has a value that {_USABLE[frame]}; download it again")
        return maps

    def doubts(self, folder: Path, visit: int, maps: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        """What is wrong with a visit's calibration frames in some pixels, a sentence each.

        Args:
            folder: The planet's folder.
            visit: Number of the visit.
            maps: The calibration frames by name, or whatever else has them: ``vars`` of a :class:`Detector`.
        """
        for frame in _USABLE:
            wrong = ~_usable(frame, np.reshape(maps[frame], (-1, *self.shape))) & ~np.reshape(maps["dead"], self.shape)
            if count := int(np.count_nonzero(wrong)):
                path = self.calibration_path(folder, visit, frame)
                used = "" if frame == "read" else ", and count as dead"
                yield f"{path}: {count} pixels have no value that {_USABLE[frame]}{used}"

    def problems(self, folder: Path, visit: int, frames: int) -> Iterator[str]:
        """What is wrong with a visit's files, a sentence each.

        Calibration frames are read whole, of the signal the footer and ``SAMPLED_PIXELS`` pixels in all frames.
        """
        try:
            sample = np.linspace(0, math.prod(self.shape) - 1, SAMPLED_PIXELS).astype(np.intp)
            self.read_counts(folder, visit, frames, sample)
        except ConfigError as error:
            yield str(error)
        maps: dict[str, NDArray[Any]] = {}
        for frame in CALIBRATION_FRAMES:
            try:
                maps[frame] = self.read_maps(folder, visit, frame)
            except ConfigError as error:
                yield str(error)
        if maps.keys() == CALIBRATION_FRAMES.keys():
            yield from self.doubts(folder, visit, maps)


def _usable(frame: str, maps: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels (R, C) have what they need in the maps (depth, R, C) of a calibration frame."""
    usable: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(maps))
    return usable & (maps[0] > 0.0) if frame == "flat" else usable


AIRS: Final = Instrument("AIRS-CH0", AIRS_SHAPE)
FGS1: Final = Instrument("FGS1", FGS1_SHAPE)


def apertures(settings: Calibration) -> tuple[Window, Window]:
    """The parts of the AIRS and the FGS1 detector that the settings sum over.

    Raises:
        ConfigError: If an aperture is empty or reaches over the detector's edge.
    """
    for name in ("airs_rows", "fgs1_rows"):
        first, end = getattr(settings, name)
        if not 0 <= first < end <= AIRS_SHAPE[0]:
            raise ConfigError(
                f"data.calibration.{name} = ({first}, {end}) is no aperture: "
                f"expected 0 <= first < past-the-last <= {AIRS_SHAPE[0]}"
            )
    square = slice(*settings.fgs1_rows)
    return (slice(*settings.airs_rows), AIRS_COLUMNS), (square, square)
