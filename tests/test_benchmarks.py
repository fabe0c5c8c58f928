"""The benchmark runs, and measures everything that its page reports; how fast anything is depends on the machine."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "benchmarks"
QUANTITIES = ["import", "first compose", "warm compose", "attribute read"]
GROWTH = {"fields": (100, 600), "profiles": (10, 100), "roots": (1, 10), "overrides": (1, 10)}
COMMANDS = ["--help", "config explain", "profiles list"]


def measured(script: str, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """What a quick run reports, and prints; what it leaves is in a folder."""
    file = folder / "report.json"
    command = [sys.executable, str(FOLDER / script), "--quick", *options, "--json", str(file)]
    variables = {**os.environ, "SM_CACHE_DIR": str(folder / "cache"), "SM_OUTPUT_DIR": str(folder / "outputs")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=variables)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report, done.stdout


def test_the_quick_run_measures_every_quantity(tmp_path: Path) -> None:
    """Every quantity has a positive median and a ratio, for this package and for Hydra."""
    report, printed = measured("compose.py", tmp_path)
    assert report["settings"] > 80
    assert report["machine"]["versions"]["hydra-core"]
    found = report["quantities"]
    for quantity in QUANTITIES:
        assert found[quantity]["Hydra"]["ratio"] == 1
        assert found[quantity]["spectramind"]["ms"] > 0
        assert f"| {quantity} |" in printed
    for option, sizes in GROWTH.items():
        for size in sizes:
            for kind in ("first", "warm"):
                pair = found[f"{kind} compose, {size} {option}"]
                assert pair.keys() == {"spectramind", "Hydra on our ConfigStore"}
                assert all(one["ms"] > 0 for one in pair.values())
    for words in (*COMMANDS, "a mistake"):
        assert any(name.startswith("spectramind") and name.endswith(words) for name in found["command"]), words
    assert any("gc.freeze" in name for name in found["command"])


def test_a_peer_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    """The peers are optional; the table says which were not measured."""
    code = (
        "import compose, peers\n"
        "peers.installed = lambda name: name != 'chz'\n"
        "one = {name: {'ms': 1.0, 'ratio': 1.0} for name in peers.CONTENDERS}\n"
        "rows = ['import', 'first compose', 'warm compose', 'attribute read']\n"
        "found = dict.fromkeys(rows, one) | {'command': {compose.REFERENCES['command']: one['Hydra']}}\n"
        "print('\\n'.join(compose.table(found)))\n"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER).stdout
    assert "chz: not installed (pip install -c constraints.txt chz)" in printed
    assert "| chz |" not in printed


def test_predictions_are_compared_with_a_run(tmp_path: Path) -> None:
    """The quick run of one small case has a model's prediction, a probe's and a measurement of both quantities."""
    report, printed = measured("plan.py", tmp_path)
    found = report["cases"]["small"]
    assert found.keys() == {"step", "memory"}
    for quantity, figures in found.items():
        assert figures.keys() == {"modelled", "probed", "measured"}
        assert all(one > 0 for one in figures.values())
        assert f"| small | {quantity} |" in printed
    assert 0.3 < found["memory"]["probed"] / found["memory"]["measured"] < 3


def test_the_quick_run_of_the_loops_measures_every_loop(tmp_path: Path) -> None:
    """Every loop has a speed and a memory for both models, the parts of a step are there, and the first step."""
    report, printed = measured("train.py", tmp_path, "--rounds", "1")
    for model in ("mlp", "v50"):
        assert report[model]["loops"].keys() == {"bare", "Fabric", "Lightning", "ours"}
        assert report[model]["loops"]["bare"]["speed"] == 1
        for name, one in report[model]["loops"].items():
            assert one["ms"] > 0
            assert one["peak_mb"] > 100
            assert f"| {name} |" in printed
        assert report[model]["parts"].keys() >= {"batch", "augmentation", "forward", "backward", "guard", "optimizer"}
        assert all(ms >= 0 for ms in report[model]["parts"].values())
    assert report["start"]["ratio"] > 0


def test_the_quick_run_of_the_calibration_measures_every_contender(tmp_path: Path) -> None:
    """Every contender has ratios and a memory, and the plain rendering gives our light curves."""
    report, printed = measured("calibrate.py", tmp_path, "--rounds", "1")
    assert report["frames"] == 374
    assert 0 < report["difference"] < 1e-5
    assert len(report["contenders"]) == 5
    for name, one in report["contenders"].items():
        assert all(value > 0 for value in one.values())
        assert one["peak_mb"] > 50
        assert f"| {name} |" in printed
    assert "estimate" in printed


def test_the_quick_run_of_unlike_planets_has_a_row_for_each_kind(tmp_path: Path) -> None:
    """A run of one step is enough to tell every kind's coverage, and which planets no transit explains."""
    small = ("local=debug", "data.simulation.planets=24", "data.simulation.airs_frames=100")
    variables = {**os.environ, "SM_CACHE_DIR": str(tmp_path / "cache"), "SM_OUTPUT_DIR": str(tmp_path / "outputs")}
    command = [sys.executable, "-m", "spectramind_train", *small]
    subprocess.run(command, capture_output=True, check=True, cwd=tmp_path, env=variables)
    (manifest,) = (tmp_path / "outputs").glob("*/manifest.json")
    report, printed = measured("robust.py", tmp_path, str(manifest))
    assert len(report) == 18
    for name, one in report.items():
        assert f"| {name} |" in printed
        assert all(0.0 <= share <= 100.0 for column, share in one.items() if column.endswith("%"))
        assert one["residuals"] > 0.0
    for name in ("no transit", "FGS1 40 min late", "FGS1 of half the depth"):
        assert report[name]["flagged"] == 2


def test_the_sigmas_of_the_newest_trained_benchmark_are_honest() -> None:
    """Its table says so: residuals scatter by about one, and intervals hold what they should, for each instrument.

    Of 128 planets, whose channels err together, shares are known to some 2 %.
    """
    with (FOLDER / "sigmas.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["benchmark"] == "physics"]
    newest = {row["part"]: row for row in rows}
    assert list(newest) == ["all", "FGS1", "AIRS 1", "AIRS 2", "AIRS 3", "AIRS 4"]
    for part, row in newest.items():
        assert 0.9 < float(row["residual"]) < 1.1, part
        assert 61 <= float(row["68 %"]) <= 75, part
        assert 91 <= float(row["95 %"]) <= 98, part
