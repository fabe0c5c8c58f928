"""Lets Hydra find the roots of ``spectramind_config`` by their names, and the groups of a root for whom it is listed.

A plain ConfigStore entry would do that too, but Hydra merges any file of the same name in another application's
``conf/`` into such an entry. A search path entry leaves those files alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.experimental.callback import Callback
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource

SCHEME = "spectramind"


class SpectramindProfiles(SearchPathPlugin):
    """Hydra asks its plugins for search paths before it reads any config, which is the moment to be complete."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the roots where the application uses ``spectramind_config`` at all; what it has itself comes first."""
        if "spectramind_config" in sys.modules:
            from spectramind_config.schema.registry import REGISTRY
            from spectramind_config.schema.store import ACTIVE
            from spectramind_config.sites.loading import load

            for root in REGISTRY.known.roots.values():
                load(root)
            search_path.append(SCHEME, f"{SCHEME}://")
            for name in ACTIVE:
                search_path.append(SCHEME, f"{SCHEME}://{name}")


class SpectramindSource(ConfigSource):
    """``spectramind://`` holds the roots, ``spectramind://train`` the groups of the root ``train``."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        self._folder = f"{SCHEME}/{self.path}".rstrip("/")

    @property
    def _nodes(self) -> StructuredConfigSource:
        from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource

        from spectramind_config.schema.nodes import stored

        stored()
        return StructuredConfigSource(self.provider, "structured://")

    @staticmethod
    def scheme() -> str:
        """What search path entries begin with."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """A root or a profile."""
        result = self._nodes.load_config(f"{self._folder}/{config_path}")
        result.path = self.full_path()
        return result

    def available(self) -> bool:
        """Whether there is a root of that name."""
        return self._nodes.is_group(self._folder)

    def is_group(self, config_path: str) -> bool:
        """Whether a root has such a group; the roots themselves are none."""
        return bool(self.path) and self._nodes.is_group(f"{self._folder}/{config_path}")

    def is_config(self, config_path: str) -> bool:
        """Whether there is such a root or profile."""
        direct = bool(self.path) or "/" not in config_path
        return direct and self._nodes.is_config(f"{self._folder}/{config_path}")

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """The groups and profiles of a root, for help and completion."""
        return self._nodes.list(f"{self._folder}/{config_path}".rstrip("/"), results_filter) if self.path else []


class Unbound(Callback):
    """What Hydra's launchers send to another process names no class, for there it has yet to be declared."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Keep the values of a sweep's config, without their types: each job composes a config of its own."""
        values: Any = OmegaConf.to_container(config, enum_to_str=True)
        config._set_value(OmegaConf.create(values | {"hydra": config.hydra}))
