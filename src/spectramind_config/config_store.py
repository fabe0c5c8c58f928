"""Hydra's ConfigStore, where importing this package puts every profile it ships."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import OmegaConf


class ShippedNode(ConfigNode):
    """A node of the store that OmegaConf builds when Hydra first reads it, and then keeps.

    Building the nodes of all shipped profiles takes half as long as importing Hydra, and few commands ever read one.

    Args:
        group: The config group; None for a root config.
        name: The config's name.
        values: The dataclass, or an instance of one, to build it from; known to be one that OmegaConf takes.
    """

    def __init__(self, group: str | None, name: str, values: Any) -> None:
        self.name = f"{name}.yaml"
        self.group = group
        self.package = None
        self.provider = "spectramind"
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name != "node":
            raise AttributeError(name)
        self.node = OmegaConf.structured(self._values)
        return self.node

    def __copy__(self) -> ConfigNode:
        """A plain node, as Hydra takes one for each composition."""
        return ConfigNode(self.name, self.node, self.group, self.package, self.provider)


def ship(group: str | None, name: str, values: Any) -> None:
    """Store a config of this package; no other name of its group is touched."""
    repo = ConfigStore.instance().repo
    (repo if group is None else repo.setdefault(group, {}))[f"{name}.yaml"] = ShippedNode(group, name, values)


def store(group: str, name: str, values: Any, provider: str) -> None:
    """Store anyone else's profile, built at once: OmegaConf may refuse it."""
    ConfigStore.instance().store(group=group, name=name, node=values, provider=provider)


def forget(group: str, name: str) -> None:
    """Remove a profile from the store."""
    ConfigStore.instance().repo[group].pop(f"{name}.yaml", None)
