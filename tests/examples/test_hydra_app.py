"""Hydra applications beside us: one that lists ``local`` and ``trainer`` among its defaults, and one that does not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def app(examples: Path) -> Path:
    """The application."""
    return examples / "hydra_app" / "app.py"


def test_it_gets_the_profiles_as_typed_nodes(python: Run, app: Path) -> None:
    """Each node is an instance of the profile's class, under what its YAML sets."""
    done = python(app)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "newton: 4.4 steps a planet",
        "local=hpc: HpcLocal with devices 4, precision bf16-mixed",
        "trainer=multi_gpu: strategy ddp, seed 7",
    ]


def test_overrides_reach_its_own_group_and_ours(python: Run, app: Path) -> None:
    """Profiles and single settings of both are chosen on its command line."""
    done = python(app, "local=debug", "local.devices=2", "trainer=ci_fast", "solver=fixed_point")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "fixed_point: 16.9 steps a planet",
        "local=debug: DebugLocal with devices 2, precision 32",
        "trainer=ci_fast: strategy auto, seed 7",
    ]


def test_cfg_job_shows_every_group(python: Run, app: Path) -> None:
    """``--cfg job --resolve`` prints its own settings beside ours."""
    done = python(app, "--cfg", "job", "--resolve", "solver=fixed_point", "local.devices=8", SM_OUTPUT_DIR="/runs")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)
    assert list(config) == ["planets", "eccentricity", "solver", "trainer", "local"]
    assert config["solver"] == {"method": "fixed_point", "tolerance": 1e-12, "max_iterations": 200}
    assert (config["local"]["devices"], config["local"]["seed"]) == (8, 7)
    assert config["local"]["paths"]["run_manifest"] == "/runs/run_manifest.json"


def test_a_sweep_runs_every_point(python: Run, app: Path) -> None:
    """``--multirun`` over its own group."""
    done = python(app, "--multirun", "solver=newton,fixed_point")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "steps" in line] == [
        "newton: 4.4 steps a planet",
        "fixed_point: 16.9 steps a planet",
    ]


def test_a_sites_own_profile_is_there(python: Run, app: Path, examples: Path) -> None:
    """``SM_PROFILES`` holds for any application that imports the package."""
    done = python(app, "local=workstation_3090", SM_PROFILES=examples / "site_profile.py")
    assert done.returncode == 0, done.stderr
    assert "local=workstation_3090: Workstation with devices 2, precision bf16-mixed" in done.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("local.devcies=8", "Key 'devcies' not in 'HpcLocal'"),
        ("solver.tolerence=1e-6", "Key 'tolerence' not in 'Solver'"),
        ("local.seed=abc", "'abc' of type 'str' could not be converted to Integer"),
        ("local=hcp", "Could not find 'local/hcp'"),
    ],
)
def test_hydra_refuses_wrong_names_and_types(python: Run, app: Path, argument: str, message: str) -> None:
    """A borrowed node is typed by its profile."""
    done = python(app, argument)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("+local.devcies=8", "local.devcies: there is no such setting\n  from:     Hydra\n  nearest:  local.devices\n"),
        ("local.precision=bf17", "local.precision: 'bf17' does not fit"),
        ("local.devices=0", "local.devices: 0 does not fit"),
        ("trainer.max_time=8x", "trainer.max_time: '8x' does not fit"),
        ("local.num_workers.val=0", "persistent_workers is true but num_workers.val is 0"),
    ],
)
def test_from_hydra_refuses_what_hydra_lets_pass(python: Run, app: Path, argument: str, message: str) -> None:
    """Ranges, closed sets, contradictions, and keys that ``+`` adds."""
    done = python(app, argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_value_of_its_own_yaml_is_checked_too(python: Run, app: Path, tmp_path: Path) -> None:
    """It does not matter whether the value came from the command line."""
    copied = shutil.copytree(app.parent, tmp_path / "copy")
    config = copied / "conf" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("seed: 7", "devices: 0"), encoding="utf-8")
    done = python(copied / "app.py")
    assert done.returncode == 2
    assert "local.devices: 0 does not fit" in done.stderr


NEIGHBOUR = """
import hydra
{}

@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config):
    print(config)

main()
"""
CONF = {
    "train": "defaults: [local: default, optimizer: adamw, model: v50, trainer: defaults, experiment: narrow, _self_]",
    "local/default": "gpus: 2\nseed: any",
    "local/mine": "gpus: 1\nnest: {a: 1}",
    "optimizer/adamw": "learning_rate: 0.1",
    "model/v50": "defaults: [base]\nname: [1, 2]",
    "model/base": "layers: many",
    "trainer/defaults": "strategy: whatever",
    "experiment/narrow": "# @package _global_\nlocal: {gpus: 3}",
}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--cfg", "job"],
        ["local=mine", "model.layers=7", "+local.more=1"],
        ["--help"],
        ["local=hpc"],
        ["--info", "defaults"],
    ],
    ids=" ".join,
)
def test_an_import_changes_nothing_for_a_neighbour(python: Run, tmp_path: Path, arguments: list[str]) -> None:
    """An application whose own files are called as ours composes what it composes without us."""
    for name, text in CONF.items():
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    told = []
    for line in ("", "import spectramind_config"):
        (tmp_path / "neighbour.py").write_text(NEIGHBOUR.format(line), encoding="utf-8")
        done = python(tmp_path / "neighbour.py", *arguments)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "spectramind" not in line]
        told.append((done.returncode, lines))
    assert told[0] == told[1]
    assert told[0][0] == (1 if "local=hpc" in arguments else 0)
