"""The ``data`` group: how detector frames become binned light curves and batches."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from spectramind_config.schema.registry import profile
from spectramind_config.settings import Contradiction, OneOf, Profile, Settings, about

AdcGain = OneOf["divide", "multiply"]
AdcOffset = OneOf["add", "subtract"]

_LONGEST_EXPOSURE_S = 60.0  # More than ten times that of AIRS.
_ROWS = 32  # Of both detectors; columns of FGS1 as well.


@dataclass(kw_only=True)
class Calibration(Settings):
    """From raw detector frames to binned light curves."""

    adc_gain: AdcGain = "divide"
    """Whether raw counts are divided by the ADC gain or multiplied by it"""
    adc_offset: AdcOffset = "add"
    """Whether the ADC offset is added to the counts or subtracted from them"""
    hot_pixel_sigma: Annotated[float, about(gt=0)] = 5.0
    """Pixels whose dark current lies this many sigma out are masked"""
    airs_dark_seconds: tuple[float, float] | None = None
    """Seconds of dark current in the two frames of an AIRS pair, up to 60; null takes those of axis_info.parquet"""
    fgs1_dark_seconds: tuple[float, float] = (0.1, 0.2)
    """The same of an FGS1 pair; [0, 0] subtracts none"""
    bin_seconds: Annotated[float, about(gt=0)] = 144.0
    """Length of a time bin, in s; 144 s is 30 AIRS and 360 FGS1 pairs"""
    airs_rows: tuple[int, int] = (8, 24)
    """First and past-the-last detector row of the AIRS aperture"""
    fgs1_rows: tuple[int, int] = (10, 22)
    """First and past-the-last row and column of the FGS1 aperture"""
    outlier_sigma: Annotated[float, about(ge=0)] = 8.0
    """Samples in time this many sigma out are replaced; 0 keeps all"""


@dataclass(kw_only=True)
class Augmentation(Settings):
    """Random changes of training batches that leave their meaning intact; each is drawn per planet and step."""

    time_flip: bool = True
    """Reverse the light curves in time with probability one half"""
    fresh_noise: Annotated[float, about(ge=0, le=1)] = 0.8
    """Probability that a fitted spectrum is replaced by the true one with errors drawn anew"""
    extra_noise: Annotated[float, about(ge=0)] = 1.0
    """White noise added, up to this many times the measured one"""
    depth_scale: Annotated[float, about(ge=1)] = 2.0
    """Depths multiplied by a factor up to this one, up or down"""


@dataclass(kw_only=True)
class Simulation(Settings):
    """The data set that is simulated where ``paths.data_root`` holds none."""

    planets: Annotated[int, about(ge=4)] = 72
    """Number of labelled planets"""
    airs_frames: Annotated[int, about(ge=40, le=11250)] = 374
    """AIRS frames per visit (even; FGS1 has 12 times as many); the visit's 7.5 h stay"""
    seed: Annotated[int, about(ge=0)] = 2025
    """Seed of the simulated planets and noise"""


@dataclass(kw_only=True)
class DataConfig(Profile):
    """What every data set has; a data set's own class adds to it."""

    builds: ClassVar[bool] = True
    batch_size: Annotated[int, about(ge=1)] = 8
    """Planets per batch and device"""
    val_fraction: Annotated[float, about(gt=0, le=0.5)] = 0.15
    """Share of the labelled planets for validation"""
    test_fraction: Annotated[float, about(gt=0, le=0.4)] = 0.2
    """Share of the labelled planets for the final test"""
    split_seed: Annotated[int | None, about(ge=0, le=2**32 - 1)] = None
    """Seed of the split; null follows the run's, so that runs of several seeds have test planets of their own"""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes of training batches"""


@profile("data", "nominal")
@dataclass(kw_only=True)
class NominalData(DataConfig):
    """The challenge's data set, or a simulated one where it is absent."""

    calibration: Calibration = field(default_factory=Calibration)
    """From raw frames to light curves"""
    simulation: Simulation = field(default_factory=Simulation)
    """The data set simulated where there is none"""

    def contradictions(self) -> Iterator[Contradiction]:
        """Apertures lie on detectors of 32 rows, no time is negative, and frames come in pairs."""
        yield from super().contradictions()
        for name in ("airs_dark_seconds", "fgs1_dark_seconds"):
            seconds = getattr(self.calibration, name)
            if seconds is not None and not all(0.0 <= one <= _LONGEST_EXPOSURE_S for one in seconds):
                reason = f"calibration.{name} {list(seconds)} must lie in [0, {_LONGEST_EXPOSURE_S:g}] s"
                yield Contradiction(f"calibration.{name}", reason)
        for name in ("airs_rows", "fgs1_rows"):
            first, end = getattr(self.calibration, name)
            if not 0 <= first < end <= _ROWS:
                limits = f"expected 0 <= first < past-the-last <= {_ROWS}"
                reason = f"calibration.{name} [{first}, {end}] is no aperture: {limits}"
                yield Contradiction(f"calibration.{name}", reason)
        if (frames := self.simulation.airs_frames) % 2:
            reason = f"simulation.airs_frames ({frames}) is odd, but frames come in pairs"
            yield Contradiction("simulation.airs_frames", reason, str(frames + 1))
