"""``data check``: what is wrong with a data set is named before hours are spent on it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spectramind_train.ariel.inspection import Inspection, inspect
from spectramind_train.cli import main

from .damages import AIRS, BAD, FGS1, truncated

FIRST, TWICE = "1000001", "1000003"


@pytest.fixture
def data(root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(root, tmp_path / "ariel"))


def faults(found: Inspection) -> list[str]:
    """All that was found."""
    return [fault.text for fault in found.tables] + [text for one in found.planets for text in one.faults]


def test_nothing_is_wrong_with_a_sound_data_set(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many planets there are, which were visited repeatedly, and what was not read."""
    seen: list[tuple[int, int]] = []
    assert inspect(root, progress=lambda *done: seen.append(done)).sound
    assert seen == [(done, 6) for done in range(1, 7)]
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"visited more than once: {TWICE}\n" in said
    assert "0.02 GB of raw frames: of the signals 16 pixels each were read" in said
    assert "4 labelled planets and 2 others, every file in its layout" in said


def test_every_file_that_is_damaged_is_named(data: Path) -> None:
    """Several of one planet too, each in a sentence that begins with its path."""
    truncated(data / "train" / FIRST)
    (data / "train" / FIRST / FGS1).unlink()
    for name in ("flat", "dark"):
        (data / "train" / TWICE / "FGS1_calibration_1" / f"{name}.parquet").write_bytes(b"")
    found = inspect(data)
    assert found.tables == ()
    named = {one.planet_id: [Path(text.split(": ")[0]).name for text in one.faults] for one in found.planets}
    assert named.pop(FIRST) == [AIRS, FGS1]
    assert named.pop(TWICE) == ["dark.parquet", "flat.parquet"]
    assert not any(named.values())


def test_workers_find_the_same(data: Path) -> None:
    """In the same order, whoever is done first."""
    for number in range(1000005, 1000010):
        shutil.copytree(data / "train" / FIRST, data / "train" / str(number), copy_function=os.link)
    truncated(data / "test" / BAD)
    assert inspect(data, workers=2) == inspect(data, workers=1)


def test_tables_and_folders_that_do_not_fit_are_named(data: Path) -> None:
    """Stars, labels and samples without a planet, planets without them, and names that are no planet's."""
    shutil.rmtree(data / "train" / FIRST)
    shutil.copytree(data / "train" / "1000002", data / "train" / "77")
    (data / "train" / f"{TWICE} (1)").mkdir()
    (data / "train" / ".hidden").mkdir()
    (data / "test" / BAD).rename(data / "test" / "88")
    shutil.copytree(data / "test" / "88", data / "test" / "77")
    (data / "wavelengths.csv").write_text((data / "wavelengths.csv").read_text().replace("3.8", "3.9"))
    found = inspect(data)
    assert [(fault.text.removeprefix(f"{data}"), fault.planet_ids) for fault in found.tables] == [
        (f"/train: names that are no planet's: {TWICE} (1)", (f"{TWICE} (1)",)),
        (": planets in both train/ and test/, of which train/ is taken: 77", ("77",)),
        ("/train.csv: has no row for planets of train/: 77", ("77",)),
        (f"/train.csv: lists planets without a folder in train/: {FIRST}", (FIRST,)),
        (": no star table has a row for planets: 77, 88", ("77", "88")),
        ("/wavelengths.csv: is not one row with the wavelengths of axis_info.parquet; download it again", ()),
        ("/sample_submission.csv: does not list planets of test/, which get no row: 77, 88", ("77", "88")),
    ]
    assert faults(found)[len(found.tables) :] == [
        f"{data}: no folder train/{BAD} or test/{BAD}; is the download complete?"
    ]


@pytest.mark.parametrize(
    "name", ["train.csv", "train_star_info.csv", "test_star_info.csv", "wavelengths.csv", "sample_submission.csv"]
)
def test_a_table_that_is_missing_or_none_is_named(data: Path, name: str) -> None:
    """Each of those that a training or a prediction can begin without; the planets are looked through all the same."""
    (data / name).write_bytes(b"planet\n1\n")
    truncated(data / "test" / BAD)
    told = faults(inspect(data))
    assert len(told) == 2
    assert told[0].startswith(f"{data / name}: ")
    (data / name).unlink()
    told = faults(inspect(data))
    assert len(told) == 2
    assert name in told[0] or "no star table has a row for planets: " in told[0]
    assert AIRS in told[1]


def test_a_table_that_all_need_ends_the_search(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the axis nobody knows how many frames there should be; it is told as JSON, too."""
    (data / "axis_info.parquet").unlink()
    assert main(["data", "check", str(data)]) == 2
    message = f"{data / 'axis_info.parquet'}: missing; download or simulate the data set again"
    assert message in capsys.readouterr().err
    assert main(["data", "check", str(data), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["sound"], [fault["text"] for fault in found["tables"]]) == (False, [message])


def test_json_is_one_document(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All planets with their visits and faults; what else there is to say goes to the standard error."""
    assert main(["data", "check", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True
    truncated(data / "test" / BAD)
    assert main(["data", "check", str(data), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is False
    assert "16 pixels" in found["unread"]
    assert [(one["planet_id"], one["split"], one["visits"], len(one["faults"])) for one in found["planets"]] == [
        (FIRST, "train", [0], 0),
        ("1000002", "train", [0], 0),
        (TWICE, "train", [0, 1], 0),
        ("1000004", "train", [0], 0),
        ("9000001", "test", [0], 0),
        (BAD, "test", [0], 1),
    ]


def test_many_row_groups_are_read_in_every_one(data: Path) -> None:
    """The pixels that are read are read in all frames, so that a group that is damaged is found, the last one too."""
    file = data / "test" / BAD / FGS1
    pq.write_table(pq.read_table(file), file, row_group_size=100, write_page_checksum=True)
    assert inspect(data).sound
    content, last = bytearray(file.read_bytes()), pq.ParquetFile(file).metadata.row_group(4)
    start = last.column(0).dictionary_page_offset or last.column(0).data_page_offset
    content[start : start + 100] = bytes(100)
    file.write_bytes(content)
    (told,) = faults(inspect(data))
    assert told.startswith(f"{file}: damaged, not a readable parquet file")


def test_pixels_that_are_dead_need_no_calibration(data: Path) -> None:
    """A flat that says nothing of a dead pixel is no fault; of another one it is, and the pixel counts as dead."""
    folder = data / "test" / BAD / "FGS1_calibration_0"
    for frame, value in (("dead", True), ("flat", float("nan"))):
        table = pq.read_table(folder / f"{frame}.parquet")
        column = [value, *table.column("column_3").to_pylist()[1:]]
        pq.write_table(table.set_column(3, "column_3", pa.array(column)), folder / f"{frame}.parquet")
    assert inspect(data).sound
    dead = pq.read_table(folder / "dead.parquet")
    alive = pa.array([False, *dead.column("column_3").to_pylist()[1:]])
    pq.write_table(dead.set_column(3, "column_3", alive), folder / "dead.parquet")
    assert faults(inspect(data)) == [
        f"{folder / 'flat.parquet'}: 1 pixels have no value that is positive, and count as dead"
    ]
