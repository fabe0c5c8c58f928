"""What may be wrong with a planet of a data set, done to a copy of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GOOD, BAD = "9000001", "9000002"
AIRS, FGS1, FLAT = "AIRS-CH0_signal_0.parquet", "FGS1_signal_0.parquet", "FGS1_calibration_0/flat.parquet"
DARK, DEAD = "FGS1_calibration_0/dark.parquet", "AIRS-CH0_calibration_0/dead.parquet"
LINEAR = "AIRS-CH0_calibration_0/linear_corr.parquet"
STARS = "test_star_info.csv"


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        to: Does it, to the planet's folder or to the star table.
        words: What is said of it.
        left_out: Whether nothing can be predicted of the planet.
        seen: Whether it shows before the planet is calibrated.
    """

    to: Callable[[Path], object]
    words: str
    left_out: bool = True
    seen: bool = True

    def do(self, data: Path) -> None:
        """Damage the planet ``BAD`` of a data set."""
        self.to(data / STARS if isinstance(self.to, InTable) else data / "test" / BAD)


@dataclass(frozen=True)
class InTable:
    """Another row in the star table instead of the planet's; ``{}`` is what the row was."""

    row: str

    def __call__(self, table: Path) -> None:
        """Write the table anew."""
        lines = table.read_text().splitlines()
        table.write_text("\n".join(self.row.format(one) if one.startswith(BAD) else one for one in lines) + "\n")


def truncated(folder: Path) -> None:
    """Half a download."""
    file = folder / AIRS
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def holes(folder: Path) -> None:
    """A download whose pieces did not all arrive: its end is there, and zeros before."""
    content = (folder / AIRS).read_bytes()
    start, end = len(content) // 4, len(content) // 2
    (folder / AIRS).write_bytes(content[:start] + bytes(end - start) + content[end:])


def another(file: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Write a file anew, changed."""

    def damage(folder: Path) -> None:
        pq.write_table(change(pq.read_table(folder / file)), folder / file)

    return damage


def filled(value: object, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    """A table of the same shape with one value everywhere."""
    return lambda table: pa.table({name: pa.array([value] * len(table), kind) for name in table.column_names})


def replaced(file: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of a file."""

    def damage(folder: Path) -> None:
        (folder / file).unlink()
        make(folder / file)

    return damage


def a_file(folder: Path) -> None:
    """A file where the planet's folder should be."""
    shutil.rmtree(folder)
    folder.write_text("planet")


def emptied(folder: Path) -> None:
    """A folder without any file."""
    shutil.rmtree(folder)
    folder.mkdir()


def second_visit(*left: str) -> Callable[[Path], None]:
    """A second visit, without some of its files."""

    def damage(folder: Path) -> None:
        for name in ("AIRS-CH0", "FGS1"):
            shutil.copy(folder / f"{name}_signal_0.parquet", folder / f"{name}_signal_1.parquet")
            shutil.copytree(folder / f"{name}_calibration_0", folder / f"{name}_calibration_1")
        for name in left:
            (folder / name).unlink()

    return damage


def both_visits(folder: Path) -> None:
    """Two visits, of which each lacks something."""
    second_visit("FGS1_signal_1.parquet")(folder)
    truncated(folder)


def dark_visit(folder: Path) -> None:
    """A second visit whose every AIRS pixel is dead."""
    second_visit()(folder)
    another("AIRS-CH0_calibration_1/dead.parquet", filled(True, pa.bool_()))(folder)


def infinite_visit(folder: Path) -> None:
    """A second visit that cannot be calibrated, though nothing is wrong with its files."""
    second_visit()(folder)
    another("AIRS-CH0_calibration_1/linear_corr.parquet", filled(1e300, pa.float64()))(folder)


def first_null(table: pa.Table) -> pa.Table:
    """The value of one frame is missing in every pixel."""
    return pa.table({name: pa.array([None, *table[name].to_pylist()[1:]], pa.uint16()) for name in table.column_names})


def one_float(table: pa.Table) -> pa.Table:
    """The counts of one pixel are of another type."""
    return table.set_column(7, "column_7", table["column_7"].cast(pa.float64()))


def some_nan(table: pa.Table) -> pa.Table:
    """Eight values are no numbers."""
    values = table["column_16"].to_numpy().copy()
    values[12:20] = np.nan
    return table.set_column(16, "column_16", pa.array(values))


def alike(table: pa.Table) -> pa.Table:
    """Two columns have one name."""
    return table.rename_columns(["column_1", *table.column_names[1:]])


_NO_FOLDER = f"no folder train/{BAD} or test/{BAD}"
_LEFT = "visit 1 is left out: "
DAMAGES = {
    "no folder": Damage(shutil.rmtree, _NO_FOLDER),
    "a file for a folder": Damage(a_file, _NO_FOLDER),
    "an empty folder": Damage(emptied, "no AIRS-CH0_signal_<k>.parquet"),
    "frames are missing": Damage(lambda folder: (folder / FGS1).unlink(), f"{FGS1}: missing"),
    "a calibration frame is missing": Damage(lambda folder: (folder / FLAT).unlink(), f"{FLAT}: missing"),
    "a link that leads nowhere": Damage(replaced(AIRS, lambda file: file.symlink_to("x")), f"{AIRS}: missing"),
    "cut short": Damage(truncated, f"{AIRS}: damaged"),
    "holes": Damage(holes, f"{AIRS}: damaged"),
    "empty": Damage(lambda folder: (folder / FGS1).write_bytes(b""), f"{FGS1}: damaged"),
    "a page of the server": Damage(lambda folder: (folder / FLAT).write_text("<html>\n" * 99), f"{FLAT}: damaged"),
    "a pipe": Damage(replaced(AIRS, os.mkfifo), "it is a pipe"),
    "a folder for a file": Damage(replaced(DARK, Path.mkdir), "it is a folder"),
    "too few frames": Damage(another(FGS1, lambda table: table.slice(1)), "479 rows x 1024 columns, expected 480"),
    "too few pixels": Damage(another(AIRS, lambda table: table.drop_columns(["column_7"])), "expected 40 x 11392"),
    "too few rows of a frame": Damage(another(LINEAR, lambda table: table.slice(1)), "191 rows x 356 columns"),
    "pixels of one name": Damage(another(FGS1, alike), "several columns have one name"),
    "floats": Damage(another(FGS1, filled(400.0, pa.float32())), "expected uint16 counts"),
    "one pixel of floats": Damage(another(FGS1, one_float), "holds double values, expected uint16 counts"),
    "texts": Damage(another(FGS1, filled("x", pa.string())), "values of type string"),
    "a frame of texts": Damage(another(DARK, filled("x", pa.string())), "values of type string"),
    "a missing value": Damage(another(FGS1, first_null), "expected uint16 counts"),
    "no light": Damage(another(AIRS, filled(0, pa.uint16())), "each frame holds the count 0"),
    "saturated": Damage(another(FGS1, filled(65535, pa.uint16())), "each frame holds the count 65535"),
    "every pixel is dead": Damage(another(DEAD, filled(True, pa.bool_())), f"{DEAD}: every pixel is dead"),
    "a flat of NaN": Damage(another(FLAT, filled(np.nan, pa.float64())), f"{FLAT}: no pixel has a value that is pos"),
    "a flat of zeros": Damage(another(FLAT, filled(0.0, pa.float64())), f"{FLAT}: no pixel has a value that is pos"),
    "a dark of NaN": Damage(another(DARK, filled(np.nan, pa.float64())), f"{DARK}: no pixel has a value that is fin"),
    "a flat with some NaN": Damage(another(FLAT, some_nan), "pixels have no value that is positive", left_out=False),
    "counts that become infinite": Damage(another(LINEAR, filled(1e300, pa.float64())), "not finite", seen=False),
    "half a visit": Damage(second_visit("AIRS-CH0_signal_1.parquet"), f"{_LEFT}", left_out=False),
    "a visit of calibration frames": Damage(
        second_visit("AIRS-CH0_signal_1.parquet", "FGS1_signal_1.parquet"), f"{_LEFT}", left_out=False
    ),
    "a dark visit": Damage(dark_visit, f"{_LEFT}", left_out=False),
    "an infinite visit": Damage(infinite_visit, f"{_LEFT}", left_out=False, seen=False),
    "two damaged visits": Damage(both_visits, f"; {_LEFT}"),
    "a star that is no number": Damage(InTable(f"{BAD},x,1,5000,1,0,3,8,90"), "has 'x' as Rs, which is no finite"),
    "a star without a mass": Damage(InTable(f"{BAD},1,,5000,1,0,3,8,90"), "has '' as Ms, which is no finite number"),
    "a star of NaN": Damage(InTable(f"{BAD},1,1,5000,nan,0,3,8,90"), "has 'nan' as Mp, which is no finite number"),
    "a star cut short": Damage(InTable(f"{BAD},1,1,50"), "has 4 values in its row, expected 9"),
    "a star listed twice": Damage(InTable("{0}\n{0}"), f"planet {BAD} is listed twice"),
    "a star of no orbit": Damage(InTable(f"{BAD},1,1,5000,1,0,0,8,90"), "P = 0, sma = 8 and e = 0, which no orbit"),
    "no star": Damage(InTable(""), "no star table has a row for planets", left_out=False),
}
