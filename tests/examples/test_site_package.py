"""A package that ships profiles: built, installed, and found by every command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package is installed in; it is built from a copy, for a build writes beside its sources."""
    folder = tmp_path_factory.mktemp("site")
    source, target = folder / "source", folder / "installed"
    shutil.copytree(examples / "site_package", source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*pip, *offline, "--target", str(target), str(source)], check=True)
    return target


def test_its_profile_is_selected(spectramind: Run, site: Path) -> None:
    """``config show local=observatory_a100`` shows the site's values in their place, its own setting in the layer's."""
    done = spectramind("config", "show", "local=observatory_a100", "trainer=multi_gpu", PYTHONPATH=site)
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert (shown["devices"], shown["precision"], shown["strategy"]) == (8, "bf16-mixed", "ddp")
    assert shown["paths"]["run_manifest"] == "/observatory/runs/run_manifest.json"
    assert shown["local"] == {"name": "observatory_a100", "account": "ariel"}


def test_it_is_listed_under_its_distribution(spectramind: Run, site: Path) -> None:
    """``profiles list`` says which package a profile comes from."""
    done = spectramind("profiles", "list", PYTHONPATH=site)
    rows = [line.split(maxsplit=3) for line in done.stdout.splitlines() if "observatory" in line]
    assert rows == [
        [
            "local",
            "observatory_a100",
            "observatory-profiles",
            "A node of the observatory's cluster: eight A100.",
        ],
        [
            "local",
            "observatory_t4",
            "observatory-profiles",
            "The machine in the control room: one T4, which has no bf16.",
        ],
    ]


def test_its_setting_is_checked_and_explained(spectramind: Run, site: Path) -> None:
    """A field that the site adds has a description, constraints and an origin."""
    overrides = ("local=observatory_t4", "local.account=guest")
    done = spectramind("config", "explain", "--json", "local.account", *overrides, PYTHONPATH=site)
    (origin,) = json.loads(done.stdout)
    assert (origin["value"], origin["layer"]) == ("guest", "override")
    (below,) = origin["shadowed"]
    assert (below["value"], below["option"]) == ("ariel", "observatory_t4")
    assert below["source"].startswith(f"{site}/observatory_profiles/machines.py:")
    refused = spectramind("config", "validate", "local=observatory_t4", "local.account=", PYTHONPATH=site)
    assert refused.returncode == 2
    assert "Account that the hours are charged to" in refused.stderr


def test_its_rule_is_kept(spectramind: Run, site: Path) -> None:
    """A contradiction that the site defines is refused, with its remedy."""
    done = spectramind("config", "validate", "local=observatory_a100", "local.account=guest", PYTHONPATH=site)
    assert done.returncode == 2
    assert "a guest may not take a whole node of eight GPUs" in done.stderr
    assert done.stderr.endswith("local=observatory_a100 local.account=guest local.devices=4\n")


def test_without_the_package_there_is_no_such_profile(spectramind: Run) -> None:
    """What is not installed is not known."""
    done = spectramind("config", "validate", "local=observatory_a100")
    assert done.returncode == 2
    assert "there is no profile 'observatory_a100'" in done.stderr
