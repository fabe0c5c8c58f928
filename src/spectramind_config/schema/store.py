"""What Hydra's ConfigStore holds of roots and profiles: typed nodes, which the plugin in ``hydra_plugins`` puts there.

Hydra itself is not imported here: few commands need it, and it takes longer than all else that they do.
"""

from __future__ import annotations

import dataclasses
import functools
from copy import copy
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_type_hints

from omegaconf import MISSING, OmegaConf

from spectramind_config.schema.fields import type_of
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import section_class
from spectramind_config.schema.types import SCALARS, Type
from spectramind_config.schema.values import entries, nested, plain
from spectramind_config.settings import Settings

SCHEME = "spectramind"
"""What search path entries begin with, and the folder of the ConfigStore that holds a folder for each root."""

ACTIVE: list[str] = []
"""The roots that a program of ours has Hydra compose, whose groups it finds without being told."""


def unfit(instance: Settings) -> str | None:
    """Why OmegaConf cannot hold a profile; None where it can."""
    try:
        node_of(instance)
    except Exception as error:  # noqa: BLE001 - whatever OmegaConf makes of it, it is no profile.
        return str(error).partition("\n")[0]
    return None


def node_of(values: Any) -> Any:
    """The typed node of settings or of a root; a plain one of an experiment, whose choices override the root's."""
    if isinstance(values, Root):
        return OmegaConf.structured(_root_class(values))
    if isinstance(values, Settings):
        return OmegaConf.structured(_held(values))
    from hydra.core.override_parser.overrides_parser import OverridesParser

    root, overrides = values
    parsed = {one.key_or_group: one.value() for one in OverridesParser.create().parse_overrides(list(overrides))}
    defaults = [{f"override /{key}": value} for key, value in parsed.items() if key in root.groups]
    settings = nested({key: value for key, value in parsed.items() if key not in root.groups})
    return OmegaConf.create({"defaults": [*defaults, "_self_"], **settings})


def _root_class(root: Root) -> type:
    """``_self_`` comes first, or the root's own values would be merged over the chosen profiles."""
    defaults: list[Any] = ["_self_", *({group.name: group.default} for group in root.groups.values())]
    found: list[tuple[str, Any, Any]] = [("defaults", list[Any], [*defaults, {"experiment": None}])]
    found += [("hydra", Any, {"searchpath": [f"{SCHEME}://{root.name}"]})]
    found += [(group, Any, MISSING) for group in root.groups]
    for name, value in root.values().items():
        held, is_section = _held(value), isinstance(value, Settings)
        found.append((name, type(held) if is_section else _known(get_type_hints(root.cls)[name]), held))
    made = [
        (name, kind, dataclasses.field(default_factory=functools.partial(copy, held))) for name, kind, held in found
    ]
    return dataclasses.make_dataclass(root.cls.__name__, made)


def _held(value: Any) -> Any:
    """A value as OmegaConf takes it; settings as themselves where it knows all their types, or as a twin."""
    if isinstance(value, list | tuple):
        return [_held(item) for item in value]
    if isinstance(value, dict):
        return {key: _held(item) for key, item in value.items()}
    if not isinstance(value, Settings):
        return value if isinstance(value, Enum | Path) else plain(value)
    cls: Any = type(value)
    if (twin := _twin(cls)) is cls:
        return value
    made = object.__new__(twin)
    made.__dict__.update({name: _held(item) for name, item in entries(value).items()})
    return made


@functools.cache
def _twin(cls: Any) -> Any:
    """The class itself, or a subclass in which fields of a type that OmegaConf does not know hold anything."""
    hints = get_type_hints(cls)
    changed: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        section: Any = section_class(hints[field.name])
        known = _twin(section) if section else _known(hints[field.name])
        if known is not hints[field.name]:
            changed.append((field.name, known, dataclasses.field(default=MISSING)))
    if not changed:
        return cls
    namespace = {"__post_init__": lambda self: None}
    twin = dataclasses.make_dataclass(cls.__name__, changed, bases=(cls,), kw_only=True, namespace=namespace)
    twin.__module__, twin.__qualname__ = cls.__module__, cls.__qualname__
    return twin


def _known(annotation: Any) -> Any:
    """An annotation, or ``Any`` where OmegaConf does not take it."""
    return annotation if _is_known(type_of(annotation)) else Any


def _is_known(declared: Type) -> bool:
    """Whether OmegaConf holds values of a type and converts texts to it, which it does for no enum or path of a union.

    It takes a tuple for a list of one type, knows none inside, and merges nothing into an optional dict or section that
    is null.
    """
    kind, *others = declared.kinds
    if others:
        return all(one.type in SCALARS for one in declared.kinds)
    if kind.build:
        return not declared.optional and _twin(kind.type) is kind.type
    if kind.type in (Literal, timedelta) or (kind.type is dict and declared.optional):
        return False
    if kind.type is tuple and (kind.open or len(set(kind.items)) > 1):
        return False
    return all(one.kinds[0].type is not tuple and _is_known(one) for one in kind.items)
