"""The command lines that people type, as real processes, and what they are told about mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spectramind_config import Simulation
from spectramind_train.cli import main
from spectramind_train.simulated.data_set import simulate

from .servers import until

SMALL = ("data.simulation.airs_frames=100", "data.simulation.planets=14")


@pytest.fixture
def home(tmp_path: Path, small: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose cache is shared with other tests and whose outputs are its own."""
    cache = next(text.partition("=")[2].strip("'") for text in small if "cache_dir" in text)
    monkeypatch.setenv("SM_CACHE_DIR", cache)
    monkeypatch.setenv("SM_OUTPUT_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("SM_MLFLOW_DIR", str(tmp_path / "mlruns"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, module: bool = False) -> subprocess.CompletedProcess[str]:
    """``spectramind ARGUMENTS``, or ``python -m spectramind_train ARGUMENTS``."""
    program = [sys.executable, "-m", "spectramind_train" if module else "spectramind_train.cli"]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)


def newest(home: Path) -> dict[str, object]:
    """The newest run's manifest."""
    return json.loads((home / "outputs" / "run_manifest.json").read_text())


def test_debug_trains_one_batch(home: Path) -> None:
    """``spectramind train local=debug`` runs a batch of each split, with a score and a checkpoint."""
    done = run("train", "local=debug", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "no data set in" in done.stdout
    assert newest(home)["status"] == "completed"
    assert newest(home)["checkpoints"]


def test_ci_fast_trains_a_few_steps(home: Path) -> None:
    """``trainer=ci_fast`` stops after its steps and keeps the last two checkpoints only."""
    done = run("train", "trainer=ci_fast", *SMALL, "trainer.max_steps=3")
    assert done.returncode == 0, done.stderr
    assert [record["kind"] for record in newest(home)["checkpoints"]] == ["other", "last"]  # type: ignore[attr-defined, index]


def test_hpc_runs_anywhere_through_the_module(home: Path) -> None:
    """``python -m spectramind_train local=hpc local.max_epochs=1`` falls back to the CPU and tracks with MLflow."""
    done = run("local=hpc", "local.max_epochs=1", *SMALL, module=True)
    assert done.returncode == 0, done.stderr
    assert "falls back to its CPU" in done.stdout
    manifest = newest(home)
    assert manifest["devices"]["requested"] == 4  # type: ignore[index]
    assert manifest["devices"]["effective"] == "cpu"  # type: ignore[index]
    assert manifest["precision"]["effective"] == "bf16-mixed"  # type: ignore[index]
    # MLflow's number of FINISHED; it may come when the command is over.
    until(lambda: any("status: 3" in meta.read_text() for meta in (home / "mlruns").rglob("meta.yaml")), "the end")
    (final,) = (home / "mlruns").rglob("test_score")
    assert float(final.read_text().split()[1]) == pytest.approx(manifest["metrics"]["test_score"])  # type: ignore[index]


def test_cfg_job_prints_what_hydra_composes() -> None:
    """``--cfg job`` is Hydra's own and works without a GPU."""
    done = run("train", "trainer=multi_gpu", "local=hpc", "local.devices=8", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "strategy: ddp" in done.stdout
    assert "devices: 8" in done.stdout


def test_a_sweep_trains_every_point(home: Path) -> None:
    """``--multirun`` runs each point in a directory of its own."""
    done = run("train", "--multirun", "local=debug", "local.seed=1,2", *SMALL, f"hydra.sweep.dir={home}/sweep")
    assert done.returncode == 0, done.stderr
    manifests = [json.loads(path.read_text()) for path in (home / "outputs").glob("*/manifest.json")]
    assert sorted(manifest["seed"] for manifest in manifests) == [1, 2]
    rows = done.stdout.partition("2 jobs, the largest value first\n")[2].splitlines()[1:]
    best = sorted((manifest["metrics"]["val_score_best"], manifest["run_id"]) for manifest in manifests)[::-1]
    assert [row.split()[2:] for row in rows] == [["completed", f"outputs/{run}"] for _, run in best]


def test_a_job_of_joblib_loads_by_workers(home: Path) -> None:
    """Joblib makes its own way of starting processes the default of its jobs."""
    loading = ["local.num_workers={train: 1, val: 0, test: 0}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = run("train", "-m", "local=debug", "local.seed=1,2", *SMALL, *loading, f"hydra.sweep.dir={home}/sweep")
    assert done.returncode == 0, done.stderr
    manifests = [json.loads(path.read_text()) for path in (home / "outputs").glob("*/manifest.json")]
    assert [(one["status"], one["plan"]["num_workers"][0]) for one in manifests] == [("completed", 1)] * 2


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_each_job_of_a_sweep_may_have_processes_of_its_own(home: Path, launcher: str) -> None:
    """``--multirun`` with ``trainer=ddp_sim``: two runs of two processes each, one after the other or side by side."""
    each = ["local=debug", "trainer=ddp_sim", "trainer.cpu_processes=2", "model.width=8", f"hydra/launcher={launcher}"]
    done = run("train", "-m", *each, "local.seed=1,2", *SMALL, f"hydra.sweep.dir={home}/sweep")
    assert done.returncode == 0, done.stderr
    manifests = [json.loads(path.read_text()) for path in (home / "outputs").glob("*/manifest.json")]
    assert sorted(one["seed"] for one in manifests) == [1, 2]
    assert [(one["status"], one["plan"]["devices"]) for one in manifests] == [("completed", 2)] * 2
    assert "2 jobs, the largest value first" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["local.devcies=8"], ["local.devices"]),
        (["+local.devcies=8"], ["local.devices"]),
        (["local.seed=abc"], ["local.seed", "an int >= 0"]),
        (["local=hcp"], ["local=hpc"]),
        (["local.max_epochs=0"], ["local.max_epochs", "an int >= 1"]),
        (["trainer.precision=32"], ["has no effect", "local.precision=32"]),
        (["local.output_dir=/dev/null/outputs"], ["output_dir", "not a directory"]),
        (["local.precision=16-mixed", "local.devices=cpu"], ["16-mixed", "auto-mixed"]),
        (["trainer.num_nodes=2"], ["num_nodes=2", "command line", "run instead", "trainer.num_nodes=1"]),
        (["local.paths.data_root=typo"], ["paths.data_root=typo", "does not exist", "command line"]),
        (["-m", "local.seed=1,x"], ["local.seed=x"]),
        (["--multrun"], ["--multirun"]),
    ],
)
def test_mistakes_are_one_clear_message(home: Path, arguments: list[str], words: list[str]) -> None:
    """Exit code 2, the key and the remedy on stderr, no traceback, nothing left behind."""
    done = run("train", *arguments)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert not [word for word in words if word not in done.stderr], done.stderr
    assert list(home.iterdir()) == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set on disk."""
    root = tmp_path_factory.mktemp("data")
    simulate(root, Simulation(planets=4, airs_frames=60, seed=5), workers=1)
    return root


@pytest.fixture
def data_set(home: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which ``SM_DATA_ROOT`` names."""
    monkeypatch.setenv("SM_DATA_ROOT", str(home / "data"))
    return shutil.copytree(made, home / "data")


def damaged(data_set: Path) -> Path:
    """One of its signals, truncated."""
    file = sorted(data_set.glob("train/*/AIRS-CH0_signal_0.parquet"))[1]
    file.write_bytes(file.read_bytes()[:5000])
    return file


def test_a_damaged_parquet_file_is_named(home: Path, data_set: Path) -> None:
    """Training stops before it starts, says which file is damaged, and leaves no run behind."""
    file = damaged(data_set)
    done = run("train", "local=debug")
    assert done.returncode == 2, done.stdout
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "outputs").exists()


def test_an_incomplete_data_set_is_not_taken_for_an_absent_one(home: Path, data_set: Path) -> None:
    """A missing table is an error that names it; nothing is simulated in its place."""
    (data_set / "adc_info.csv").unlink()
    done = run("train", "local=debug")
    assert done.returncode == 2, done.stdout
    assert "adc_info.csv: missing" in done.stderr


def test_data_check_finds_the_damage(home: Path, data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``spectramind data check`` names the damaged file, and is content with a sound data set."""
    assert main(["data", "check", str(data_set)]) == 0
    file = damaged(data_set)
    assert main(["data", "check", str(data_set)]) == 2
    said = capsys.readouterr()
    assert f"planet {file.parent.name}: {file.relative_to(home)}: damaged" in said.out.replace(f"{home}/", "")
    assert f"1 of files of planets {file.parent.name}" in said.err


def test_a_data_set_in_place_is_trained_on(home: Path, data_set: Path) -> None:
    """Where ``paths.data_root`` holds a data set, nothing is simulated."""
    done = run("train", "local=debug")
    assert done.returncode == 0, done.stderr
    assert newest(home)["data"]["simulated"] is False  # type: ignore[index]
    assert newest(home)["data"]["root"] == str(home / "data")  # type: ignore[index]


def test_data_simulate_writes_a_data_set(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``spectramind data simulate DIR`` writes planets and says how to train on them."""
    overrides = ["data.simulation.planets=4", "data.simulation.airs_frames=40"]
    assert main(["data", "simulate", str(home / "mine"), *overrides]) == 0
    assert f"SM_DATA_ROOT={home / 'mine'}" in capsys.readouterr().out
    assert main(["data", "check", str(home / "mine")]) == 0


def test_data_simulate_takes_a_table_of_spectra(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with the table is told, with exit code 2, before anything is written."""

    def refused(content: str | None) -> str:
        if content is not None:
            (home / "spectra.csv").write_text(content)
        assert main(["data", "simulate", str(home / "mine"), "--spectra", str(home / "spectra.csv")]) == 2
        assert not (home / "mine").exists()
        return capsys.readouterr().err

    header = ",".join(["planet_id", *(f"wl_{i}" for i in range(1, 284))])
    assert "spectra.csv: no such file" in refused(None)
    assert "spectra.csv: its first line is no header" in refused("\n")
    assert "column wl_283 is missing" in refused(header.removesuffix(",wl_283") + "\n1" + ",0.01" * 282)
    assert "planet 1, column wl_1: 'nan' is no finite number" in refused(f"{header}\n1,nan{',0.01' * 282}\n")
    assert "planet 1, column wl_1: '-0.01' is negative" in refused(f"{header}\n1,-0.01{',0.01' * 282}\n")
    rows = "\n".join(f"{number}{',0.01' * 283}" for number in range(20))
    said = refused(f"{header}\n{rows}\n")
    assert "20 spectra are too few for 72 labelled planets" in said
    assert "data.simulation.planets=18" in said


def test_plan_tells_what_would_happen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``spectramind plan`` lists decisions with reasons, starts nothing and writes nothing."""
    assert main(["plan", "local.devices=cpu"]) == 0
    output = capsys.readouterr().out
    assert "1 x cpu" in output
    assert "because" in output
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "nowhere", "--data", "x.npy"], "no run here"),
        (["data", "check", "nowhere"], "no data set here"),
    ],
)
def test_missing_files_are_named(home: Path, arguments: list[str], words: str) -> None:
    """A run or a data set that is not there: exit code 2 and its path."""
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "nowhere" in done.stderr
    assert list(home.iterdir()) == []


def test_plan_and_data_import_no_framework() -> None:
    """Commands that do not train never import torch, Lightning or MLflow."""
    code = (
        "import sys; from spectramind_train.cli import main; main(['plan', 'local.devices=cpu']);"
        "main(['config', 'hash']); main(['data', 'check', 'nowhere']);"
        "print([name for name in ('torch', 'lightning', 'mlflow') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip().endswith("[]")
