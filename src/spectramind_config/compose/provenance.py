"""Provenance: who set a value, and whose values that shadowed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from spectramind_config.compose.interpolation import variables
from spectramind_config.errors import HIDDEN, hidden
from spectramind_config.schema.values import plain


@dataclass(frozen=True, kw_only=True)
class Setter:
    """One layer's opinion about a value."""

    layer: str  # The config group whose profile sets it, ``root``, ``experiment`` or ``override``.
    option: str  # The profile's, root's or experiment's name, or the override as it was written.
    value: Any  # The resolved value.
    source: str  # ``file:line`` of the profile's declaration, or where the override came from.
    key: str  # The setting as an override names it, such as ``local.devices``.
    owner: str = ""  # The class whose body declares it; empty for an override.
    raw: Any = None  # What was written, where that is an interpolation.

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables behind it."""
        return variables(self.raw)

    def __str__(self) -> str:
        """The profile, the experiment or the override, as a command line writes it."""
        return self.option if self.layer in ("override", "root") else f"{self.layer}={self.option}"

    @property
    def argument(self) -> str:
        """The override; empty where a profile sets the value."""
        return self.option if self.layer == "override" else ""

    @property
    def place(self) -> str:
        """Where to look: the command line or a saved file, or the profile with its file and line."""
        return self.source if self.layer == "override" else f"{self}, {self.source}"


@dataclass(frozen=True, kw_only=True)
class Origin(Setter):
    """Who set the value at a path of the effective config, and whose values that shadowed, the nearest first."""

    path: str
    shadowed: tuple[Setter, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The origin as ``config explain --json`` prints it."""
        return {
            "path": self.path,
            "value": plain(self.value),
            "layer": self.layer,
            "option": self.option,
            "source": self.source,
            "key": self.key,
            "class": self.owner,
            "raw": plain(self.raw),
            "variables": {name: self._variable(name) for name in self.variables},
            "shadowed": [
                {"layer": one.layer, "option": one.option, "value": plain(one.value), "source": one.source}
                for one in self.shadowed
            ],
        }

    def _variable(self, name: str) -> str | None:
        value = os.environ.get(name)
        return value and (HIDDEN if HIDDEN in str(plain(self.value)) else hidden(value))
