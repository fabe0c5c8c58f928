"""Another Hydra application that lists ``local`` and ``trainer`` among its own defaults."""

from __future__ import annotations

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
        ("+local.devcies=8", "there is no setting 'local.devcies'"),
        ("local.precision=bf17", "local.precision=bf17: 'bf17' does not fit"),
        ("local.devices=0", "local.devices=0: 0 does not fit"),
    ],
)
def test_mistakes_stop_it(python: Run, app: Path, argument: str, message: str) -> None:
    """Hydra refuses wrong names and types, and the application's check what Hydra lets pass."""
    done = python(app, argument)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
