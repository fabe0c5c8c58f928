"""The challenge's table: its columns, its planets, and what a sample may not be."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from spectramind_config import ConfigError
from spectramind_train.ariel.submission import COLUMNS, SAMPLE_TABLE, Layout, layout_of
from spectramind_train.results.submission import write_table

HEADER = ",".join(COLUMNS)
ROW = ",0.1" * 566


def test_the_layout_is_the_samples(tmp_path: Path) -> None:
    """Columns and planets in its order, whatever marks and quotes it was saved with; without one, the challenge's."""
    assert layout_of(tmp_path) == Layout(COLUMNS, None)
    columns = (*COLUMNS[1:], COLUMNS[0])
    header = ",".join(f'"{name}"' for name in columns)
    (tmp_path / SAMPLE_TABLE).write_bytes(f"\ufeff{header}\r\n{ROW[1:]},9\r\n\r\n{ROW[1:]},10\r\n".encode())
    assert layout_of(tmp_path) == Layout(columns, ("9", "10"))
    (tmp_path / SAMPLE_TABLE).write_text(HEADER + "\n")
    assert layout_of(tmp_path) == Layout(COLUMNS, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "lacks 567 of the challenge's columns, the first is planet_id"),
        ("\n\n", "lacks 567 of the challenge's columns"),
        (HEADER.replace("wl_7,", ""), "lacks 1 of the challenge's columns, the first is wl_7"),
        (HEADER.replace("wl_7,", "wl_07,"), "has a column 'wl_07'"),
        (f"{HEADER},wl_7", "has the column wl_7 twice"),
        (f"{HEADER}\n1{ROW}\n2{ROW[:-4]}", "is cut short: row 2 has 566 of 567 values"),
        (f"{HEADER}\n1{ROW}\n2{ROW}\n1{ROW}", "lists planet 1 twice"),
        (f"{HEADER}\nx{ROW}", "lists the planet 'x', which is no number"),
        (f"{HEADER}\n007{ROW}", "lists the planet '007'"),
        (f"{HEADER}\n{'9' * 5000}{ROW}", "which is no number"),
        (f'{HEADER}\n"1{ROW}', "is no table"),
        (b"\xff\xfe\x00planet", "is no table"),
    ],
)
def test_a_sample_that_is_none_is_refused(tmp_path: Path, content: str | bytes, words: str) -> None:
    """In a message that names the file, what is wrong with it, and what to do."""
    (tmp_path / SAMPLE_TABLE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        layout_of(tmp_path)
    assert words in str(refused.value)
    assert f"{tmp_path / SAMPLE_TABLE}: " in str(refused.value)
    assert "download it again, or move it away" in str(refused.value)


def test_a_sample_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / SAMPLE_TABLE)
    with pytest.raises(ConfigError, match="it is a pipe"):
        layout_of(tmp_path)


def test_planets_keep_their_names(tmp_path: Path) -> None:
    """Numbers are written as numbers, and a name that a number would not keep as text."""
    for names, cells in ((["10", "9"], ["10", "9"]), (["007", "9"], ['"007"', '"9"'])):
        Layout().write(tmp_path / "table.csv", names, np.full((2, 283), 0.01), np.full((2, 283), 0.001))
        lines = (tmp_path / "table.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == cells


def test_no_table_holds_what_nobody_knows(tmp_path: Path) -> None:
    """A planet has its prediction or the training mean; where there is neither, nothing is written."""
    known = {"1": (np.full(283, 0.02), np.full(283, 0.002))}
    write_table(tmp_path / "table.csv", Layout(), ["2", "1"], known, (0.015, 0.01))
    lines = [line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines()[1:]]
    assert [(line[0], float(line[1]), float(line[566])) for line in lines] == [("2", 0.015, 0.01), ("1", 0.02, 0.002)]
    for naive in (None, (math.nan, 1.0)):
        with pytest.raises(ValueError, match="neither"):
            write_table(tmp_path / "other.csv", Layout(), ["2", "1"], known, naive)
    assert not (tmp_path / "other.csv").exists()
