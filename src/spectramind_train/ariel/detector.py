"""The two detectors of a visit: their shapes, the names of their files and what they recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.constants import AIRS_COLUMNS, AIRS_SHAPE, FGS1_SHAPE, FloatArray
from spectramind_train.ariel.tables import open_parquet, read_columns, require_shape

RawFrames = NDArray[np.uint16 | np.float32]
Window = tuple[slice, slice]
"""Rows and columns of a detector."""

LINEARITY_COEFFICIENTS: Final = 6
CALIBRATION_FRAMES: Final = {"dark": 1, "dead": 1, "flat": 1, "read": 1, "linear_corr": LINEARITY_COEFFICIENTS}
"""The calibration frames, and how many maps each stacks."""


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
        height, width = self.shape
        pixels = np.arange(height * width).reshape(height, width)[window]
        signal = self.signal_path(folder, visit)
        counts = read_columns(signal, (frames, height * width), pixels.ravel())
        if counts.dtype != np.uint16:
            raise ConfigError(f"{signal}: holds {counts.dtype} values, expected uint16 counts; download it again")
        maps: dict[str, NDArray[Any]] = {}
        for frame, depth in CALIBRATION_FRAMES.items():
            path = self.calibration_path(folder, visit, frame)
            columns = read_columns(path, (depth * height, width), np.arange(width))
            maps[frame] = columns.T.reshape(depth, height, width).astype(np.bool_ if frame == "dead" else np.float64)
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

    def problems(self, folder: Path, visit: int, frames: int) -> Iterator[str]:
        """What is wrong with a visit's files, a sentence each, judged by their footers."""
        height, width = self.shape
        expected = {self.signal_path(folder, visit): (frames, height * width)}
        for frame, depth in CALIBRATION_FRAMES.items():
            expected[self.calibration_path(folder, visit, frame)] = (depth * height, width)
        for path, shape in expected.items():
            try:
                metadata = open_parquet(path).metadata
                require_shape(path, (metadata.num_rows, metadata.num_columns), shape)
            except ConfigError as error:
                yield str(error)


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
