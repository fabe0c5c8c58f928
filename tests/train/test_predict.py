"""From a folder of raw frames to a table: every planet has its row, and what is wrong with one is told."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from spectramind_config import Calibration, Simulation, compose
from spectramind_config.host import Host
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.ariel.submission import COLUMNS
from spectramind_train.cli import main
from spectramind_train.learning.batches import to_batch
from spectramind_train.planets.preparation import Planet, entry_path, lock_file
from spectramind_train.results.prediction import Ensemble, predict
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import write_manifest
from spectramind_train.run.plan import plan
from spectramind_train.run.terminal import Terminal
from spectramind_train.run.turns import claimed
from spectramind_train.simulated.data_set import simulate
from spectramind_train.training import train
from spectramind_train.transit.diagnosis import SPECTRAL
from spectramind_train.transit.spectrum_fit import N_LIMB, fit_transit
from spectramind_train.v50.network import Batch, SpectrumModel

from .damages import BAD, DAMAGES, GOOD, truncated
from .synthetic import visit


@dataclass(frozen=True)
class World:
    """A run, and the data set that it was trained on, with two planets to predict."""

    run: Path
    data: Path

    @property
    def cache(self) -> Path:
        """Where its planets are kept, calibrated."""
        return self.run.parents[1] / "cache"

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
        return main(["predict", "--data", str(data), "--out", str(out), str(self.run), *arguments])


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
    """At once and at the end, by ``predict`` and ``data prepare``, and by ``data check`` in the same words.

    Where nothing can be predicted of it, its row is the training mean with the sigma of the labels. ``--strict`` makes
    it an error that writes no table.
    """
    damage = DAMAGES[name]
    damage.do(data)
    table = tmp_path / "submission.csv"
    assert world.predict(data, table) == 0
    said = capsys.readouterr()
    assert said.err == ""
    predicted = 1 if damage.left_out else 2
    heading = "1 planets were left out" if damage.left_out else "not all of the data is sound:"
    at_once, end = said.out.split(heading)
    assert f"written: {table}, 2 planets of which {predicted} are predicted" in end
    (told,) = [line.strip() for line in end.splitlines() if line.startswith("  ")]
    assert damage.words in told
    assert BAD in told
    reason = told.removeprefix(f"planet {BAD}: ")
    assert reason in at_once
    found = rows(table)
    np.testing.assert_allclose(found[GOOD], expected[GOOD], rtol=1e-5)
    if damage.left_out:
        assert f"planet {BAD} is left out: {reason}" in at_once
        np.testing.assert_array_equal(found[BAD], np.repeat(world.naive, 283))
    else:
        assert abs(found[BAD][1:283].mean() / expected[BAD][1:283].mean() - 1.0) < 0.3

    table.unlink()
    assert world.predict(data, table, "--strict") == 2
    assert told in capsys.readouterr().err
    assert not table.exists()

    prepare = ["data", "prepare", str(data), f"local.paths.cache_dir='{world.cache}'"]
    assert main(prepare) == 0
    at_once, end = capsys.readouterr().out.split(heading)
    assert reason in at_once
    assert told in end
    assert f"{predicted + 4} of 6 planets are in" in end
    assert main([*prepare, "--strict"]) == 2
    assert told in capsys.readouterr().err

    assert main(["data", "check", str(data)]) == (2 if damage.seen else 0)
    assert not damage.seen or sentence(reason) in capsys.readouterr().out


def sentence(reason: str) -> str:
    """What is wrong, without what follows from it."""
    return (
        reason.split("; visit 1")[0]
        .split(": fitted")[0]
        .removeprefix("visit 0 is left out: ")
        .removeprefix("visit 1 is left out: ")
    )


def test_where_entries_cannot_be_written_the_others_are_predicted(
    world: World, data: Path, expected: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: what the cache has is used, and the file is named that it cannot take."""
    os.utime(data / "test" / BAD / "FGS1_signal_0.parquet", ns=(0, 7))
    before, limits = set((world.cache / "planets").iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        codes = world.predict(data, tmp_path / "table.csv"), world.predict(data, tmp_path / "no.csv", "--strict")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert codes == (0, 2)
    said = capsys.readouterr()
    told = f"planet {BAD}: {world.cache / 'planets' / BAD}-"
    for text in (said.out, said.err):
        assert told in text
        assert "cannot be written (File too large); free some space or set paths.cache_dir to another folder" in text
    np.testing.assert_allclose(rows(tmp_path / "table.csv")[GOOD], expected[GOOD], rtol=1e-5)
    assert set((world.cache / "planets").iterdir()) == before
    assert not (tmp_path / "no.csv").exists()


def test_several_runs_are_averaged(
    world: World, expected: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run and its copy predict what the run does; runs that calibrate otherwise are refused, and it says which."""
    copy = Path(shutil.copytree(world.run, tmp_path / "copy"))
    table = tmp_path / "submission.csv"
    assert world.predict(world.data, table, str(copy)) == 0
    for name, row in rows(table).items():
        np.testing.assert_allclose(row, expected[name], rtol=1e-5)
    file = copy / "manifest.json"
    manifest = msgspec.json.decode(file.read_bytes())
    manifest["config"]["data"]["calibration"]["bin_seconds"] = 288.0
    file.write_bytes(msgspec.json.encode(manifest))
    capsys.readouterr()
    assert world.predict(world.data, table, str(copy)) == 2
    assert f"{copy} and {world.run} have calibrated their planets in different ways" in capsys.readouterr().err


def test_disagreement_of_models_adds_to_sigma() -> None:
    """The mixture of two Gaussians has the mean of their means, and a variance that holds the distance of these."""

    class Fixed(SpectrumModel):
        def __init__(self, mu: float, sigma: float) -> None:
            super().__init__()
            self.values = mu, sigma

        def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            mu, sigma = (torch.full((1, 283), value) for value in self.values)
            return mu, sigma

    mu, sigma = Ensemble([Fixed(0.010, 1e-4), Fixed(0.011, 3e-4)])({})
    torch.testing.assert_close(mu, torch.full_like(mu, 0.0105))
    torch.testing.assert_close(sigma, torch.full_like(sigma, ((1e-8 + 9e-8) / 2 + 0.0005**2) ** 0.5))


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
    assert f"does not list planets of test/, which get no row: {BAD}" in said
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
    """A sound planet keeps the model's sigma, another gets the diagnosis's; of what is unknown, the labels' statistics.

    Where FGS1 alone is at fault, AIRS keeps the model's sigma, and FGS1 is as unsure as spectra differ there.
    """
    curves, star, _ = visit(8, bins=96, mid_time=3.7)
    late, halved, flat = (curves.flux.copy() for _ in range(3))
    late[:, 0] = np.roll(late[:, 0], 10)
    level = np.quantile(halved[:, 0], 0.9)
    halved[:, 0] = 0.5 * (level + halved[:, 0])
    flat[:] = flat[0] * (1.0 + 1e-3 * np.random.default_rng(0).normal(size=flat.shape))
    every = zip("abcd", (curves.flux, late, halved, flat), strict=True)
    seen = [replace(curves, planet_id=name, flux=flux) for name, flux in every]
    planets = [Planet(one.planet_id, one, fit_transit(one, star), None, star) for one in seen]
    found = predict(Sure(), planets, [to_batch(planets)], naive=(0.015, 0.01))
    mu, sigma = found.mu, found.sigma
    np.testing.assert_allclose(sigma[0], 1e-6, rtol=1e-6)
    np.testing.assert_allclose(mu[0], np.maximum(planets[0].fit.depth, 0.0), rtol=1e-6)
    np.testing.assert_allclose(sigma[1], [SPECTRAL, *[1e-6] * 282], rtol=1e-6)
    np.testing.assert_allclose(mu[1], mu[0], atol=1e-3)
    assert abs((mu[1] - mu[0])[1:].mean()) < planets[0].fit.shared_errors[N_LIMB, 1]
    np.testing.assert_array_equal(sigma[2], np.minimum(planets[2].diagnosis.least_sigma, 0.01))
    assert sigma[2, 0] > 0.5 * abs(planets[2].fit.depth[0] - planets[2].fit.white_depth)
    np.testing.assert_array_equal(mu[3], 0.015)
    np.testing.assert_array_equal(sigma[3], 0.01)
    assert [bool(one.flags) for one in found.diagnoses.values()] == [False, True, True, True]


class Starry(Sure):
    """A model that adds to every fit by the star's feature of the scale height."""

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """100 ppm for each unit."""
        mu, sigma = super().forward(batch)
        return mu + 1e-4 * batch["star"][:, 1:2], sigma


@pytest.mark.parametrize("mass", [None, 0.0], ids=["no row", "no mass"])
def test_a_star_that_nobody_knows_is_averaged_over(mass: float | None) -> None:
    """So is one of whose numbers the model is told nothing: sigma grows by what scale heights there may be."""
    curves, star, _ = visit(8, bins=96, mid_time=3.7)
    fit = fit_transit(curves, star)
    other = None if mass is None else replace(star, Mp=mass)
    planets = [Planet("known", curves, fit, None, star), Planet("unknown", curves, fit, None, other)]
    found = predict(Starry(), planets, [to_batch(planets)])
    np.testing.assert_allclose(found.mu[1], np.maximum(fit.depth, 0.0), rtol=1e-5)
    np.testing.assert_allclose(found.sigma[0], 1e-6, rtol=1e-5)
    np.testing.assert_allclose(found.sigma[1], 2.35e-4 / np.sqrt(3.0), rtol=1e-3)


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
    there, before = set(planets.iterdir()), set(planets.glob("*.npz"))
    dataset = Dataset(data)
    last = entry_path(dataset, dataset.planet_ids("train")[-1], Calibration(), planets)
    command = [sys.executable, "-m", "spectramind_train.cli", "predict", str(world.run), "--data", str(data)]
    # It cannot end before it is killed: this process has begun one of its planets.
    with (
        claimed(lock_file(last)) as ours,
        subprocess.Popen([*command, "--split", "train", "--out", str(table)], start_new_session=True) as killed,
    ):
        assert ours
        while len(done := set(planets.glob("*.npz")) - before) < 3 and killed.poll() is None:
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert not table.exists()
    times = {path: path.stat().st_mtime_ns for path in done}
    assert world.predict(data, table, "--split", "train") == 0
    assert table.read_bytes() == whole.read_bytes()
    assert {path: path.stat().st_mtime_ns for path in done} == times
    assert len(set(planets.glob("*.npz")) - before) == 4
    assert {path.suffix for path in set(planets.iterdir()) - there} == {".npz"}
