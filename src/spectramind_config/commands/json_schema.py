"""The JSON Schema of a config, built from the declarations of its fields.

JSON has one kind of number: where a setting tells 1 (one batch) from 1.0 (the whole split), the schema takes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from spectramind_config.compose.config import Config
from spectramind_config.compose.layers import Stack, stack_of
from spectramind_config.errors import unknown
from spectramind_config.schema.fields import Leaf, leaves_of
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.types import Kind, Type
from spectramind_config.schema.values import DURATION, by_first_name, is_interpolation, plain, value_at
from spectramind_config.sites.loading import load

Schema = dict[str, Any]

_DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
_NAMES: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "pattern": "pattern"}
_SIZES = {str: "Length", list: "Items", tuple: "Items", dict: "Properties"}


def config_schema(root: type[Config]) -> Schema:
    """The schema of what ``config show`` prints, whichever of the registered profiles are chosen."""
    spec = root._root
    load(spec)
    stack = stack_of(spec, {name: REGISTRY.default(spec, name) for name in spec.groups})
    top = {path: setters[0] for path, setters in stack.setters.items() if path.partition(".")[0] not in spec.groups}
    leaves = {path: stack.leaves[one] for path, one in top.items()}
    for name in (name for name, fold in spec.folds.items() if fold.required and name in top):
        # Any layer may leave it to another, but one of them has to set it.
        leaves[name] = replace(leaves[name], type=Type(leaves[name].type.kinds))
    found = _tree({path: leaf_schema(leaf, stack.values[top[path]]) for path, leaf in leaves.items()})
    found["properties"] |= {group: _group(root, group, stack) for group in spec.groups}
    rules = [rule for group in spec.groups for rule in _narrowed(root, group, stack, top)]
    return _DIALECT | {"title": f"{root.__name__} config"} | found | ({"allOf": rules} if rules else {})


def group_schema(root: type[Config], group: str) -> Schema:
    """The schema of all the settings of one group, as its profiles and overrides name them."""
    if group not in root._root.groups:
        raise unknown("group", group, list(root._root.groups), see="profiles list")
    load(root._root)
    return _DIALECT | {"title": f"{root.__name__} {group}"} | _group(root, group, None)


def leaf_schema(leaf: Leaf, default: Any) -> Schema:
    """The schema of one setting."""
    schemas = [_type_schema(leaf.type), *map(_type_schema, leaf.inherited)]
    schema: Schema = dict(schemas[0]) if len(schemas) == 1 else {"allOf": schemas}
    if any(kind.type is str for kind in leaf.type.kinds):
        schema["not"] = {"const": "???"}
    if leaf.description:
        schema["description"] = leaf.description
    value = plain(default)
    return schema | ({"$comment": f"default: {value}"} if is_interpolation(default) else {"default": value})


def _type_schema(declared: Type) -> Schema:
    members = [_kind_schema(kind) for kind in declared.kinds] + [{"type": "null"}] * declared.optional
    return members[0] if len(members) == 1 else {"anyOf": members}


def _kind_schema(kind: Kind) -> Schema:
    if kind.choices:
        return {"enum": list(kind.choices)}
    if kind.type is timedelta:
        return {"type": "string", "pattern": DURATION}
    if kind.build is not None:
        return _tree(_schemas(leaves_of(kind.type), kind.type()))
    schema: Schema = {"type": _NAMES.get(kind.type, "object" if kind.type is dict else "array")}
    items = list(map(_type_schema, kind.items))
    if kind.type is dict:
        schema["additionalProperties"] = items[1]
    elif kind.type is list or kind.open:
        schema["items"] = items[0]
    elif kind.type is tuple:
        schema |= {"prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}
    for limit, bound in kind.limits:
        schema[_LIMITS.get(limit) or f"{limit[:3]}{_SIZES[kind.type]}"] = bound
    return schema


def _schemas(leaves: Mapping[str, Leaf], values: object) -> dict[str, Schema]:
    return {path: leaf_schema(leaf, value_at(values, path)) for path, leaf in leaves.items()}


def _group(root: type[Config], group: str, stack: Stack | None) -> Schema:
    """One object, or one for each set of settings where profiles add fields of their own."""
    spec, default = root._root, REGISTRY.default(root._root, group)
    left_out = {"name"} | {name for name, fold in spec.folds.items() if stack and group in fold.groups}
    shapes: dict[str, tuple[Schema, list[str]]] = {}
    for one in REGISTRY.view(spec)[group].values():
        leaves = {path: leaf for path, leaf in leaves_of(one.cls).items() if path.partition(".")[0] not in left_out}
        shared = {path: leaf for path, leaf in leaves.items() if path in leaves_of(default.cls)}
        shape = _tree(_schemas(leaves, one.instance) | _schemas(shared, default.instance))
        shapes.setdefault(json.dumps(shape), (shape, []))[1].append(one.name)
    for shape, names in shapes.values():
        name = {"enum": names, "description": f"The {group} profile", "default": default.name}
        shape["properties"] = {"name": name} | shape["properties"]
    found = [shape for shape, _ in shapes.values()]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _narrowed(root: type[Config], group: str, stack: Stack, top: Mapping[str, str]) -> Iterator[Schema]:
    """What a profile allows less of than its group, at the paths that stand at the top."""
    usual = leaves_of(stack.profiles[group].cls)
    for one in REGISTRY.view(root._root)[group].values():
        narrower = {
            path: leaf
            for path, leaf in leaves_of(one.cls).items()
            if top.get(path) == f"{group}.{path}"
            and (leaf.type, leaf.inherited) != (usual[path].type, usual[path].inherited)
        }
        if narrower:
            name = {"properties": {"name": {"const": one.name}}, "required": ["name"]}
            then = _tree(_schemas(narrower, one.instance), closed=False)
            yield {"if": {"properties": {group: name}, "required": [group]}, "then": then}


def _tree(leaves: Mapping[str, Schema], *, closed: bool = True) -> Schema:
    grouped = by_first_name(leaves).items()
    properties = {name: one[""] if "" in one else _tree(one, closed=closed) for name, one in grouped}
    return {"type": "object", "properties": properties} | ({"additionalProperties": False} if closed else {})
