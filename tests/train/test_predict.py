"""From a folder of raw frames to a table: every planet has its row, and what is wrong with one is told."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from spectramind_config import Simulation, compose
from spectramind_config.host import Host
from spectramind_train.ariel.submission import COLUMNS
from spectramind_train.cli import main
from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Planet
from spectramind_train.results.prediction import predict
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import write_manifest
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.simulated.data_set import simulate
from spectramind_train.training import train
from spectramind_train.transit.spectrum_fit import fit_transit
from spectramind_train.v50.network import Batch, SpectrumModel

from .synthetic import visit

GOOD, BAD = "9000001", "9000002"


@dataclass(frozen=True)
class World:
    """A run, and the data set that it was trained on, with two planets to predict."""

    run: Path
    data: Path

    @property
    def naive(self) -> tuple[float, float]:
        """What the run knows of planets that it has not seen."""
        record = Run.open(self.run).manifest.data
        assert record is not None
        assert record.naive_mean is not None
        assert record.naive_sigma is not None
        return record.naive_mean, record.naive_sigma

    def predict(self, data: Path, out: Path, *arguments: str) -> int:
        """The exit code of a prediction."""
        return main(["predict", str(self.run), "--data", str(data), "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A quick run on four simulated planets."""
    folder = tmp_path_factory.mktemp("world")
    simulate(folder / "ariel", Simulation(planets=4, airs_frames=40), workers=1)
    paths = {"data_root": "ariel", "cache_dir": "cache", "output_dir": "outputs", "run_manifest": "manifest.json"}
    overrides = [f"local.paths.{name}='{folder / place}'" for name, place in paths.items()]
    overrides += ["model.width=8", "model.airs_layers=1", "model.fgs1_layers=1", "local.devices=cpu"]
    overrides += ["local.num_workers={train: 0, val: 0, test: 0}", "local.persistent_workers=false"]
    config, host = compose([*overrides, "local.dev.fast_dev_run=true"]), Host.detect()
    run = train(config, plan(config, host), host, Terminal(silent=True)).run
    return World(run.path, folder / "ariel")


@pytest.fixture
def data(world: World, tmp_path: Path) -> Path:
    """A copy of the data set that a test may damage; the planets of it that stay as they are, are in the cache."""
    return Path(shutil.copytree(world.data, tmp_path / "ariel"))


@pytest.fixture(scope="module")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What is predicted of the sound data set."""
    table = tmp_path_factory.mktemp("expected") / "submission.csv"
    assert world.predict(world.data, table) == 0
    return rows(table)


def rows(table: Path) -> dict[str, np.ndarray]:
    """The numbers of a table by planet, in the challenge's order of columns."""
    with table.open(newline="") as file:
        return {row["planet_id"]: np.array([float(row[name]) for name in COLUMNS[1:]]) for row in csv.DictReader(file)}


def test_a_folder_becomes_a_submission(world: World, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    """567 columns in the order of the sample, a row for each of its planets, no number that the challenge refuses."""
    table = tmp_path / "new folder" / "submission.csv"
    assert world.predict(world.data, table) == 0
    sample = (world.data / "sample_submission.csv").read_text().splitlines()
    lines = table.read_text().splitlines()
    assert lines[0] == sample[0]
    assert [line.split(",")[0] for line in lines[1:]] == [GOOD, BAD]
    for row in expected.values():
        assert row.shape == (566,)
        assert np.isfinite(row).all()
        assert (row[:283] >= 0.0).all()
        assert (row[283:] > 0.0).all()
        assert abs(row[1:283].mean() - world.naive[0]) > 1e-4


def test_the_same_command_gives_the_same_bytes(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table stands in the run's directory where nothing else is said; labelled planets have one of their own."""
    for split, name, planets in (("test", "submission.csv", 2), ("train", "predictions_train.csv", 4)):
        command = ["predict", str(world.run), "--data", str(world.data), "--split", split]
        assert main(command) == 0
        assert (
            f"written: {world.run / name}, {planets} planets of which {planets} are predicted"
            in capsys.readouterr().out
        )
        again = tmp_path / "again.csv"
        assert main([*command, "--out", str(again)]) == 0
        assert again.read_bytes() == (world.run / name).read_bytes()


def truncated(folder: Path) -> None:
    """Half a download."""
    file = folder / "AIRS-CH0_signal_0.parquet"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


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


def half_a_visit(folder: Path) -> None:
    """A second visit of which one instrument is missing."""
    shutil.copy(folder / "FGS1_signal_0.parquet", folder / "FGS1_signal_1.parquet")
    shutil.copytree(folder / "FGS1_calibration_0", folder / "FGS1_calibration_1")


def first_null(table: pa.Table) -> pa.Table:
    """The value of one frame is missing in every pixel."""
    return pa.table({name: pa.array([None, *table[name].to_pylist()[1:]], pa.uint16()) for name in table.column_names})


AIRS, FGS1, FLAT = "AIRS-CH0_signal_0.parquet", "FGS1_signal_0.parquet", "FGS1_calibration_0/flat.parquet"
DEAD, LINEAR = "AIRS-CH0_calibration_0/dead.parquet", "AIRS-CH0_calibration_0/linear_corr.parquet"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, f"no folder train/{BAD} or test/{BAD}"),
    "a file for a folder": (a_file, f"no folder train/{BAD} or test/{BAD}"),
    "an empty folder": (emptied, "no AIRS-CH0_signal_<k>.parquet"),
    "frames are missing": (lambda folder: (folder / FGS1).unlink(), FGS1),
    "a calibration frame is missing": (lambda folder: (folder / FLAT).unlink(), FLAT),
    "half a visit": (half_a_visit, "AIRS-CH0_signal_1.parquet"),
    "cut short": (truncated, f"{AIRS}: damaged"),
    "empty": (lambda folder: (folder / FGS1).write_bytes(b""), f"{FGS1}: damaged"),
    "a pipe": (replaced(AIRS, os.mkfifo), "it is a pipe"),
    "too few frames": (another(FGS1, lambda table: table.slice(1)), "479 rows x 1024 columns, expected 480"),
    "too few pixels": (another(AIRS, lambda table: table.drop_columns(["column_7"])), "expected 40 x 11392"),
    "floats": (another(FGS1, filled(400.0, pa.float32())), "expected uint16 counts"),
    "texts": (another(FGS1, filled("x", pa.string())), "values of type string"),
    "a missing value": (another(FGS1, first_null), "expected uint16 counts"),
    "no light": (another(AIRS, filled(0, pa.uint16())), "channels have no light"),
    "every pixel is dead": (another(DEAD, filled(True, pa.bool_())), "channels have no light"),
    "a flat of NaN": (another(FLAT, filled(np.nan, pa.float64())), "channels have no light"),
    "counts that become infinite": (another(LINEAR, filled(1e300, pa.float64())), "not finite"),
}


@pytest.mark.fault("a planet that is damaged, incomplete or without light")
@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_planet_is_named_and_costs_the_others_nothing(
    world: World,
    data: Path,
    expected: dict[str, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Its row is the training mean with the sigma of the labels; ``--strict`` makes it an error that writes nothing."""
    damage, words = DAMAGES[name]
    damage(data / "test" / BAD)
    table = tmp_path / "submission.csv"
    assert world.predict(data, table) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"planet {BAD} is left out: " in said.out
    end = said.out[said.out.index("1 planets were left out") :]
    assert f"planet {BAD}: " in end
    assert words in end
    assert f"written: {table}, 2 planets of which 1 are predicted" in end
    found = rows(table)
    np.testing.assert_array_equal(found[BAD], np.repeat(world.naive, 283))
    np.testing.assert_allclose(found[GOOD], expected[GOOD], rtol=1e-5)

    table.unlink()
    assert world.predict(data, table, "--strict") == 2
    error = capsys.readouterr().err
    assert f"planet {BAD}: " in error
    assert words in error
    assert not table.exists()


def test_a_planet_without_a_star_is_predicted_and_named(
    world: World, data: Path, expected: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The light curves are fitted without its orbit, which is worth more than the training mean."""
    stars = data / "test_star_info.csv"
    stars.write_text("\n".join(line for line in stars.read_text().splitlines() if not line.startswith(BAD)) + "\n")
    assert world.predict(data, tmp_path / "table.csv", "--strict") == 0
    assert f"no star table has planet {BAD}: " in capsys.readouterr().out
    found = rows(tmp_path / "table.csv")
    assert abs(found[BAD][1:283].mean() / expected[BAD][1:283].mean() - 1.0) < 0.3


def test_planets_stand_where_the_sample_lists_them(
    world: World, data: Path, expected: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns and planets are those of the sample, in its order; a planet that it does not list is named."""
    sample = data / "sample_submission.csv"
    columns = [COLUMNS[283], *COLUMNS[:283], *COLUMNS[:283:-1]]
    sample.write_text("\n".join([",".join(columns), *(f"0,{one}{',0' * 565}" for one in ("77", GOOD))]) + "\n")
    table = tmp_path / "table.csv"
    assert world.predict(data, table) == 0
    said = capsys.readouterr().out
    assert f"does not list 1 planets of test/, which get no row: {BAD}" in said
    assert "no folder train/77 or test/77" in said
    lines = table.read_text().splitlines()
    assert lines[0].replace('"', "").split(",") == columns
    found = rows(table)
    assert list(found) == ["77", GOOD]
    np.testing.assert_allclose(found[GOOD], expected[GOOD], rtol=1e-5)
    np.testing.assert_array_equal(found["77"], np.repeat(world.naive, 283))


def test_without_a_sample_all_planets_stand_in_ascending_order(
    world: World, data: Path, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Then the columns are the challenge's; labels are not needed."""
    (data / "sample_submission.csv").unlink()
    (data / "train.csv").unlink()
    (data / "test" / BAD).rename(data / "test" / "77")
    shutil.rmtree(data / "train")
    assert world.predict(data, tmp_path / "table.csv") == 0
    found = rows(tmp_path / "table.csv")
    assert list(found) == ["77", GOOD]
    np.testing.assert_allclose(found[GOOD], expected[GOOD], rtol=1e-5)


def binned(world: World, file: Path, *late: str) -> Path:
    """Light curves of the planets to predict, FGS1's of some of them two hours late."""
    flux, times = [], []
    for planet in (GOOD, BAD):
        entry = next((world.data.parent / "cache" / "planets").glob(f"{planet}-*.npz"))
        with np.load(entry) as arrays:
            curves, time = arrays["flux"].copy(), arrays["time"]
        if planet in late:
            curves[:, 0] = np.roll(curves[:, 0], np.argmax(time - time[0] >= 2.0))
        flux.append(curves)
        times.append(time)
    np.savez(file, flux=flux, time=times, planet_id=[GOOD, BAD])
    return file


def test_light_curves_that_no_transit_explains_are_named_and_their_sigma_grows(
    world: World, expected: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table keeps its columns; the flags stand beside it, and a sound planet is left as it is."""
    assert expected
    table, other = tmp_path / "table.csv", tmp_path / "late.csv"
    assert world.predict(binned(world, tmp_path / "sound.npz"), table) == 0
    assert "what no transit explains in 0 of 2 planets" in capsys.readouterr().out
    assert (tmp_path / "table_flags.csv").read_text().splitlines() == [
        '"planet_id","flag","number","words","least_sigma_fgs1","least_sigma_airs"'
    ]
    assert world.predict(binned(world, tmp_path / "late.npz", BAD), other) == 0
    said = capsys.readouterr().out
    assert f"written: {tmp_path / 'late_flags.csv'}, what no transit explains in 1 of 2 planets" in said
    assert "What no transit explains" in said
    assert other.read_text().splitlines()[0] == table.read_text().splitlines()[0]
    with (tmp_path / "late_flags.csv").open(newline="") as file:
        flags = list(csv.DictReader(file))
    assert {one["planet_id"] for one in flags} == {BAD}
    assert {one["flag"] for one in flags} & {"mid-time", "no transit"}
    sound, late = rows(table), rows(other)
    np.testing.assert_array_equal(late[GOOD], sound[GOOD])
    assert late[BAD][283] >= float(flags[0]["least_sigma_fgs1"])
    assert late[BAD][283] > 2.0 * sound[BAD][283]


class Sure(SpectrumModel):
    """A model that takes every fit for the truth."""

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The fit, to a millionth."""
        return batch["fit_depth"], torch.full_like(batch["fit_depth"], 1e-6)


def test_no_model_is_surer_than_the_light_curves_allow() -> None:
    """A sound planet keeps the model's sigma, one that is flagged gets the diagnosis's, at most that of all labels."""
    curves, star, _ = visit(8, bins=96, mid_time=3.7)
    late, flat = curves.flux.copy(), curves.flux.copy()
    late[:, 0] = np.roll(late[:, 0], 10)
    flat[:] = flat[0] * (1.0 + 1e-3 * np.random.default_rng(0).normal(size=flat.shape))
    seen = [
        replace(curves, planet_id=name, flux=flux) for name, flux in zip("abc", (curves.flux, late, flat), strict=True)
    ]
    planets = [Planet(one.planet_id, one, fit_transit(one, star), None) for one in seen]
    found = predict(Sure(), planets, [to_batch(planets)], naive_sigma=0.01)
    sigma = found.sigma
    np.testing.assert_allclose(sigma[0], 1e-6, rtol=1e-6)
    np.testing.assert_array_equal(sigma[1], np.minimum(planets[1].diagnosis.least_sigma, 0.01))
    assert sigma[1, 0] > 0.9 * abs(planets[1].fit.depth[0] - planets[1].fit.white_depth)
    np.testing.assert_array_equal(sigma[2], 0.01)
    assert [bool(one.flags) for one in found.diagnoses.values()] == [False, True, True]


def test_mistakes_are_one_message_before_any_work(
    world: World, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is calibrated and nothing written."""
    cache = world.data.parent / "cache"
    for file in (data / "test").rglob("*.parquet"):
        os.utime(file, ns=(0, 1))  # What is calibrated now would be a new entry.
    before = sorted(cache.rglob("*"))
    table = tmp_path / "table.csv"
    (tmp_path / "curves.npy").write_bytes(b"")

    def refused(*arguments: str | Path, data: Path = data) -> str:
        assert main(["predict", str(world.run), "--data", str(data), *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "--split test: " in refused("--split", "test", data=tmp_path / "curves.npy")
    assert "no such file; give a data set's folder" in refused(data=tmp_path / "nothing")
    assert "no data set here" in refused("--out", table, data=tmp_path)
    assert f"{tmp_path}: cannot be written (it is there, and it is no file)" in refused("--out", tmp_path)
    assert "cannot be written" in refused("--out", tmp_path / "curves.npy" / "table.csv")
    assert "there is no 'val'" in refused("--split", "val")
    (data / "sample_submission.csv").write_text("planet_id,wl_1,wl_2,wl_284\n")
    assert "has a column 'wl_284', which is none of the challenge's" in refused("--out", table)
    (data / "sample_submission.csv").unlink()
    (data / "test_star_info.csv").write_text("planet_id,Rs\n9000001,1\n")
    assert "test_star_info.csv: column Ms is missing" in refused("--out", table)
    shutil.rmtree(data / "test")
    assert "no planet to predict; --split train takes those of train/" in refused("--out", table)
    assert sorted(cache.rglob("*")) == before
    assert not table.exists()


def test_where_no_planet_can_be_predicted_there_is_no_table(
    world: World, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of nothing but the training mean would look like a success."""
    for planet in (GOOD, BAD):
        truncated(data / "test" / planet)
    assert world.predict(data, tmp_path / "table.csv") == 2
    error = capsys.readouterr().err
    assert "none of the planets can be predicted (2)" in error
    assert f"planet {GOOD}: " in error
    assert f"planet {BAD}: " in error
    assert not (tmp_path / "table.csv").exists()


def test_a_run_of_an_earlier_version_lacks_the_mean_only_where_it_is_needed(
    world: World, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It predicts sound planets as ever, and says what is missing where one is not."""
    old = World(Path(shutil.copytree(world.run, tmp_path / "old")), world.data)
    manifest = Run.open(old.run).manifest
    assert manifest.data is not None
    manifest.data = msgspec.structs.replace(manifest.data, naive_mean=None, naive_sigma=None)
    write_manifest(manifest, old.run / "manifest.json")
    text = (old.run / "manifest.json").read_text()
    (old.run / "manifest.json").write_text(
        text.replace('"naive_mean": null,', "").replace(',\n    "naive_sigma": null', "")
    )
    assert old.predict(data, tmp_path / "table.csv") == 0
    (tmp_path / "table.csv").unlink()
    truncated(data / "test" / BAD)
    capsys.readouterr()
    assert old.predict(data, tmp_path / "table.csv") == 2
    error = capsys.readouterr().err
    assert "does not record the mean of its training labels" in error
    assert f"planet {BAD}: " in error
    assert not (tmp_path / "table.csv").exists()


def test_a_cache_that_only_the_manifest_names_is_left_alone(
    world: World,
    expected: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run may come from another machine, or from a stranger: one's own cache is used then, and that is said."""
    theirs = World(Path(shutil.copytree(world.run, tmp_path / "theirs")), world.data)
    manifest = Run.open(theirs.run).manifest
    manifest.config["paths"]["cache_dir"] = str(tmp_path / "scratch")
    write_manifest(manifest, theirs.run / "manifest.json")
    monkeypatch.setenv("SM_CACHE_DIR", str(world.data.parent / "cache"))
    assert theirs.predict(world.data, tmp_path / "table.csv") == 0
    said = capsys.readouterr().out
    assert f"cache_dir={tmp_path / 'scratch'} holds no cache; {world.data.parent / 'cache'} is used" in said
    assert not (tmp_path / "scratch").exists()
    np.testing.assert_array_equal(rows(tmp_path / "table.csv")[GOOD], expected[GOOD])


@pytest.mark.fault("`kill -9` of a preparation or a prediction, and started again")
def test_a_prediction_that_was_killed_goes_on(world: World, data: Path, tmp_path: Path) -> None:
    """Planets that were done are not calibrated again, and the table has the same bytes."""
    whole, table = tmp_path / "whole.csv", tmp_path / "table.csv"
    assert world.predict(data, whole, "--split", "train") == 0
    for file in data.rglob("*.parquet"):
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))  # The cache holds none of them now.
    planets = world.data.parent / "cache" / "planets"
    before = set(planets.glob("*.npz"))
    command = [sys.executable, "-m", "spectramind_train.cli", "predict", str(world.run), "--data", str(data)]
    with subprocess.Popen([*command, "--split", "train", "--out", str(table)], start_new_session=True) as killed:
        while not (done := set(planets.glob("*.npz")) - before) and killed.poll() is None:
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not table.exists()
    times = {path: path.stat().st_mtime_ns for path in done}
    assert world.predict(data, table, "--split", "train") == 0
    assert table.read_bytes() == whole.read_bytes()
    assert {path: path.stat().st_mtime_ns for path in done} == times
    assert len(set(planets.glob("*.npz")) - before) == 4
    assert all(path.suffix == ".npz" for path in planets.iterdir())
