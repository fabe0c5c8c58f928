"""The layers of a configuration: what every profile, experiment and override says, and who wins.

The layers of a choice of profiles are laid out once and kept; a composition only touches the leaves that are set.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from spectramind_config.compose import interpolation
from spectramind_config.compose.overrides import Override
from spectramind_config.compose.provenance import Origin, Setter
from spectramind_config.errors import HIDDEN, hidden
from spectramind_config.schema.fields import Leaf, leaves_of, sealed
from spectramind_config.schema.registry import REGISTRY, Experiment, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import leaf_owner, leaf_source
from spectramind_config.schema.values import encoded, is_interpolation, nested, plain, shown, value_at
from spectramind_config.settings import Settings

_SCALARS = (str, int, bool, float, type(None))
_CHUNK = 32


@dataclass(slots=True)
class Said:
    """What an override says about a leaf, on the command line or in an experiment."""

    override: Override
    experiment: Experiment | None = None
    value: Any = None


class Stack:
    """The profiles of one choice per group, laid out leaf by leaf; shared by all compositions of that choice."""

    def __init__(self, root: Root, profiles: Mapping[str, Registered]) -> None:
        self.root = root
        self.profiles = profiles
        self.leaves: dict[str, Leaf] = dict(root.own)
        own = root.values()
        raw: dict[str, Any] = {
            path: value_at(own[first], rest) if rest else own[first]
            for path in root.own
            for first, _, rest in [path.partition(".")]
        }
        for group, chosen in profiles.items():
            for path, leaf in leaves_of(chosen.cls).items():
                self.leaves[f"{group}.{path}"] = leaf
                raw[f"{group}.{path}"] = value_at(chosen.instance, path)
        self.interpolated = [path for path, value in raw.items() if is_interpolation(value)]
        waiting = set(self.interpolated)
        self.values = {
            path: value if path in waiting else self.leaves[path].convert(value) for path, value in raw.items()
        }
        self.places = {
            path: (group, path[len(group) + 1 :] if group else path)
            for path in self.leaves
            for group in [self.group(path)]
        }
        self.setters = self._setters()
        self.effective = {leaf: path for path, setters in self.setters.items() for leaf in setters}
        self.shared = [path for path, setters in self.setters.items() if len(setters) > 1]
        self.nodes = {"": sealed(_Own(own), {}), **{group: sealed(one.instance, {}) for group, one in profiles.items()}}
        for group, inner in self.by_group(self._containers()).items():
            self.nodes[group] = replaced(self.nodes[group], inner)
        self.all = _Digest(list(self.setters))
        self.science = _Digest(
            [path for path, setters in self.setters.items() if all(self.leaves[one].science for one in setters)]
        )
        self.memo: dict[str, tuple[str, Any]] = {}
        """Overrides that set a scalar, with the leaf and the converted value."""

    def _containers(self) -> dict[str, Any]:
        return {path: value for path, value in self.values.items() if isinstance(value, list | tuple | dict | Settings)}

    def _setters(self) -> dict[str, tuple[str, ...]]:
        """For each path of the effective config, the leaves that can set it, the strongest first."""
        found: dict[str, tuple[str, ...]] = {}
        rest: dict[str, tuple[str, ...]] = {path: (path,) for path in self.root.own}
        paths: dict[str, list[str]] = {"": []}
        for path in self.leaves:
            paths.setdefault(self.group(path), []).append(path)
        for group in tuple(self.root.groups)[::-1]:
            for path in paths.get(group, ()):
                inner = path[len(group) + 1 :]
                fold = self.root.folds.get(inner.partition(".")[0])
                if fold is not None and group in fold.groups:
                    found[inner] = (*found.get(inner, ()), path)
        folded = {path for setters in found.values() for path in setters}
        for group in self.root.groups:
            rest |= {path: (path,) for path in paths.get(group, ()) if path not in folded}
        order = {name: number for number, name in enumerate(self.root.folds)}
        return dict(sorted(found.items(), key=lambda item: order[item[0].partition(".")[0]])) | rest

    def group(self, path: str) -> str:
        """The group of a leaf; empty for a setting of the root's own."""
        first = path.partition(".")[0]
        return first if first in self.root.groups else ""

    def by_group(self, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Values of leaves by their group, each by its path below that."""
        found: dict[str, dict[str, Any]] = {}
        for path, value in values.items():
            group, inner = self.places[path]
            if group not in found:
                found[group] = {}
            found[group][inner] = value
        return found

    def setter(self, path: str) -> tuple[str, str, str, str]:
        """Who declares a leaf: layer, option, ``file:line``, and the class."""
        group = self.group(path)
        if not group:
            cls: Any = self.root.cls
            return "root", cls.__name__, leaf_source(cls, path), leaf_owner(cls, path)[0].__qualname__
        chosen = self.profiles[group]
        return group, chosen.name, *chosen.setter(path.removeprefix(f"{group}."))


class _Own(Settings):
    """The root's own settings as a node."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


class _Digest:
    """Fingerprints over many paths, of which a composition changes few: the rest is encoded once."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        self.heads = [msgspec.json.encode(chunk) for chunk in self.chunks]
        self.number = {path: number for number, chunk in enumerate(self.chunks) for path in chunk}
        self.usual: list[bytes] = []

    def of(self, layers: Layers, extra: bytes = b"") -> str:
        """Sha256 (hex) of the effective values."""
        if not self.usual:
            self.usual = [self._encoded(number, Layers(layers.stack)) for number in range(len(self.chunks))]
        parts, effective = list(self.usual), layers.stack.effective
        for number in {self.number.get(effective[leaf]) for leaf in layers.resolved}:
            if number is not None:
                parts[number] = self._encoded(number, layers)
        return hashlib.sha256(b"".join([*parts, extra])).hexdigest()

    def _encoded(self, number: int, layers: Layers) -> bytes:
        values = [layers.seen(path, layers.effective_value(path)) for path in self.chunks[number]]
        scalars = [value if type(value) in _SCALARS else encoded(value).decode() for value in values]
        return self.heads[number] + msgspec.json.encode(scalars)


class Layers:
    """What every layer says in one composition; the provenance of a config."""

    def __init__(self, stack: Stack, source: str = "command line", lines: Mapping[str, str] | None = None) -> None:
        self.stack = stack
        self.source = source
        self.lines = lines or {}
        self.settings: dict[str, list[Said]] = {}
        self.resolved: dict[str, Any] = {}
        self.pending: set[str] = set()
        self.overrides: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.compose: Callable[..., Any]

    def value(self, path: str) -> Any:
        """The resolved value of a leaf such as ``local.devices``, before the layers are folded."""
        return self.resolved[path] if path in self.resolved else self.stack.values[path]

    def raw(self, path: str) -> Any:
        """The value of a leaf as it was written."""
        return self.settings[path][-1].value if path in self.settings else self.stack.values[path]

    def argument(self, path: str) -> str:
        """The override on the command line that sets a leaf; empty where none does."""
        last = self.settings[path][-1] if path in self.settings else None
        return last.override.argument if last is not None and last.experiment is None else ""

    def effective_value(self, path: str) -> Any:
        """The value of an effective path: the first opinion that is not null."""
        for setter in self.stack.setters[path]:
            value = self.resolved[setter] if setter in self.resolved else self.stack.values[setter]
            if value is not None:
                return value
        return None

    def seen(self, path: str, value: Any) -> Any:
        """A value of an effective path, or of a leaf, without what is secret."""
        if value is not None and any(self.stack.leaves[leaf].secret for leaf in self.stack.setters.get(path, (path,))):
            return HIDDEN
        return value if type(value) in (bool, int, float) or (found := shown(value)) == plain(value) else found

    def paths(self) -> list[str]:
        """Every path of the effective config."""
        return list(self.stack.setters)

    def tree(self) -> dict[str, Any]:
        """Every effective value as JSON has it; a folded group holds what does not stand at the top."""
        found = nested({path: plain(self.seen(path, self.effective_value(path))) for path in self.paths()})
        top = [name for name in found if name not in self.stack.root.groups]
        return {name: found.get(name, {}) for name in (*top, *self.stack.root.groups)}

    def fingerprint(self) -> str:
        """Sha256 (hex) of every value."""
        return self.stack.all.of(self)

    def science_fingerprint(self, extra: Mapping[str, Any]) -> str:
        """Sha256 (hex) of the values that decide the result, of the classes that build something, and of more."""
        builders = {
            group: f"{one.cls.__module__}.{one.cls.__qualname__}"
            for group, one in self.stack.profiles.items()
            if getattr(one.cls, "builds", False)
        }
        return self.stack.science.of(self, msgspec.json.encode([builders, dict(extra)], order="sorted"))

    def node(self, group: str) -> Settings:
        """A group's settings, or with ``""`` the root's own, frozen; raises ValueError where they check themselves."""
        changes = self._changes.get(group)
        return replaced(self.stack.nodes[group], changes) if changes else self.stack.nodes[group]

    @functools.cached_property
    def _changes(self) -> dict[str, dict[str, Any]]:
        """What differs from the profiles, by group and by path below it; asked for once all is resolved."""
        return self.stack.by_group(self.resolved)

    def origin(self, path: str) -> Origin:
        """The origin of an effective path, or of a leaf as its layer names it; KeyError where there is none."""
        path = path if path in self.stack.setters else self.stack.effective[path]
        setters = [self._without_secrets(one) for leaf in self.stack.setters[path] for one in self._chain(leaf)]
        winner, *shadowed = [one for one in setters if one.value is not None] or setters[:1]
        chain = {name: getattr(winner, name) for name in Setter.__dataclass_fields__}
        return Origin(**chain, path=path, shadowed=tuple(shadowed))

    def _without_secrets(self, one: Setter) -> Setter:
        value, raw = (self.seen(one.key, item) for item in (one.value, one.raw))
        return dataclasses.replace(one, value=value, raw=raw, option=hidden(one.option))

    def _chain(self, path: str) -> Iterator[Setter]:
        """Who set a leaf within its layer, the strongest first; a null override withdraws what lies below it."""
        settings = self.settings.get(path, [])
        for number, said in enumerate(reversed(settings)):
            value = self.value(path) if number == 0 else said.value
            if said.experiment is None:
                argument = said.override.argument
                yield _setter(path, "override", argument, value, self.lines.get(argument, self.source), said.value)
            else:
                yield _setter(path, "experiment", said.experiment.name, value, said.experiment.source, said.value)
            if number == 0 and value is None:
                return
        raw = self.stack.values[path]
        layer, option, source, owner = self.stack.setter(path)
        yield _setter(path, layer, option, raw if settings else self.value(path), source, raw, owner)

    def __getstate__(self) -> dict[str, Any]:
        profiles = {}
        for group, one in self.stack.profiles.items():
            lines = {path: one.setter(path)[0] for path in leaves_of(one.cls)}
            profiles[group] = (
                msgspec.structs.replace(one, lines=lines, base=None) if one.cls.__module__ == "__main__" else one
            )
        return {"root": self.stack.root.cls, "profiles": profiles} | {
            name: value for name, value in self.__dict__.items() if name != "stack"
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        root: Root = state.pop("root")._root
        strangers = [one for one in state["profiles"].values() if _is_stranger(one.cls)]
        if strangers or _is_stranger(root.cls):
            REGISTRY.adopt(root, strangers, ())
        known = REGISTRY.view(root)
        profiles: dict[str, Registered] = {}
        for group, one in state.pop("profiles").items():
            here = known.get(group, {}).get(one.name)
            equal = here is not None and here.cls is one.cls and encoded(here.instance) == encoded(one.instance)
            profiles[group] = here if equal and here is not None else one
        self.stack = stack_of(root, profiles)
        self.__dict__.update(state)


def _is_stranger(cls: type) -> bool:
    """Whether a class of ``__main__`` came from another process, with a pickle."""
    return cls.__module__ == "__main__" and not hasattr(sys.modules["__main__"], cls.__qualname__.partition(".")[0])


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


def replaced(node: Settings, changes: Mapping[str, Any]) -> Any:
    """A frozen copy of a settings object with some leaves replaced; untouched sections are shared."""
    values: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, dot, rest = path.partition(".")
        if dot:
            below.setdefault(name, {})[rest] = value
        else:
            values[name] = value
    for name, inner in below.items():
        values[name] = replaced(node.__dict__[name], inner)
    return sealed(node, values)


@functools.lru_cache(maxsize=256)
def _stack(root: Root, profiles: tuple[Registered, ...]) -> Stack:
    return Stack(root, dict(zip(root.groups, profiles, strict=True)))


def stack_of(root: Root, profiles: Mapping[str, Registered]) -> Stack:
    """The layers of a choice of profiles; laid out once for as long as none of them is registered anew."""
    return _stack(root, tuple(profiles[group] for group in root.groups))
