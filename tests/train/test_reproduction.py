"""A run repeated from its manifest: the same numbers, or what is to blame."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectramind_train.cli import main
from spectramind_train.run.directory import Run
from spectramind_train.run.manifest import read_manifest

Changed = Callable[[Callable[[dict[str, Any]], object]], str]


def elsewhere(folder: Path) -> list[str]:
    """Overrides for a run whose outputs go to a folder."""
    return [f"local.output_dir='{folder}'", f"local.paths.run_manifest='{folder / 'run_manifest.json'}'"]


@pytest.fixture(scope="module")
def run(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A completed run of two steps."""
    outputs = tmp_path_factory.mktemp("reproduction")
    assert main(["train", "trainer=ci_fast", "trainer.max_steps=2", *small, f"local.output_dir='{outputs}'"]) == 0
    return Run.open(outputs / "run_manifest.json")


@pytest.fixture
def changed(run: Run, tmp_path: Path) -> Changed:
    """Copies the run's manifest with a change, and returns the path of the copy."""

    def change(edit: Callable[[dict[str, Any]], object]) -> str:
        manifest = json.loads((run.path / "manifest.json").read_text())
        edit(manifest)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
        return str(tmp_path / "run")

    return change


def test_the_same_host_gives_the_same_metrics(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bit for bit, in a directory of its own, which an override may place elsewhere; nothing differs before."""
    assert main(["reproduce", str(run.path), *elsewhere(tmp_path)]) == 0
    again, output = read_manifest(tmp_path / "run_manifest.json"), capsys.readouterr().out
    assert again.metrics == run.manifest.metrics
    assert f"code, packages, data and host are those of {run.path}" in output
    assert (
        f"reproduced: the {len(again.metrics)} metrics of {run.path} and {tmp_path / again.run_id} are equal" in output
    )


def test_a_last_bit_is_found(changed: Changed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, with the metric's two values in full and what else was different then."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["metrics"]["fit_score"] = math.nextafter(manifest["metrics"]["fit_score"], 2.0)
        manifest["packages"]["torch"] = "1.0"

    path = changed(edit)
    assert main(["reproduce", path, *elsewhere(tmp_path / "outputs")]) == 1
    output = capsys.readouterr().out
    assert "not reproduced: 1 of 13 metrics differ; these differ as well: packages" in output
    again = read_manifest(tmp_path / "outputs" / "run_manifest.json")
    assert str(again.metrics["fit_score"]) in output
    assert str(read_manifest(Path(path)).metrics["fit_score"]) in output


def test_threads_are_those_of_the_run(changed: Changed, tmp_path: Path) -> None:
    """They change the order of sums, and a host may offer others today."""
    path = changed(lambda manifest: manifest["plan"].update(threads=1))
    outputs = tmp_path / "outputs"
    assert main(["reproduce", path, *elsewhere(outputs)]) in (0, 1)
    assert read_manifest(outputs / "run_manifest.json").plan["threads"] == 1


@pytest.mark.fault("a manifest that was edited; other code, packages, data, host")
def test_check_shows_what_differs_and_trains_nothing(
    changed: Changed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code, packages, data, host and plan, each with what it was and what it is; a lost run can be checked too."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["code"]["spectramind_train"] = "ab" * 32
        manifest["git"] = {"commit": "cd" * 20, "dirty": True}
        manifest["packages"]["left-pad"] = "1.3.0"
        manifest["host"]["cpu"] = "VAX 11/780"
        manifest["data"]["fingerprint"] = "ef" * 32
        manifest["plan"]["precision"] = "16-mixed"
        manifest["status"] = "running"

    path = changed(edit)
    assert main(["reproduce", path, "--check", *elsewhere(tmp_path / "outputs")]) == 0
    output = capsys.readouterr().out
    rows = {
        "code: spectramind_train": "abababababab",
        "code: git commit": "cdcdcdcdcdcd, files changed",
        "packages: left-pad": "1.3.0",
        "host: cpu": "VAX 11/780",
        "data: labels, names and sizes": "efefefefefef",
        "plan: precision": "16-mixed",
    }
    for name, then in rows.items():
        assert f"  {name}: {then} -> " in output
    assert "is running: process" in output
    assert not (tmp_path / "outputs").exists()


@pytest.mark.fault("a manifest that was edited; other code, packages, data, host")
def test_data_that_are_damaged_are_shown(
    run: Run, changed: Changed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A raw file of another size, or one that is missing, is another data set."""
    assert run.manifest.data is not None
    data = shutil.copytree(run.manifest.data.root, tmp_path / "data")
    path = changed(lambda manifest: manifest["data"].update(root=str(data)))
    assert main(["reproduce", path, "--check"]) == 0
    assert "code, packages, data and host are those" in capsys.readouterr().out
    planet = data / "train" / run.manifest.data.planets["train"][0]
    with (planet / "AIRS-CH0_signal_0.parquet").open("ab") as file:
        file.write(b"x")
    assert main(["reproduce", path, "--check"]) == 0
    assert "data: labels, names and sizes" in capsys.readouterr().out
    shutil.rmtree(planet)
    assert main(["reproduce", path, "--check"]) == 0
    assert "data: labels, names and sizes" in capsys.readouterr().out


@pytest.mark.fault("a manifest that was edited; other code, packages, data, host")
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda manifest: manifest["config"].update(seed=3), "but what ran had"),
        (lambda manifest: manifest.update(fingerprint="0" * 64), "but what ran had 000000000000"),
        (lambda manifest: manifest.update(status="interrupted"), "this one is interrupted"),
        (lambda manifest: manifest.update(status="running", process=None), "does not name the process"),
        (lambda manifest: manifest["process"].update(started="1") or manifest.update(status="running"), "is lost"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(
    changed: Changed, capsys: pytest.CaptureFixture[str], edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    """Another config than ran, and a run without an end to compare with: exit code 2, before any work."""
    assert main(["reproduce", changed(edit)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.fault("a manifest that was edited; other code, packages, data, host")
def test_overrides_may_not_change_the_result(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Another seed is another run."""
    assert main(["reproduce", str(run.path), "local.seed=4"]) == 2
    assert "local.seed=4: with it another result is to be expected" in capsys.readouterr().err
