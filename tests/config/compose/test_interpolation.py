"""Interpolations: environment variables, references between settings, and OmegaConf's whole grammar."""

from __future__ import annotations

import pytest

import spectramind_config as sc

VALUES = [
    # override, effective path, value; SM_T is "12", SM_T_UNSET is not set
    ("local.paths.data_root=${oc.env:SM_T}", "12"),
    ("local.paths.data_root=a/${oc.env:SM_T}/b", "a/12/b"),
    ("local.paths.data_root='a b ${oc.env:SM_T}'", "a b 12"),
    ("local.paths.data_root=${oc.env:SM_T_UNSET,/data/x-1.0}", "/data/x-1.0"),
    ("local.paths.data_root=${oc.env:SM_T_UNSET,'q w'}", "q w"),
    ("local.paths.data_root='${oc.env:SM_T_UNSET,${oc.env:SM_T}}'", "12"),
    ("local.paths.data_root=${local.seed}", "1337"),
    ("local.paths.data_root=${.cache_dir}/x", ".cache/spectramind/x"),
    ("local.paths.data_root=${..seed}", "1337"),
    ("local.paths.data_root=${local.paths.run_manifest}", "outputs/local/run_manifest.json"),
    ("local.paths.data_root=${trainer.dev.limit_val_batches}x", "Nonex"),
    ("local.paths.data_root=${optimizer.betas.0}", "0.9"),
    ("local.paths.data_root='${oc.decode:${oc.env:SM_T}}'", "12"),
    ("local.paths.data_root=${oc.select:local.nope,fallback}", "fallback"),
    ("local.paths.data_root=\\${local.seed}", "${local.seed}"),
    ("local.paths.data_root=$HOME", "$HOME"),
]


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable that is set, one that is not."""
    monkeypatch.setenv("SM_T", "12")
    monkeypatch.delenv("SM_T_UNSET", raising=False)


@pytest.mark.parametrize(("override", "value"), VALUES, ids=[override for override, _ in VALUES])
def test_an_interpolation_is_resolved(override: str, value: str) -> None:
    """The text becomes the value it stands for, with the field's type."""
    assert sc.compose([override]).paths.data_root == value


def test_a_variable_becomes_the_fields_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a variable is converted to a number or a truth value where the field is one."""
    monkeypatch.setenv("SM_T_BOOL", "false")
    monkeypatch.setenv("SM_T_RATE", "1e-3")
    overrides = [
        "local.seed=${oc.env:SM_T}",
        "local.pin_memory=${oc.env:SM_T_BOOL}",
        "optimizer.lr=${oc.env:SM_T_RATE}",
    ]
    config = sc.compose(overrides)
    assert (config.seed, config.pin_memory, config.optimizer.lr) == (12, False, 1e-3)
    assert sc.compose(["local.devices='${oc.decode:${oc.env:SM_T}}'"]).devices == 12


def test_a_reference_follows_an_override_of_what_it_names() -> None:
    """References see the overridden value, through any number of steps and whatever the order."""
    overrides = ["optimizer.weight_decay=${optimizer.eps}", "optimizer.eps=${optimizer.lr}", "optimizer.lr=0.5"]
    config = sc.compose(overrides)
    assert (config.optimizer.weight_decay, config.optimizer.eps) == (0.5, 0.5)


def test_a_default_of_null_is_no_value() -> None:
    """``${oc.env:X,null}`` is null: no opinion where that is allowed, a mistake elsewhere."""
    assert sc.compose(["trainer.max_time=${oc.env:SM_T_UNSET,null}"]).max_time is None
    with pytest.raises(sc.ConfigError, match="null is not allowed"):
        sc.compose(["local.seed=${oc.env:SM_T_UNSET,null}"])


def test_a_variables_text_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks like an interpolation inside a variable is text."""
    monkeypatch.setenv("SM_DATA_ROOT", "${local.seed} 'x' \\ ,=")
    config = sc.compose()
    assert config.paths.data_root == "${local.seed} 'x' \\ ,="
    assert sc.from_dict(config.to_dict(), "a.yaml") == config


BROKEN = [
    ("${oc.env:SM_T_UNSET}", "the environment variable SM_T_UNSET is not set"),
    ("[${oc.env:SM_T_UNSET},1]", "the environment variable SM_T_UNSET is not set"),
    ("${local.nope}", "Interpolation key 'local.nope' not found"),
    ("${local.paths}", "is not a list [float, float]"),
    ("${optimizer.betas}", "the interpolation goes in a circle: optimizer.betas -> optimizer.betas"),
    ("${nope:1}", "Unsupported interpolation type nope"),
    ("'${oc.env:'", ""),
    (
        "[${local.mlflow.experiment_name},1]",
        "'V50_local' is not a float from: command line expected: a list [float, float]",
    ),
]


@pytest.mark.parametrize(("text", "reason"), BROKEN, ids=[text for text, _ in BROKEN])
def test_a_broken_interpolation_says_why(text: str, reason: str) -> None:
    """A missing variable, a wrong key, a circle and a broken grammar each have a reason."""
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose([f"optimizer.betas={text}"])
    assert reason in " ".join(str(caught.value).split())
    assert "optimizer.betas=" in str(caught.value)


def test_a_circle_of_several_settings_is_shown_whole() -> None:
    """The message walks around the circle."""
    with pytest.raises(sc.ConfigError, match=r"local.seed -> local.max_epochs -> local.seed"):
        sc.compose(["local.seed=${local.max_epochs}", "local.max_epochs=${local.seed}"])


def test_a_resolver_that_does_something_is_unknown() -> None:
    """No interpolation runs code or reads a file."""
    for text in ("${oc.create:{_target_: os.system}}", "${python:1}", "${hydra:runtime.cwd}", "${env:HOME}"):
        with pytest.raises(sc.ConfigError, match=r"local\.seed="):
            sc.compose([f"local.seed={text}"])
