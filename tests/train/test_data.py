"""``data prepare``: a cache that is filled by one process or by many, whatever happens to them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectramind_config import Calibration
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.cli import main
from spectramind_train.planets.preparation import Filling, entry_path

COMMAND = [sys.executable, "-m", "spectramind_train.cli", "data", "prepare"]


@pytest.fixture
def one_core() -> Iterator[None]:
    """All that is started works by itself: starting workers takes longer than the planets do."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The cache that one process makes in one go."""
    dataset, cache = Dataset(root), tmp_path_factory.mktemp("whole")
    planets = [*dataset.planet_ids("train"), *dataset.planet_ids("test")]
    list(Filling(dataset, planets, Calibration(), cache))
    found = content(cache)
    assert len(found) == 6
    return found


def content(cache: Path) -> dict[str, bytes]:
    """All that is in a cache."""
    return {path.name: path.read_bytes() for path in cache.iterdir()}


def prepare(root: Path, cache: Path, *arguments: str) -> int:
    """The exit code of a preparation in this process."""
    return main(["data", "prepare", str(root), f"local.paths.cache_dir='{cache}'", *arguments])


@pytest.mark.usefixtures("one_core")
def test_all_planets_of_both_splits_are_prepared_for_a_training(
    root: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the very entries that a training with the same calibration looks for; a second time nothing is done."""
    assert prepare(root, tmp_path) == 0
    assert f"6 of 6 planets are in {tmp_path / 'planets'}" in capsys.readouterr().out
    assert content(tmp_path / "planets") == whole
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "planets").iterdir())]
    assert prepare(root, tmp_path) == 0
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "planets").iterdir())] == times
    assert prepare(root, tmp_path, "data.calibration.outlier_sigma=0", "--shard", "6/6") == 0
    (other,) = content(tmp_path / "planets").keys() - whole.keys()
    settings = Calibration(outlier_sigma=0.0)
    assert other == entry_path(Dataset(root), "9000002", settings, tmp_path).name


@pytest.mark.fault("`kill -9` of a preparation or a prediction, and started again")
def test_a_preparation_that_was_killed_goes_on(root: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Killed with an entry half written and with one done, its workers gone with it; the cache has the same bytes."""
    cache = tmp_path / "planets"
    for enough in (".*.npz.*", "*.npz"):
        with subprocess.Popen([*COMMAND, str(root), f"local.paths.cache_dir='{tmp_path}'"]) as killed:
            while not (cache.is_dir() and any(cache.glob(enough))) and killed.poll() is None:
                time.sleep(0.002)
            killed.kill()
        assert killed.returncode in (0, -signal.SIGKILL)
    assert prepare(root, tmp_path) == 0
    assert content(cache) == whole


@pytest.mark.fault("several jobs that fill one cache")
@pytest.mark.parametrize("shards", [("1/3", "2/3", "3/3"), ("1/1", "1/1")], ids=["shards", "the same planets"])
@pytest.mark.usefixtures("one_core")
def test_processes_fill_one_cache_together(
    root: Path, whole: dict[str, bytes], tmp_path: Path, shards: tuple[str, ...]
) -> None:
    """The union of the shards is one run; so is what jobs make that have not been told to share."""
    cache = f"local.paths.cache_dir='{tmp_path}'"
    pipe = subprocess.PIPE
    jobs = [subprocess.Popen([*COMMAND, str(root), cache, "--shard", one], stdout=pipe, text=True) for one in shards]
    said = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs)
    for shard, lines in zip(shards, said, strict=True):
        planets = 6 // int(shard[2:])
        assert f"{planets} of {planets} planets are in {tmp_path / 'planets'}" in lines
    assert content(tmp_path / "planets") == whole


@pytest.mark.usefixtures("one_core")
def test_a_share_is_the_same_planets_every_time(root: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Shares are disjoint, differ by no more than a planet, and one without a planet is done at once."""
    sizes = []
    for share in range(1, 5):
        before = set(content(tmp_path / "planets")) if share > 1 else set()
        assert prepare(root, tmp_path, "--shard", f"{share}/4") == 0
        sizes.append(len(set(content(tmp_path / "planets")) - before))
    assert sizes == [2, 2, 1, 1]
    assert content(tmp_path / "planets") == whole
    assert prepare(root, tmp_path, "--shard", "7/7") == 0


@pytest.mark.usefixtures("one_core")
def test_planets_that_fail_are_named_and_the_others_prepared(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--strict`` prepares the others, too, and ends with exit code 2."""
    data = Path(shutil.copytree(root, tmp_path / "ariel"))
    (data / "test" / "9000001" / "FGS1_signal_0.parquet").unlink()
    (data / "train" / "1000002" / "AIRS-CH0_signal_0.parquet").write_bytes(b"damaged")
    assert prepare(data, tmp_path / "cache") == 0
    said = capsys.readouterr().out
    assert "2 planets were left out" in said
    assert "4 of 6 planets are in" in said
    assert len(list((tmp_path / "cache" / "planets").iterdir())) == 4
    shutil.rmtree(tmp_path / "cache")
    assert prepare(data, tmp_path / "cache", "--strict") == 2
    error = capsys.readouterr().err
    assert "planet 9000001: " in error
    assert "FGS1_signal_0.parquet" in error
    assert "planet 1000002: " in error
    assert len(list((tmp_path / "cache" / "planets").iterdir())) == 4


@pytest.mark.usefixtures("one_core")
def test_planets_without_a_label_or_a_folder_are_named(
    root: Path, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once and at the end, as ``data check`` does; the others are prepared, and ``--strict`` makes it an error."""
    data = Path(shutil.copytree(root, tmp_path / "ariel"))
    labels, cache = data / "train.csv", tmp_path / "cache"
    lines = labels.read_text().splitlines()
    lines[1:3] = ["5" + lines[1][lines[1].index(",") :], lines[2].replace(",0.0", ",?", 1)]
    labels.write_text("\n".join(lines) + "\n")
    told = [
        f"{labels}:3: planet 1000002 has '?",
        f"{labels}: has no row for planets of train/: 1000001\n",
        f"{labels}: lists planets without a folder in train/: 5\n",
    ]
    assert prepare(data, cache) == 0
    at_once, end = capsys.readouterr().out.split("not all of the data is sound:")
    assert all(text in at_once and text in end for text in told)
    assert f"4 of 4 planets are in {cache / 'planets'}" in end
    assert content(cache / "planets").items() <= whole.items()
    assert prepare(data, cache, "--strict") == 2
    error = capsys.readouterr().err
    assert all(text in error for text in told)
    assert main(["data", "check", str(data)]) == 2
    checked = capsys.readouterr().out
    assert all(text in checked for text in told)


@pytest.mark.usefixtures("one_core")
def test_where_no_planet_can_be_prepared_it_is_an_error(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty cache would look like a success."""
    data = Path(shutil.copytree(root, tmp_path / "ariel"))
    shutil.rmtree(data / "train")
    for file in (data / "test").glob("*/FGS1_signal_0.parquet"):
        file.unlink()
    assert prepare(data, tmp_path / "cache") == 2
    assert "none of the planets can be prepared (2)" in capsys.readouterr().err


def test_mistakes_are_one_message(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shares that do not exist, folders that hold nothing, caches that cannot be made."""

    def refused(folder: Path, *arguments: str) -> str:
        assert prepare(folder, tmp_path / "cache", *arguments) == 2
        return capsys.readouterr().err

    for shard in ("0/4", "5/4", "4", "a/b", "-1/4", "1/0", "٣/٤"):
        assert f"--shard: {shard} is no share" in refused(root, f"--shard={shard}")
    assert "from 1/4 to 4/4" in refused(root, "--shard=0/4")
    assert "no data set here" in refused(tmp_path)
    assert "nearest:  data.calibration.bin_seconds" in refused(root, "data.calibration.bin_second=1")
    (tmp_path / "empty" / "test").mkdir(parents=True)
    for table in ("axis_info.parquet", "adc_info.csv"):
        shutil.copy(root / table, tmp_path / "empty")
    assert "no planet to prepare" in refused(tmp_path / "empty")
    (tmp_path / "cache").write_text("")
    assert "the cache folder cannot be made" in refused(root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "empty"]
