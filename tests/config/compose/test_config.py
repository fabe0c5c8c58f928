"""The effective config: frozen, comparable, portable, saved and read back."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import spectramind_config as sc

Overrides = st.SearchStrategy[list[str]]
HPC = ["trainer=multi_gpu", "local=hpc", "local.devices=8"]


def python(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return done.stdout.strip()


def nodes(node: Any, path: str = "cfg") -> Iterator[tuple[str, Any]]:
    """A config and every section in it."""
    yield path, node
    for name, value in vars(node).items():
        if isinstance(value, sc.Settings):
            yield from nodes(value, f"{path}.{name}")


def test_nothing_can_be_assigned_or_deleted_anywhere() -> None:
    """Every field of every section of a config is frozen, layers included."""
    count = 0
    for path, node in nodes(sc.compose(HPC)):
        for field in dataclasses.fields(node):
            count += 1
            with pytest.raises(AttributeError):
                setattr(node, field.name, getattr(node, field.name))
            with pytest.raises(AttributeError):
                delattr(node, field.name)
        with pytest.raises(AttributeError, match=r"cannot assign|frozen"):
            node.new_field = path
    assert count > 150


def test_a_frozen_section_says_what_to_do_instead() -> None:
    """The error names the way to a changed config."""
    with pytest.raises(AttributeError) as caught:
        sc.compose().paths.output_dir = "/x"
    assert str(caught.value) == (
        "cannot assign to 'output_dir': an effective config is frozen; use cfg.with_overrides(['...=/x'])"
    )


def test_profiles_outside_a_config_stay_plain_dataclasses() -> None:
    """Only what a config holds is sealed; composing seals none of the registered values."""
    sc.compose(HPC)
    workers = sc.LocalConfig().num_workers
    workers.train = 3
    assert workers.train == 3


@settings(max_examples=settings.default.max_examples // 5)
@given(data=st.data())
def test_copies_and_pickles_are_equal(data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides) -> None:
    """``copy``, ``deepcopy`` and ``pickle`` keep values, fingerprints, overrides and origins."""
    config = sc.compose(data.draw(valid_choices) + data.draw(valid_settings))
    for twin in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):  # noqa: S301
        assert twin == config
        assert hash(twin) == hash(config)
        assert twin.to_dict() == config.to_dict()
        assert twin.science_fingerprint == config.science_fingerprint
        assert twin.overrides == config.overrides
        assert twin.origins() == config.origins()
        with pytest.raises(AttributeError):
            twin.paths.output_dir = "/x"


def test_a_pickle_is_read_in_a_fresh_process(tmp_path: Path) -> None:
    """A worker process gets the same config, with its origins, without composing it."""
    config = sc.compose(HPC)
    file = tmp_path / "config.pickle"
    file.write_bytes(pickle.dumps(config))
    code = (
        "import pickle,sys; c = pickle.load(open(sys.argv[1], 'rb')); print(c.fingerprint, c.origin('devices').option)"
    )
    assert python(code, str(file)) == f"{config.fingerprint} local.devices=8"


def test_equality_and_hash_follow_the_values() -> None:
    """Two ways to the same values are equal; another value, or another type of it, is not."""
    assert sc.compose(["local.devices=8", "local=hpc"]) == sc.compose(["local=hpc", "local.devices=8"])
    assert len({sc.compose(), sc.compose([]), sc.compose(["local=default"])}) == 1
    assert sc.compose() != sc.compose(["local.seed=1"])
    assert sc.compose(["local.dev.limit_val_batches=1"]) != sc.compose(["local.dev.limit_val_batches=1.0"])
    assert sc.compose() != "config"
    assert repr(sc.compose(HPC)).startswith("<EffectiveConfig trainer=multi_gpu, local=hpc, model=v50")


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_fingerprints_are_the_same_in_every_process(seed: str) -> None:
    """Neither the process nor its hash seed has a say."""
    config = sc.compose(HPC)
    code = "import spectramind_config, sys; c = spectramind_config.compose(sys.argv[1:]); "
    code += "print(c.fingerprint, c.science_fingerprint)"
    expected = f"{config.fingerprint} {config.science_fingerprint}"
    assert python(code, *reversed(HPC), PYTHONHASHSEED=seed) == expected
    assert len(config.fingerprint) == len(config.science_fingerprint) == 64


@given(data=st.data())
def test_a_saved_config_is_read_back(data: st.DataObject, valid_choices: Overrides, valid_settings: Overrides) -> None:
    """``to_dict`` and ``to_yaml`` lead back to an equal config."""
    config = sc.compose(data.draw(valid_choices) + data.draw(valid_settings))
    assert sc.from_dict(config.to_dict(), "a.json") == config
    assert sc.from_dict(yaml.safe_load(config.to_yaml()), "a.yaml") == config


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("${}\\'\"[],:= "), min_size=1))
def test_any_text_survives_saving(text: str) -> None:
    """Quotes, backslashes, dollars and braces are values, not grammar, when a saved config is read."""
    values = sc.compose().to_dict()
    values["paths"]["data_root"] = text
    if text == "???":
        return
    config = sc.from_dict(values, "a.yaml")
    assert config.paths.data_root == text
    assert sc.from_dict(yaml.safe_load(config.to_yaml()), "b.yaml") == config


def test_a_file_is_named_by_a_path_or_a_text(tmp_path: Path) -> None:
    """Of a saved config."""
    file, config = tmp_path / "saved.yaml", sc.compose(HPC)
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert sc.from_file(str(file)) == sc.from_file(file) == config


def test_nothing_heavy_is_ever_imported() -> None:
    """Importing the package and composing with it load no torch, Lightning or MLflow."""
    code = """
import sys, spectramind_config as sc
sc.compose(["local=hpc", "trainer=multi_gpu"]).to_yaml()
from spectramind_train.cli import main
main(["config", "hash"])
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "lightning", "mlflow", "numpy"}))"""
    assert python(code).splitlines()[-1] == "[]"


def test_threads_compose_while_others_register(forget: None) -> None:
    """Eight threads compose different configs while a ninth registers profiles; every result is right."""
    wrong: list[object] = []
    stop = threading.Event()

    def work(number: int) -> None:
        for seed in range(150):
            config = sc.compose([f"local={('default', 'hpc')[number % 2]}", f"local.seed={number * 1000 + seed}"])
            if (config.seed, config.local.name) != (number * 1000 + seed, ("default", "hpc")[number % 2]):
                wrong.append(config)

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - whatever a thread raises fails the test.
            wrong.append(error)

    def register() -> None:
        for number in range(1000):
            if stop.is_set():
                return

            @sc.profile("local", f"threaded_{number}")
            @dataclass(kw_only=True)
            class Threaded(sc.LocalConfig):
                """One of many."""

            Threaded.__qualname__ = f"Threaded{number}"
            sc.compose([f"local=threaded_{number}"])

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
    registering = threading.Thread(target=register)
    for thread in (registering, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    registering.join()
    assert wrong == []
