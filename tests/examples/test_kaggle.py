"""The notebook for Kaggle, run as Kaggle runs it: without a network, and with inputs that nobody can write to."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spectramind_config import Simulation
from spectramind_train.simulated.data_set import simulate

from ..sockets import FORBIDDING

Notebook = Callable[..., subprocess.CompletedProcess[str]]

JUPYTER = {"CLICOLOR": "1", "CLICOLOR_FORCE": "1", "FORCE_COLOR": "1", "TERM": "xterm-color"}
"""What Jupyter's kernel sets for the programs that it starts."""

LOCKED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""A shell's words that run others in a namespace where the folder ``$0`` cannot be written, by root neither."""


class Inputs(NamedTuple):
    """What stands below ``/kaggle/input``."""

    folder: Path
    data: Path

    def digests(self) -> dict[str, str]:
        """Every file, and what it holds."""
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A simulated data set of few planets and few frames, whose table lists the planets of the test set backwards."""
    folder = tmp_path_factory.mktemp("input")
    data = folder / "ariel-data-challenge-2025"
    simulate(data, Simulation(planets=6, airs_frames=100), workers=1)
    sample = data / "sample_submission.csv"
    header, *rows = sample.read_text(encoding="utf-8").splitlines()
    sample.write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    return Inputs(folder, data)


@pytest.fixture
def notebook(examples: Path, inputs: Inputs, tmp_path: Path) -> Notebook:
    """Runs the cells of the notebook, in their order, with the given variables."""
    cells = json.loads((examples / "kaggle" / "submission.ipynb").read_text(encoding="utf-8"))["cells"]
    script, log = tmp_path / "cells.py", tmp_path / "sockets"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FORBIDDING.format(log=str(log)))
    working = tmp_path / "working"
    working.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    here = {"PYTHONPATH": path, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "SM_WHEELS": "", **JUPYTER}
    places = {
        "SM_DATA_ROOT": inputs.data,
        "SM_OUTPUT_DIR": working / "outputs",
        "SM_SUBMISSION": working / "submission.csv",
        "SM_CACHE_DIR": tmp_path / "cache",
    }
    namespace = ["unshare", "--mount", "sh", "-c", LOCKED, str(inputs.folder)]

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        before = inputs.digests()
        allowed = subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0
        done = subprocess.run(
            [*(namespace if allowed else []), sys.executable, str(script)],
            cwd=working,
            env=inherited | here | {name: str(place) for name, place in places.items()} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert inputs.digests() == before, "the inputs are as they were"
        reported = log.read_text().splitlines()
        assert any("spectramind_train.cli" in line for line in reported), "the commands were watched too"
        assert [line for line in reported if not line.startswith("watched")] == []
        assert "\x1b" not in done.stdout, "nothing is drawn as on a terminal"
        return done

    return run


def check(table: Path, data: Path) -> None:
    """It is what the challenge takes, planet by planet in the order of its own table."""
    with table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    channels = range(1, 284)
    assert header == ["planet_id", *(f"wl_{i}" for i in channels), *(f"sigma_{i}" for i in channels)]
    assert [row[0] for row in rows] == ["9000002", "9000001"]
    assert sorted(row[0] for row in rows) == sorted(folder.name for folder in (data / "test").iterdir())
    for row in rows:
        values = [float(value) for value in row[1:]]
        assert len(values) == 566
        assert all(math.isfinite(value) and value >= 0 for value in values)
        assert all(sigma > 0 for sigma in values[283:])


def test_it_trains_and_submits_and_a_run_brought_along_submits_the_same(
    notebook: Notebook, inputs: Inputs, tmp_path: Path
) -> None:
    """The first time it trains; the second time it is given that run as an input, and predicts only."""
    loaders = " ".join(f"local.num_workers.{split}=0" for split in ("train", "val", "test"))
    done = notebook(SM_OVERRIDES=f"local.max_epochs=1 local.devices=cpu local.persistent_workers=false {loaders}")
    assert done.returncode == 0, done.stdout + done.stderr
    table = tmp_path / "working" / "submission.csv"
    check(table, inputs.data)
    assert "2 planets of which 2 are predicted" in done.stdout
    (trained,) = (tmp_path / "working" / "outputs").glob("*/manifest.json")
    manifest = json.loads(trained.read_text(encoding="utf-8"))
    assert (manifest["data"]["root"], manifest["data"]["simulated"]) == (str(inputs.data), False)
    assert {"trainer=kaggle_safe", "local.max_epochs=1"} <= set(manifest["overrides"])

    first = table.read_bytes()
    table.unlink()
    trained.parent.rename(inputs.folder / "my-run")
    done = notebook(SM_RUN=str(inputs.folder / "my-run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$ spectramind train" not in done.stdout
    assert table.read_bytes() == first


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SM_OVERRIDES": "local.devcies=8"}, "nearest:  local.devices"),
        ({"SM_DATA_ROOT": "/nowhere/ariel"}, "/nowhere/ariel is not there: add it to the notebook under Input"),
    ],
)
def test_a_mistake_ends_the_notebook(variables: dict[str, str], told: str, notebook: Notebook, tmp_path: Path) -> None:
    """With what the command has said, and before anything is trained."""
    done = notebook(**variables)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert list((tmp_path / "working").iterdir()) == []


def test_the_list_holds_what_kaggle_may_lack(examples: Path) -> None:
    """All that ``spectramind[train]`` needs, but for what is in Kaggle's image and would bring gigabytes."""
    listed = (examples / "kaggle" / "packages.txt").read_text(encoding="utf-8")
    project = tomllib.loads((examples.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    image = {"torch", "numpy", "scipy", "matplotlib", "pyarrow"}
    # What is installed may be older than pyproject.toml, so only other packages are asked for what they need.
    waiting = [(Requirement(one), "") for one in asked]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one, extra = waiting.pop()
        name = canonicalize_name(one.name)
        if name in image or not (one.marker is None or one.marker.evaluate({"extra": extra})):
            continue
        for wanted in {"", *one.extras} - {extra for other, extra in seen if other == name}:
            seen.add((name, wanted))
            waiting += [(Requirement(each), wanted) for each in requires(name) or []]
    names = [line for line in listed.splitlines() if not line.startswith("#")]
    assert names == sorted({name for name, _ in seen})
