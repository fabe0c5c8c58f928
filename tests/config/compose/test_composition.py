"""Composition: the laws of the merge, and what an override changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import spectramind_config as sc

Overrides = st.SearchStrategy[list[str]]
Pair = st.SearchStrategy[tuple[str, str, str]]
LIMITS = ["null", "0", "1", "10", "0.1", "1.0"]


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted paths, with their types: 1 is not 1.0."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": repr(value)}
    return found


def changed(before: sc.EffectiveConfig, after: sc.EffectiveConfig) -> set[str]:
    """The paths at which two configs differ."""
    old, new = leaves(before.to_dict()), leaves(after.to_dict())
    return {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


@given(data=st.data())
def test_the_rightmost_override_wins(data: st.DataObject, valid_settings: Overrides, valid_pair: Pair) -> None:
    """Of two overrides of one setting the later counts, whatever stands around them."""
    around = data.draw(valid_settings)
    path, first, second = data.draw(valid_pair)
    around = [override for override in around if not override.startswith(f"{path}=")]
    assert sc.compose([first, *around, second]) == sc.compose([*around, second])
    assert sc.compose([second, first, *around]) == sc.compose([*around, first])


@given(data=st.data())
def test_an_override_changes_its_own_setting_and_nothing_else(
    data: st.DataObject, valid_choices: Overrides, valid_pair: Pair
) -> None:
    """Every path but the override's own keeps its value; the run manifest follows the output directory."""
    before = sc.compose(data.draw(valid_choices))
    path, override, _ = data.draw(valid_pair)
    group, _, inner = path.partition(".")
    effective = inner if group in ("local", "trainer") else path
    allowed = {effective} | ({"paths.run_manifest"} if inner == "paths.output_dir" else set())
    assert changed(before, before.with_overrides([override])) <= allowed


@given(data=st.data())
def test_overrides_of_different_settings_commute(
    data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides
) -> None:
    """The order of overrides to different keys changes no value and neither fingerprint."""
    overrides = data.draw(valid_choices) + data.draw(valid_settings)
    one, other = sc.compose(overrides), sc.compose(data.draw(st.permutations(overrides)))
    assert one == other
    assert (one.fingerprint, one.science_fingerprint) == (other.fingerprint, other.science_fingerprint)


@given(data=st.data())
def test_composition_is_associative(data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides) -> None:
    """Adding overrides one part at a time equals adding them at once."""
    first, second, third = data.draw(valid_choices), data.draw(valid_settings), data.draw(valid_settings)
    at_once = sc.compose([*first, *second, *third])
    assert sc.compose(first).with_overrides(second).with_overrides(third) == at_once
    assert sc.compose([*first, *second]).with_overrides(third) == at_once
    assert at_once.overrides == (*first, *second, *third)


@given(data=st.data())
def test_nothing_is_the_identity_and_repetition_changes_nothing(
    data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides
) -> None:
    """Composing with no overrides, or with the same ones again, gives the same config."""
    overrides = data.draw(valid_choices) + data.draw(valid_settings)
    config = sc.compose(overrides)
    assert config.with_overrides([]) == config
    assert config.with_overrides(overrides) == config


@given(trainer=st.sampled_from(LIMITS), local=st.sampled_from(LIMITS))
def test_null_is_no_opinion_and_local_wins_otherwise(trainer: str, local: str) -> None:
    """A shared setting is local's unless that is null, then trainer's; a hidden override is refused."""
    path = "dev.limit_val_batches"
    overrides = [f"trainer.{path}={trainer}", f"local.{path}={local}"]
    if "null" not in (trainer, local) and trainer != local:
        with pytest.raises(sc.ConfigError, match="has no effect"):
            sc.compose(overrides)
        return
    winner = trainer if local == "null" else local
    assert repr(sc.compose(overrides).dev.limit_val_batches) == winner.replace("null", "None")


@given(st.sampled_from(["defaults", "kaggle_safe", "ci_fast", "multi_gpu"]))
def test_a_null_of_local_leaves_the_trainers_value(trainer: str) -> None:
    """With local.precision=null the trainer's precision counts; where it has none, the user must choose."""
    own = sc.compose([f"trainer={trainer}"]).trainer.precision
    overrides = [f"trainer={trainer}", "local.precision=null"]
    if own is None:
        with pytest.raises(sc.ConfigError, match="then nothing sets a precision"):
            sc.compose(overrides)
        overrides.append("trainer.precision=32")
    assert sc.compose(overrides).precision == (own or "32")


@given(data=st.data())
def test_a_dict_is_the_settings_it_holds(data: st.DataObject) -> None:
    """``section={a:1,b:2}`` means ``section.a=1 section.b=2``, for a section and for a whole group."""
    workers = data.draw(st.dictionaries(st.sampled_from(["train", "val", "test"]), st.integers(1, 64)))
    together = "{" + ",".join(f"{split}:{count}" for split, count in workers.items()) + "}"
    apart = [f"local.num_workers.{split}={count}" for split, count in workers.items()]
    assert sc.compose([f"local.num_workers={together}"]) == sc.compose(apart)
    assert sc.compose(["local={num_workers:" + together + "}"]) == sc.compose(apart)


@given(data=st.data())
def test_every_mistake_is_reported_at_once(data: st.DataObject, valid_settings: Overrides) -> None:
    """Each wrong override appears in the one message, and the right ones in none."""
    right = data.draw(valid_settings)
    wrong = data.draw(
        st.lists(st.sampled_from(["local.seed=x", "local=hcp", "local.devcies=8", "nope=1", "~local"]), unique=True)
    )
    assume(wrong)
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose(data.draw(st.permutations(right + wrong)))
    assert {problem.argument for problem in caught.value.problems} == set(wrong)


def test_an_override_that_equals_what_wins_is_not_hidden() -> None:
    """Saying in trainer what local says anyway does no harm; any other value has no effect and is refused."""
    assert sc.compose(["local=hpc", "trainer.precision=bf16-mixed"]).precision == "bf16-mixed"
    assert sc.compose(["local=debug", "trainer.dev.limit_train_batches=1"]).dev.limit_train_batches == 1
    with pytest.raises(sc.ConfigError, match="has no effect"):
        sc.compose(["local=debug", "trainer.dev.limit_train_batches=1.0"])


def test_a_profile_may_hide_a_profile() -> None:
    """Only an override that has no effect is a mistake: local=debug simply wins over the caps of ci_fast."""
    cfg = sc.compose(["trainer=ci_fast", "local=debug"])
    assert (cfg.dev.limit_train_batches, cfg.trainer.dev.limit_train_batches) == (1, 8)


def test_an_element_of_a_tuple_can_be_set() -> None:
    """``key.index=value`` sets one element, negative indices and interpolations included."""
    assert sc.compose(["optimizer.betas.0=0.5"]).optimizer.betas == (0.5, 0.999)
    assert sc.compose(["optimizer.betas.1=${optimizer.lr}"]).optimizer.betas == (0.9, 3e-4)
    assert sc.compose(["optimizer.betas=[0.1,0.2]", "optimizer.betas.1=0.3"]).optimizer.betas == (0.1, 0.3)


def test_the_order_of_choices_and_settings_does_not_matter() -> None:
    """A profile chosen after an override of the same group does not undo the override."""
    assert sc.compose(["local.devices=8", "local=hpc"]) == sc.compose(["local=hpc", "local.devices=8"])
    assert sc.compose(["local=debug", "local=hpc"]).profiles["local"] == "hpc"


def test_warnings_name_what_surprises() -> None:
    """What is legal but surprising is no error; it is told in words."""
    expected = "cudnn_benchmark chooses kernels by their speed, so deterministic holds only within one process"
    assert sc.compose(["local=hpc"]).warnings == (f"local=hpc: {expected}",)
    assert sc.compose(["local=hpc", "local.deterministic=false"]).warnings == ()
