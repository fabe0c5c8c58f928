"""Data sets from strangers: their tables and frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .manifests import _specials
from .world import Case, World

SIGNAL = "train/1000001/AIRS-CH0_signal_0.parquet"
DARK = "train/1000001/FGS1_calibration_0/dark.parquet"
TRAIN = ("train", "local=debug", "local.devices=cpu", "model.width=8")


def _parquet(columns: int, rows: int, value: Any = 0, **options: Any) -> bytes:
    buffer = io.BytesIO()
    column = pa.array([value] * rows) if not isinstance(value, pa.Array) else value
    pq.write_table(pa.table([column] * columns, names=[f"column_{n}" for n in range(columns)]), buffer, **options)
    return buffer.getvalue()


def _constant(columns: int, rows: int) -> bytes:
    """A dictionary-coded column: a few hundred bytes, however many rows."""
    buffer = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([7], pa.uint16()))
    table = pa.table([column] * columns, names=[f"column_{n}" for n in range(columns)])
    pq.write_table(table, buffer, compression="zstd", write_statistics=False)
    return buffer.getvalue()


def _long_texts() -> bytes:
    """A dictionary with one text of 20 MB, named by every row."""
    buffer = io.BytesIO()
    texts = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), 1024), pa.array(["x" * 20_000_000]))
    pq.write_table(pa.table([texts] * 4, names=list("abcd")), buffer, compression="zstd", store_schema=False)
    return buffer.getvalue()


def _parquets() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "empty": lambda _: b"",
        "noise": lambda _: bytes(range(256)) * 20,
        "cut short": lambda sound: sound[:-100],
        "no footer": lambda sound: sound[:200],
        "a footer length that lies": lambda sound: sound[:-8] + b"\xff\xff\xff\x7fPAR1",
        "a flipped byte": lambda sound: sound[:100] + bytes([sound[100] ^ 255]) + sound[101:],
        "flipped bytes in the footer": lambda sound: (
            sound[:-500] + bytes(one ^ 90 for one in sound[-500:-8]) + sound[-8:]
        ),
        "a billion rows": lambda _: _constant(1, 300_000_000),
        "other rows": lambda _: _parquet(3, 5),
        "many columns": lambda _: _parquet(20_000, 1),
        "texts": lambda _: _parquet(4, 60, "x\x1b[2J"),
        "texts of 20 MB": lambda _: _long_texts(),
        "nested lists": lambda _: _parquet(4, 60, [[1, 2]]),
        "nothing": lambda _: _parquet(0, 0),
        "nulls": lambda _: _parquet(4, 60, pa.nulls(60)),
        "names with escapes": lambda _: _names(["\x1b[2J", "a\nb", "\u202e", "d"]),
        "one name twice": lambda _: _names(["a", "a", "a", "a"]),
    }


def _names(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array([1.0])] * len(names), names=names), buffer)
    return buffer.getvalue()


def _csvs() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "empty": lambda _: b"",
        "noise": lambda _: bytes(range(256)) * 20,
        "zeros": lambda _: b"\0" * 100_000,
        "a header alone": lambda sound: sound.splitlines()[0],
        "cut short": lambda sound: sound[: len(sound) // 2],
        "escapes": lambda sound: sound.replace(b"0", b"\x1b[2J", 1),
        "escapes in a cell": lambda sound: sound[: sound.find(b"\n") + 1] + b"\x1b[2J\x07," * 300 + b"\n",
        "bad utf-8": lambda _: b"\xff\xfe\n\xff",
        "a million columns": lambda _: b"a," * 1_000_000 + b"b\n",
        "one line of 50 MB": lambda _: b"planet_id" + b"x" * 50_000_000,
        "a quote without end": lambda sound: sound[:20] + b'"' + sound[20:],
        "200 MB of lines": lambda sound: sound[: sound.find(b"\n") + 1] + b"1,2,3\n" * 30_000_000,
        "200 MB of rows": lambda sound: (
            sound[: sound.find(b"\n") + 1]
            + (b",".join([b"1"] * (sound[: sound.find(b"\n")].count(b",") + 1)) + b"\n")
            * (100_000_000 // (2 * sound[: sound.find(b"\n")].count(b",") + 2))
        ),
        "infinite": lambda sound: _cells(sound, b"inf"),
        "nan": lambda sound: _cells(sound, b"nan"),
        "1e308": lambda sound: _cells(sound, b"1e308"),
        "texts": lambda sound: _cells(sound, b"x"),
        "numbers of 5000 digits": lambda sound: _cells(sound, b"9" * 5000),
    }


def _cells(sound: bytes, value: bytes) -> bytes:
    first, _, rest = sound.partition(b"\n")
    width = first.count(b",") + 1
    return first + b"\n" + b"".join(b",".join([value] * width) + b"\n" for _ in rest.splitlines())


def _table(depth: object = 0.01, planets: int = 6) -> bytes:
    """A sound table of spectra, a row a planet."""
    head = ",".join(["planet_id", *(f"wl_{channel}" for channel in range(1, 284))])
    rows = [f"{number}," + ",".join([str(depth)] * 283) for number in range(planets)]
    return "\n".join([head, *rows, ""]).encode()


def _spectra() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "sound": lambda sound: sound,
        "one of 5000 digits": lambda sound: sound.replace(b"0.01", b"0." + b"1" * 5000, 1),
        "one of 5000 digits before the point": lambda sound: sound.replace(b"0.01", b"1" * 5000, 1),
        "hexadecimal": lambda sound: sound.replace(b"0.01", b"0x1p-7", 1),
        "digits of other scripts": lambda sound: sound.replace(b"0.01", "\u0660.\u0660\u0661".encode(), 1),
        "one nan": lambda sound: sound.replace(b"0.01", b"nan", 1),
        "one infinite": lambda sound: sound.replace(b"0.01", b"-inf", 1),
        "one negative": lambda sound: sound.replace(b"0.01", b"-0.01", 1),
        "one empty": lambda sound: sound.replace(b"0.01", b"", 1),
        "a planet as large as its star": lambda _: _table(1),
        "a planet beyond its star": lambda _: _table(4),
        "depths of 1e-320": lambda _: _table(1e-320),
        "no depth": lambda _: _table(0),
        "fewer than planets": lambda _: _table(planets=1),
        "no planets": lambda _: _table(planets=0),
        "a column less": lambda sound: sound.replace(b"wl_283", b"wl_284"),
        "a column twice": lambda sound: sound.replace(b"wl_283", b"wl_282"),
        "a cell less": lambda sound: sound.replace(b"0.01,", b"", 1),
        "a planet twice": lambda sound: sound.replace(b"\n1,", b"\n0,"),
        "a planet without a name": lambda sound: sound.replace(b"\n1,", b"\n,"),
        "a name with escapes": lambda sound: sound.replace(b"\n0,", b"\n\x1b[2J,").replace(b"0.01", b"x"),
        "a column with escapes": lambda sound: sound.replace(b"wl_283", b"wl_\x1b[2J283"),
        "utf-16": lambda sound: sound.decode().encode("utf-16"),
        "a cell of 20 MB": lambda sound: sound.replace(b"0.01", b"1" * 20_000_000, 1),
        "a parquet table": lambda _: _parquet(284, 4),
    }


# A number may be written in many ways, and be very small.
SPECTRA_WORK = {
    "sound": (0,),
    **dict.fromkeys(("one of 5000 digits", "digits of other scripts", "depths of 1e-320"), (0, 2)),
}


def _spectra_are(world: World, content: Any) -> list[str | Path]:
    file = world.folder / "spectra.csv"
    if callable(content):
        content(file)
    else:
        file.write_bytes(content)
    size = ("data.simulation.planets=4", "data.simulation.airs_frames=40")
    return ["data", "simulate", world.folder / "made", "--spectra", file, *size]


def _put(world: World, name: str, content: Any) -> Path:
    file = world.ariel / name
    if callable(content):
        file.unlink()
        content(file)
    else:
        file.write_bytes(content)
    return world.ariel


def _check(world: World, name: str, made: Callable[[bytes], bytes]) -> list[str | Path]:
    return ["data", "check", _put(world, name, made((world.sound / "ariel" / name).read_bytes()))]


def _train(world: World, name: str, made: Any) -> list[str | Path]:
    root = _put(world, name, made((world.sound / "ariel" / name).read_bytes()))
    return [*TRAIN, f"local.paths.data_root='{root}'", f"local.paths.output_dir='{world.folder}/outputs'"]


def _train_with(world: World, name: str, make: Any) -> list[str | Path]:
    return [*_train(world, name, lambda sound: sound)[:-2], *_places(world, _put(world, name, make))]


def _places(world: World, root: Path) -> list[str]:
    return [f"local.paths.data_root='{root}'", f"local.paths.output_dir='{world.folder}/outputs'"]


def cases() -> Iterator[Case]:
    """All of them."""
    cache = {"SM_CACHE_DIR": "{folder}/cache"}
    for name, made in _parquets().items():
        codes = (0, 2) if name == "a flipped byte" else (2,)  # It may lie in what nobody reads.
        yield Case(f"signal: {name}", lambda world, made=made: _train(world, SIGNAL, made), codes, variables=cache)
        yield Case(f"axis: {name}", lambda world, made=made: _check(world, "axis_info.parquet", made))
        yield Case(f"dark: {name}", lambda world, made=made: _check(world, DARK, made), codes)
    for name, made in _csvs().items():
        codes = (0, 2) if name in ("200 MB of rows", "1e308", "numbers of 5000 digits") else (2,)
        yield Case(f"adc: {name}", lambda world, made=made: _check(world, "adc_info.csv", made), codes)
        yield Case(f"labels: {name}", lambda world, made=made: _check(world, "train.csv", made), codes)
        codes = (0, 2) if name in ("a quote without end",) else codes
        yield Case(f"stars: {name}", lambda world, made=made: _check(world, "train_star_info.csv", made), codes)
    for name, make in _specials().items():
        yield Case(f"signal place: {name}", lambda world, make=make: _train_with(world, SIGNAL, make), variables=cache)
        yield Case(f"labels place: {name}", lambda world, make=make: ["data", "check", _put(world, "train.csv", make)])
        yield Case(
            f"axis place: {name}", lambda world, make=make: ["data", "check", _put(world, "axis_info.parquet", make)]
        )
        yield Case(
            f"simulation place: {name}",
            lambda world, make=make: [
                "data",
                "simulate",
                _put(world, "simulation.json", make),
                "data.simulation.planets=3",
                "data.simulation.airs_frames=40",
            ],
        )
        yield Case(f"spectra place: {name}", lambda world, make=make: _spectra_are(world, make))
    for name, made in (_csvs() | _spectra()).items():
        codes = SPECTRA_WORK.get(name, (2,))
        yield Case(f"spectra: {name}", lambda world, made=made: _spectra_are(world, made(_table())), codes)
    yield Case("data set: names with escapes", _strange_planets, (0, 2))
    yield Case("data set: a hundred thousand files", _many_files, (0, 2))
    yield Case("data set: a visit of 4000 digits", _huge_visit)
    yield Case("data set: digits of other scripts", _other_digits, (0, 2))
    yield Case("data set: a planet linked to itself", _looped, (0, 2))


def _strange_planets(world: World) -> list[str | Path]:
    for name in ("\x1b[2J", "a\nb", "\udcff", "٣"):
        (world.ariel / "train" / name).mkdir()
    return ["data", "check", world.ariel]


def _many_files(world: World) -> list[str | Path]:
    folder = world.ariel / "train" / "1000001"
    for number in range(20_000):
        (folder / f"x{number}").touch()
    return ["data", "check", world.ariel]


def _huge_visit(world: World) -> list[str | Path]:
    (world.ariel / "train" / "1000001" / f"AIRS-CH0_signal_{'9' * 200}.parquet").touch()
    return ["data", "check", world.ariel]


def _other_digits(world: World) -> list[str | Path]:
    (world.ariel / "train" / "1000001" / "AIRS-CH0_signal_٣.parquet").touch()
    return ["data", "check", world.ariel]


def _looped(world: World) -> list[str | Path]:
    (world.ariel / "train" / "7").symlink_to("7")
    (world.ariel / "train" / "8").symlink_to(".")
    return ["data", "check", world.ariel]
