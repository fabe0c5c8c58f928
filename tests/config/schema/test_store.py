"""The nodes that Hydra finds in its ConfigStore are as if they had been stored one by one."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hydra.core.config_store import ConfigNode
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config.schema.nodes import LazyNode, stored
from spectramind_config.schema.registry import REGISTRY, SHIPPED, Registered
from spectramind_config.schema.store import SCHEME

from ..engine import GROUPS, profiles

PROFILES = [one for group in GROUPS for one in profiles()[group].values() if one.provider == SHIPPED]


def node_of(one: Registered) -> ConfigNode:
    """What Hydra finds in its store."""
    node = stored().repo[SCHEME]["train"][one.group][f"{one.name}.yaml"]
    assert isinstance(node, ConfigNode)
    return node


def label(one: Registered) -> str:
    """A profile as a command line writes it."""
    return f"{one.group}={one.name}"


@pytest.mark.parametrize("one", PROFILES, ids=label)
def test_a_shipped_profile_keeps_the_rules(one: Registered) -> None:
    """They are not checked at each import, so they are here."""
    assert list(REGISTRY.refusals(one.group, one.name, one.cls)) == []


@pytest.mark.parametrize("one", PROFILES, ids=label)
def test_a_node_is_what_hydra_would_have_stored(one: Registered) -> None:
    """Name, group, provider and the typed node are those of ``ConfigStore.store``."""
    node = stored().load(f"{SCHEME}/train/{one.group}/{one.name}.yaml")
    assert (node.name, node.group, node.package, node.provider) == (
        f"{one.name}.yaml",
        f"{SCHEME}/train/{one.group}",
        None,
        SHIPPED,
    )
    assert node.node == OmegaConf.structured(one.instance)
    assert OmegaConf.get_type(node.node) is one.cls


@pytest.fixture(params=[False, True], ids=["unread", "read"])
def node(request: pytest.FixtureRequest) -> Iterator[LazyNode]:
    """A shipped node that has, or has not, been read."""
    made = LazyNode(profiles()["local"]["hpc"].instance, f"{SCHEME}/train/local", "hpc")
    if request.param:
        assert made.node.devices == 4
    yield made
    assert made.node.devices == 4


def test_a_node_is_copied_and_pickled_read_or_not(node: LazyNode) -> None:
    """Hydra copies nodes for each composition; launchers pickle the store, without values, for their workers."""
    twin = copy.copy(node)
    assert isinstance(twin, ConfigNode)
    assert twin.node == node.node
    twin.node = copy.deepcopy(twin.node)
    twin.node.devices = 8
    for sent in (copy.deepcopy(node), pickle.loads(pickle.dumps(node))):  # noqa: S301 - our own bytes.
        assert (sent.name, sent.group, sent.package) == (node.name, node.group, node.package)
        assert not {"node", "values"} & vars(sent).keys()


def test_a_node_is_built_once() -> None:
    """Reading it again gives the same object."""
    one = node_of(profiles()["local"]["hpc"])
    assert one.node is one.node
    with pytest.raises(AttributeError, match="nodes"):
        _ = one.nodes  # type: ignore[attr-defined]


def test_the_root_config_is_in_the_store() -> None:
    """``hydra.compose("train")`` reads it."""
    node = stored().repo[SCHEME]["train.yaml"].node
    assert [name for name in node if name not in ("defaults", "hydra")] == list(GROUPS)
    assert node.defaults[:3] == ["_self_", {"trainer": "defaults"}, {"local": "default"}]
    assert node.hydra == {"searchpath": ["spectramind://train"]}


def test_what_is_registered_later_is_in_the_store_too() -> None:
    """So is what is registered where another process's store took the place of this one's."""
    before = stored().repo.pop(SCHEME)
    assert stored().repo[SCHEME] is before

    @sc.profile("logger", "registered_later")
    @dataclass(kw_only=True)
    class Later(sc.LoggerConfig):
        """Comes when Hydra has looked already."""

    try:
        assert stored().load(f"{SCHEME}/train/logger/registered_later.yaml").node.name == "registered_later"
    finally:
        REGISTRY.discard({REGISTRY.known.profiles["logger", "registered_later", sc.LoggerConfig].provider})
    assert "registered_later.yaml" not in stored().repo[SCHEME]["train"]["logger"]


@pytest.mark.parametrize("line", ["--help", "train --help", "config explain", "profiles list", "train local.sed=3"])
def test_the_quick_commands_do_not_import_hydra(line: str) -> None:
    """It takes longer than all else that they do."""
    told = f"import sys; from spectramind_train import cli; cli.main({line.split()}); print('hydra' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False"
