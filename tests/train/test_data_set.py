"""The simulated data set: the challenge's layout, and what happens when it is extended, shared or refused."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spectramind_config import Calibration, ConfigError, Simulation
from spectramind_train.ariel.calibration import calibrate
from spectramind_train.ariel.dataset import Dataset
from spectramind_train.ariel.inspection import inspect
from spectramind_train.ariel.spectra import Spectra, read_spectra
from spectramind_train.simulated.data_set import simulate, write_planet
from spectramind_train.simulated.population import draw_system

SETTINGS = Simulation(planets=5, airs_frames=40, seed=8)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five planets made in one go, in this process."""
    return simulate(tmp_path_factory.mktemp("at_once"), SETTINGS, workers=1)


def read(path: Path) -> list[list[str]]:
    """The cells of a CSV file."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_files_are_those_of_the_challenge(at_once: Dataset) -> None:
    """Every file, column, shape and type is as the challenge's."""
    root = at_once.root
    assert inspect(root).sound
    planet = root / "train" / "1000001"
    frames = ["dark", "dead", "flat", "linear_corr", "read"]
    expected = [f"{name}_calibration_0/{frame}.parquet" for name in ("AIRS-CH0", "FGS1") for frame in frames]
    expected += ["AIRS-CH0_signal_0.parquet", "FGS1_signal_0.parquet"]
    assert sorted(path.relative_to(planet).as_posix() for path in planet.rglob("*.parquet")) == sorted(expected)
    for name, rows, columns in (("AIRS-CH0", 40, 11392), ("FGS1", 480, 1024)):
        file = pq.ParquetFile(planet / f"{name}_signal_0.parquet")
        assert (file.metadata.num_rows, file.metadata.num_row_groups) == (rows, 1)
        assert file.schema_arrow.names == [f"column_{i}" for i in range(columns)]
        assert set(file.schema_arrow.types) == {pa.uint16()}
    for name, columns in (("AIRS-CH0", 356), ("FGS1", 32)):
        for frame in frames:
            file = pq.ParquetFile(planet / f"{name}_calibration_0" / f"{frame}.parquet")
            assert file.metadata.num_rows == (6 * 32 if frame == "linear_corr" else 32)
            assert file.schema_arrow.names == [f"column_{i}" for i in range(columns)]
            assert set(file.schema_arrow.types) == {pa.bool_() if frame == "dead" else pa.float64()}


def test_one_planet_in_24_is_visited_twice(at_once: Dataset) -> None:
    """Both visits have files of the same names and shapes, the same transit, and noise and detectors of their own."""
    visits = {planet_id: at_once.visits(planet_id) for planet_id in at_once.planet_ids("train")}
    assert visits == {f"{1000001 + index}": [0, 1] if index == 2 else [0] for index in range(5)}
    folder = at_once.folder("1000003")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    assert {name.replace("_1", "_0", 1) for name in names} == {name for name in names if "_0" in name}
    first, second = (at_once.read_visit("1000003", number, Calibration()) for number in (0, 1))
    assert first.airs.frames.shape == second.airs.frames.shape
    assert (first.fgs1.frames != second.fgs1.frames).any()
    assert (first.airs.dark != second.airs.dark).all()
    white = [calibrate(one, at_once.axis, at_once.adc, Calibration())[1][:, 1:].sum(axis=1) for one in (first, second)]
    assert white[0] / white[0].mean() == pytest.approx(white[1] / white[1].mean(), abs=0.004)


def test_tables_are_those_of_the_challenge(at_once: Dataset) -> None:
    """The tables have the challenge's columns; the axis table is padded with nulls; no negative submission."""
    root = at_once.root
    channels = [f"wl_{i}" for i in range(1, 284)]
    assert read(root / "train.csv")[0] == ["planet_id", *channels]
    assert len(read(root / "train.csv")) == 6
    assert read(root / "test_star_info.csv")[0] == ["planet_id", "Rs", "Ms", "Ts", "Mp", "e", "P", "sma", "i"]
    wavelengths = read(root / "wavelengths.csv")
    assert wavelengths[0] == channels
    assert len(wavelengths) == 2
    header, *rows = read(root / "sample_submission.csv")
    assert header == ["planet_id", *channels, *[f"sigma_{i}" for i in range(1, 284)]]
    assert len(header) == 567
    assert [row[0] for row in rows] == at_once.planet_ids("test")
    assert all(float(cell) > 0.0 for row in rows for cell in row)
    assert sorted(read(root / "adc_info.csv")[0]) == [
        "AIRS-CH0_adc_gain",
        "AIRS-CH0_adc_offset",
        "FGS1_adc_gain",
        "FGS1_adc_offset",
    ]
    axis = pq.read_table(root / "axis_info.parquet")
    assert axis.num_rows == 480
    assert {name: axis.num_rows - axis.column(name).null_count for name in axis.column_names} == {
        "AIRS-CH0-axis0-h": 40,
        "AIRS-CH0-axis2-um": 356,
        "AIRS-CH0-integration_time": 40,
        "FGS1-axis0-h": 480,
    }


def test_labels_are_what_was_injected(at_once: Dataset) -> None:
    """The table keeps the drawn spectra to the last bit."""
    for index, label in enumerate(at_once.labels().values()):
        assert (label == draw_system(SETTINGS.seed, "train", index).spectrum).all()


def test_detectors_are_those_of_the_challenge(at_once: Dataset) -> None:
    """Unlit pixels lie at 430-440 counts, nothing saturates, and calibration maps are in the published ranges."""
    visit = at_once.read_visit("1000002", 0)
    for detector in (visit.airs, visit.fgs1):
        unlit = detector.frames[::2, :3, :3].astype(float)[:, detector.dark[:3, :3] < 0.1]
        assert 430.0 < unlit.mean() < 440.0
        assert detector.frames.max() < 40000
        assert detector.dark.min() >= 0.005
        assert detector.dark.max() <= 25.0
        assert (detector.dark > 0.1).mean() < 0.02
        assert 0.0 < detector.dead.mean() < 0.014
        assert 0.57 <= detector.flat.min() < detector.flat.max() <= 1.2
        strongest = 1e4 ** np.arange(6)[:, None, None] * detector.linear_corr
        assert 0.0 < np.abs(strongest.sum(axis=0) / 1e4 - 1.0).max() < 0.03


def test_a_visit_shows_its_transit(at_once: Dataset) -> None:
    """The summed light curve dips by about the label, in both instruments."""
    for planet_id, label in at_once.labels().items():
        visit = at_once.read_visit(planet_id, 0, Calibration())
        _, flux = calibrate(visit, at_once.axis, at_once.adc, Calibration())
        white = flux[:, 1:].sum(axis=1)
        for curve, depth in ((white, label[1:].mean()), (flux[:, 0], label[0])):
            assert 1.0 - curve.min() / np.median(curve[:3]) == pytest.approx(depth, rel=0.45, abs=0.002)


def test_extending_equals_making_all_at_once(at_once: Dataset, tmp_path: Path) -> None:
    """Four planets and then five, by two processes, give the very files that five at once give."""
    seen: list[tuple[int, int]] = []
    simulate(tmp_path, SETTINGS, planets=4, workers=1)
    dataset = simulate(tmp_path, SETTINGS, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]
    assert files(tmp_path) == files(at_once.root)
    assert dataset.fingerprint() == at_once.fingerprint()
    smaller = simulate(tmp_path, SETTINGS, planets=4, progress=lambda done, total: seen.append((done, total)))
    assert len(smaller.planet_ids("train")) == 5
    assert len(seen) == 1


def files(root: Path) -> dict[str, bytes]:
    """Name and contents of every file, hidden ones included."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_processes_may_simulate_one_folder(at_once: Dataset, tmp_path: Path) -> None:
    """Two processes that start together on one folder leave the same planets as one."""
    program = (
        "import sys; from pathlib import Path; from spectramind_config import Simulation; "
        "from spectramind_train.simulated.data_set import simulate; "
        "simulate(Path(sys.argv[1]), Simulation(airs_frames=40, seed=8), planets=int(sys.argv[2]), workers=1)"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), number]) for number in ("2", "1")]
    assert [process.wait() for process in running] == [0, 0]
    written, expected = files(tmp_path), files(at_once.root)
    planets = {name for name in expected if name.startswith(("train/1000001/", "train/1000002/", "test/"))}
    assert {name for name in written if "/" in name} == planets
    assert all(written[name] == expected[name] for name in planets)
    assert Dataset(tmp_path).planet_ids("train") == ["1000001", "1000002"]


def test_a_planet_that_is_there_is_kept(at_once: Dataset) -> None:
    """Writing a planet again, as the slower of two processes does, changes nothing and leaves nothing behind."""
    before = {path: path.stat().st_mtime_ns for path in at_once.root.rglob("*.parquet")}
    write_planet(at_once.root, SETTINGS, "train", 0)
    assert {path: path.stat().st_mtime_ns for path in at_once.root.rglob("*.parquet")} == before
    assert not [path for path in at_once.root.iterdir() if path.name.startswith(".")]


def test_an_interrupted_simulation_is_not_a_data_set(tmp_path: Path) -> None:
    """Stopped after the first planet, the folder is not taken for a data set, and going on completes it."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, SETTINGS, planets=1, workers=1, progress=stop)
    assert not Dataset.present(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert simulate(tmp_path, SETTINGS, planets=1, workers=1).planet_ids("train") == ["1000001"]


def test_an_interrupted_simulation_starts_no_further_planet(tmp_path: Path) -> None:
    """Planets that wait for a process are given up, those begun are finished, and none is half written."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, SETTINGS, planets=30, workers=2, progress=stop)
    assert 1 <= len(list((tmp_path / "train").iterdir())) < 30
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_settings_are_never_mixed(at_once: Dataset) -> None:
    """Another seed or number of frames does not extend a folder."""
    for other in (Simulation(planets=6, airs_frames=40, seed=9), Simulation(planets=6, airs_frames=80, seed=8)):
        with pytest.raises(ConfigError, match=r"simulation\.json: the folder was simulated with .*now asked for"):
            simulate(at_once.root, other)


def table_of(path: Path, spectra: np.ndarray) -> Spectra:
    """A file of spectra as people write it, read."""
    rows = [",".join(["planet_id", *(f"wl_{i}" for i in range(1, 284))])]
    rows += [",".join([f"{number}", *map(repr, spectrum.tolist())]) for number, spectrum in enumerate(spectra)]
    path.write_text("\n".join(rows) + "\n")
    return read_spectra(path, ["wl"], negative=False)


def waves(planets: int) -> np.ndarray:
    """Spectra of planets of all sizes."""
    relief = 1e-4 * np.sin(np.linspace(0.0, 9.0, 283) + np.arange(planets)[:, None])
    return np.geomspace(4e-4, 0.3, planets)[:, None] + relief


def test_spectra_of_a_table_are_the_labels(tmp_path: Path) -> None:
    """A planet's label is its row to the last bit, and what its frames show; workers and a stop change no byte."""
    spectra = table_of(tmp_path / "train.csv", waves(6))
    once = simulate(tmp_path / "once", SETTINGS, spectra=spectra, planets=3, workers=1)
    assert [(label == row).all() for label, row in zip(once.labels().values(), spectra.values["wl"], strict=False)] == [
        True
    ] * 3
    visit = once.read_visit("1000002", 0, Calibration())
    _, flux = calibrate(visit, once.axis, once.adc, Calibration())
    assert 1.0 - flux[:, 0].min() / np.median(flux[:3, 0]) == pytest.approx(spectra.values["wl"][1, 0], rel=0.5)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    twice = tmp_path / "twice"
    with pytest.raises(KeyboardInterrupt):
        simulate(twice, SETTINGS, spectra=spectra, planets=3, workers=1, progress=stop)
    simulate(twice, SETTINGS, spectra=spectra, planets=3, workers=2)
    assert files(twice) == files(once.root)


def test_tables_of_spectra_are_never_mixed(tmp_path: Path) -> None:
    """Planets of another table, or of none, do not go into a folder; one that is written otherwise is the same."""
    spectra = table_of(tmp_path / "train.csv", waves(6))
    root = simulate(tmp_path / "data", SETTINGS, spectra=spectra, planets=1, workers=1).root
    for other in (table_of(tmp_path / "other.csv", 1.001 * waves(6)), table_of(tmp_path / "more.csv", waves(7)), None):
        with pytest.raises(ConfigError, match=r"the folder was simulated with .*'spectra': .*now asked for"):
            simulate(root, SETTINGS, spectra=other, planets=1, workers=1)
    before = files(root)
    (tmp_path / "train.csv").write_text((tmp_path / "train.csv").read_text().replace("planet_id,", '"planet_id",'))
    simulate(root, SETTINGS, spectra=read_spectra(tmp_path / "train.csv", ["wl"]), planets=1, workers=1)
    assert files(root) == before


def test_tables_that_give_no_planets_are_refused(tmp_path: Path) -> None:
    """Fewer rows than planets, and depths that no transit has; nothing is written."""
    spectra = waves(8)
    with pytest.raises(ConfigError, match=r"8 spectra are too few for 7 labelled.*\n.*data\.simulation\.planets=6"):
        simulate(tmp_path / "data", SETTINGS, spectra=table_of(tmp_path / "few.csv", spectra), planets=7)
    with pytest.raises(ConfigError, match=r"5 spectra are too few for 5 labelled.*\n +expected: more rows$"):
        simulate(tmp_path / "data", SETTINGS, spectra=table_of(tmp_path / "few.csv", spectra[:5]))
    spectra[2, 4:6] = 0.0, 1.47
    with pytest.raises(ConfigError, match=r"bad\.csv: planet 2, column wl_5: 0 is no depth.*; so is another value"):
        simulate(tmp_path / "data", SETTINGS, spectra=table_of(tmp_path / "bad.csv", spectra))
    assert not (tmp_path / "data").exists()


def test_real_data_is_never_touched(tmp_path: Path) -> None:
    """A folder with data that was not simulated is refused."""
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match="holds a data set that was not simulated"):
        simulate(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_odd_frames_and_unwritable_folders_are_refused(tmp_path: Path) -> None:
    """An odd number of frames makes no pairs; a path below a file cannot be written."""
    with pytest.raises(ConfigError, match=r"airs_frames = 41 is odd.*use 42"):
        simulate(tmp_path, Simulation(planets=4, airs_frames=41, seed=1))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        simulate(tmp_path / "file" / "below", SETTINGS)
