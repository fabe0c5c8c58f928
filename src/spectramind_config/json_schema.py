"""The JSON Schema of a config, built from the declarations of its fields.

JSON has one kind of number: where a setting tells 1 (one batch) from 1.0 (the whole split), the schema takes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.layers import FOLDED, OVERLAPPING, stack_of
from spectramind_config.leaves import Leaf, by_first_name, is_interpolation, leaves_of, value_at
from spectramind_config.registry import DEFAULTS, GROUPS, REGISTRY
from spectramind_config.site_profiles import load

Schema = dict[str, Any]

_DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def config_schema() -> Schema:
    """The schema of what ``config show`` prints, whichever of the registered profiles are chosen."""
    stack = stack_of(DEFAULTS)
    strongest = {path: setters[0] for path, setters in stack.setters.items() if _is_folded(path)}
    leaves = {path: leaf_schema(stack.leaves[one], stack.values[one]) for path, one in strongest.items()}
    # Either layer may leave the precision to the other, but one of them has to set it.
    leaves["precision"] |= {"type": "string"}
    top = _tree(leaves)
    top["properties"] |= {group: _group(group, folded=group in OVERLAPPING) for group in GROUPS}
    rules = [rule for group in OVERLAPPING for rule in _narrowed(group, strongest)]
    return _DIALECT | {"title": "SpectraMind config"} | top | ({"allOf": rules} if rules else {})


def group_schema(group: str) -> Schema:
    """The schema of all the settings of one group, as its profiles and overrides name them.

    Raises:
        ConfigError: There is no such group.
    """
    if group not in GROUPS:
        what = f"there is no group '{group}'"
        close = nearest(group, GROUPS)
        raise ConfigError(
            Problem(what=what, expected=f"one of {', '.join(GROUPS)}", nearest=close, see="spectramind profiles list")
        )
    return _DIALECT | {"title": f"SpectraMind {group}"} | _group(group, folded=False)


def leaf_schema(leaf: Leaf, default: Any) -> Schema:
    """The schema of one setting."""
    declared: list[Schema] = [_without_pattern(msgspec.json.schema(one)) for one in (leaf.annotation, *leaf.inherited)]
    schema: Schema = declared[0] if len(declared) == 1 else {"allOf": declared}
    if str in leaf.kinds and not leaf.choices:
        schema["not"] = {"const": "???"}
    if leaf.description:
        schema["description"] = leaf.description
    if is_interpolation(default):
        return schema | {"$comment": f"default: {default}"}
    return schema | {"default": msgspec.json.decode(msgspec.json.encode(default))}


def _without_pattern(schema: Schema) -> Schema:
    """A closed set of strings is an enum; the pattern that says the same to msgspec is noise."""
    if "enum" in schema:
        schema.pop("pattern", None)
    for member in schema.get("anyOf", ()):
        _without_pattern(member)
    return schema


def _is_folded(path: str) -> bool:
    return path.partition(".")[0] in FOLDED


def _group(group: str, *, folded: bool) -> Schema:
    """One object, or one for each set of settings where profiles add fields of their own."""
    load()
    shapes: dict[str, tuple[Schema, list[str]]] = {}
    default = REGISTRY.profiles[group][DEFAULTS[group]]
    for one in REGISTRY.profiles[group].values():
        leaves = {path: leaf for path, leaf in leaves_of(one.cls).items() if path != "name"}
        known = leaves_of(default.cls)
        shape = _tree(
            {
                path: leaf_schema(leaf, value_at((default if path in known else one).instance, path))
                for path, leaf in leaves.items()
                if not (folded and _is_folded(path))
            }
        )
        shapes.setdefault(json.dumps(shape), (shape, []))[1].append(one.name)
    for shape, names in shapes.values():
        name = {"enum": names, "description": f"The {group} profile", "default": default.name}
        shape["properties"] = {"name": name} | shape["properties"]
    found = [shape for shape, _ in shapes.values()]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _narrowed(group: str, strongest: Mapping[str, str]) -> Iterator[Schema]:
    """What a profile allows less of than its group, at the paths that stand at the top."""
    usual = leaves_of(REGISTRY.profiles[group][DEFAULTS[group]].cls)
    for one in REGISTRY.profiles[group].values():
        leaves = {path: leaf for path, leaf in leaves_of(one.cls).items() if strongest.get(path) == f"{group}.{path}"}
        narrower = {
            path: leaf_schema(leaf, value_at(one.instance, path))
            for path, leaf in leaves.items()
            if (leaf.annotation, leaf.inherited) != (usual[path].annotation, usual[path].inherited)
        }
        if narrower:
            name = {"properties": {"name": {"const": one.name}}, "required": ["name"]}
            chosen = {"properties": {group: name}, "required": [group]}
            yield {"if": chosen, "then": _tree(narrower, closed=False)}


def _tree(leaves: Mapping[str, Schema], *, closed: bool = True) -> Schema:
    """The object with these schemas at their dotted paths."""
    properties = {
        name: found[""] if "" in found else _tree(found, closed=closed) for name, found in by_first_name(leaves).items()
    }
    return {"type": "object", "properties": properties} | ({"additionalProperties": False} if closed else {})
