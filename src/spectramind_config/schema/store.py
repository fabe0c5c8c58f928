"""Hydra's ConfigStore, where every root and profile has a typed node.

The names there are global to a process, and Hydra merges a file of another application into a node of the same name.
So the nodes stand below ``spectramind/``, where no file is, and a search path entry (``hydra_plugins``) finds them by
their plain names: a root always, the groups of a root for those who compose it, or who list ``spectramind://train``
in their ``hydra.searchpath``.
"""

from __future__ import annotations

import dataclasses
import functools
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import MISSING, OmegaConf

from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import section_class
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
        values: Settings, a ``Root``, or a root and the overrides of an experiment.
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
    """Store an experiment."""
    folder = f"{FOLDER}/{root.name}/experiment"
    _folder(folder)[f"{name}.yaml"] = LazyNode(folder, name, (root, overrides), "_global_")


def _experiment(root: Root, overrides: tuple[str, ...]) -> dict[str, Any]:
    """An experiment as Hydra writes one: choices override those of the root, values stand at its top."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    defaults = [{f"override /{one.key_or_group}": one.value()} for one in parsed if one.key_or_group in root.groups]
    values = {one.key_or_group: one.value() for one in parsed if one.key_or_group not in root.groups}
    return {"defaults": [*defaults, "_self_"], **nested(values)}


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
    """The typed node of settings or of a root; a plain one of an experiment."""
    if isinstance(values, Root):
        return OmegaConf.structured(_root_class(values))
    return (
        OmegaConf.structured(_held(values)) if isinstance(values, Settings) else OmegaConf.create(_experiment(*values))
    )


def _root_class(root: Root) -> type:
    """``_self_`` comes first, or the root's own values would be merged over the chosen profiles."""
    defaults: list[Any] = ["_self_", *({group.name: group.default} for group in root.groups.values())]
    searchpath = {"searchpath": [f"{FOLDER}://{root.name}"]}
    found = [_field("defaults", list[Any], [*defaults, {"experiment": None}]), _field("hydra", Any, searchpath)]
    found += [_field(group, Any, MISSING) for group in root.groups]
    for name, value in root.values().items():
        held = _held(value)
        found.append(_field(name, type(held) if isinstance(value, Settings) else _known(root.cls, name), held))
    return dataclasses.make_dataclass(root.cls.__name__, found)


def _field(name: str, annotation: Any, value: Any) -> tuple[str, Any, Any]:
    return name, annotation, dataclasses.field(default_factory=lambda: value)


def _held(value: Any) -> Any:
    """A value as OmegaConf takes it; settings as themselves where it knows all their types, or as a twin."""
    if isinstance(value, list | tuple):
        return [_held(item) for item in value]
    if isinstance(value, dict):
        return {key: _held(item) for key, item in value.items()}
    if not isinstance(value, Settings):
        return value if isinstance(value, Enum | Path) else plain(value)
    cls: Any = type(value)
    twin = _twin(cls)
    if twin is cls:
        return value
    made = object.__new__(twin)
    made.__dict__.update({field.name: _held(getattr(value, field.name)) for field in dataclasses.fields(value)})
    return made


@functools.cache
def _twin(cls: Any) -> Any:
    """The class itself, or a subclass in which fields of a type that OmegaConf does not know hold anything."""
    hints = get_type_hints(cls, include_extras=True)
    changed: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        section: Any = section_class(hints[field.name])
        known = _twin(section) if section else _known(cls, field.name)
        if (section and known is not section) or known is Any:
            changed.append((field.name, known, dataclasses.field(default=MISSING)))
    if not changed:
        return cls
    namespace = {"__post_init__": lambda self: None}
    twin = dataclasses.make_dataclass(cls.__name__, changed, bases=(cls,), kw_only=True, namespace=namespace)
    twin.__module__, twin.__qualname__ = cls.__module__, cls.__qualname__
    return twin


def _known(cls: type, name: str) -> Any:
    """The annotation of a field, or ``Any`` where OmegaConf does not take it."""
    annotation = get_type_hints(cls)[name]
    if get_origin(annotation) is tuple and len(set(get_args(annotation))) > 1:
        return Any  # It takes a tuple for a list whose elements are all of the first type.
    inside = _settings_in(annotation)
    members = get_args(annotation)
    if type(None) in members and (inside or any(get_origin(one) is dict for one in members)):
        return Any  # Where an optional dict or section is null, it fails to merge anything into it.
    if _is_mixed(annotation):
        return Any  # It converts no text to the enum, or the path, of a union.
    if any(_twin(one) is not one for one in inside):
        return Any
    try:
        OmegaConf.structured(dataclasses.make_dataclass("Holder", [(name, annotation | None, None)]))
    except Exception:  # noqa: BLE001 - it raises all sorts of errors for what it does not know.
        return Any
    return annotation


def _is_mixed(annotation: Any) -> bool:
    members = {one for one in get_args(annotation) if isinstance(one, type) or get_origin(one)} - {type(None)}
    union = get_origin(annotation) in (Union, UnionType) and len(members) > 1
    return (union and not members <= {bool, int, float, str}) or any(map(_is_mixed, members))


def _settings_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [one for argument in get_args(annotation) for one in _settings_in(argument)]
