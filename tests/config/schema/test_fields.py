"""Settings one by one: conversion as OmegaConf converts, then the field's own constraints."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config.profiles.local import HpcLocal
from spectramind_config.profiles.optimizer import AdamW
from spectramind_config.profiles.trainer import TrainerConfig
from spectramind_config.schema.fields import Leaf, leaves_of
from spectramind_config.schema.values import duration, plain, same

LOCAL = leaves_of(sc.LocalConfig)
TRAINER = leaves_of(TrainerConfig)

CONVERTED = [
    # leaf, raw, value
    (LOCAL["devices"], 8, 8),
    (LOCAL["devices"], "cpu", "cpu"),
    (LOCAL["precision"], 32, "32"),
    (LOCAL["seed"], "12", 12),
    (LOCAL["deterministic"], "yes", True),
    (LOCAL["deterministic"], 0, False),
    (LOCAL["mlflow.experiment_name"], 16, "16"),
    (LOCAL["mlflow.experiment_name"], True, "True"),
    (LOCAL["dev.overfit_batches"], 1, 1.0),
    (LOCAL["dev.limit_train_batches"], 1, 1),
    (LOCAL["dev.limit_train_batches"], 1.0, 1.0),
    (LOCAL["dev.limit_train_batches"], None, None),
    (leaves_of(AdamW)["betas"], [0, 1], (0.0, 1.0)),
]
REFUSED = [
    # leaf, raw, reason
    (LOCAL["devices"], 0, "0 is not an int >= 1, or one of auto, cpu, mps"),
    (LOCAL["devices"], "8", "'8' is not an int >= 1, or one of auto, cpu, mps"),
    (LOCAL["devices"], True, "True is not an int >= 1, or one of auto, cpu, mps"),
    (LOCAL["devices"], None, "null is not allowed"),
    (LOCAL["precision"], "64", "'64' is not one of bf16-mixed, 16-mixed, 32, auto-mixed, or null"),
    (LOCAL["precision"], "32\n", "'32\\n' is not one of bf16-mixed, 16-mixed, 32, auto-mixed, or null"),
    (LOCAL["seed"], 1.5, "1.5 is not an int >= 0 and <= 4294967295"),
    (LOCAL["seed"], 2**32, "4294967296 is not an int >= 0 and <= 4294967295"),
    (LOCAL["seed"], [1], "[1] is not an int >= 0 and <= 4294967295"),
    (LOCAL["deterministic"], "maybe", "'maybe' is not true or false"),
    (LOCAL["paths.cache_dir"], "", "'' is not a string that is not empty"),
    (LOCAL["paths.cache_dir"], "???", "'???' is not a value, it marks a missing one"),
    (LOCAL["paths.cache_dir"], "\udcff", "'\\udcff' is not a valid Unicode text, so it cannot be saved"),
    (LOCAL["dev.overfit_batches"], math.nan, "nan is not a finite number"),
    (LOCAL["dev.overfit_batches"], -math.inf, "-inf is not a finite number"),
    (LOCAL["dev.overfit_batches"], 10**400, "is not a float >= 0"),
    (LOCAL["dev.limit_val_batches"], 1.5, "1.5 is not an int >= 0, or a float >= 0 and <= 1, or null"),
    (leaves_of(AdamW)["betas"], [0.9], "[0.9] is not a list [float, float]"),
    (leaves_of(AdamW)["betas"], [0.9, math.nan], "nan is not a finite number"),
    (TRAINER["max_time"], "8 hours", "'8 hours' is not a length of time such as 8:30:00, 9h or 1h30m"),
    (LOCAL["mlflow.enabled"], "x" * 100, "is not true or false"),
]


def name(value: object) -> str | None:
    """A leaf's path, for the names of the cases."""
    return value.path if isinstance(value, Leaf) else None


@pytest.mark.parametrize(("leaf", "raw", "value"), CONVERTED, ids=name)
def test_a_raw_value_is_converted(leaf: Leaf, raw: object, value: object) -> None:
    """The result has the field's type, not the text's."""
    found = leaf.convert(raw)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(("leaf", "raw", "reason"), REFUSED, ids=name)
def test_a_raw_value_is_refused(leaf: Leaf, raw: object, reason: str) -> None:
    """The reason shows the value and what would fit, and stays short."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        leaf.convert(raw)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 160


RAW = st.one_of(
    *[st.integers(-3, 2**33), st.booleans(), st.floats(), st.text(max_size=5), st.none()],
    *[st.sampled_from(["1", "true", "0.5", "auto", "32", "1e3", "nan"]), st.lists(st.floats(0, 1), max_size=3)],
)


@given(st.sampled_from([*LOCAL.values(), *TRAINER.values()]), RAW)
def test_what_is_taken_is_what_omegaconf_makes_of_it(leaf: Leaf, raw: Any) -> None:
    """A value that passes equals OmegaConf's own; converting it again changes nothing."""
    try:
        value = leaf.convert(raw)
    except ValueError:
        return
    group = sc.LocalConfig if LOCAL.get(leaf.path) is leaf else TrainerConfig
    config = OmegaConf.structured(group)
    OmegaConf.update(config, leaf.path, raw)
    theirs = OmegaConf.select(config, leaf.path) if not (isinstance(raw, str) and "${" in raw) else value
    theirs = duration(theirs) if isinstance(value, timedelta) and isinstance(theirs, str) else theirs
    assert same(plain(theirs), plain(value))
    assert leaf.convert(value) == value


def test_a_restated_field_keeps_its_description_and_limits() -> None:
    """A profile that restates a field without an annotation does not lose its constraints."""
    restated = leaves_of(HpcLocal)["max_epochs"]
    assert restated.description == "Cap on epochs"
    assert restated.words.partition(" (")[0] == "an int >= 1"
    assert restated.home is HpcLocal
    with pytest.raises(ValueError, match="0 is not an int >= 1"):
        restated.convert(0)


@pytest.mark.parametrize("group", ["trainer", "local", "model", "data", "loss", "logger", "optimizer"])
def test_every_setting_describes_itself(group: str) -> None:
    """Help, docs and schema need a description of one line for every leaf of every profile."""
    for path, leaf in leaves_of(type(getattr(sc.compose(), group))).items():
        assert leaf.description, path
        assert "\n" not in leaf.description
        assert not leaf.description.endswith(".")
        assert leaf.type.words
