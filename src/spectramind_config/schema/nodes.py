"""The nodes of everything that is registered in Hydra's ConfigStore.

The names there are global to a process, and Hydra merges a file of another application into a node of the same name.
So the nodes stand below ``spectramind/``, where no file is, and a search path entry (``hydra_plugins``) finds them by
their plain names: a root always, the groups of a root for those who compose it, or who list ``spectramind://train``
in their ``hydra.searchpath``. Only that entry imports this module, once Hydra asks.
"""

from __future__ import annotations

import functools
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore

from spectramind_config.schema.registry import REGISTRY, Known
from spectramind_config.schema.store import SCHEME, node_of


class LazyNode(ConfigNode):
    """A node of the store that OmegaConf builds when Hydra first reads it, and then keeps.

    Building the nodes of all shipped profiles takes half as long as importing Hydra. The store of another process gets
    it without its values, for their classes are declared there again.
    """

    def __init__(self, values: Any, group: str, name: str, package: str | None = None) -> None:
        self.values, self.name, self.group = values, f"{name}.yaml", group
        self.package, self.provider = package, SCHEME

    @functools.cached_property
    def node(self) -> Any:  # type: ignore[override]
        """What Hydra merges."""
        return node_of(self.values)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("node", "values")}

    def __copy__(self) -> ConfigNode:
        """A plain node, as Hydra takes one for each composition."""
        return ConfigNode(self.name, self.node, self.group, self.package, self.provider)


def stored() -> ConfigStore:
    """Hydra's ConfigStore, with all that is registered by now in it."""
    store = ConfigStore.instance()
    store.repo[SCHEME] = (_nodes.__wrapped__ if REGISTRY.local.pending else _nodes)(REGISTRY.known)
    return store


@functools.lru_cache(maxsize=1)
def _nodes(known: Known) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for root in known.roots.values():
        folder = f"{SCHEME}/{root.name}"
        groups = {
            group: {f"{name}.yaml": LazyNode(one.instance, f"{folder}/{group}", name) for name, one in profiles.items()}
            for group, profiles in REGISTRY.view(root).items()
        }
        groups["experiment"] = {
            f"{name}.yaml": LazyNode((root, one.overrides), f"{folder}/experiment", name, "_global_")
            for name, one in REGISTRY.experiments(root).items()
        }
        found[f"{root.name}.yaml"] = LazyNode(root, SCHEME, root.name)
        found[root.name] = {group: nodes for group, nodes in groups.items() if nodes}
    return found
