"""Provenance: who set a value, on which line, and what that shadowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

import spectramind_config as sc


def line(source: str) -> str:
    """The text of the line that a source such as ``/x/local.py:88`` points at."""
    file, _, number = source.rpartition(":")
    return Path(file).read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()


LINES = [
    # overrides, path, layer, option, file, the text of the line
    (["local=hpc"], "precision", "local", "hpc", "local.py", 'precision: Precision | None = "bf16-mixed"'),
    (["local=hpc"], "devices", "local", "hpc", "local.py", "devices: Devices = 4"),
    (["local=hpc"], "max_epochs", "local", "hpc", "local.py", "max_epochs: int = 120"),
    (["local=hpc"], "dev.log_every_n_steps", "local", "hpc", "local.py", "Dev(log_every_n_steps=50)"),
    (["local=hpc"], "num_workers.val", "local", "hpc", "local.py", "NumWorkers(train=16, val=8, test=8)"),
    (
        ["local=hpc"],
        "paths.data_root",
        "local",
        "hpc",
        "local.py",
        'data_root="${oc.env:SM_DATA_ROOT,/datasets/ariel}"',
    ),
    (["local=hpc"], "seed", "local", "hpc", "local.py", "seed: Annotated[int"),
    (["local=debug"], "dev.limit_val_batches", "local", "debug", "local.py", "limit_val_batches=1,"),
    (["local=debug"], "mlflow.experiment_name", "local", "debug", "local.py", 'MLflow(experiment_name="V50_debug")'),
    (["local=debug"], "mlflow.enabled", "local", "debug", "local.py", "enabled: Annotated[bool"),
    ([], "dev.fast_dev_run", "local", "default", "local.py", "fast_dev_run: bool = False"),
    (["trainer=multi_gpu"], "strategy", "trainer", "multi_gpu", "trainer.py", 'strategy: Strategy = "ddp"'),
    (["trainer=ci_fast"], "dev.limit_test_batches", "trainer", "ci_fast", "trainer.py", "limit_test_batches=4"),
    (["trainer=multi_gpu"], "checkpoint.save_top_k", "trainer", "multi_gpu", "trainer.py", "Checkpoint(save_top_k=2"),
    ([], "model.width", "model", "v50", "model.py", "width: Annotated[int"),
    ([], "optimizer.betas", "optimizer", "adamw", "optimizer.py", "betas: tuple[float, float] = (0.9, 0.999)"),
    ([], "data.calibration.bin_seconds", "data", "nominal", "data.py", "bin_seconds: Annotated[float"),
]


@pytest.mark.parametrize(("overrides", "path", "layer", "option", "file", "text"), LINES)
def test_a_profiles_value_leads_to_its_line(
    overrides: list[str], path: str, layer: str, option: str, file: str, text: str
) -> None:
    """The origin names the profile, and its source is the line where the value stands."""
    origin = sc.compose(overrides).origin(path)
    assert (origin.path, origin.layer, origin.option) == (path, layer, option)
    assert Path(origin.source.rpartition(":")[0]).name == file
    assert text in line(origin.source)


def test_every_origin_points_at_a_line_that_declares_its_field() -> None:
    """No leaf of any profile has a source that does not exist or that speaks of another field."""
    for trainer, local in [("defaults", "default"), ("kaggle_safe", "debug"), ("ci_fast", "hpc"), ("multi_gpu", "hpc")]:
        for origin in sc.compose([f"trainer={trainer}", f"local={local}"]).origins():
            assert origin.path.rpartition(".")[2] in line(origin.source), origin


def test_an_override_is_its_own_origin_and_shadows_the_profile() -> None:
    """The option is the argument as written; what it hides follows, the nearest first."""
    origin = sc.compose(["local=hpc", "trainer=multi_gpu", "local.precision=32"]).origin("precision")
    assert (origin.layer, origin.option, origin.value, origin.source) == (
        "override",
        "local.precision=32",
        "32",
        "command line",
    )
    assert [(one.layer, one.option, one.value) for one in origin.shadowed] == [
        ("local", "hpc", "bf16-mixed"),
        ("trainer", "multi_gpu", "16-mixed"),
    ]
    assert [line(one.source) for one in origin.shadowed] == [
        'precision: Precision | None = "bf16-mixed"',
        'precision: Precision | None = "16-mixed"',
    ]


def test_the_last_of_several_overrides_shadows_the_others() -> None:
    """The chain of one key runs from the last override to the first, then to the profile."""
    origin = sc.compose(["local.seed=1", "local.seed=2", "local.seed=3"]).origin("seed")
    assert [(one.option, one.value) for one in (origin, *origin.shadowed)] == [
        ("local.seed=3", 3),
        ("local.seed=2", 2),
        ("local.seed=1", 1),
        ("default", 1337),
    ]


def test_a_null_of_local_lets_the_trainer_set_the_value() -> None:
    """A null override withdraws local's opinion: the trainer is the origin and shadows nothing."""
    origin = sc.compose(["trainer=multi_gpu", "local.precision=null"]).origin("precision")
    assert (origin.layer, origin.option, origin.value, origin.shadowed) == ("trainer", "multi_gpu", "16-mixed", ())


def test_a_null_that_nobody_overrides_still_has_an_origin() -> None:
    """Where every layer says null the value is null, and the strongest layer says so."""
    origin = sc.compose().origin("dev.limit_val_batches")
    assert (origin.layer, origin.option, origin.value, origin.shadowed) == ("local", "default", None, ())


def test_an_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The origin shows what was written and which variables are behind it, set or not."""
    origin = sc.compose().origin("paths.output_dir")
    assert (origin.value, origin.raw) == ("outputs/local", "${oc.env:SM_OUTPUT_DIR,outputs/local}")
    assert origin.variables == ("SM_OUTPUT_DIR",)
    monkeypatch.setenv("SM_OUTPUT_DIR", "/big")
    assert sc.compose().origin("paths.output_dir").value == "/big"


def test_an_interpolation_is_shown_as_written_and_as_resolved() -> None:
    """A reference to another setting keeps its text beside its value."""
    origin = sc.compose(["data.batch_size=${local.prefetch_factor}"]).origin("data.batch_size")
    assert (origin.value, origin.raw, origin.variables) == (2, "${local.prefetch_factor}", ())
    assert [(one.option, one.value) for one in origin.shadowed] == [("nominal", 8)]


def test_the_element_of_a_tuple_belongs_to_the_override() -> None:
    """``optimizer.betas.0=0.5`` is the origin of the whole tuple."""
    origin = sc.compose(["optimizer.betas.0=0.5"]).origin("optimizer.betas")
    assert (origin.option, origin.value, origin.shadowed[0].value) == (
        "optimizer.betas.0=0.5",
        (0.5, 0.999),
        (0.9, 0.999),
    )


def test_a_layers_own_path_is_understood() -> None:
    """``local.precision`` and ``trainer.precision`` lead to the origin of ``precision``."""
    config = sc.compose(["trainer=multi_gpu"])
    assert config.origin("local.precision") == config.origin("trainer.precision") == config.origin("precision")


def test_a_file_is_the_origin_of_what_it_says() -> None:
    """Values that ``from_dict`` read name their file as their source."""
    config = sc.from_dict({"seed": 7}, source="runs/3/config.yaml")
    assert config.origin("seed").source == "runs/3/config.yaml"
    assert config.origin("max_epochs").layer == "local"


def test_a_field_that_a_site_adds_has_an_origin(forget: None) -> None:
    """A subclass in another file is traced to that file."""

    @sc.profile("local", "site")
    @dataclass(kw_only=True)
    class Site(sc.LocalConfig):
        """A site."""

        rack: int = 7

    origin = sc.compose(["local=site"]).origin("local.rack")
    assert (origin.layer, origin.option, origin.value) == ("local", "site", 7)
    assert line(origin.source) == "rack: int = 7"
    assert Path(origin.source.rpartition(":")[0]) == Path(__file__)
    assert Site.__name__ == "Site"


SETTER = {
    "layer": {"enum": ["trainer", "local", "model", "data", "loss", "logger", "optimizer", "override"]},
    "option": {"type": "string", "minLength": 1},
    "value": {},
    "source": {"type": "string", "pattern": r"(\.py:\d+|command line)$"},
}
SCHEMA = {
    "type": "object",
    "properties": SETTER
    | {
        "path": {"type": "string"},
        "raw": {},
        "key": {"type": "string"},
        "class": {"type": "string"},
        "variables": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        "shadowed": {
            "type": "array",
            "items": {"type": "object", "properties": SETTER, "required": list(SETTER)},
        },
    },
    "required": [*SETTER, "path", "shadowed"],
}


def test_origins_as_data_follow_the_contract() -> None:
    """``to_dict`` of every origin has at least the keys that ``config explain --json`` promises."""
    for origin in sc.compose(["local=hpc", "trainer=multi_gpu", "local.devices=8", "local.devices=6"]).origins():
        jsonschema.validate(origin.to_dict(), SCHEMA)


def test_an_unknown_path_is_refused_with_the_nearest() -> None:
    """A misspelt path is a user's mistake like any other."""
    with pytest.raises(sc.ConfigError, match=r"there is no setting 'precison'\n  nearest:  precision"):
        sc.compose().origin("precison")
