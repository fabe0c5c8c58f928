"""Entries of the cache of prepared planets: what one depends on, and how it is stored."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
import scipy

from spectramind_config import Calibration, ConfigError
from spectramind_train.ariel.arrays import read_arrays
from spectramind_train.ariel.constants import N_CHANNELS
from spectramind_train.ariel.dataset import ADC_TABLE, AXIS_TABLE, Dataset
from spectramind_train.ariel.lightcurves import LightCurves
from spectramind_train.run.atomic_files import replacing
from spectramind_train.transit.spectrum_fit import N_LIMB, N_SHARED, TransitFit

_FITTED = ("depth", "sigma", "shared", "limb", "limb_covariance", "white", "baseline", "shape", "fgs1_shape")
_ARRAYS = ("time", "flux", *_FITTED)
_LARGE = ("flux", "baseline")


def entry_key(dataset: Dataset, planet_id: str, settings: Calibration, code: str) -> str:
    """Hash of all that a planet's entry depends on.

    Args:
        dataset: Where the planet's raw files are.
        planet_id: The planet.
        settings: How it is calibrated.
        code: Digest of the code that prepares it; the libraries that do the sums are added here.

    Raises:
        ConfigError: A raw file cannot be read.
    """
    files: list[tuple[str, int, int]] = []
    for path in [dataset.root / AXIS_TABLE, dataset.root / ADC_TABLE, *dataset.raw_files(planet_id)]:
        try:
            state = path.stat()
        except OSError as error:
            raise ConfigError(
                f"{path}: this file of planet {planet_id} cannot be read ({error.strerror or error}); "
                "'spectramind data check' lists all that is missing"
            ) from error
        files.append((path.relative_to(dataset.root).as_posix(), state.st_size, state.st_mtime_ns))
    star = dataset.star(planet_id)
    parts = [code, np.__version__, scipy.__version__, asdict(settings), files, asdict(star) if star else None]
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:24]


def write_entry(path: Path, curves: LightCurves, fit: TransitFit) -> None:
    """Write an entry, whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    arrays = {"time": curves.time, "flux": curves.flux, "depth": fit.depth, "sigma": fit.sigma}
    arrays |= {"shared": fit.shared_errors, "limb": fit.limb_darkening, "limb_covariance": fit.limb_covariance}
    arrays |= {"baseline": fit.baseline, "shape": fit.shape, "fgs1_shape": fit.fgs1_shape}
    arrays["white"] = np.array([fit.white_depth, fit.mid_time])
    try:
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise ConfigError(
            f"{path}: the cache entry cannot be written ({error.strerror or error}); free some space or set "
            "paths.cache_dir to another folder"
        ) from error


def read_entry(path: Path, planet_id: str) -> tuple[LightCurves, TransitFit] | None:
    """Read an entry; None where there is none or it is damaged.

    All of it is read and checked. Flux and baseline then stay in the file, so that all planets of a run take memory
    only while the system has it to spare, and processes of one machine share it.
    """
    try:
        found = read_arrays(path, _ARRAYS, mapped=_LARGE)
        arrays = {name: np.asarray(found[name], dtype=np.float64) for name in _ARRAYS}
        white_depth, mid_time = (float(value) for value in arrays["white"])
        curves = LightCurves(planet_id, arrays["time"], arrays["flux"])
        fit = TransitFit(
            depth=arrays["depth"],
            sigma=arrays["sigma"],
            shared_errors=arrays["shared"],
            limb_darkening=arrays["limb"],
            limb_covariance=arrays["limb_covariance"],
            white_depth=white_depth,
            mid_time=mid_time,
            baseline=arrays["baseline"],
            shape=arrays["shape"],
            fgs1_shape=arrays["fgs1_shape"],
        )
    except Exception:  # noqa: BLE001 - what numpy and zipfile raise depends on which bytes are damaged.
        return None
    bins = curves.time.size
    expected = {"depth": (N_CHANNELS,), "sigma": (N_CHANNELS,), "shared": (N_SHARED, N_CHANNELS)}
    expected |= {"limb": (N_LIMB,), "limb_covariance": (N_LIMB, N_LIMB)}
    expected |= {"baseline": (bins, N_CHANNELS), "shape": (bins,), "fgs1_shape": (bins,)}
    complete = all(arrays[name].shape == shape for name, shape in expected.items())
    return (curves, fit) if complete and all(np.isfinite(array).all() for array in arrays.values()) else None
