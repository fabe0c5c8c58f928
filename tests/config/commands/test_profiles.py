"""``spectramind profiles``: listing, showing, and the files that ``new`` and ``import`` write."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spectramind_config as sc
from spectramind_config.host import Host
from spectramind_config.schema.registry import REGISTRY
from spectramind_train.cli import main

from ..engine import ROOT, VARIABLE, load, profiles

OLD = """\
_target_: spectramind.config.LocalConfig
name: {name}
devices: {devices}
precision: "{precision}"
seed: 1337
deterministic: true
cudnn_benchmark: {benchmark}
num_workers:
  train: {train}
  val: {val}
  test: {val}
prefetch_factor: {prefetch}
pin_memory: {pin}
persistent_workers: {pin}
accumulate_grad_batches: 1
max_epochs: {epochs}
mlflow:
  enabled: {mlflow}
  tracking_uri: "file:${{oc.env:SM_MLFLOW_DIR,mlruns}}"
  experiment_name: "V50_{experiment}"
paths:
  cache_dir: ${{oc.env:SM_CACHE_DIR,{cache}}}
  output_dir: ${{oc.env:SM_OUTPUT_DIR,{output}}}
  data_root: ${{oc.env:SM_DATA_ROOT,{data}}}
  run_manifest: ${{paths.output_dir}}/run_manifest.json
dev:
  fast_dev_run: {fast}
  limit_train_batches: {limit}
  limit_val_batches: {limit}
  limit_test_batches: {limit}
  overfit_batches: 0.0
  log_every_n_steps: {log}
  enable_progress_bar: true
  check_val_every_n_epoch: 1
"""
FIELDS = "devices precision benchmark train val prefetch pin epochs mlflow experiment cache output data fast limit log"
TEMPLATES = {
    "default": "auto auto-mixed false 8 4 2 true 60 false local .cache/spectramind outputs/local data false null 25",
    "debug": "cpu 32 false 0 0 2 false 1 false debug .cache/spectramind outputs/debug data true 1 1",
    "hpc": "4 bf16-mixed true 16 8 3 true 120 true hpc /scratch/.spectramind/cache /scratch/outputs/hpc /datasets/ariel"
    " false null 50",
}


def template(name: str) -> str:
    """The YAML of the specification's third section."""
    return OLD.format(name=name, **dict(zip(FIELDS.split(), TEMPLATES[name].split(), strict=True)))


@pytest.fixture(autouse=True)
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty working directory, no scratch; afterwards the profiles of a test are forgotten."""
    monkeypatch.chdir(tmp_path)
    for variable in (VARIABLE, "SCRATCH", "TMPDIR", "SLURM_TMPDIR", "SLURM_JOB_ID"):
        monkeypatch.delenv(variable, raising=False)
    yield
    monkeypatch.delenv(VARIABLE, raising=False)
    load()


def host(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Pretend to be another machine."""
    made = Host(name="node7", **facts)
    monkeypatch.setattr(Host, "detect", classmethod(lambda _: made))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """A command that succeeds, and what it prints."""
    code = main(["profiles", *arguments])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """A command that is refused; it writes nothing."""
    before = {file: file.read_bytes() for file in Path().iterdir() if file.is_file()}
    code = main(["profiles", *arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert before == {file: file.read_bytes() for file in Path().iterdir() if file.is_file()}
    return err


def test_the_list_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Group, name, provider and description start in the same columns."""
    out = run(capsys, "list")
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    starts = [[found.start() for found in re.finditer(r"(?<=  )\S", line)][:3] for line in lines]
    assert len(lines) == sum(map(len, profiles().values())) + len(REGISTRY.experiments(ROOT))
    assert starts == [starts[0]] * len(lines)
    wrapped = [line for line in out.splitlines() if line.startswith(" ")]
    assert all(len(line) - len(line.lstrip()) == starts[0][2] for line in wrapped)
    assert max(map(len, out.splitlines())) <= 120
    listed = json.loads(run(capsys, "list", "--json"))
    assert {"group", "name", "provider", "source", "summary"} == set(listed[0])


def test_a_profile_is_shown_by_its_differences(capsys: pytest.CaptureFixture[str]) -> None:
    """Value, the parent's value, description and line; no line is long."""
    out = run(capsys, "show", "local=hpc")
    assert out.startswith(
        "local=hpc: Multi-GPU workstation or DGX: bf16 first, high throughput.\n  changes LocalConfig;"
    )
    assert '\n  devices = 4 instead of "auto"\n      Accelerators: a number of GPUs' in out
    assert max(map(len, out.splitlines())) <= 120
    shown = json.loads(run(capsys, "show", "hpc", "--json"))
    devices = shown["changes"][0]
    assert (shown["parent"], devices["path"], devices["value"], devices["parent"]) == (
        "LocalConfig",
        "devices",
        4,
        "auto",
    )
    assert re.fullmatch(r".*/local\.py:\d+", devices["source"])
    assert "seed" not in {change["path"] for change in shown["changes"]}


def test_an_experiment_is_shown_by_its_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it is for and where it stands; as JSON too, and by its name alone."""
    out = run(capsys, "show", "experiment=narrow")
    assert out.startswith("experiment=narrow: A V50 of half the width")
    assert "experiments.py:6\n  model.width=24\n" in out
    shown = json.loads(run(capsys, "show", "narrow", "--json"))
    assert (shown["group"], shown["name"], shown["overrides"][0]) == ("experiment", "narrow", "model.width=24")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "local=hcp"], "nearest: local=hpc"),
        (["show", "experiment=narow"], "nearest: experiment=narrow"),
        (["show"], "profiles show needs a profile"),
        (["new"], "NAME is missing expected: what to call it"),
        (["new", "a", "b"], "b: spectramind profiles new takes no more than NAME"),
        (["new", "3090"], "'3090' cannot be a profile's name"),
        (["new", "hpc"], "local=hpc: that name is taken by HpcLocal ("),
        (["new", "x", "--group", "locl"], "nearest: local"),
        (["new", "x", "--output", "x.yaml"], "x.yaml: a profile is a Python file"),
        (["new", "x", "--output", "no/such/x.py"], "no/such/x.py cannot be written: No such file or directory"),
        (["new", "x", "--grop", "local"], "nearest: --group"),
        (["import"], "OLD.yaml is missing expected: a YAML overlay"),
        (["import", "gone.yaml"], "gone.yaml: No such file or directory"),
    ],
)
def test_a_mistake_is_told_and_nothing_written(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """Exit code 2, one message, no file."""
    assert words in " ".join(refusal(capsys, *arguments).split())


def test_a_file_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    """The second ``new`` is refused."""
    run(capsys, "new", "lab")
    assert "lab.py exists already" in refusal(capsys, "new", "lab")


def test_new_writes_what_suits_the_host(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GPUs, precision, workers per device and scratch, with the variables of the shipped profiles on top."""
    gpus = ("NVIDIA A100-SXM4-80GB",) * 8
    host(monkeypatch, gpus=gpus, cuda_bf16=True, cuda_fp16=True, cores=128, scheduler="slurm")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("SCRATCH", str(scratch))
    out = run(capsys, "new", "lab_a100")
    assert out == (
        "written: lab_a100.py\n"
        "next:    edit it, then SM_PROFILES=lab_a100.py spectramind train local=lab_a100\n"
    )  # fmt: skip
    text = Path("lab_a100.py").read_text()
    assert '"""node7: 8 x NVIDIA A100-SXM4-80GB, 128 CPU cores.\n\n    Found inside a slurm job' in text
    assert "class LabA100Local(sc.LocalConfig):" in text
    monkeypatch.setenv(VARIABLE, "lab_a100.py")
    config = sc.compose(["local=lab_a100"])
    assert (config.devices, config.precision, config.num_workers.train) == (8, "bf16-mixed", 15)
    assert config.paths.cache_dir == f"{scratch}/.spectramind/cache"
    monkeypatch.setenv("SCRATCH", "/elsewhere")
    monkeypatch.setenv("SM_OUTPUT_DIR", "/mine")
    paths = sc.compose(["local=lab_a100"]).paths
    assert (paths.cache_dir, paths.output_dir) == ("/elsewhere/.spectramind/cache", "/mine")
    assert "taken by LabA100Local" in refusal(capsys, "new", "lab_a100", "--output", "again.py")


HOSTS: list[tuple[dict[str, Any], tuple[object, ...]]] = [
    ({"cores": 4}, ("cpu", "32", 3, False)),
    ({"cores": 1}, ("cpu", "32", 1, False)),
    ({"cores": 10, "mps": True, "mps_bf16": True}, ("mps", "bf16-mixed", 9, False)),
    ({"cores": 10, "mps": True}, ("mps", "32", 9, False)),
    ({"cores": 8, "gpus": ("Tesla T4",), "cuda_fp16": True}, (1, "16-mixed", 7, True)),
    ({"cores": 8, "gpus": ("Tesla K80",) * 2}, (2, "32", 3, True)),
]


@pytest.mark.parametrize(("facts", "expected"), HOSTS)
def test_new_fits_any_host(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, Any],
    expected: tuple[object, ...],
) -> None:
    """A CPU, a Mac, old and new cards."""
    host(monkeypatch, **facts)
    run(capsys, "new", "lab")
    monkeypatch.setenv(VARIABLE, "lab.py")
    config = sc.compose(["local=lab"])
    assert (config.devices, config.precision, config.num_workers.train, config.pin_memory) == expected


def test_a_jobs_own_disk_holds_no_outputs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is emptied after a job serves the cache only; odd characters in its path are quoted."""
    disk = tmp_path / "it's odd"
    disk.mkdir()
    monkeypatch.setenv("SLURM_TMPDIR", str(disk))
    monkeypatch.setattr("spectramind_config.host._LASTING", ("SCRATCH",))
    run(capsys, "new", "lab")
    monkeypatch.setenv(VARIABLE, "lab.py")
    paths = sc.compose(["local=lab"]).paths
    assert (paths.cache_dir, paths.output_dir) == (f"{disk}/.spectramind/cache", "outputs/lab")


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_imported_template_equals_the_shipped_profile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The specification's YAML becomes a class with only the differences, and an equal config."""
    Path("old.yaml").write_text(template(name))
    assert "that name is taken" in refusal(capsys, "import", "old.yaml")
    out = run(capsys, "import", "old.yaml", "--name", "imported")
    assert "dropped: _target_ (old.yaml:1)" in out
    monkeypatch.setenv(VARIABLE, "imported.py")
    ours, theirs = sc.compose([f"local={name}"]).to_dict(), sc.compose(["local=imported"]).to_dict()
    assert (ours["local"].pop("name"), theirs["local"].pop("name")) == (name, "imported")
    assert ours == theirs
    assert vars(profiles()["local"]["imported"].instance)["paths"] == vars(profiles()["local"][name].instance)["paths"]
    assert "seed" not in Path("imported.py").read_text()


def test_import_tells_every_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """Key, line, expected type and the nearest key; nothing is written."""
    Path("old.yaml").write_text("name: old\ndevices: many\ndevcies: 2\nprecision: fp16\n")
    err = refusal(capsys, "import", "old.yaml")
    assert err.startswith("error: 3 mistakes:\n1. devices: 'many' is not an int >= 1, or one of auto, cpu, mps\n")
    assert [f"old.yaml:{line}\n" in err for line in (2, 3, 4)] == [True] * 3
    assert "nearest:  devices\n" in err


def test_what_is_written_passes_the_type_checkers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mypy strict, pyright and ruff take the files of ``new`` and ``import`` as they are."""
    host(monkeypatch, gpus=("A100",), cuda_bf16=True, cuda_fp16=True, cores=8)
    run(capsys, "new", "lab")
    run(capsys, "new", "slow", "--group", "trainer")
    Path("old.yaml").write_text("defaults: [hpc, _self_]\ndevices: 2\nnum_workers: {train: 5}\n")
    run(capsys, "import", "old.yaml")
    (Path("data.yaml")).write_text("batch_size: 4\ncalibration: {adc_gain: multiply, airs_rows: [4, 30]}\n")
    run(capsys, "import", "data.yaml", "--group", "data", "--name", "other")
    files = ["lab.py", "slow.py", "old.py", "other.py"]
    environment = {**os.environ, "MYPYPATH": str(Path(sc.__file__).parents[1])}
    for tool in (
        ["mypy", "--strict", "--config-file="],
        ["ruff", "format", "--check"],
        ["ruff", "check", "--isolated"],
    ):
        command = [sys.executable, "-m", *tool, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv(VARIABLE, os.pathsep.join(files))
    config = sc.compose(["local=old", "data=other", "trainer=slow"])
    assert (config.devices, config.num_workers.train, config.precision) == (2, 5, "bf16-mixed")
    assert isinstance(config.data, sc.NominalData)
    assert (config.data.calibration.airs_rows, config.data.calibration.adc_gain) == ((4, 30), "multiply")
