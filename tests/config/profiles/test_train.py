"""What decides the result of a run, and what only says where it happens: the science fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import spectramind_config as sc
from spectramind_config.profiles.local import DefaultLocal
from spectramind_config.profiles.logger import RichConsole
from spectramind_config.profiles.loss import CompositeLoss
from spectramind_config.profiles.trainer import DefaultTrainer

WHERE = [
    # Settings that say where or how visibly a run happens, not what it computes.
    *[
        "local.paths.data_root=/d",
        "local.paths.cache_dir=/c",
        "local.paths.output_dir=/o",
        "local.paths.run_manifest=/m",
    ],
    *["local.devices=1", "local.num_workers.train=3", "local.num_workers.val=3", "local.prefetch_factor=7"],
    *["local.pin_memory=false", "local.persistent_workers=false", "local.mlflow.enabled=true"],
    *["local.mlflow.experiment_name=x", "local.mlflow.tracking_uri=x", "local.dev.log_every_n_steps=3"],
    *["local.dev.enable_progress_bar=false", "logger.style=plain", "trainer.console.refresh=throttled"],
    *["trainer.offline=true", "trainer.max_time=01:00:00"],
]
WHAT = [
    # Settings that change the result.
    *["optimizer.lr=1e-3", "local.seed=7", "model.width=64", "model.dropout=0.2", "optimizer.betas=[0.9,0.99]"],
    *["loss.nll=2", "data.batch_size=16", "data.calibration.bin_seconds=90", "local.max_epochs=3"],
    *["local.precision=32", "local.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5", "trainer.max_steps=9"],
    *["local.dev.limit_train_batches=3", "local.deterministic=false", "trainer.sync_batchnorm=true"],
    # The batch is per device, so the number of processes decides how many planets a step sees.
    *["trainer.num_nodes=2", "trainer.strategy=ddp", "local.devices=8"],
]


@pytest.mark.parametrize("override", WHERE)
def test_the_science_fingerprint_ignores_where_a_run_happens(override: str) -> None:
    """The full fingerprint changes, the scientific one does not."""
    before, after = sc.compose(), sc.compose([override])
    assert before.fingerprint != after.fingerprint
    assert before.science_fingerprint == after.science_fingerprint


@pytest.mark.parametrize("override", WHAT)
def test_the_science_fingerprint_follows_what_decides_the_result(override: str) -> None:
    """Both fingerprints change."""
    before, after = sc.compose(), sc.compose([override])
    assert before.fingerprint != after.fingerprint
    assert before.science_fingerprint != after.science_fingerprint


PROCESSES = [
    # Two command lines, and whether they have as many processes.
    ("trainer.num_nodes=2", "trainer.num_nodes=1", False),
    ("trainer.strategy=ddp", "trainer.strategy=auto", False),
    ("local.devices=8", "local.devices=4", False),
    ("local.devices=1", "local.devices=auto", True),
    ("local.devices=cpu", "local.devices=mps", True),
    ("local.devices=4 trainer.num_nodes=2", "local.devices=8", True),
    ("local.devices=8 trainer.strategy=ddp", "local.devices=8", True),
    ("local.devices=1 trainer.strategy=ddp", "local.devices=cpu", True),
]


@pytest.mark.parametrize(("one", "other", "equal"), PROCESSES)
def test_the_number_of_processes_decides_how_many_planets_a_step_sees(one: str, other: str, *, equal: bool) -> None:
    """However it comes about; all GPUs there are is a number of its own."""
    left, right = sc.compose(one.split()), sc.compose(other.split())
    assert left.fingerprint != right.fingerprint
    assert (left.science_fingerprint == right.science_fingerprint) == equal


@dataclass(kw_only=True)
class OtherModel(sc.V50Config):
    """Another network with the same settings."""


@dataclass(kw_only=True)
class OtherData(sc.NominalData):
    """Another data set with the same settings."""


@dataclass(kw_only=True)
class OtherLoss(CompositeLoss):
    """Another loss with the same settings."""


@dataclass(kw_only=True)
class OtherOptimizer(sc.AdamW):
    """Another optimizer with the same settings."""


@dataclass(kw_only=True)
class OtherLogger(RichConsole):
    """Another logger."""


@dataclass(kw_only=True)
class OtherLocal(DefaultLocal):
    """Another machine."""


@dataclass(kw_only=True)
class OtherTrainer(DefaultTrainer):
    """Another trainer."""


CLASSES = {"model": OtherModel, "data": OtherData, "loss": OtherLoss, "optimizer": OtherOptimizer}
CLASSES |= {"logger": OtherLogger, "local": OtherLocal, "trainer": OtherTrainer}


@pytest.mark.parametrize("group", CLASSES)
def test_the_class_counts_where_something_is_built_by_it(group: str, forget: None) -> None:
    """A model of another class is another model, though every setting is equal; a machine's class builds nothing."""
    sc.profile(group, "other")(CLASSES[group])
    usual, other = sc.compose(), sc.compose([f"{group}=other"])
    assert usual.fingerprint != other.fingerprint
    builds = group in ("model", "data", "loss", "optimizer")
    assert (usual.science_fingerprint != other.science_fingerprint) == builds


def test_the_name_of_a_profile_does_not_count(forget: None) -> None:
    """Two names of one class are one thing."""
    sc.profile("model", "one")(OtherModel)
    sc.profile("model", "two")(OtherModel)
    one, two = sc.compose(["model=one"]), sc.compose(["model=two"])
    assert one.science_fingerprint == two.science_fingerprint
