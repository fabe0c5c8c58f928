"""The evaluation of test planets goes through a loader of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spectramind_config import compose
from spectramind_config.host import Host
from spectramind_train.learning import batches
from spectramind_train.planets.splits import Splits
from spectramind_train.results.evaluation import evaluate, within_caps
from spectramind_train.run.manifest import DataRecord
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
