"""The nodes that importing the package puts in Hydra's ConfigStore are as if they had been stored one by one."""

import copy
import pickle
from collections.abc import Iterator

import pytest
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf

from spectramind_config.schema.registry import REGISTRY, SHIPPED, Registered
from spectramind_config.schema.store import FOLDER, LazyNode

from ..engine import GROUPS, profiles

PROFILES = [one for group in GROUPS for one in profiles()[group].values() if one.provider == SHIPPED]


def stored(one: Registered) -> ConfigNode:
    """What Hydra finds in its store."""
    node = ConfigStore.instance().repo[FOLDER]["train"][one.group][f"{one.name}.yaml"]
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
    node = ConfigStore.instance().load(f"{FOLDER}/train/{one.group}/{one.name}.yaml")
    assert (node.name, node.group, node.package, node.provider) == (
        f"{one.name}.yaml",
        f"{FOLDER}/train/{one.group}",
        None,
        SHIPPED,
    )
    assert node.node == OmegaConf.structured(one.instance)
    assert OmegaConf.get_type(node.node) is one.cls


@pytest.fixture(params=[False, True], ids=["unread", "read"])
def node(request: pytest.FixtureRequest) -> Iterator[LazyNode]:
    """A shipped node that has, or has not, been read."""
    made = LazyNode(f"{FOLDER}/train/local", "hpc")
    if request.param:
        assert made.node.devices == 4
    yield made
    assert made.node.devices == 4


def test_a_node_is_copied_and_pickled_read_or_not(node: LazyNode) -> None:
    """Hydra copies nodes for each composition; launchers pickle the store for their workers."""
    for twin in (copy.copy(node), copy.deepcopy(node), pickle.loads(pickle.dumps(node))):  # noqa: S301 - our own bytes.
        assert isinstance(twin, ConfigNode)
        assert twin.node == node.node
        twin.node = copy.deepcopy(twin.node)
        twin.node.devices = 8


def test_a_node_is_built_once() -> None:
    """Reading it again gives the same object."""
    one = stored(profiles()["local"]["hpc"])
    assert one.node is one.node
    with pytest.raises(AttributeError, match="nodes"):
        _ = one.nodes  # type: ignore[attr-defined]


def test_the_root_config_is_in_the_store() -> None:
    """``hydra.compose("train")`` reads it."""
    node = ConfigStore.instance().repo[FOLDER]["train.yaml"].node
    assert [name for name in node if name not in ("defaults", "hydra")] == list(GROUPS)
    assert node.defaults[:3] == ["_self_", {"trainer": "defaults"}, {"local": "default"}]
    assert node.hydra == {"searchpath": ["spectramind://train"]}
