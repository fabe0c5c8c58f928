"""Reading binned light curves and refusing what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectramind_config import ConfigError
from spectramind_train.ariel.lightcurves import LightCurves, bin_times, read_binned


def test_npy_with_all_columns_gives_the_labelled_channels(tmp_path: Path) -> None:
    """Of 357 columns, FGS1 and AIRS columns 36 to 317 are kept; times fill the visit; the name has the digits."""
    flux = np.arange(20 * 357, dtype=np.float64).reshape(1, 20, 357)
    path = tmp_path / "planet_1103775_v2.npy"
    np.save(path, flux)
    (curves,) = read_binned(path)
    assert curves.planet_id == "1103775"
    np.testing.assert_array_equal(curves.flux, flux[0][:, [0, *range(36, 318)]])
    np.testing.assert_allclose(curves.time[[0, -1]], [0.5 * 7.5 / 20, 7.5 - 0.5 * 7.5 / 20])


def test_npy_with_several_planets_numbers_them(tmp_path: Path) -> None:
    """Planets of one file get distinct names; a name without digits keeps its stem."""
    np.save(tmp_path / "night_77.npy", np.ones((2, 16, 283), dtype=np.float32))
    np.save(tmp_path / "curves.npy", np.ones((1, 16, 283)))
    assert [curves.planet_id for curves in read_binned(tmp_path / "night_77.npy")] == ["77_0", "77_1"]
    assert [curves.planet_id for curves in read_binned(tmp_path / "curves.npy")] == ["curves"]


@pytest.mark.parametrize("own_times", [False, True])
def test_npz_brings_times_and_names(tmp_path: Path, own_times: bool) -> None:
    """Times may be common to all planets or each planet's own; numbers serve as names."""
    time = np.linspace(0.0, 5.0, 16)
    times = np.stack([time, time + 1.0]) if own_times else time
    np.savez(tmp_path / "a.npz", flux=np.ones((2, 16, 283)), time=times, planet_id=np.array([12.0, 7.0]))
    first, second = read_binned(tmp_path / "a.npz")
    assert (first.planet_id, second.planet_id) == ("12", "7")
    np.testing.assert_array_equal(second.time, time + 1.0 if own_times else time)


def test_one_planet_needs_no_axis_of_planets(tmp_path: Path) -> None:
    """An array (time, 283) is one planet, with times of its own or without."""
    flux, time = np.arange(20 * 283.0).reshape(20, 283), np.linspace(1.0, 6.0, 20)
    np.savez(tmp_path / "one.npz", flux=flux, time=time)
    np.save(tmp_path / "one.npy", flux)
    for file in ("one.npz", "one.npy"):
        (curves,) = read_binned(tmp_path / file)
        assert curves.planet_id == "one"
        np.testing.assert_array_equal(curves.flux, flux)
    np.testing.assert_array_equal(read_binned(tmp_path / "one.npz")[0].time, time)


def own_grids(planets: int = 2) -> dict[str, np.ndarray]:
    """FGS1 with four samples to each of AIRS's; the flux tells the time, and AIRS's also the channel."""
    fgs1_time, airs_time = bin_times(80), bin_times(20)
    airs = airs_time[:, None] + 100.0 * np.arange(282)
    return {
        "fgs1_flux": np.tile(fgs1_time, (planets, 1)),
        "fgs1_time": fgs1_time,
        "airs_flux": np.tile(airs, (planets, 1, 1)),
        "airs_time": airs_time,
    }


def test_instruments_with_time_grids_of_their_own_share_bins(tmp_path: Path) -> None:
    """FGS1 is averaged over each of AIRS's bins; a planet alone needs no first axis; all 356 columns may be there."""
    arrays = own_grids()
    np.savez(tmp_path / "two.npz", **arrays, planet_id=["a", "b"])
    alone = {name: array[0] if array.ndim > 1 else array for name, array in arrays.items()}
    alone["airs_flux"] = np.pad(alone["airs_flux"], ((0, 0), (35, 39)), constant_values=-1.0)
    np.savez(tmp_path / "77.npz", **alone)
    first, second = read_binned(tmp_path / "two.npz")
    (third,) = read_binned(tmp_path / "77.npz")
    assert [one.planet_id for one in (first, second, third)] == ["a", "b", "77"]
    for one in (first, second, third):
        np.testing.assert_allclose(one.time, arrays["airs_time"])
        np.testing.assert_allclose(one.flux[:, 0], one.time)
        np.testing.assert_allclose(one.flux[:, 1:], arrays["airs_flux"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"airs_time": None}, "has fgs1_flux but no airs_time"),
        ({"flux": np.ones((2, 16, 283))}, "has both flux and fgs1_flux"),
        ({"fgs1_flux": np.ones((1, 80))}, "fgs1_flux holds 1 planets and airs_flux 2"),
        ({"fgs1_flux": np.ones((2, 80, 1))}, r"fgs1_flux has the shape \(2, 80, 1\)"),
        ({"airs_flux": np.ones((2, 20, 283))}, r"airs_flux has the shape \(2, 20, 283\)"),
        ({"fgs1_time": bin_times(81)}, r"fgs1_time has the shape \(81,\)"),
        ({"airs_time": bin_times(20)[::-1]}, "airs_time does not ascend"),
        ({"airs_time": bin_times(20) + 10.0}, "10.1875 to 17.3125 h, have 0 time bins in common"),
        ({"fgs1_time": bin_times(80) * 3600.0}, "fgs1_time spans 26662.5 hours"),
    ],
)
def test_wrong_grids_are_refused(tmp_path: Path, change: dict[str, np.ndarray | None], message: str) -> None:
    """Half of the arrays, arrays that do not belong together, instruments that never looked at the same time."""
    arrays = {name: array for name, array in (own_grids() | change).items() if array is not None}
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        read_binned(tmp_path / "wrong.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"flux": np.ones(283)}, "shape"),
        ({"flux": np.ones((1, 16, 282))}, "shape"),
        ({"flux": np.ones((1, 15, 283))}, "16 to 5625 time bins"),
        ({"flux": np.ones((0, 16, 283))}, "no planet"),
        ({"flux": np.full((1, 16, 283), "x")}, "real numbers"),
        ({"flux": np.full((1, 16, 283), np.inf)}, "not finite"),
        ({"light": np.ones((1, 16, 283))}, "no array 'flux'"),
        ({"flux": np.ones((1, 16, 283)), "time": np.ones(16)}, "ascend"),
        ({"flux": np.ones((1, 16, 283)), "time": np.arange(15.0)}, "time has the shape"),
        ({"flux": np.ones((2, 16, 283)), "planet_id": np.array(["a", "a"])}, "distinct names"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    """The message names the file and what is wrong."""
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    with pytest.raises(ConfigError, match=message) as error:
        read_binned(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04 damaged", b"\x93NUMPY\x01\x00"])
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, foreign and truncated files, pickles among them, give one clear message."""
    path = tmp_path / "damaged.npy"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"damaged\.npy"):
        read_binned(path)


def test_damaged_headers_and_strange_columns_are_refused(tmp_path: Path) -> None:
    """A bracket that is lost in the header, a name that is no number, times that cannot be hours."""
    np.save(tmp_path / "a.npy", np.ones((1, 16, 283)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes().replace(b"}", b" ", 1))
    np.savez(tmp_path / "b.npz", flux=np.ones((1, 16, 283)), planet_id=[np.nan])
    np.savez(tmp_path / "c.npz", flux=np.ones((1, 16, 283)), time=np.arange(16) * 1800.0)
    for name, words in (("a.npy", "not a readable"), ("b.npz", "planet_id are not finite"), ("c.npz", "27000 hours")):
        with pytest.raises(ConfigError, match=words):
            read_binned(tmp_path / name)


def test_pickles_and_absent_files_are_refused(tmp_path: Path) -> None:
    """A pickled array is never loaded; a missing file is named."""
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"objects\.npy"):
        read_binned(tmp_path / "objects.npy")
    with pytest.raises(ConfigError, match="no such file"):
        read_binned(tmp_path / "absent.npy")


def test_light_curves_refuse_arrays_that_do_not_belong_together() -> None:
    """Time and flux must have one length."""
    with pytest.raises(ValueError, match="planet p"):
        LightCurves("p", np.arange(5.0), np.ones((6, 283)))
