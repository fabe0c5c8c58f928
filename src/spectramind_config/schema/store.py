"""Hydra's ConfigStore, where every root and profile has a typed node.

The names there are global to a process, and Hydra merges a file of another application into a node of the same name.
So the nodes stand below ``spectramind/``, where no file is, and a search path entry (``hydra_plugins``) finds them by
their plain names: a root always, the groups of a root for those who compose it, or who list ``spectramind://train``
in their ``hydra.searchpath``.
"""

from __future__ import annotations

import dataclasses
import functools
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import MISSING, OmegaConf

from spectramind_config.schema.fields import declared_leaves, leaves_of
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import section_class
from spectramind_config.schema.types import SCALARS, Kind, Type
from spectramind_config.schema.values import nested, plain
from spectramind_config.settings import Settings

FOLDER = "spectramind"
"""The folder of the ConfigStore that holds a folder for each root."""

ACTIVE: list[str] = []
"""The roots that a program of ours has Hydra compose, whose groups it finds without being told."""


class LazyNode(ConfigNode):
    """A node of the store that OmegaConf builds when Hydra first reads it, and then keeps.

    Building the nodes of all shipped profiles takes half as long as importing Hydra, and few commands ever read one.

    Args:
        group: The folder; None for the top.
        name: The config's name.
        values: Settings, a ``Root``, or a dict.
        package: Where Hydra puts it; None for where its group stands.
    """

    def __init__(self, group: str | None, name: str, values: Any, package: str | None = None) -> None:
        self.name = f"{name}.yaml"
        self.group = group
        self.package = package
        self.provider = "spectramind"
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name != "node":
            raise AttributeError(name)
        self.node = node_of(self._values)
        return self.node

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "node"}

    def __copy__(self) -> ConfigNode:
        """A plain node, as Hydra takes one for each composition."""
        return ConfigNode(self.name, self.node, self.group, self.package, self.provider)


def put(root: str, group: str, name: str, values: Settings) -> None:
    """Store a profile of a root."""
    folder = f"{FOLDER}/{root}/{group}"
    _folder(folder)[f"{name}.yaml"] = LazyNode(folder, name, values)


def put_root(root: Root) -> None:
    """Store a root under its name."""
    _folder(FOLDER)[f"{root.name}.yaml"] = LazyNode(FOLDER, root.name, root)
    _folder(f"{FOLDER}/{root.name}").clear()


def put_experiment(root: Root, name: str, overrides: tuple[str, ...]) -> None:
    """Store an experiment as Hydra writes one: choices override those of the root, values stand at its top."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    defaults = [{f"override /{one.key_or_group}": one.value()} for one in parsed if one.key_or_group in root.groups]
    values = {one.key_or_group: one.value() for one in parsed if one.key_or_group not in root.groups}
    folder = f"{FOLDER}/{root.name}/experiment"
    content = {"defaults": [*defaults, "_self_"], **nested(values)}
    _folder(folder)[f"{name}.yaml"] = LazyNode(folder, name, content, "_global_")


def forget(root: str, group: str, name: str) -> None:
    """Remove a profile from the store."""
    _folder(f"{FOLDER}/{root}/{group}").pop(f"{name}.yaml", None)


def unfit(instance: Settings) -> str | None:
    """Why OmegaConf cannot hold a profile; None where it can."""
    try:
        node_of(instance)
    except Exception as error:  # noqa: BLE001 - whatever OmegaConf makes of it, it is no profile.
        return str(error).partition("\n")[0]
    return None


def _folder(path: str) -> dict[str, Any]:
    repo: dict[str, Any] = ConfigStore.instance().repo
    for name in path.split("/"):
        repo = repo.setdefault(name, {})
    return repo


def node_of(values: Any) -> Any:
    """The typed node of settings or of a root; a plain one of a dict."""
    if isinstance(values, Root):
        return OmegaConf.structured(_root_class(values))
    return OmegaConf.structured(_held(values)) if isinstance(values, Settings) else OmegaConf.create(values)


def _root_class(root: Root) -> type:
    """``_self_`` comes first, or the root's own values would be merged over the chosen profiles."""
    defaults: list[Any] = ["_self_", *({group.name: group.default} for group in root.groups.values())]
    found: list[Any] = [("defaults", list[Any], dataclasses.field(default_factory=lambda: [*defaults, {"experiment": None}]))]
    found += [(group, Any, dataclasses.field(default=MISSING)) for group in root.groups]
    searchpath = {"searchpath": [f"{FOLDER}://{root.name}"]}
    found.append(("hydra", Any, dataclasses.field(default_factory=lambda: searchpath)))
    hints = dict(declared_leaves(root.cls, frozenset(root.values())))
    for name, value in root.values().items():
        held = _held_value(value)
        annotation = type(held) if name not in hints else held_type(hints[name].type)
        found.append((name, annotation, dataclasses.field(default_factory=functools.partial(lambda one: one, held))))
    return dataclasses.make_dataclass(root.cls.__name__, found)


def _held(values: Settings) -> Any:
    """Settings as OmegaConf takes them: themselves, or a twin where a type of theirs is unknown to it."""
    cls = type(values)
    twin = _twin(cls)
    if twin is cls:
        return values
    made = object.__new__(twin)
    for field in dataclasses.fields(cls):
        value = getattr(values, field.name)
        made.__dict__[field.name] = _held(value) if isinstance(value, Settings) else _held_value(value)
    return made


def _held_value(value: Any) -> Any:
    if isinstance(value, Settings):
        return _held(value)
    if isinstance(value, list | tuple):
        return [_held_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _held_value(item) for key, item in value.items()}
    return value if isinstance(value, Enum | Path) else plain(value)


@functools.cache
def _twin(cls: type[Settings]) -> type[Any]:
    """A subclass in which the types that OmegaConf does not know are those it holds their values as."""
    hints = get_type_hints(cls, include_extras=True)
    leaves = leaves_of(cls)
    fields: list[Any] = []
    for field in dataclasses.fields(cls):
        section = section_class(hints[field.name])
        held: Any = _twin(section) if section else held_type(leaves[field.name].type)
        known = section or _native(leaves[field.name].type)
        if held is not known and not (section is None and known):
            fields.append((field.name, held, dataclasses.field(default=cast("Any", MISSING))))
    if not fields:
        return cls
    twin = dataclasses.make_dataclass(
        cls.__name__, fields, bases=(cls,), kw_only=True, namespace={"__post_init__": lambda self: None}
    )
    twin.__module__, twin.__qualname__ = cls.__module__, cls.__qualname__
    return twin


def _native(declared: Type) -> bool:
    """Whether OmegaConf takes the annotation as it is written."""
    return not _may_lack_parts(declared) and all(_native_kind(kind, alone=len(declared.kinds) == 1) for kind in declared.kinds)


def _native_kind(kind: Kind, *, alone: bool) -> bool:
    if kind.type is Literal:
        return kind.marked
    if kind.type in SCALARS:
        return True
    if kind.type in (list, dict):
        return alone and all(len(item.kinds) == 1 and _native(item) for item in kind.items)
    if kind.type is tuple:
        return alone and not kind.open and len(set(kind.items)) == 1 and _native(kind.items[0])
    return kind.marked if kind.type is timedelta else alone and (kind.build is None or _twin(kind.type) is kind.type)


def _may_lack_parts(declared: Type) -> bool:
    """Whether it is an optional dict or section: where such a one is null, OmegaConf fails to merge anything into it."""
    return declared.optional and any(kind.type is dict or kind.build is not None for kind in declared.kinds)


def held_type(declared: Type) -> Any:
    """The annotation that OmegaConf holds values of a type under."""
    if _may_lack_parts(declared):
        return Any
    kinds = [_held_kind(kind, alone=len(declared.kinds) == 1) for kind in declared.kinds]
    if Any in kinds:
        return Any
    return functools.reduce(lambda left, right: left | right, [*dict.fromkeys(kinds), *[None] * declared.optional])


def _held_kind(kind: Kind, *, alone: bool) -> Any:
    if kind.type is Literal:
        found = {type(choice) for choice in kind.choices}
        return found.pop() if len(found) == 1 else Any
    if kind.type is timedelta:
        return str
    if kind.type in SCALARS:
        return kind.type
    if not alone:
        return Any
    items = [held_type(item) for item in kind.items]
    if kind.type is dict:
        return dict[items[0], items[1]]  # type: ignore[valid-type]
    if kind.type in (list, tuple):
        return list[items[0] if len(set(map(str, items))) == 1 else Any]  # type: ignore[misc]
    return _twin(kind.type) if kind.build is not None else kind.type

