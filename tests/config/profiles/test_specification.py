"""The values that the specification fixes, profile by profile, and its command lines."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Any

import pytest

import spectramind_config as sc

# The tables of the specification's section 3, one row a field.
LOCAL: list[tuple[str, Any, Any, Any]] = [
    # field, default, debug, hpc
    ("name", "default", "debug", "hpc"),
    ("devices", "auto", "cpu", 4),
    ("precision", "auto-mixed", "32", "bf16-mixed"),
    ("seed", 1337, 1337, 1337),
    ("deterministic", True, True, True),
    ("cudnn_benchmark", False, False, True),
    ("num_workers.train", 8, 0, 16),
    ("num_workers.val", 4, 0, 8),
    ("num_workers.test", 4, 0, 8),
    ("prefetch_factor", 2, 2, 3),
    ("pin_memory", True, False, True),
    ("persistent_workers", True, False, True),
    ("accumulate_grad_batches", 1, 1, 1),
    ("max_epochs", 60, 1, 120),
    ("mlflow.enabled", False, False, True),
    ("mlflow.tracking_uri", "file:mlruns", "file:mlruns", "file:mlruns"),
    ("mlflow.experiment_name", "V50_local", "V50_debug", "V50_hpc"),
    ("paths.cache_dir", ".cache/spectramind", ".cache/spectramind", "/scratch/.spectramind/cache"),
    ("paths.output_dir", "outputs/local", "outputs/debug", "/scratch/outputs/hpc"),
    ("paths.data_root", "data", "data", "/datasets/ariel"),
    (
        "paths.run_manifest",
        "outputs/local/run_manifest.json",
        "outputs/debug/run_manifest.json",
        "/scratch/outputs/hpc/run_manifest.json",
    ),
    ("dev.fast_dev_run", False, True, False),
    ("dev.limit_train_batches", None, 1, None),
    ("dev.limit_val_batches", None, 1, None),
    ("dev.limit_test_batches", None, 1, None),
    ("dev.overfit_batches", 0.0, 0.0, 0.0),
    ("dev.log_every_n_steps", 25, 1, 50),
    ("dev.enable_progress_bar", True, True, True),
    ("dev.check_val_every_n_epoch", 1, 1, 1),
]
TRAINER: list[tuple[str, Any, Any, Any, Any]] = [
    # field, defaults, kaggle_safe, ci_fast, multi_gpu
    ("name", "defaults", "kaggle_safe", "ci_fast", "multi_gpu"),
    ("strategy", "auto", "auto", "auto", "ddp"),
    ("num_nodes", 1, 1, 1, 1),
    ("sync_batchnorm", False, False, False, True),
    ("precision", None, "16-mixed", None, "16-mixed"),
    ("gradient_clip_val", 1.0, 1.0, 0.0, 1.0),
    ("non_finite", "stop", "stop", "stop", "stop"),
    ("max_skipped_batches", 10, 10, 10, 10),
    ("log_grad_norm", False, False, False, False),
    ("max_time", None, timedelta(hours=8, minutes=30), timedelta(minutes=20), None),
    ("max_steps", None, None, 32, None),
    ("dev.limit_train_batches", None, None, 8, None),
    ("dev.limit_val_batches", None, None, 4, None),
    ("dev.limit_test_batches", None, None, 4, None),
    ("offline", False, True, False, False),
    ("checkpoint.save_top_k", 3, 1, 0, 2),
    ("checkpoint.every_n_epochs", 1, 5, 1, 2),
    ("checkpoint.every_minutes", 15.0, 30.0, 15.0, 15.0),
    ("early_stopping.enabled", True, True, False, True),
    ("early_stopping.patience", 5, 5, 5, 6),
    ("console.refresh", "normal", "throttled", "throttled", "normal"),
]
OPTIMIZER: list[tuple[str, Any]] = [
    ("name", "adamw"),
    ("lr", 3e-4),
    ("betas", (0.9, 0.999)),
    ("eps", 1e-8),
    ("weight_decay", 0.01),
]
ENVIRONMENT = [
    ("SM_CACHE_DIR", "/fast/cache", {"paths.cache_dir": "/fast/cache"}),
    (
        "SM_OUTPUT_DIR",
        "/big/out",
        {"paths.output_dir": "/big/out", "paths.run_manifest": "/big/out/run_manifest.json"},
    ),
    ("SM_DATA_ROOT", "/datasets/x y", {"paths.data_root": "/datasets/x y"}),
    ("SM_MLFLOW_DIR", "/workspace/mlruns", {"mlflow.tracking_uri": "file:/workspace/mlruns"}),
]


def at(node: object, path: str) -> Any:
    """The value at a dotted path of attributes."""
    for name in path.split("."):
        node = getattr(node, name)
    return node


def assert_exactly(found: object, expected: object) -> None:
    """Equal and of one type: 1 is neither 1.0 nor True."""
    assert (type(found), found) == (type(expected), expected)


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted paths."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


@pytest.mark.parametrize(("row", "column"), [(row, column) for row in LOCAL for column in (1, 2, 3)])
def test_a_local_profile_has_the_value_of_the_specification(row: tuple[Any, ...], column: int) -> None:
    """Every field of section 3, for each profile, in its layer and in the effective config."""
    path, expected = row[0], row[column]
    cfg = sc.compose([f"local={LOCAL[0][column]}"])
    assert_exactly(at(cfg.local, path), expected)
    if path != "name":
        assert_exactly(at(cfg, path), expected)


@pytest.mark.parametrize(("row", "column"), [(row, column) for row in TRAINER for column in (1, 2, 3, 4)])
def test_a_trainer_profile_has_the_value_of_the_table(row: tuple[Any, ...], column: int) -> None:
    """Every field of every trainer profile, in its layer; what local cannot set stands at the top too."""
    path, expected = row[0], row[column]
    cfg = sc.compose([f"trainer={TRAINER[0][column]}"])
    assert_exactly(at(cfg.trainer, path), expected)
    if path not in ("name", "precision"):
        assert_exactly(at(cfg, path), expected)


@pytest.mark.parametrize(("path", "expected"), OPTIMIZER)
def test_the_optimizer_is_adamw(path: str, expected: object) -> None:
    """The optimizer's defaults."""
    assert_exactly(at(sc.compose().optimizer, path), expected)


def test_no_field_of_the_tables_is_forgotten() -> None:
    """Every row is a setting; what has been added since needs no row."""
    rows = {row[0] for row in (*LOCAL, *TRAINER)} - {"name"}
    assert rows - {origin.path for origin in sc.compose().origins()} == set()


def test_the_groups_default_to_the_specification() -> None:
    """Section 1: the defaults list."""
    assert sc.compose().profiles == {
        "trainer": "defaults",
        "local": "default",
        "model": "v50",
        "data": "nominal",
        "loss": "composite",
        "logger": "rich_console",
        "optimizer": "adamw",
    }


@pytest.mark.parametrize("local", ["default", "debug", "hpc"])
@pytest.mark.parametrize(("variable", "value", "expected"), ENVIRONMENT)
def test_an_environment_variable_overrides_its_path(
    monkeypatch: pytest.MonkeyPatch, local: str, variable: str, value: str, expected: dict[str, str]
) -> None:
    """Section 8: each variable changes its own paths in every profile and nothing else."""
    before = leaves(sc.compose([f"local={local}"]).to_dict())
    monkeypatch.setenv(variable, value)
    after = leaves(sc.compose([f"local={local}"]).to_dict())
    assert {path: value for path, value in after.items() if before[path] != value} == expected


def test_the_command_line_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An override of a path wins over its variable, and the manifest follows it."""
    monkeypatch.setenv("SM_OUTPUT_DIR", "/from/env")
    cfg = sc.compose(["local.paths.output_dir=/from/cli"])
    assert cfg.paths.output_dir == "/from/cli"
    assert cfg.paths.run_manifest == "/from/cli/run_manifest.json"


def test_the_merge_example_of_the_specification() -> None:
    """Section 11: strategy and batch norm from the trainer, precision and devices from the machine."""
    cfg = sc.compose(["trainer=multi_gpu", "local=hpc", "local.devices=8"])
    assert (cfg.strategy, cfg.sync_batchnorm, cfg.log_grad_norm) == ("ddp", True, False)
    assert (cfg.precision, cfg.devices) == ("bf16-mixed", 8)
    assert (cfg.trainer.precision, cfg.local.precision) == ("16-mixed", "bf16-mixed")
    others = ("model", "data", "loss", "logger", "optimizer")
    plain = sc.compose().to_dict()
    assert {group: cfg.to_dict()[group] for group in others} == {group: plain[group] for group in others}


RECIPES = [
    # Sections 0, 1, 5, 6 and 9 of the specification: what each command line sets.
    ("local=default", {}),
    ("trainer=multi_gpu local=hpc local.devices=8", {"devices": 8, "precision": "bf16-mixed", "strategy": "ddp"}),
    ("local=default local.devices=cpu local.precision=32", {"devices": "cpu", "precision": "32"}),
    ("local=debug", {"dev.fast_dev_run": True, "dev.limit_test_batches": 1, "max_epochs": 1}),
    ("trainer=multi_gpu local=hpc local.devices=4", {"devices": 4, "sync_batchnorm": True}),
    (
        "trainer=multi_gpu local=hpc local.devices=8 local.max_epochs=120 local.accumulate_grad_batches=2",
        {"devices": 8, "max_epochs": 120, "accumulate_grad_batches": 2},
    ),
    (
        'local=default local.mlflow.enabled=true local.mlflow.experiment_name="V50_local_exps"',
        {"mlflow.enabled": True, "mlflow.experiment_name": "V50_local_exps", "mlflow.tracking_uri": "file:mlruns"},
    ),
    (
        "local=default local.cache_dir=/scratch/.spectramind/cache local.output_dir=/scratch/outputs",
        {
            "paths.cache_dir": "/scratch/.spectramind/cache",
            "paths.output_dir": "/scratch/outputs",
            "paths.run_manifest": "/scratch/outputs/run_manifest.json",
            "paths.data_root": "data",
        },
    ),
    ("local.devices=mps local.precision=bf16-mixed", {"devices": "mps", "precision": "bf16-mixed"}),
    ("local.persistent_workers=false local.prefetch_factor=2", {"persistent_workers": False, "prefetch_factor": 2}),
    ("local.dev.limit_train_batches=0.1", {"dev.limit_train_batches": 0.1}),
    ("local.dev.limit_train_batches=10", {"dev.limit_train_batches": 10}),
]


@pytest.mark.parametrize(("line", "expected"), RECIPES, ids=[line for line, _ in RECIPES])
def test_a_recipe_of_the_specification(line: str, expected: dict[str, Any]) -> None:
    """Each command line composes, as the shell hands it over, to what its comment promises."""
    cfg = sc.compose(shlex.split(line))
    for path, value in expected.items():
        assert_exactly(at(cfg, path), value)
    assert cfg.warnings == (("local=hpc: " + _BENCHMARK,) if "hpc" in line else ())


_BENCHMARK = "cudnn_benchmark chooses kernels by their speed, so deterministic holds only within one process"

ALLOWED = [
    # Section 4: values that each field takes, and values that it refuses.
    ("local.devices", ["auto", "cpu", "mps", "1", "4"], ["0", "-1", "tpu", "1.5", "null", "true"]),
    ("local.precision", ["bf16-mixed", "16-mixed", "32", "auto-mixed"], ["16", "64", "bf16", "''"]),
    ("local.seed", ["0", "1337", "4294967295"], ["-1", "4294967296", "1.5", "x", "null"]),
    ("local.deterministic", ["true", "false"], ["2.5", "maybe", "null"]),
    ("local.cudnn_benchmark", ["true", "false"], ["maybe", "null"]),
    ("local.num_workers.train", ["1", "64"], ["-1", "many", "null"]),
    ("local.num_workers.val", ["1", "64"], ["-1", "1.5"]),
    ("local.num_workers.test", ["1", "64"], ["-1", "1.5"]),
    ("local.prefetch_factor", ["1", "2", "4"], ["0", "-2", "null"]),
    ("local.pin_memory", ["true", "false"], ["gpu", "null"]),
    ("local.persistent_workers", ["true", "false"], ["x", "null"]),
    ("local.accumulate_grad_batches", ["1", "2"], ["0", "0.5", "null"]),
    ("local.max_epochs", ["1", "60", "120"], ["0", "-1", "null"]),
    ("local.mlflow.enabled", ["true", "false"], ["x", "null"]),
    ("local.mlflow.tracking_uri", ["file:mlruns", "http://localhost:5000"], ["''", "null"]),
    ("local.mlflow.experiment_name", ["V50_local", "7"], ["''", "null"]),
    ("local.paths.cache_dir", ["/a", "b/c"], ["''", "null"]),
    ("local.paths.output_dir", ["/a", "b/c"], ["''", "null"]),
    ("local.paths.data_root", ["/a", "b/c"], ["''", "null"]),
    ("local.paths.run_manifest", ["/a/m.json"], ["''", "null"]),
    ("local.dev.fast_dev_run", ["true", "false"], ["x", "null"]),
    ("local.dev.limit_train_batches", ["1", "0.1", "1.0", "null"], ["-1", "1.5", "all"]),
    ("local.dev.limit_val_batches", ["1", "0.1", "1.0", "null"], ["-1", "1.5", "all"]),
    ("local.dev.limit_test_batches", ["1", "0.1", "1.0", "null"], ["-1", "1.5", "all"]),
    ("local.dev.overfit_batches", ["0.0", "0.5", "1"], ["-0.1", "1.1", "null"]),
    ("local.dev.log_every_n_steps", ["1", "25"], ["0", "null"]),
    ("local.dev.enable_progress_bar", ["true", "false"], ["x"]),
    ("local.dev.check_val_every_n_epoch", ["1", "5"], ["0", "null"]),
    (
        "trainer.max_time",
        ["00:00:01", "8:30:00", "12:30:00", "99:59:59", "100:00:00", "9h", "1h30m", "90m", "45s", "null"],
        ["8", "1.5", "8 x", "00:60:00", "8:30", "h", "-1h", "true", "''"],
    ),
    ("trainer.max_steps", ["1", "null"], ["0", "1.5"]),
    ("trainer.checkpoint.save_top_k", ["-1", "0", "3"], ["-2"]),
]


@pytest.mark.parametrize(("path", "taken", "refused"), ALLOWED, ids=[row[0] for row in ALLOWED])
def test_a_field_takes_its_values_and_no_others(path: str, taken: list[str], refused: list[str]) -> None:
    """Section 4: type and range of every field, as the command line writes them."""
    for value in taken:
        sc.compose([f"{path}={value}"])
    for value in refused:
        with pytest.raises(sc.ConfigError, match="expected"):
            sc.compose([f"{path}={value}"])


@pytest.mark.parametrize("field", ["strategy", "num_nodes", "sync_batchnorm", "max_time", "max_steps", "offline"])
def test_local_has_no_orchestration(field: str) -> None:
    """Section 7: strategy, nodes and limits cannot be set from local, so local cannot lift them."""
    with pytest.raises(sc.ConfigError, match=f"there is no setting 'local.{field}'"):
        sc.compose([f"local.{field}=1"])
