"""Light curves and cache entries from strangers."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .manifests import _specials
from .world import Case, World, bomb, curves

SPECIALS = _specials()


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def _header(shape: object, kind: str = "<f8", order: bool = False) -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _npy(array: Any, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def _npz(compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def _lying(content: bytes, size: int) -> bytes:
    """A zip whose directory says that each member has another size."""
    found = bytearray(content)
    at = found.rfind(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<L", found, at + 24, size)
        at = found.rfind(b"PK\x01\x02", 0, at)
    return bytes(found)


def _sound() -> Any:
    return curves(np.random.default_rng(2))


def _zeros(size: int) -> bytes:
    """An array of zeros of that many bytes, whole."""
    planets = size // (60 * 283 * 8)
    return _header((planets, 60, 283)) + b"\0" * (planets * 60 * 283 * 8)


def _bomb(members: dict[str, bytes], name: str) -> bytes:
    """Arrays, and one of two gigabytes of zeros that takes two megabytes of the file."""
    size = 2 << 30
    start = _header((size // (64 * 283 * 8), 64, 283))
    return bomb({f"{other}.npy": one for other, one in members.items()}, f"{name}.npy", start, size)


def _npys() -> dict[str, Callable[[], bytes]]:
    return {
        "empty": lambda: b"",
        "noise": lambda: bytes(range(256)) * 10,
        "text": lambda: b"1 2 3\n",
        "a pickle": lambda: pickle.dumps(_Runs()),
        "objects": lambda: _npy(np.array([_Runs()], dtype=object), pickled=True),
        "cut short": lambda: _npy(_sound())[:-5000],
        "a header alone": lambda: _npy(_sound())[:128],
        "a header of 4 GB": lambda: b"\x93NUMPY\x02\x00" + struct.pack("<L", 0xFFFF_FF00) + b"{",
        "a header of 200 MB": lambda: b"\x93NUMPY\x02\x00" + struct.pack("<L", 200_000_000) + b"{" + b" " * 199_999_999,
        "a header of brackets": lambda: _raw_header(b"(" * 9000),
        "a header of minus signs": lambda: _raw_header(b"-" * 9000 + b"1"),
        "a header that calls": lambda: _raw_header(b"__import__('os').system('touch executed')"),
        "a header with a huge power": lambda: _raw_header(
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (9**9**9,)}"
        ),
        "a shape of 8 TB": lambda: _header((1, 1 << 40, 283)),
        "a shape beyond 64 bits": lambda: _header((1 << 40, 1 << 40, 283)),
        "a shape that wraps to 0": lambda: _header((1 << 32, 1 << 32, 283)),
        "a negative shape": lambda: _header((-1, 60, 283)),
        "a shape of text": lambda: _header("('a', 60, 283)"),
        "a shape of truth": lambda: _header((True, 60, 283)),
        "a shape of 5000 digits": lambda: _header(f"({'9' * 4000}, 60, 283)"),
        "a shape of 200 axes": lambda: _header((1,) * 200),
        "no planet": lambda: _npy(np.zeros((0, 60, 283))),
        "no planet, a huge rest": lambda: _header((0, 1 << 60, 283)),
        "three bins": lambda: _npy(np.ones((1, 3, 283))),
        "two axes of other channels": lambda: _npy(np.ones((60, 200))),
        "complex": lambda: _npy(_sound().astype(complex)),
        "texts": lambda: _npy(np.full((1, 60, 283), "a")),
        "texts of a gigabyte each": lambda: _header((1, 60, 283), "<U250000000"),
        "records": lambda: _npy(np.zeros((1, 60, 283), [("a", "<f8")])),
        "nested records": lambda: _header((1, 60, 283), "[" * 50),
        "dates": lambda: _npy(np.zeros((1, 60, 283), "datetime64[s]")),
        "nan": lambda: _npy(_sound() * np.nan),
        "infinite": lambda: _npy(_sound() * np.inf),
        "zeros": lambda: _npy(np.zeros((1, 60, 283))),
        "negative": lambda: _npy(-_sound()),
        "1e308": lambda: _npy(np.full((1, 60, 283), 1e308)),
        "denormal": lambda: _npy(np.full((1, 60, 283), 5e-324)),
        "noise of 1e300": lambda: _npy(np.random.default_rng(1).normal(size=(1, 60, 283)) * 1e300),
        "constant": lambda: _npy(np.ones((1, 60, 283))),
        "one bad channel": lambda: _npy(_sound() * np.where(np.arange(283) == 7, 0.0, 1.0)),
        "longdouble": lambda: _npy(_sound().astype(np.longdouble) * np.longdouble("1e4000")),
        "uint64": lambda: _npy(np.full((1, 60, 283), 2**64 - 1, dtype=np.uint64)),
        "bytes that become 8 times as large": lambda: _header((12_000, 60, 283), "|i1") + b"\1" * (12_000 * 60 * 283),
        "as many bins as may be": lambda: _npy(np.ones((3, 5625, 283), dtype=np.int8)),
        "a hundred thousand bins": lambda: _npy(np.ones((1, 100_000, 283), dtype=np.int8)),
        "fortran order": lambda: _npy(np.asfortranarray(_sound())),
        "big endian": lambda: _npy(_sound().astype(">f8")),
    }


def _raw_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _npzs() -> dict[str, Callable[[], bytes]]:
    flux = _npy(_sound())
    return {
        "empty zip": lambda: _npz(),
        "no flux": lambda: _npz(other=flux),
        "no flux, a name with escapes": lambda: _npz(**{"\x1b[2J\nrun instead: x": flux}),
        "cut short": lambda: _npz(flux=flux)[:-200],
        "objects": lambda: _npz(flux=_npy(np.array([_Runs()], dtype=object), pickled=True)),
        "a compressed bomb": lambda: _bomb({}, "flux"),
        "a compressed bomb beside": lambda: _bomb({"flux": flux}, "other"),
        "a bzip2 bomb": lambda: _npz(zipfile.ZIP_BZIP2, flux=_zeros(1 << 28)),
        "an lzma bomb": lambda: _npz(zipfile.ZIP_LZMA, flux=_zeros(1 << 28)),
        "a shape of 8 TB": lambda: _npz(flux=_header((1, 1 << 40, 283))),
        "texts of a gigabyte each": lambda: _npz(flux=_header((1, 60, 283), "<U250000000")),
        "sizes that lie, less": lambda: _lying(_bomb({}, "flux"), 1000),
        "sizes that lie, more": lambda: _lying(_npz(flux=flux), 0xFFFF_FF00),
        "many members": lambda: _npz(**{f"a{number}": b"" for number in range(50_000)}),
        "the same member twice": lambda: _twice(flux),
        "a member above": lambda: _npz(flux=flux, **{"../../executed": flux}),
        "a member of 60 kB name": lambda: _npz(flux=flux, **{"a" * 60_000: flux}),
        "an encrypted member": lambda: _encrypted(_npz(flux=flux)),
        "time backwards": lambda: _npz(flux=flux, time=_npy(np.arange(60.0)[::-1])),
        "time of nan": lambda: _npz(flux=flux, time=_npy(np.full(60, np.nan))),
        "time of 1e308": lambda: _npz(flux=flux, time=_npy(np.linspace(-1e308, 1e308, 60))),
        "time of texts": lambda: _npz(flux=flux, time=_npy(np.full(60, "x"))),
        "time of 8 TB": lambda: _npz(flux=flux, time=_header((1 << 40,))),
        "no time passes": lambda: _npz(flux=flux, time=_npy(np.linspace(0, 1e-300, 60))),
        "ids of objects": lambda: _npz(flux=flux, planet_id=_npy(np.array([_Runs()], dtype=object), pickled=True)),
        "ids of nan": lambda: _npz(flux=flux, planet_id=_npy(np.array([np.nan]))),
        "ids of 1e300": lambda: _npz(flux=flux, planet_id=_npy(np.array([1e300]))),
        "two ids": lambda: _npz(flux=flux, planet_id=_npy(np.array(["a", "b"]))),
        "no ids": lambda: _npz(flux=flux, planet_id=_npy(np.array([], dtype=int))),
        "ids in three axes": lambda: _npz(flux=flux, planet_id=_npy(np.zeros((1, 1, 1), dtype=int))),
        "ids of bytes": lambda: _npz(flux=flux, planet_id=_npy(np.array([b"\xff\x1b[2J"]))),
        "an id with escapes": lambda: _npz(flux=flux, planet_id=_npy(np.array(["\x1b[2J\x1b]0;x\x07\nfake: 1"]))),
        "an id with markup": lambda: _npz(flux=flux, planet_id=_npy(np.array(["[bold red]x[/]"]))),
        "an id for a spreadsheet": lambda: _npz(flux=flux, planet_id=_npy(np.array(["=cmd|' /C calc'!A0"]))),
        "an id of a million": lambda: _npz(flux=flux, planet_id=_npy(np.array(["x" * 1_000_000]))),
        "an id of half a surrogate": lambda: _npz(flux=flux, planet_id=_npy(np.array(["\udc80"]))),
        "an id from right to left": lambda: _npz(flux=flux, planet_id=_npy(np.array(["\u202eabc"]))),
        "three million ids": lambda: _npz(flux=flux, planet_id=_npy(np.arange(3_000_000))),
    }


def _grids(**changed: bytes | None) -> bytes:
    """Instruments with a time grid each, and something else in the place of some arrays; None leaves one out."""
    flux = _sound()[0]
    found: dict[str, bytes | None] = {
        "fgs1_flux": _npy(np.repeat(flux[None, :, 0], 2, axis=1)),
        "fgs1_time": _npy(7.5 * (np.arange(120) + 0.5) / 120),
        "airs_flux": _npy(flux[None, :, 1:]),
        "airs_time": _npy(7.5 * (np.arange(60) + 0.5) / 60),
    }
    return _npz(**{name: content for name, content in (found | changed).items() if content is not None})


def _own_grids() -> dict[str, Callable[[], bytes]]:
    hours = np.linspace(0.1, 7.4, 60)
    objects = _npy(np.array([_Runs()], dtype=object), pickled=True)
    huge = "9" * 4000
    return {
        "sound": _grids,
        "one is missing": lambda: _grids(fgs1_time=None),
        "flux beside": lambda: _grids(flux=_npy(_sound())),
        "objects in FGS1": lambda: _grids(fgs1_flux=objects),
        "objects in a time": lambda: _grids(airs_time=objects),
        "a bomb in FGS1": lambda: _bomb({}, "fgs1_flux"),
        "a bomb in AIRS": lambda: _bomb({"fgs1_flux": _npy(np.ones(120))}, "airs_flux"),
        "a bomb in a time": lambda: _bomb({"airs_flux": _npy(_sound()[0, :, 1:])}, "airs_time"),
        "FGS1 of 8 TB": lambda: _grids(fgs1_flux=_header((1, 1 << 40))),
        "a time of 8 TB": lambda: _grids(fgs1_time=_header((1 << 40,))),
        "AIRS of 5000 digits": lambda: _grids(airs_flux=_header(f"(1, {huge}, 282)")),
        "a header that calls": lambda: _grids(fgs1_time=_raw_header(b"__import__('os').system('touch executed')")),
        "FGS1 without axes": lambda: _grids(fgs1_flux=_npy(np.float64(3))),
        "AIRS without axes": lambda: _grids(airs_flux=_npy(np.float64(3))),
        "a time without axes": lambda: _grids(airs_time=_npy(np.float64(3))),
        "FGS1 of four axes": lambda: _grids(fgs1_flux=_npy(np.ones((1, 1, 1, 120)))),
        "AIRS of 281 columns": lambda: _grids(airs_flux=_npy(np.ones((1, 60, 281)))),
        "AIRS of 283 columns": lambda: _grids(airs_flux=_npy(_sound())),
        "no planets": lambda: _grids(fgs1_flux=_npy(np.ones((0, 120))), airs_flux=_npy(np.ones((0, 60, 282)))),
        "other planets": lambda: _grids(fgs1_flux=_npy(np.ones((2, 120)))),
        "FGS1 of one sample": lambda: _grids(fgs1_flux=_npy(np.ones((1, 1))), fgs1_time=_npy(np.ones(1))),
        "more FGS1 than may be": lambda: _grids(fgs1_flux=_npy(np.ones((1, 67_501), dtype=np.int8))),
        "a time of other length": lambda: _grids(fgs1_time=_npy(hours)),
        "nan in FGS1": lambda: _grids(fgs1_flux=_npy(np.full((1, 120), np.nan))),
        "infinite AIRS": lambda: _grids(airs_flux=_npy(np.full((1, 60, 282), np.inf))),
        "1e31 in FGS1": lambda: _grids(fgs1_flux=_npy(np.full((1, 120), 1e31))),
        "complex FGS1": lambda: _grids(fgs1_flux=_npy(np.ones((1, 120), dtype=complex))),
        "texts in AIRS": lambda: _grids(airs_flux=_npy(np.full((1, 60, 282), "x"))),
        "records in FGS1": lambda: _grids(fgs1_flux=_npy(np.zeros((1, 120), [("a", "<f8")]))),
        "dates as time": lambda: _grids(airs_time=_npy(np.zeros(60, "datetime64[s]"))),
        "texts as time": lambda: _grids(fgs1_time=_npy(np.full(120, "x"))),
        "nan as time": lambda: _grids(airs_time=_npy(np.full(60, np.nan))),
        "infinite time": lambda: _grids(airs_time=_npy(np.append(hours[:-1], np.inf))),
        "time backwards": lambda: _grids(airs_time=_npy(hours[::-1])),
        "times that never meet": lambda: _grids(airs_time=_npy(hours + 20)),
        "times of 1e308": lambda: _grids(airs_time=_npy(hours * 1e306)),
        "a visit of a year": lambda: _grids(airs_time=_npy(hours * 1000)),
        "an escape as a name": lambda: _grids(planet_id=_npy(np.array(["\x1b[2J\nfake: 1"]))),
        # Nothing is wrong with the files of these, or not much.
        "zeros": lambda: _grids(fgs1_flux=_npy(np.zeros((1, 120))), airs_flux=_npy(np.zeros((1, 60, 282)))),
        "FGS1 of zeros": lambda: _grids(fgs1_flux=_npy(np.zeros((1, 120)))),
        "no time passes": lambda: _grids(airs_time=_npy(np.linspace(3.0, 3.0 + 1e-12, 60))),
        "times of 1e-320": lambda: _grids(
            airs_time=_npy(np.arange(60) * 1e-320), fgs1_time=_npy(np.arange(120) * 5e-321)
        ),
        "ever longer steps": lambda: _grids(airs_time=_npy(np.geomspace(1e-9, 7.5, 60))),
        "as many samples as may be": lambda: _grids(
            fgs1_flux=_npy(np.ones((1, 67_500), dtype=np.int8)),
            fgs1_time=_npy(np.linspace(0, 7.5, 67_500)),
            airs_flux=_npy(np.ones((1, 5625, 282), dtype=np.int8)),
            airs_time=_npy(np.linspace(0.01, 7.49, 5625)),
        ),
    }


GRIDS_WORK = {
    "sound": (0,),
    **dict.fromkeys(("zeros", "FGS1 of zeros", "no time passes", "times of 1e-320", "ever longer steps"), (0, 2)),
    "as many samples as may be": (0, 2),
    "an escape as a name": (0, 2),
}


def _twice(flux: bytes) -> bytes:
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")
        file.writestr("flux.npy", flux)
        file.writestr("flux.npy", flux)
    return buffer.getvalue()


def _encrypted(content: bytes) -> bytes:
    found = bytearray(content)
    at = found.rfind(b"PK\x01\x02")
    found[at + 8] |= 1
    found[6] |= 1
    return bytes(found)


# These say less, or nothing wrong at all; that they do no harm is what counts.
WORK = {
    "npy": {"zeros", "negative", "denormal", "noise of 1e300", "constant", "one bad channel", "uint64", "1e308"}
    | {"as many bins as may be"},
    "npz": {
        "the same member twice",
        "a member above",
        "a member of 60 kB name",
        "no time passes",
        "time of 1e308",
        "sizes that lie, more",
    }
    | {"a compressed bomb beside"}
    | {name for name in _npzs() if name.startswith("an id")}
    | {"ids of bytes", "ids of 1e300"},
}
RUN = {"npy": {"fortran order", "big endian"}, "npz": set[str]()}


def cases() -> Iterator[Case]:
    """All of them."""
    for kind, contents in (("npy", _npys()), ("npz", _npzs())):
        for name, made in contents.items():
            codes = (0,) if name in RUN[kind] else (0, 2) if name in WORK[kind] else (2,)
            yield Case(f"{kind}: {name}", lambda world, kind=kind, made=made: _data(world, kind, made()), codes)
    for name, made in _own_grids().items():
        codes = GRIDS_WORK.get(name, (2,))
        yield Case(f"own grids: {name}", lambda world, made=made: _data(world, "npz", made()), codes)
    for name, make in SPECIALS.items():
        yield Case(f"data npz place: {name}", lambda world, make=make: _data_is(world, make, "curves.npz"))
        yield Case(f"data place: {name}", lambda world, make=make: _data_is(world, make))
        yield Case(f"cache entry place: {name}", lambda world, make=make: _entry_is(world, make), (0,), code=_READ)
    yield Case("data: 4 GB of nothing", lambda world: _data_is(world, _sparse_array))
    yield Case("output: the root", lambda world: [*world.predict(), "--out", "/"])
    yield Case("output: a folder", lambda world: [*world.predict(), "--out", world.folder])
    yield Case("output: a pipe", _into_pipe)
    yield Case("output: a name of 300", lambda world: [*world.predict(), "--out", "a" * 300])
    yield Case("output: a path of 5000", lambda world: [*world.predict(), "--out", "a/" * 2500])
    yield Case("output: escapes", lambda world: [*world.predict(), "--out", "/proc/\x1b[2J/x.csv"])
    yield Case("output: through a file", lambda world: [*world.predict(), "--out", f"{world.data}/x.csv"])
    for name, entry in _entries().items():
        code = _TRIED if name in ("a bomb beside", "lying sizes") else _READ  # What is needed of them is sound.
        yield Case(f"cache entry: {name}", lambda world, entry=entry: _entry(world, entry()), (0,), code=code)


_READ = """
from pathlib import Path
from spectramind_train.planets.cache import read_entry
assert read_entry(Path(arguments[0]), "1") is None
"""
_TRIED = _READ.replace("assert ", "").replace(" is None", "")


def _entries() -> dict[str, Callable[[], bytes]]:
    good = {"time": _npy(np.arange(60.0)), "flux": _npy(_sound()[0]), "depth": _npy(np.ones(283))}
    good |= {"sigma": _npy(np.ones(283)), "baseline": _npy(_sound()[0]), "shape": _npy(np.ones(60))}
    good |= {"white": _npy(np.ones(2))}
    return {
        "empty": lambda: b"",
        "noise": lambda: bytes(range(256)),
        "an npy": lambda: _npy(np.ones(3)),
        "a pickle": lambda: pickle.dumps(_Runs()),
        "objects": lambda: _npz(**good | {"white": _npy(np.array([_Runs()], dtype=object), pickled=True)}),
        "a bomb": lambda: _bomb({name: one for name, one in good.items() if name != "flux"}, "flux"),
        "a bomb beside": lambda: _bomb(good, "more"),
        "a shape of 8 TB": lambda: _npz(**good | {"flux": _header((1 << 40, 283))}),
        "another dtype": lambda: _npz(**good | {"flux": _npy(np.full((60, 283), "x"))}),
        "white of 5": lambda: _npz(**good | {"white": _npy(np.ones(5))}),
        "white of 2 x 2": lambda: _npz(**good | {"white": _npy(np.ones((2, 2)))}),
        "no axes": lambda: _npz(**good | {"time": _npy(np.float64(3))}),
        "encrypted": lambda: _encrypted(_npz(**good)),
        "a header of brackets": lambda: _npz(**good | {"flux": _raw_header(b"(" * 9000)}),
        "lying sizes": lambda: _lying(_npz(**good), 0xFFFF_FF00),
        "nan": lambda: _npz(**good | {"depth": _npy(np.full(283, np.nan))}),
        "a method that nobody has": lambda: _method(_npz(**good)),
    }


def _method(content: bytes) -> bytes:
    found = bytearray(content)
    at = found.find(b"PK\x01\x02")
    struct.pack_into("<H", found, at + 10, 77)
    struct.pack_into("<H", found, 8, 77)
    return bytes(found)


def _data(world: World, kind: str, content: bytes) -> list[str | Path]:
    file = world.folder / f"curves.{kind}"
    file.write_bytes(content)
    return world.predict(data=file)


def _data_is(world: World, make: Any, name: str = "curves.npy") -> list[str | Path]:
    make(world.folder / name)
    return world.predict(data=world.folder / name)


def _sparse_array(path: Path) -> None:
    """30 000 planets, whole, but only as holes in a file."""
    with path.open("wb") as file:
        header = _header((30_000, 60, 283))
        file.write(header)
        file.truncate(len(header) + 30_000 * 60 * 283 * 8)


def _into_pipe(world: World) -> list[str | Path]:
    """A device would do as well, but a test that fails as root would put a file in its place."""
    os.mkfifo(world.folder / "pipe")
    return [*world.predict(), "--out", world.folder / "pipe"]


def _entry(world: World, content: bytes) -> list[str | Path]:
    file = world.folder / "entry.npz"
    file.write_bytes(content)
    return [file]


def _entry_is(world: World, make: Any) -> list[str | Path]:
    make(world.folder / "entry.npz")
    return [world.folder / "entry.npz"]
