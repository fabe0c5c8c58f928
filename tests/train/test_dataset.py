"""Reading the challenge's files, and what a user is told when one of them is wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spectramind_config import Calibration, ConfigError, Simulation
from spectramind_train.ariel.constants import AIRS_AXIS_UM, AIRS_COLUMNS, N_CHANNELS, WAVELENGTHS_UM
from spectramind_train.ariel.dataset import Dataset, Star
from spectramind_train.simulated.data_set import simulate

FRAMES = 40
PLANET = "1000001"
TWICE = "1000003"
REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A small simulated data set; tests that change files use ``copy``."""
    root = tmp_path_factory.mktemp("simulated") / "data"
    return simulate(root, Simulation(planets=4, airs_frames=FRAMES, seed=3), workers=1)


@pytest.fixture
def copy(simulated: Dataset, tmp_path: Path) -> Path:
    """A copy of the data set whose files share storage with it: replace them, do not write into them."""
    root = tmp_path / "copy"
    shutil.copytree(simulated.root, root, copy_function=os.link)
    return root


def replace(path: Path, content: bytes) -> None:
    """Give a file of a copy other contents."""
    path.unlink()
    path.write_bytes(content)


def test_wavelengths_are_the_published_ones() -> None:
    """283 channels: FGS1 at 0.7 um, AIRS from 1.9518 to 3.8950 um ascending; 356 detector columns descending."""
    assert WAVELENGTHS_UM.shape == (N_CHANNELS,)
    assert (np.diff(WAVELENGTHS_UM) > 0.0).all()
    assert WAVELENGTHS_UM[[0, 1, -1]] == pytest.approx([0.7, 1.9518, 3.8950], abs=1e-4)
    assert AIRS_AXIS_UM.shape == (356,)
    assert AIRS_AXIS_UM[[0, -1]] == pytest.approx([4.0785, 1.6333], abs=1e-4)


def test_splits_labels_and_stars(simulated: Dataset) -> None:
    """Training planets have labels and stars, test planets have stars only."""
    train, test = simulated.planet_ids("train"), simulated.planet_ids("test")
    assert train == ["1000001", "1000002", "1000003", "1000004"]
    assert test == ["9000001", "9000002"]
    labels = simulated.labels()
    assert list(labels) == train
    assert all(label.shape == (N_CHANNELS,) and 0.003 < label.min() < label.max() < 0.09 for label in labels.values())
    assert all(isinstance(simulated.star(planet_id), Star) for planet_id in [*train, *test])
    assert simulated.star("5") is None


def test_visits_and_their_shapes(simulated: Dataset) -> None:
    """A visit has the whole detectors, all calibration frames, and 12 FGS1 frames to an AIRS frame."""
    assert simulated.visits(PLANET) == [0]
    assert simulated.visits(TWICE) == [0, 1]
    assert len(simulated.raw_files(TWICE)) == 24
    assert all(path.is_file() for path in simulated.raw_files(TWICE))
    visit = simulated.read_visit(TWICE, 1)
    assert visit.airs.frames.shape == (FRAMES, 32, 356)
    assert visit.fgs1.frames.shape == (12 * FRAMES, 32, 32)
    for detector, width in ((visit.airs, 356), (visit.fgs1, 32)):
        assert detector.frames.dtype == np.uint16
        assert detector.linear_corr.shape == (6, 32, width)
        assert detector.dead.dtype == np.bool_
        for frame in (detector.dark, detector.dead, detector.flat, detector.read):
            assert frame.shape == (32, width)


def test_pixels_are_where_the_challenge_puts_them(simulated: Dataset) -> None:
    """Row t of the file reshaped to (32, 356) is frame t; calibration frames are stored by row."""
    folder = simulated.folder(PLANET)
    visit = simulated.read_visit(PLANET, 0)
    table = pq.read_table(folder / "AIRS-CH0_signal_0.parquet")
    fifth = np.array([table.column(f"column_{i}")[5].as_py() for i in range(32 * 356)]).reshape(32, 356)
    assert (visit.airs.frames[5] == fifth).all()
    linear = pq.read_table(folder / "AIRS-CH0_calibration_0" / "linear_corr.parquet")
    stacked = np.column_stack([column.to_numpy() for column in linear.columns])
    assert (visit.airs.linear_corr == stacked.reshape(6, 32, 356)).all()


def test_reading_the_aperture_only(simulated: Dataset) -> None:
    """With settings only the aperture's pixels are read, and they are the same."""
    settings = Calibration(airs_rows=(10, 22), fgs1_rows=(12, 20))
    whole, part = simulated.read_visit(PLANET, 0), simulated.read_visit(PLANET, 0, settings)
    assert (part.airs.frames == whole.airs.frames[:, 10:22, AIRS_COLUMNS]).all()
    assert (part.fgs1.frames == whole.fgs1.frames[:, 12:20, 12:20]).all()
    assert (part.airs.dark == whole.airs.dark).all()


def test_reading_needs_no_pandas(simulated: Dataset) -> None:
    """Pyarrow asks for it in places, and who installs what a training needs does not have it."""
    program = f"""
import sys
from pathlib import Path
sys.modules["pandas"] = None
from spectramind_config import Calibration
from spectramind_train.ariel.dataset import Dataset
dataset = Dataset(Path({str(simulated.root)!r}))
dataset.read_visit(dataset.planet_ids("train")[0], 0, Calibration())
dataset.labels()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_ids_written_as_floats_are_the_same_planets(copy: Path) -> None:
    """The challenge's star table says 1103775.0 for planet 1103775."""
    path = copy / "train_star_info.csv"
    replace(path, path.read_bytes().replace(f"\n{PLANET},".encode(), f"\n{PLANET}.0,".encode()))
    assert Dataset(copy).star(PLANET) is not None


def test_a_partly_downloaded_data_set_works(copy: Path) -> None:
    """Labels without a folder, and folders without a label, are no training planets."""
    shutil.rmtree(copy / "train" / PLANET)
    (copy / "train" / "77").mkdir()
    dataset = Dataset(copy)
    assert dataset.planet_ids("train") == ["1000002", "1000003", "1000004"]
    assert PLANET in dataset.labels()


def test_present(copy: Path, tmp_path: Path) -> None:
    """A data set is present when its tables and a split are."""
    assert Dataset.present(copy)
    assert not Dataset.present(tmp_path / "nothing")
    (copy / "axis_info.parquet").unlink()
    assert not Dataset.present(copy)


def test_fingerprint_follows_names_sizes_and_tables(copy: Path, simulated: Dataset) -> None:
    """A copy has the same fingerprint; another label or another file size changes it."""
    original = simulated.fingerprint()
    assert Dataset(copy).fingerprint() == original
    labels = copy / "train.csv"
    text = labels.read_bytes()
    replace(labels, text[:-3] + bytes([text[-3] ^ 1]) + text[-2:])
    changed = Dataset(copy).fingerprint()
    assert changed != original
    replace(copy / "train" / PLANET / "FGS1_signal_0.parquet", b"short")
    assert Dataset(copy).fingerprint() not in {original, changed}


def truncate(path: Path) -> None:
    """Cut the file's end off."""
    replace(path, path.read_bytes()[:-1000])


def flip_data(path: Path) -> None:
    """Destroy the pages and keep the footer."""
    content = path.read_bytes()
    replace(path, content[:4] + b"\xff" * 200_000 + content[200_004:])


def flip_bit(path: Path) -> None:
    """Flip one bit of one count."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    replace(path, bytes(content))


def drop_row(path: Path) -> None:
    """Leave the last row out."""
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.slice(0, len(table) - 1), path)


def drop_column(path: Path) -> None:
    """Leave the last column out."""
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.select(table.column_names[:-1]), path)


def make_float(path: Path) -> None:
    """Turn counts into floating-point numbers."""
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.cast(pa.schema([(name, pa.float32()) for name in table.column_names])), path)


def make_text(path: Path) -> None:
    """Turn numbers into text."""
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.cast(pa.schema([(name, pa.string()) for name in table.column_names])), path)


def name_alike(path: Path) -> None:
    """Give two columns one name."""
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.rename_columns(["column_1", *table.column_names[1:]]), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "damaged, not a readable parquet file"),
        (flip_data, "damaged, not a readable parquet file"),
        (flip_bit, "damaged, not a readable parquet file"),
        (Path.unlink, "missing; download or simulate the data set again"),
        (drop_row, "479 rows x 1024 columns, expected 480 x 1024"),
        (drop_column, "480 rows x 1023 columns, expected 480 x 1024"),
        (make_float, "holds float values, expected uint16 counts"),
        (make_text, "holds values of type string, expected numbers"),
        (name_alike, "several columns have one name"),
    ],
)
def test_a_damaged_signal_is_named(copy: Path, damage: Callable[[Path], None], message: str) -> None:
    """The message names the file and says what is wrong with it."""
    path = copy / "train" / PLANET / "FGS1_signal_0.parquet"
    damage(path)
    with pytest.raises(ConfigError) as caught:
        Dataset(copy).read_visit(PLANET, 0)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_damaged_calibration_frame_is_named(copy: Path) -> None:
    """A calibration frame of the wrong shape is refused too."""
    path = copy / "train" / PLANET / "AIRS-CH0_calibration_0" / "linear_corr.parquet"
    drop_row(path)
    with pytest.raises(ConfigError, match="191 rows x 356 columns, expected 192 x 356"):
        Dataset(copy).read_visit(PLANET, 0)


def test_broken_tables_are_named(copy: Path) -> None:
    """Tables that are missing, lack a column or are no text are named."""
    labels = copy / "train.csv"
    whole = labels.read_bytes()
    for content, message in (
        (whole.replace(b"wl_283", b"wl_999"), "column wl_283 is missing"),
        (b"", "column planet_id is missing"),
        (b"\xff\xfe\x00", "not readable as CSV"),
    ):
        replace(labels, content)
        with pytest.raises(ConfigError) as caught:
            Dataset(copy).labels()
        assert str(caught.value).startswith(f"{labels}: ")
        assert message in str(caught.value)
    labels.unlink()
    with pytest.raises(ConfigError, match=r"train\.csv: missing"):
        Dataset(copy).planet_ids("train")
    (copy / "adc_info.csv").unlink()
    with pytest.raises(ConfigError, match=r"adc_info\.csv: missing"):
        Dataset(copy)


def test_a_damaged_row_costs_the_others_nothing(copy: Path) -> None:
    """Its planet is no labelled one, and is named with the line and what is wrong in it; who learns has all or none."""
    labels, last = copy / "train.csv", "1000004"
    whole = labels.read_bytes()
    for content, message in (
        (whole[:-100], f"train.csv:5: planet {last} has 280 values in its row, expected 284; download it again"),
        (whole[:-7] + b"x" + whole[-6:], f"train.csv:5: planet {last} has '0.0"),
        (whole + whole.splitlines(keepends=True)[-1], f"train.csv:6: planet {last} is listed twice"),
        (whole.replace(last.encode(), b"\xff"), "train.csv:5: its planet_id is no number"),
    ):
        replace(labels, content)
        dataset = Dataset(copy)
        assert dataset.planet_ids("train") == ["1000001", "1000002", "1000003"]
        assert message in dataset.strays()[0].text
        with pytest.raises(ConfigError, match=re.escape(message)):
            dataset.labels()


def test_a_table_of_damaged_rows_is_damaged_as_a_whole(copy: Path) -> None:
    """Its rows are not listed one by one, whatever there is room for in a file."""
    stars = copy / "train_star_info.csv"
    header = stars.read_text().splitlines()[0]
    for row in ("{0},x\n", "x{0}\n"):
        replace(stars, f"{header}\n{''.join(row.format(number) for number in range(6000))}".encode())
        with pytest.raises(ConfigError, match=r"more than 5000 rows are damaged, one of them: .*csv:2: "):
            Dataset(copy).star(PLANET)


def test_a_damaged_row_of_a_star_is_no_missing_one(copy: Path) -> None:
    """Of a planet that is not listed nothing is known; a row that is wrong is an error of its planet alone."""
    stars = copy / "train_star_info.csv"
    lines = stars.read_text().splitlines()
    replace(stars, "\r\n".join([lines[0], f"{PLANET}.0,1,1,5000,1,1.5,3,8,90", "", *lines[3:]]).encode())
    dataset = Dataset(copy)
    with pytest.raises(ConfigError, match=f"planet {PLANET} has P = 3, sma = 8 and e = 1.5, which no orbit has"):
        dataset.star(PLANET)
    assert dataset.star("1000002") is None
    assert dataset.star(TWICE) is not None
    assert [fault.planet_ids for fault in dataset.star_faults([PLANET, "1000002", TWICE])] == [(PLANET,), ("1000002",)]


def test_a_wrong_axis_is_named(copy: Path) -> None:
    """An axis table without a column, or whose columns do not fit each other, is refused."""
    path = copy / "axis_info.parquet"
    table = pq.read_table(path)
    path.unlink()
    pq.write_table(table.slice(0, len(table) - 1), path)
    with pytest.raises(ConfigError, match=r"40 AIRS times, 40 integration times, 479 FGS1 times .* do not fit"):
        Dataset(copy)
    drop_column(path)
    with pytest.raises(ConfigError, match="column FGS1-axis0-h is missing"):
        Dataset(copy)
    path.unlink()
    pq.write_table(
        table.set_column(0, table.column_names[0], table.column(0).take(list(range(len(table) - 1, -1, -1)))), path
    )
    with pytest.raises(ConfigError, match="its times do not ascend"):
        Dataset(copy)
    make_text(path)
    with pytest.raises(ConfigError, match="holds values of type string, expected numbers"):
        Dataset(copy)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    """Where there is no data set, the message says how to get one."""
    with pytest.raises(ConfigError, match=r"no data set here.*spectramind data simulate"):
        Dataset(tmp_path)


def test_planets_that_are_not_here_are_named(copy: Path) -> None:
    """An unknown planet and one without a signal file are the user's mistakes."""
    dataset = Dataset(copy)
    with pytest.raises(ConfigError, match="no folder train/123 or test/123"):
        dataset.visits("123")
    (copy / "train" / "123").mkdir()
    with pytest.raises(ConfigError, match=r"no AIRS-CH0_signal_<k>\.parquet"):
        dataset.visits("123")


@pytest.mark.skipif(not (REAL / "axis_info.parquet").is_file(), reason="the challenge's own tables are not here")
def test_the_challenges_own_tables(tmp_path: Path) -> None:
    """The real axis, converter and star tables are read, and the real wavelengths are those of the constants."""
    (tmp_path / "test").mkdir()
    for name in ("axis_info.parquet", "adc_info.csv", "test_star_info.csv"):
        (tmp_path / name).symlink_to(REAL / name)
    dataset = Dataset(tmp_path)
    assert len(dataset.axis.airs_time) == 11250
    assert len(dataset.axis.fgs1_time) == 135000
    assert dataset.axis.airs_wavelength == pytest.approx(AIRS_AXIS_UM, abs=1e-4)
    assert dataset.adc.airs_gain == 0.4369
    assert dataset.adc.fgs1_offset == -1000.0
    star = dataset.star("1103775")
    assert star is not None
    assert star.sma == pytest.approx(15.4329, abs=1e-3)
