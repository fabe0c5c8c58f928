"""The score of any table: the official formula, and every mistake in a table by planet and column."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from spectramind_train.ariel.metric import naive_statistics
from spectramind_train.cli import main
from spectramind_train.results.assessment import assess

CHANNELS = range(1, 284)
Table = dict[str, list[str]]


def formula(mu: np.ndarray, sigma: np.ndarray, y: np.ndarray, mean: float, spread: float) -> float:
    """The official score, written out number by number."""

    def g(value: float, m: float, s: float) -> float:
        return -0.5 * (math.log(2 * math.pi) + math.log(s**2) + (value - m) ** 2 / s**2)

    total = weights = 0.0
    for planet in range(len(y)):
        for channel in range(283):
            value = float(y[planet, channel])
            true_sigma, weight = (1e-6, 57.846) if channel == 0 else (1e-5, 1.0)
            naive = g(value, mean, spread)
            predicted = g(value, float(mu[planet, channel]), max(float(sigma[planet, channel]), 1e-15))
            total += weight * (predicted - naive) / (g(value, value, true_sigma) - naive)
            weights += weight
    return min(max(total / weights, 0.0), 1.0)


def write(path: Path, table: Table) -> Path:
    """Write a table as CSV."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    return path


def columns(name: str, values: np.ndarray) -> Table:
    """Columns ``name_1`` to ``name_283``, every number to its last bit."""
    return {f"{name}_{channel}": [repr(float(one)) for one in values[:, channel - 1]] for channel in CHANNELS}


class Tables:
    """A submission and the truth of five planets, whole, to be broken by tests."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(3)
        self.folder = folder
        self.names = ["7", "1000030", "101", "102", "9001"]
        self.y = np.abs(rng.normal(0.0147, 0.0107, (5, 283))) + 1e-3
        self.mu = np.abs(self.y + rng.normal(0, 2e-4, self.y.shape))
        self.sigma = rng.uniform(1e-4, 4e-4, self.y.shape)
        self.submission: Table = {
            "planet_id": list(self.names),
            **columns("wl", self.mu),
            **columns("sigma", self.sigma),
        }
        self.truth: Table = {"planet_id": list(self.names), **columns("wl", self.y)}

    def score(self, *more: str) -> int:
        """``spectramind score`` of the two as they are now."""
        files = write(self.folder / "submission.csv", self.submission), write(self.folder / "truth.csv", self.truth)
        return main(["score", *map(str, files), *more])


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Whole tables."""
    return Tables(tmp_path)


def shuffled(table: Table, seed: int) -> Table:
    """The same table with its columns and rows in another order."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(table["planet_id"]))
    names = list(table)
    return {names[i]: [table[names[i]][row] for row in rows] for i in rng.permutation(len(names))}


def test_the_score_is_the_official_formula(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """To 1e-12, whatever the order of columns and rows; the naive prediction is that of the truth, and it says so."""
    assert tables.score("--json") == 0
    found = json.loads(capsys.readouterr().out)
    expected = formula(tables.mu, tables.sigma, tables.y, float(tables.y.mean()), float(tables.y.std()))
    assert 0.1 < expected < 0.9
    assert found["score"] == pytest.approx(expected, abs=1e-12)
    assert found["naive"]["labels"] == str(tables.folder / "truth.csv")
    tables.submission, tables.truth = shuffled(tables.submission, 1), shuffled(tables.truth, 2)
    assert tables.score("--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["score"] == pytest.approx(expected, abs=1e-12)
    assert [one["planet_id"] for one in again["planets"]] == [one["planet_id"] for one in found["planets"]]


def test_labels_give_the_naive_prediction(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """``--labels`` names other planets, whose mean and sigma count."""
    labels = np.abs(np.random.default_rng(4).normal(0.02, 0.005, (9, 283)))
    file = write(tables.folder / "train.csv", {"planet_id": [str(one) for one in range(9)], **columns("wl", labels)})
    assert tables.score("--labels", str(file), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    expected = formula(tables.mu, tables.sigma, tables.y, float(labels.mean()), float(labels.std()))
    assert found["score"] == pytest.approx(expected, abs=1e-12)
    assert tables.score("--labels", str(file)) == 0
    assert f"the 9 planets of {file}" in capsys.readouterr().out
    assert tables.score() == 0
    assert "truth.csv, the truth's own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ppm", "expected"),
    [(3000, 0.145), (1000, 0.289), (500, 0.381), (200, 0.500), (100, 0.592), (50, 0.682), (20, 0.803), (10, 0.893)],
)
def test_the_published_table(ppm: float, expected: float) -> None:
    """Every channel's error and sigma are x; labels are the quantiles of N(0.0147, 0.0107), none negative.

    The table was measured on one sample of such labels; what is expected of all samples is within 0.0012 of it.
    """
    normal = NormalDist(0.0147, 0.0107)
    planets = 2000
    quantiles = [abs(normal.inv_cdf((number + 0.5) / planets)) for number in range(planets)]
    # The score depends on differences only; the shift keeps predictions from being refused as negative.
    y = 1.0 + np.repeat(np.array(quantiles)[:, None], 283, axis=1)
    x = ppm * 1e-6
    mean, spread = naive_statistics(y)
    found = assess(["0"] * planets, y + x, np.full_like(y, x), y, naive_mean=mean, naive_sigma=spread)
    assert found.score == pytest.approx(expected, abs=0.0012)


def test_parts_and_planets_make_the_score(tables: Tables) -> None:
    """The score is the weighted mean of FGS1 and AIRS, and the mean of the planets, which come the worst first."""
    tables.mu[2, 5:] += 1e-3
    mean, spread = naive_statistics(tables.y)
    found = assess(tables.names, tables.mu, tables.sigma, tables.y, naive_mean=mean, naive_sigma=spread)
    assert (57.846 * found.fgs1.score + 282 * found.airs.score) / 339.846 == pytest.approx(found.score, rel=1e-12)
    scores = [one.score for one in found.planets]
    assert sum(scores) / 5 == pytest.approx(found.score, rel=1e-12)
    assert scores == sorted(scores)
    assert found.planets[0].planet_id == "101"
    worst = ((tables.y[2] - tables.mu[2]) / tables.sigma[2]) ** 2
    assert found.planets[0].chi2 == pytest.approx(worst.sum(), rel=1e-12)
    assert found.planets[0].rmse_fgs1_ppm == pytest.approx(abs(tables.y[2, 0] - tables.mu[2, 0]) * 1e6, rel=1e-9)
    error = (tables.y - tables.mu)[:, 1:] * 1e6
    assert found.airs.rmse_ppm == pytest.approx(math.sqrt((error**2).mean()), rel=1e-12)


def test_coverage_and_residuals_count_sigmas() -> None:
    """Of ten planets seven are off by 0.9 sigma, two by 1.5 and one by 3: 70 % and 90 % lie within the intervals."""
    off = np.array([0.9, -0.9, 0.9, -0.9, 0.9, -0.9, 0.9, 1.5, -1.5, 3.0])
    y = np.random.default_rng(0).uniform(0.01, 0.02, (10, 283))
    sigma = np.full_like(y, 1e-4)
    found = assess(list("abcdefghij"), y + off[:, None] * sigma, sigma, y, naive_mean=0.015, naive_sigma=0.003)
    for part in (found.fgs1, found.airs):
        assert (part.coverage_68, part.coverage_95) == (pytest.approx(0.7), pytest.approx(0.9))
        assert part.residual_std == pytest.approx(float(np.std(off)), rel=1e-9)
        assert part.rmse_ppm == pytest.approx(100 * math.sqrt(float(np.mean(off**2))), rel=1e-9)


def renamed(table: Table, old: str, new: str) -> Table:
    """A table with another name for a column."""
    return {new if name == old else name: values for name, values in table.items()}


def put(which: str, column: str, row: int, text: str) -> Callable[[Tables], object]:
    """Writes a text into one cell."""

    def change(tables: Tables) -> None:
        getattr(tables, which)[column][row] = text

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            put("submission", "sigma_7", 2, "-1e-4"),
            ["submission.csv", "planet 101, column sigma_7", "'-1e-4'", "negative"],
        ),
        (put("submission", "wl_283", 0, "-0.01"), ["planet 7, column wl_283", "negative"]),
        (put("submission", "wl_9", 4, "nan"), ["planet 9001, column wl_9", "no finite number"]),
        (put("submission", "wl_9", 4, "inf"), ["planet 9001, column wl_9", "no finite number"]),
        (put("submission", "wl_9", 1, "0,01"), ["planet 1000030, column wl_9", "'0,01'", "no finite number"]),
        (put("submission", "wl_9", 1, "1_0"), ["planet 1000030, column wl_9", "no finite number"]),
        (put("submission", "wl_9", 1, ""), ["planet 1000030, column wl_9", "''", "no finite number"]),
        (put("submission", "wl_9", 1, "1e300"), ["planet 1000030, column wl_9", "beyond any depth"]),
        (put("truth", "wl_1", 3, "none"), ["truth.csv", "planet 102, column wl_1", "no finite number"]),
        (put("submission", "planet_id", 1, "7"), ["1 planet stands in several rows: 7"]),
        (put("submission", "planet_id", 1, ""), ["submission.csv:3", "a row without planet_id"]),
        (
            put("submission", "planet_id", 1, "1000031"),
            ["1 planet of", "not in it: 1000030", "nearest:  1000031", "truth.csv: 1 planet"],
        ),
    ],
)
def test_a_wrong_value_is_named(
    tables: Tables, change: Callable[[Tables], object], words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By file, planet and column."""
    change(tables)
    assert tables.score() == 2
    told = capsys.readouterr().err
    assert [word for word in words if word not in told] == [], told


def test_a_submission_that_is_far_off_fits_the_screen(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """Sigmas of zero are taken, as the challenge takes them; the table stays as narrow as for any other."""
    tables.submission |= columns("sigma", np.zeros_like(tables.sigma))
    assert tables.score() == 0
    table = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert len(table) == 11
    assert max(map(len, table)) < 50


def test_a_missing_or_doubled_column_is_named(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """With the nearest that there is; a header that has none of them is one mistake."""
    tables.submission = renamed(tables.submission, "sigma_12", "sigm_12")
    assert tables.score() == 2
    told = capsys.readouterr().err
    assert "submission.csv: column sigma_12 is missing" in told
    assert "nearest:  sigm_12" in told
    table = tables.folder / "twice.csv"
    lines = (tables.folder / "truth.csv").read_text().splitlines()
    table.write_text("\n".join([f"{lines[0]},wl_3", *(f"{line},0.01" for line in lines[1:])]))
    assert main(["score", str(table), str(table)]) == 2
    assert "column wl_3 is there 2 times" in capsys.readouterr().err
    table.write_text("a,b\n1,2\n")
    assert main(["score", str(table), str(table)]) == 2
    assert "column planet_id is missing, and 566 others: wl_1, wl_2" in capsys.readouterr().err


def test_both_tables_hold_the_same_planets(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """A truth with more planets is refused, as the challenge does, and so is one with fewer."""
    whole = tables.truth
    tables.submission = {name: values[:3] for name, values in tables.submission.items()}
    assert tables.score() == 2
    assert "submission.csv: 2 planets of" in (told := capsys.readouterr().err)
    assert "are not in it: 102, 9001" in told
    tables.submission, tables.truth = Tables(tables.folder).submission, {name: v[1:] for name, v in whole.items()}
    assert tables.score() == 2
    assert "truth.csv: 1 planet of" in (told := capsys.readouterr().err)
    assert "is not in it: 7" in told


def test_what_is_no_table_is_one_message(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file, a folder, a pipe that nobody writes to, bytes, a row cut short, no row at all."""
    assert tables.score() == 0
    truth, strange = tables.folder / "truth.csv", tables.folder / "strange.csv"
    os.mkfifo(tables.folder / "pipe")
    for name, words in (("nowhere.csv", "no such file"), (".", "it is a folder"), ("pipe", "it is a pipe")):
        assert main(["score", str(tables.folder / name), str(truth)]) == 2
        assert words in capsys.readouterr().err
    lines = truth.read_bytes().splitlines()
    for content, words in (
        (b"", "its first line is no header"),
        (b"\xff\xfe\x00", "its first line is no header"),
        (lines[0], "no planet is in it"),
        (b"\n".join([lines[0], lines[1].rpartition(b",")[0]]), "not readable as CSV"),
    ):
        strange.write_bytes(content)
        assert main(["score", str(tables.folder / "submission.csv"), str(strange)]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert len(told) < 1000


def test_labels_that_do_not_vary_are_refused(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    """No naive sigma follows from them, nor from such that vary less than an ideal prediction is sure."""
    tables.truth |= columns("wl", np.full((5, 283), 0.01))
    assert tables.score() == 2
    assert "--labels" in capsys.readouterr().err
    tables.truth |= columns("wl", 0.01 + 1e-8 * np.random.default_rng(0).normal(size=(5, 283)))
    assert tables.score() == 2
    assert "naive sigma" in capsys.readouterr().err


def test_a_score_needs_no_framework(tables: Tables) -> None:
    """Torch is not imported for it."""
    assert tables.score() == 0
    words = ["score", str(tables.folder / "submission.csv"), str(tables.folder / "truth.csv")]
    code = f"import sys; from spectramind_train.cli import main; main({words!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
