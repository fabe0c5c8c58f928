"""The layers of a configuration: what every profile, experiment and override says, and who wins.

The layers of a choice of profiles are laid out once and kept; a composition only touches the leaves that are set.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from spectramind_config.compose.interpolation import variables
from spectramind_config.compose.overrides import Override
from spectramind_config.errors import HIDDEN, Problem, hidden, hidden_in
from spectramind_config.schema.fields import Leaf, leaves_of, sealed
from spectramind_config.schema.registry import REGISTRY, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import leaf_owner, leaf_source
from spectramind_config.schema.values import PLAIN, encoded, is_interpolation, nested, plain, shown, value_at
from spectramind_config.settings import Settings

_S = TypeVar("_S", bound=Settings)
_CHUNK = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
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


class Stack:
    """The profiles of one choice per group, laid out leaf by leaf; shared by all compositions of that choice.

    The group ``""`` is that of the root's own settings. ``effective`` leads from a leaf to its path in the effective
    config, and ``setters`` from there to the leaves that can set it, the strongest first.
    """

    def __init__(self, root: Root, profiles: Mapping[str, Registered]) -> None:
        self.root = root
        self.profiles = profiles
        own = Settings()
        own.__dict__.update(root.values())
        nodes: dict[str, Settings] = {"": own, **{group: one.instance for group, one in profiles.items()}}
        shapes = {"": root.own, **{group: leaves_of(one.cls) for group, one in profiles.items()}}
        self.leaves: dict[str, Leaf] = {}
        self.places: dict[str, tuple[str, str]] = {}
        self.values: dict[str, Any] = {}
        self.interpolated: list[str] = []
        for group, shape in shapes.items():
            for inner, leaf in shape.items():
                path, raw = f"{group}.{inner}" if group else inner, value_at(nodes[group], inner)
                self.leaves[path], self.places[path] = leaf, (group, inner)
                if pending := is_interpolation(raw):
                    self.interpolated.append(path)
                self.values[path] = raw if pending else leaf.convert(raw)
        self.setters = self._setters()
        self.effective = {leaf: path for path, setters in self.setters.items() for leaf in setters}
        self.secret = frozenset(leaf for leaf, one in self.leaves.items() if one.secret)
        self.secret |= {path for path, setters in self.setters.items() if not self.secret.isdisjoint(setters)}
        self.shared = [path for path, setters in self.setters.items() if len(setters) > 1]
        frozen = self.by_group({path: value for path, value in self.values.items() if type(value) not in PLAIN})
        self.nodes = {group: replaced(sealed(node, {}), frozen.get(group, {})) for group, node in nodes.items()}
        self.all = _Digest(list(self.setters))
        science = (path for path, setters in self.setters.items() if all(self.leaves[one].science for one in setters))
        self.science = _Digest(list(science))
        self.memo: dict[str, tuple[str, Any]] = {}  # Overrides that set a whole leaf, with its path and the value.

    def _setters(self) -> dict[str, tuple[str, ...]]:
        names = list(self.root.folds)
        strength = {group: number for number, group in enumerate(("", *self.root.groups))}
        folded: dict[str, tuple[str, ...]] = {}
        for path, (group, inner) in sorted(self.places.items(), key=lambda one: -strength[one[1][0]]):
            fold = self.root.folds.get(inner.partition(".")[0])
            if fold is not None and group in fold.groups:
                folded[inner] = (*folded.get(inner, ()), path)
        taken = {leaf for setters in folded.values() for leaf in setters}
        top = sorted(folded.items(), key=lambda one: names.index(one[0].partition(".")[0]))
        return dict(top) | {path: (path,) for path in self.leaves if path not in taken}

    def split(self, path: str) -> tuple[str, list[str]]:
        """The leaf that a path leads to or into, and the names below it; the leaf is empty where there is none."""
        names = path.split(".")
        starts = ((".".join(names[:size]), names[size:]) for size in range(len(names), 0, -1))
        return next((found for found in starts if found[0] in self.leaves), ("", names))

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
        group, inner = self.places[path]
        if group:
            return group, self.profiles[group].name, *self.profiles[group].setter(inner)
        cls: Any = self.root.cls
        return "root", cls.__name__, leaf_source(cls, path), leaf_owner(cls, path)[0].__qualname__


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
        scalars = [value if type(value) in PLAIN else encoded(value).decode() for value in values]
        return self.heads[number] + msgspec.json.encode(scalars)


class Layers:
    """What every layer says in one composition; the provenance of a config."""

    overrides: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    compose: Callable[..., Any]

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.said: dict[str, list[tuple[Override, Any]]] = {}  # What overrides say about a leaf, the weakest first.
        self.resolved: dict[str, Any] = {}  # The values that do not come from a profile as they stand there.

    def value(self, path: str) -> Any:
        """The resolved value of a leaf such as ``local.devices``, before the layers are folded."""
        return self.resolved[path] if path in self.resolved else self.stack.values[path]

    def raw(self, path: str) -> Any:
        """The value of a leaf as it was written."""
        return self.said[path][-1][1] if path in self.said else self.stack.values[path]

    def argument(self, path: str) -> str:
        """The override on the command line that sets a leaf; empty where none does."""
        override = self.said[path][-1][0] if path in self.said else None
        return override.argument if override is not None and not override.experiment else ""

    def problem(self, path: str, what: str, **told: str | None) -> Problem:
        """A mistake about the value of a leaf, which blames the override that sets it."""
        return Problem(what=what, argument=self.argument(path), see=f"config explain {path}", **told)

    def effective_value(self, path: str) -> Any:
        """The value of an effective path: the first opinion that is not null."""
        for setter in self.stack.setters[path]:
            value = self.resolved[setter] if setter in self.resolved else self.stack.values[setter]
            if value is not None:
                return value
        return None

    def seen(self, path: str, value: Any) -> Any:
        """A value of an effective path, or of a leaf, without what is secret."""
        if path in self.stack.secret and value is not None:
            return HIDDEN
        if type(value) is str:
            return hidden(value) if "://" in value else value
        return value if type(value) in PLAIN or (found := shown(value)) == plain(value) else found

    def tree(self) -> dict[str, Any]:
        """Every effective value as JSON has it; a folded group holds what does not stand at the top."""
        found = nested({path: plain(self.seen(path, self.effective_value(path))) for path in self.stack.setters})
        top = [name for name in found if name not in self.stack.root.groups]
        return {name: found.get(name, {}) for name in (*top, *self.stack.root.groups)}

    def science_fingerprint(self, extra: Mapping[str, Any]) -> str:
        """Sha256 (hex) of the values that decide the result, of the classes that build something, and of more."""
        classes = {group: one.cls for group, one in self.stack.profiles.items() if one.cls.builds}
        builders = {group: f"{cls.__module__}.{cls.__qualname__}" for group, cls in classes.items()}
        return self.stack.science.of(self, msgspec.json.encode([builders, dict(extra)], order="sorted"))

    def origin(self, path: str) -> Origin:
        """The origin of an effective path, or of a leaf as its layer names it; KeyError where there is none."""
        path = path if path in self.stack.setters else self.stack.effective[path]
        setters = [one for leaf in self.stack.setters[path] for one in self._chain(leaf)]
        winner, *shadowed = [one for one in setters if one.value is not None] or setters[:1]
        return Origin(**winner.__dict__, path=path, shadowed=tuple(shadowed))

    def _chain(self, path: str) -> Iterator[Setter]:
        """Who set a leaf within its layer, the strongest first; a null override withdraws what lies below it."""
        opinions = [(*one.setter, one.source, "", raw) for one, raw in reversed(self.said.get(path, ()))]
        opinions.append((*self.stack.setter(path), self.stack.values[path]))
        for number, (layer, option, source, owner, raw) in enumerate(opinions):
            value = raw if number else self.value(path)
            told = {"value": self.seen(path, value), "raw": self.seen(path, raw) if is_interpolation(raw) else None}
            yield Setter(layer=layer, option=hidden_in(option), source=source, key=path, owner=owner, **told)
            if value is None and number == 0:
                return

    def __getstate__(self) -> dict[str, Any]:
        profiles = dict(self.stack.profiles)
        for group, one in self.stack.profiles.items():
            if one.cls.__module__ == "__main__":  # Another process could not look up its lines.
                lines = {path: one.setter(path)[0] for path in leaves_of(one.cls)}
                profiles[group] = msgspec.structs.replace(one, lines=lines, base=None)
        state = {name: value for name, value in self.__dict__.items() if name != "stack"}
        return state | {"root": self.stack.root.cls, "profiles": profiles}

    def __setstate__(self, state: dict[str, Any]) -> None:
        root: Root = state.pop("root")._root
        strangers = [one for one in state["profiles"].values() if _is_stranger(one.cls)]
        if strangers or _is_stranger(root.cls):
            REGISTRY.adopt(root, strangers, ())
        known = REGISTRY.view(root)
        profiles: dict[str, Registered] = {}
        for group, one in state.pop("profiles").items():
            here = known.get(group, {}).get(one.name, one)
            profiles[group] = here if here.cls is one.cls and encoded(here.instance) == encoded(one.instance) else one
        self.stack = stack_of(root, profiles)
        self.__dict__.update(state)


def _is_stranger(cls: type) -> bool:
    """Whether a class of ``__main__`` came from another process, with a pickle."""
    return cls.__module__ == "__main__" and not hasattr(sys.modules["__main__"], cls.__qualname__.partition(".")[0])


def replaced(node: _S, changes: Mapping[str, Any]) -> _S:
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
