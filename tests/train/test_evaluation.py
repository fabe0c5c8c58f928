"""What a run is worth: at its end, and whenever somebody asks again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.cli import main
from spectramind_train.learning import batches
from spectramind_train.planets.splits import Splits
from spectramind_train.results.evaluation import evaluate, within_caps
from spectramind_train.run.manifest import DataRecord, read_manifest
from spectramind_train.run.plan import plan
from spectramind_train.v50.network import build_model

from .recording import planet

RECORD = DataRecord(root="data", simulated=True, fingerprint="0", planets={})


def test_test_planets_are_loaded_by_the_workers_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """``num_workers.test`` is what the loader has, and the predictions do not depend on it."""
    seen: list[dict[str, Any]] = []
    real = batches.DataLoader

    def loader(dataset: Any, **options: Any) -> Any:
        seen.append({"planets": len(dataset), **options})
        return real(dataset, **options)

    monkeypatch.setattr(batches, "DataLoader", loader)
    planets = [planet(number) for number in range(5)]
    splits = Splits(planets, planets, planets, 0.01, 0.005, RECORD)
    torch.manual_seed(0)
    found = []
    for workers in (0, 2):
        loading = [f"local.num_workers.test={workers}", "local.persistent_workers=false", "local.prefetch_factor=3"]
        config = compose(["model.width=8", "data.batch_size=2", *loading])
        decided = plan(config, Host(name="laptop", cores=4))
        model = build_model(config.model) if not found else found[0][0]
        found.append((model, evaluate(config, decided, splits, model)))
    assert [(one["planets"], one["batch_size"], one["num_workers"]) for one in seen] == [(5, 2, 0), (5, 2, 2)]
    assert [one.get("prefetch_factor") for one in seen] == [None, 3]
    (_, alone), (_, helped) = found
    np.testing.assert_array_equal(alone.prediction.mu, helped.prediction.mu)
    np.testing.assert_array_equal(alone.prediction.sigma, helped.prediction.sigma)
    assert alone.metrics == helped.metrics
    assert set(alone.metrics) == {
        f"{who}_{what}" for who in ("test", "fit", "mean") for what in ("score", "rmse_fgs1_ppm", "rmse_airs_ppm")
    }


@pytest.mark.parametrize(("cap", "left"), [("null", 20), ("1", 8), ("0.5", 16), ("0", 1), ("9", 20)])
def test_caps_leave_whole_batches(cap: str, left: int) -> None:
    """A count of batches or a share of them, and never less than a planet; a quick run takes one batch."""
    config = compose([f"local.dev.limit_test_batches={cap}"])
    planets = [planet(1)] * 20
    assert len(within_caps(config, planets)) == left
    assert len(within_caps(config.with_overrides(["local.dev.fast_dev_run=true"]), planets)) == 8


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a completed run, to write to."""
    return shutil.copytree(trained, tmp_path / "run")


def edited(run: Path, **values: Any) -> None:
    """Change entries of a run's manifest."""
    file = run / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def evaluated(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What ``spectramind evaluate RUN --json`` prints, and nothing else."""
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_has_the_scores_that_its_end_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of its test planets those of the manifest, rivals included; of the others about that of the best validation.

    Which knows no more than the model: what is predicted is less sure where the light curves say so.
    """
    metrics, data = read_manifest(run).metrics, read_manifest(run).data
    assert data is not None
    cache = Path(read_manifest(run).config["paths"]["cache_dir"])
    before = sorted(cache.rglob("*"))
    found = evaluated(run, capsys)
    for name, who in (("test", "model"), ("fit", "fit"), ("mean", "mean")):
        assert found[who]["score"] == pytest.approx(metrics[f"{name}_score"], rel=1e-6)
        assert found[who]["fgs1"]["rmse_ppm"] == pytest.approx(metrics[f"{name}_rmse_fgs1_ppm"], rel=1e-6)
        assert found[who]["airs"]["rmse_ppm"] == pytest.approx(metrics[f"{name}_rmse_airs_ppm"], rel=1e-6)
    found = evaluated(run, capsys, "--split", "val")
    assert found["model"]["score"] == pytest.approx(metrics["val_score_best"], abs=0.01)
    found = evaluated(run, capsys, "--split", "train")
    assert {one["planet_id"] for one in found["model"]["planets"]} == set(data.planets["train"])
    assert sorted(cache.rglob("*")) == before  # The run has prepared them all.


def test_planets_are_told_from_the_worst_and_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the terminal and in a table of the run's directory, or where it is asked for; their mean is the score."""
    assert main(["evaluate", str(run)]) == 0
    output = capsys.readouterr().out
    for words in ("classical transit fit", "training mean", "within 95 %, AIRS", "Planets, the worst first"):
        assert words in output
    assert max(map(len, output.split("written:")[0].splitlines()[1:])) <= 80
    with (run / "evaluation_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in rows]
    assert list(rows[0]) == ["planet_id", "score", "rmse_fgs1_ppm", "rmse_airs_ppm", "chi2", "flags"]
    assert scores == sorted(scores)
    assert np.mean(scores) == pytest.approx(read_manifest(run).metrics["test_score"], rel=1e-6)
    assert main(["evaluate", str(run), "--out", str(run / "manifest.json" / "planets.csv")]) == 2
    assert main(["evaluate", str(run), "--out", str(tmp_path / "planets.csv")]) == 0
    assert (tmp_path / "planets.csv").read_bytes() == (run / "evaluation_test.csv").read_bytes()


def test_data_are_found_where_they_are_now(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is gone is named; ``--data`` names another, and other data are told."""
    data = json.loads((run / "manifest.json").read_text())["data"]
    copy = shutil.copytree(data["root"], tmp_path / "data")
    edited(run, data={**data, "root": str(tmp_path / "gone")})
    assert main(["evaluate", str(run)]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'gone'}: no data set here" in told
    assert "--data DIR" in told
    expected = evaluated(run, capsys, "--data", data["root"])
    assert evaluated(run, capsys, "--data", str(copy)) == expected
    assert main(["evaluate", str(run), "--data", str(copy)]) == 0
    assert "not those that the run had" not in capsys.readouterr().out
    with (copy / "train" / data["planets"]["train"][0] / "FGS1_signal_0.parquet").open("ab") as file:
        file.write(b"x")
    assert main(["evaluate", str(run), "--data", str(copy)]) == 0
    assert f"{copy}: labels, names or sizes of files are not those that the run had" in " ".join(
        capsys.readouterr().out.split()
    )
    shutil.rmtree(copy / "train" / data["planets"]["test"][0])
    assert main(["evaluate", str(run), "--data", str(copy)]) == 2
    assert f"lacks 1 labelled planets of the run: {data['planets']['test'][0]}" in capsys.readouterr().err


def test_a_strangers_manifest_leads_nowhere(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of planets are names in the data set, and a cache that only the manifest names is not written."""
    manifest = json.loads((run / "manifest.json").read_text())
    monkeypatch.setenv("SM_CACHE_DIR", manifest["config"]["paths"]["cache_dir"])
    planets = {**manifest["data"]["planets"], "test": ["../train/1000001"]}
    edited(run, data={**manifest["data"], "planets": planets})
    assert main(["evaluate", str(run)]) == 2
    assert "lacks 1 labelled planets of the run: ../train/1000001" in capsys.readouterr().err
    config = {**manifest["config"], "paths": {**manifest["config"]["paths"], "cache_dir": str(tmp_path / "theirs")}}
    edited(run, data=manifest["data"], config=config)
    assert evaluated(run, capsys)["model"]["score"] > 0
    assert not (tmp_path / "theirs").exists()


def test_a_run_without_planets_has_no_score(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest that names none, or none of the split."""
    manifest = json.loads((run / "manifest.json").read_text())
    edited(run, data={**manifest["data"], "planets": {**manifest["data"]["planets"], "val": []}})
    assert main(["evaluate", str(run), "--split", "val"]) == 2
    assert "names no validation planets" in capsys.readouterr().err
    edited(run, data=None)
    assert main(["evaluate", str(run)]) == 2
    assert "names no planets that could be found again" in capsys.readouterr().err
