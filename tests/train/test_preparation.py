"""Preparing planets: cache, repeated visits, worker processes and errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectramind_config import Calibration, ConfigError, Simulation
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.dataset import Dataset, Visit
from spectramind_train.planets.preparation import (
    Entry,
    Failure,
    Filling,
    Planet,
    entry_path,
    lock_file,
    prepare,
)
from spectramind_train.run.turns import alone
from spectramind_train.simulated.data_set import simulate

SETTINGS = Calibration()
HALF = """
import sys
from pathlib import Path
from spectramind_train.run.atomic_files import replacing
from spectramind_train.run.turns import alone
with alone(Path(sys.argv[2]), None), replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    print("half", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated data set of four planets with 40 time bins."""
    folder = tmp_path_factory.mktemp("data") / "ariel"
    simulate(folder, Simulation(planets=4, airs_frames=80), workers=1)
    return folder


@pytest.fixture
def dataset(root: Path, tmp_path: Path) -> Dataset:
    """A copy that a test may damage."""
    shutil.copytree(root, tmp_path / "ariel")
    return Dataset(tmp_path / "ariel")


def entries(cache: Path) -> dict[str, int]:
    """Names and times of modification of all that is in the cache."""
    return {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}


def assert_same(first: list[Planet], second: list[Planet]) -> None:
    """Two preparations agree bit for bit."""
    for a, b in zip(first, second, strict=True):
        assert a.planet_id == b.planet_id
        np.testing.assert_array_equal(a.curves.flux, b.curves.flux)
        np.testing.assert_array_equal(a.fit.depth, b.fit.depth)
        np.testing.assert_array_equal(a.fit.baseline, b.fit.baseline)
        assert (a.fit.white_depth, a.fit.mid_time) == (b.fit.white_depth, b.fit.mid_time)


def test_prepared_planets_are_complete_and_a_second_call_reads_the_cache(dataset: Dataset, tmp_path: Path) -> None:
    """Labels, shapes and plausible depths; the second call writes nothing and returns the same numbers."""
    cache, ids, calls = tmp_path / "cache", dataset.planet_ids("train"), []
    planets = prepare(dataset, ids, SETTINGS, cache, progress=lambda *done: calls.append(done))
    assert [planet.planet_id for planet in planets] == ids
    assert calls == [(done, 4) for done in range(1, 5)]
    for planet in planets:
        assert planet.label is not None
        assert planet.curves.flux.shape == (40, 283)
        assert planet.fit.depth[1:].mean() == pytest.approx(planet.label[1:].mean(), rel=0.1)
    before = entries(cache)
    assert len(before) == 4
    assert all(name.endswith(".npz") for name in before)
    assert_same(planets, prepare(dataset, ids, SETTINGS, cache, progress=lambda *done: calls.append(done)))
    assert entries(cache) == before
    assert calls[4:] == calls[:4]


@pytest.mark.fault("several jobs that fill one cache")
def test_processes_that_fill_a_cache_share_the_work(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planet is made once, and all have the same planets, though all begin with the same one."""
    calls: list[str] = []

    def spied(visit: Visit, *arguments: Any) -> Any:
        calls.append(visit.planet_id)
        return calibrate(visit, *arguments)

    monkeypatch.setattr("spectramind_train.planets.preparation.calibrate", spied)
    ids, cache = dataset.planet_ids("train"), tmp_path / "cache"
    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(prepare, dataset, ids, SETTINGS, cache) for _ in range(3)]
        for one in found[1:]:
            assert_same(found[0].result(), one.result())
    visits = [planet_id for planet_id in ids for _ in dataset.visits(planet_id)]
    assert sorted(calls) == sorted(visits)
    assert all(name.endswith(".npz") for name in entries(cache))


def test_a_planet_that_another_process_has_begun_is_waited_for(dataset: Dataset, tmp_path: Path) -> None:
    """The others are made in the meantime; it says that it waits once, and takes what the other has made."""
    cache, made, ids = tmp_path / "cache", tmp_path / "made", dataset.planet_ids("train")
    planets = prepare(dataset, ids, SETTINGS, made)
    cache.mkdir()
    waits = threading.Event()
    begun = entry_path(dataset, ids[0], SETTINGS, cache)
    with ThreadPoolExecutor(1) as pool:
        with alone(lock_file(begun), lambda: pytest.fail("it waited for nobody")):
            other = pool.submit(prepare, dataset, ids, SETTINGS, cache, waiting=waits.set)
            assert waits.wait(60)
            assert {path.name for path in cache.glob("*.npz")} == {path.name for path in made.iterdir()} - {begun.name}
            shutil.copy2(made / begun.name, begun)
            time = begun.stat().st_mtime_ns
        assert_same(planets, other.result())
    assert begun.stat().st_mtime_ns == time
    assert all(name.endswith(".npz") for name in entries(cache))


@pytest.mark.fault("several jobs that fill one cache")
def test_a_planet_whose_process_died_is_made(dataset: Dataset, tmp_path: Path) -> None:
    """A lock without its process and half an entry are nothing to wait for; both are gone afterwards."""
    cache, ids = tmp_path / "cache", dataset.planet_ids("train")[:1]
    expected = prepare(dataset, ids, SETTINGS, tmp_path / "made")
    cache.mkdir()
    entry = entry_path(dataset, ids[0], SETTINGS, cache)
    with subprocess.Popen([sys.executable, "-c", HALF, str(entry), str(lock_file(entry))], stdout=-1, stdin=-1) as dead:
        assert dead.stdout is not None
        dead.stdout.readline()
        assert len(entries(cache)) == 2
        dead.kill()
    assert len(entries(cache)) == 2
    assert_same(expected, prepare(dataset, ids, SETTINGS, cache, waiting=lambda: pytest.fail("it waited")))
    assert list(entries(cache)) == [entry.name]


def test_entries_are_the_same_bytes_whoever_makes_them(dataset: Dataset, tmp_path: Path) -> None:
    """At another time, in other processes, beside other planets: caches can be compared and merged."""
    ids = [*dataset.planet_ids("train"), *dataset.planet_ids("test")]
    list(Filling(dataset, ids, SETTINGS, tmp_path / "once"))
    list(Filling(dataset, ids[::-1], SETTINGS, tmp_path / "again", workers=2))
    once, again = ({path.name: path.read_bytes() for path in (tmp_path / one).iterdir()} for one in ("once", "again"))
    assert len(once) == len(ids)
    assert once == again


def test_a_planet_that_fails_is_an_outcome_among_others(dataset: Dataset, tmp_path: Path) -> None:
    """Each planet has one outcome, in time or not; a failure says why, and is counted as done."""
    ids = dataset.planet_ids("train")
    dataset.raw_files(ids[1])[0].write_bytes(b"damaged")
    dataset.raw_files(ids[3])[-1].unlink()
    filling = Filling(dataset, [*ids, "77"], SETTINGS, tmp_path / "cache")
    found = {one.planet_id: one for one in filling}
    reasons = {name: one.reason for name, one in found.items() if isinstance(one, Failure)}
    assert found.keys() == {*ids, "77"}
    assert reasons.keys() == {ids[1], ids[3], "77"}
    assert "not a readable parquet file" in reasons[ids[1]]
    assert "linear_corr.parquet" in reasons[ids[3]]
    assert "no folder train/77 or test/77" in reasons["77"]
    assert (filling.done, filling.planets, filling.read) == (5, 5, filling.size)
    assert len(entries(tmp_path / "cache")) == 2


def test_a_damaged_visit_costs_the_good_one_nothing(dataset: Dataset, tmp_path: Path) -> None:
    """The planet is that of the good visit, and says so each time, as long as the file is damaged; no training has it.

    Mended, it is another entry, of both visits, with nothing to say.
    """
    cache, twice = tmp_path / "cache", "1000003"
    (sound,) = prepare(dataset, [twice], SETTINGS, cache)
    file = next(path for path in dataset.raw_files(twice) if path.name == "AIRS-CH0_signal_1.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    for _ in range(2):
        (entry,) = Filling(dataset, [twice], SETTINGS, cache)
        assert isinstance(entry, Entry)
        (told,) = entry.remarks
        assert told.startswith(f"visit 1 is left out: {file}: damaged, not a readable parquet file")
        planet = entry.read()
        assert isinstance(planet, Planet)
        assert (planet.fit.sigma > 1.2 * sound.fit.sigma).all()
        assert planet.fit.mid_time == sound.fit.mid_time
        with pytest.raises(ConfigError, match=f"planet {twice}: visit 1 is left out: {file}"):
            prepare(dataset, [twice], SETTINGS, cache)
    entry.path.with_suffix(".json").write_text("{")
    assert "damaged, so that nobody knows" in next(iter(entry.remarks))
    file.write_bytes(whole)
    assert_same([sound], prepare(dataset, [twice], SETTINGS, cache))
    for left in dataset.raw_files(twice):
        if "_signal_" in left.name:
            left.unlink()
    (failure,) = Filling(dataset, [twice], SETTINGS, cache)
    assert isinstance(failure, Failure)
    assert [f"visit {number} is left out: " in failure.reason for number in range(3)] == [True, True, False]


def test_unlabelled_planets_have_no_label(dataset: Dataset, tmp_path: Path) -> None:
    """Test planets are prepared too, in the order asked for, and without a train.csv as well."""
    (dataset.root / "train.csv").unlink()
    ids = dataset.planet_ids("test")[::-1]
    planets = prepare(Dataset(dataset.root), ids, SETTINGS, tmp_path / "cache")
    assert [(planet.planet_id, planet.label) for planet in planets] == [(name, None) for name in ids]


def test_planets_stay_in_the_files_of_the_cache(dataset: Dataset, tmp_path: Path) -> None:
    """Flux and baseline are mapped, no file stays open, nothing can be written, and entries may be replaced or go."""
    cache, ids, opened = tmp_path / "cache", dataset.planet_ids("train"), Path("/proc/self/fd")
    kept = prepare(dataset, ids, SETTINGS, cache)
    copies = {planet.planet_id: (planet.curves.flux.copy(), planet.fit.baseline.copy()) for planet in kept}
    if opened.is_dir():
        assert Path("/proc/self/maps").read_text().count(f"{cache}/") >= len(ids)
        assert not [one for one in opened.iterdir() if str(one.resolve()).startswith(str(cache))]
    for planet in kept:
        assert not planet.curves.flux.flags.writeable
        assert not planet.fit.baseline.flags.writeable
    for path in cache.iterdir():
        path.unlink()
    prepare(dataset, ids, SETTINGS, cache)
    for planet in kept:
        flux, baseline = copies[planet.planet_id]
        np.testing.assert_array_equal(planet.curves.flux, flux)
        np.testing.assert_array_equal(planet.fit.baseline, baseline)


def test_a_compressed_entry_is_made_anew(dataset: Dataset, tmp_path: Path) -> None:
    """What somebody has packed again cannot be mapped, and is no reason to fail."""
    cache, ids = tmp_path / "cache", dataset.planet_ids("train")[:1]
    expected = prepare(dataset, ids, SETTINGS, cache)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    with np.load(path) as entry:
        arrays = dict(entry)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    (tmp_path / "packed.npz").replace(path)
    assert path.read_bytes() != whole
    assert_same(expected, prepare(dataset, ids, SETTINGS, cache))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty"])
def test_a_damaged_entry_is_made_anew(dataset: Dataset, tmp_path: Path, damage: str) -> None:
    """Whatever happened to an entry, the result is the same and the entry is whole again."""
    cache, ids = tmp_path / "cache", dataset.planet_ids("train")[:1]
    expected = prepare(dataset, ids, SETTINGS, cache)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "truncated": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "foreign": b"hello",
        "empty": b"",
    }
    path.unlink()  # Else the planets that are kept would be damaged with it.
    path.write_bytes(damaged[damage])
    assert_same(expected, prepare(dataset, ids, SETTINGS, cache))
    with np.load(path) as entry:
        np.testing.assert_array_equal(entry["depth"], expected[0].fit.depth)


def test_an_entry_belongs_to_its_settings_and_raw_files(dataset: Dataset, tmp_path: Path) -> None:
    """Other settings or a touched raw file make a new entry; the old one stays valid for the old inputs."""
    cache, ids = tmp_path / "cache", dataset.planet_ids("train")[:1]
    prepare(dataset, ids, SETTINGS, cache)
    prepare(dataset, ids, replace(SETTINGS, airs_rows=(10, 22)), cache)
    assert len(entries(cache)) == 2
    raw = dataset.raw_files(ids[0])[0]
    os.utime(raw, ns=(0, raw.stat().st_mtime_ns + 1))
    prepare(dataset, ids, SETTINGS, cache)
    assert len(entries(cache)) == 3


def test_an_entry_belongs_to_the_code_that_made_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other code, or another library that does the sums, makes a new entry."""
    cache, ids = tmp_path / "cache", dataset.planet_ids("train")[:1]
    prepare(dataset, ids, SETTINGS, cache)
    monkeypatch.setattr("spectramind_train.planets.preparation.source_digest", lambda _: "other")
    prepare(dataset, ids, SETTINGS, cache)
    monkeypatch.setattr("scipy.__version__", "0")
    prepare(dataset, ids, SETTINGS, cache)
    prepare(dataset, ids, SETTINGS, cache)
    assert len(entries(cache)) == 3


def test_worker_processes_give_the_same_planets_and_pass_on_errors(dataset: Dataset, tmp_path: Path) -> None:
    """Two processes agree with one bit for bit; a damaged file is reported by name, its neighbour is still cached."""
    ids = dataset.planet_ids("train")[:2]
    alone = prepare(dataset, ids, SETTINGS, tmp_path / "alone")
    assert_same(alone, prepare(dataset, ids, SETTINGS, tmp_path / "together", workers=2))
    damaged = dataset.raw_files(ids[1])[0]
    damaged.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=damaged.name):
        prepare(dataset, ids, SETTINGS, tmp_path / "damaged", workers=2)
    assert not [path for path in (tmp_path / "damaged").iterdir() if path.suffix != ".npz"]


def test_a_missing_raw_file_is_named(dataset: Dataset, tmp_path: Path) -> None:
    """A file that the planet needs and that is absent is the user's to mend."""
    (planet_id, *_) = dataset.planet_ids("train")
    missing = dataset.raw_files(planet_id)[1]
    missing.unlink()
    with pytest.raises(ConfigError, match=missing.name):
        prepare(dataset, [planet_id], SETTINGS, tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    """A file where the cache folder should be gives one clear message."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"paths\.cache_dir"):
        prepare(dataset, [], SETTINGS, tmp_path / "file" / "cache")
