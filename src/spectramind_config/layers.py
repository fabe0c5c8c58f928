"""The layers of a configuration: what every profile and override says, and who wins.

The layers of a choice of profiles are laid out once and kept; a composition only touches the leaves that are set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from spectramind_config import interpolation
from spectramind_config.leaves import Leaf, is_interpolation, leaves_of, nested, value_at
from spectramind_config.local import LocalConfig
from spectramind_config.provenance import Origin, Setter
from spectramind_config.registry import GROUPS, REGISTRY, Registered
from spectramind_config.settings import Profile
from spectramind_config.site_profiles import load
from spectramind_config.trainer import TrainerConfig

OVERLAPPING = ("local", "trainer")
"""The groups whose settings are folded into one, the stronger first."""

FOLDED = tuple(
    dict.fromkeys(field.name for cls in (LocalConfig, TrainerConfig) for field in fields(cls) if field.name != "name")
)
"""The settings of these groups, which stand at the top of the effective config."""


class Stack:
    """The profiles of one choice per group, laid out leaf by leaf; shared by all compositions of that choice."""

    def __init__(self, profiles: Mapping[str, Registered]) -> None:
        self.profiles = profiles
        self.leaves: dict[str, Leaf] = {}
        self.values: dict[str, Any] = {}
        for group, chosen in profiles.items():
            for path, leaf in leaves_of(chosen.cls).items():
                self.leaves[f"{group}.{path}"] = leaf
                self.values[f"{group}.{path}"] = value_at(chosen.instance, path)
        mutable = {path.partition(".")[0] for path, value in self.values.items() if isinstance(value, list | dict)}
        self.shareable = profiles.keys() - mutable
        self.sealed: dict[str, Profile] = {}
        """The frozen profiles that compositions share, each made when first used: those without a list or dict."""
        self.interpolated = [path for path, value in self.values.items() if is_interpolation(value)]
        self.setters = self._setters()
        self.science = [
            path for path, setters in self.setters.items() if all(self.leaves[setter].science for setter in setters)
        ]
        self.shared = [path for path, setters in self.setters.items() if len(setters) > 1]

    def _setters(self) -> dict[str, tuple[str, ...]]:
        """For each path of the effective config, the leaves that can set it, the strongest first."""
        found: dict[str, tuple[str, ...]] = {}
        for name in FOLDED:
            for group in OVERLAPPING:
                for path in self.leaves:
                    inner = path.removeprefix(f"{group}.")
                    if inner != path and (inner == name or inner.startswith(f"{name}.")):
                        found[inner] = (*found.get(inner, ()), path)
        folded = {path for setters in found.values() for path in setters}
        rest = [path for path in self.leaves if path not in folded]
        rest.sort(key=lambda path: path.startswith(("trainer.", "local.")))
        return found | {path: (path,) for path in rest}


class Layers:
    """What every layer says in one composition; the provenance of an effective config."""

    def __init__(self, stack: Stack, source: str = "command line", lines: Mapping[str, str] | None = None) -> None:
        self.stack = stack
        self.source = source
        self.lines = lines or {}
        self.settings: dict[str, list[tuple[str, Any]]] = {}
        self.resolved: dict[str, Any] = {}

    def value(self, path: str) -> Any:
        """The resolved value of a leaf such as ``local.devices``, before the layers are folded."""
        return self.resolved[path] if path in self.resolved else self.stack.values[path]

    def raw(self, path: str) -> Any:
        """The value of a leaf as it was written."""
        return self.settings[path][-1][1] if path in self.settings else self.stack.values[path]

    def argument(self, path: str) -> str:
        """The override that sets a leaf; empty where none does."""
        return self.settings[path][-1][0] if path in self.settings else ""

    def effective_value(self, path: str) -> Any:
        """The value of an effective path: the first opinion that is not null."""
        for setter in self.stack.setters[path]:
            value = self.value(setter)
            if value is not None:
                return value
        return None

    def paths(self) -> list[str]:
        """Every path of the effective config."""
        return list(self.stack.setters)

    def science(self) -> dict[str, Any]:
        """The values that decide the result of a run, by path."""
        return {path: self.effective_value(path) for path in self.stack.science}

    def remainder(self, group: str) -> dict[str, Any]:
        """The leaves of a layer that are not folded to the top of the effective config, nested."""
        prefix = f"{group}."
        paths = [path for path in self.stack.setters if path.startswith(prefix)]
        return nested({path.removeprefix(prefix): self.value(path) for path in paths})

    def origin(self, path: str) -> Origin:
        """The origin of an effective path, or of a leaf as its layer names it; KeyError where there is none."""
        if path not in self.stack.setters:
            path = path.removeprefix("local.").removeprefix("trainer.")
        setters = [one for leaf in self.stack.setters[path] for one in self._chain(leaf)]
        winner, *shadowed = [one for one in setters if one.value is not None] or setters[:1]
        chain = {name: getattr(winner, name) for name in Setter.__dataclass_fields__}
        return Origin(**chain, path=path, shadowed=tuple(shadowed))

    def _chain(self, path: str) -> Iterator[Setter]:
        """Who set a leaf within its layer, the strongest first; a null override withdraws what lies below it."""
        settings = self.settings.get(path, [])
        for number, (argument, raw) in enumerate(reversed(settings)):
            value = self.value(path) if number == 0 else raw
            yield _setter(path, "override", argument, value, self.lines.get(argument, self.source), raw)
            if number == 0 and value is None:
                return
        group, _, inner = path.partition(".")
        chosen = self.stack.profiles[group]
        raw = self.stack.values[path]
        value = raw if settings else self.value(path)
        source, owner = chosen.setter(inner)
        yield _setter(path, group, chosen.name, value, source, raw, owner)

    def __getstate__(self) -> dict[str, Any]:
        choices = {group: chosen.name for group, chosen in self.stack.profiles.items()}
        return {"choices": choices} | {name: value for name, value in self.__dict__.items() if name != "stack"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        load()
        self.stack = stack_of(state.pop("choices"))
        self.__dict__.update(state)


def _setter(key: str, layer: str, option: str, value: Any, source: str, raw: Any, owner: str = "") -> Setter:
    interpolated = is_interpolation(raw)
    return Setter(
        layer=layer,
        option=option,
        value=value,
        source=source,
        key=key,
        owner=owner,
        raw=raw if interpolated else None,
        variables=interpolation.variables(raw) if interpolated else (),
    )


_STACKS: dict[tuple[int, tuple[str, ...]], Stack] = {}
_MOST_STACKS = 256


def stack_of(choices: Mapping[str, str]) -> Stack:
    """The layers of a choice of profiles; laid out once for as long as the register does not change."""
    key = (REGISTRY.generation, tuple(choices[group] for group in GROUPS))
    stack = _STACKS.get(key)
    if stack is None:
        if len(_STACKS) >= _MOST_STACKS:
            _STACKS.clear()
        profiles = {group: REGISTRY.profiles[group][choices[group]] for group in GROUPS}
        stack = _STACKS[key] = Stack(profiles)
    return stack
