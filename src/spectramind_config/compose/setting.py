"""The stage of a composition that gives leaves the values that experiments and overrides have for them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from spectramind_config.compose.layers import Layers, Stack
from spectramind_config.compose.overrides import Override, text_of
from spectramind_config.errors import MOST, Problem, listed, nearest
from spectramind_config.schema.fields import Leaf
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.root import Root
from spectramind_config.schema.values import VOID, Written, children, element, is_interpolation, merged, plain, updated

_MOST_REMEMBERED = 8192


def set_leaves(stack: Stack, overrides: Sequence[Override]) -> tuple[Layers, list[Problem]]:
    """Apply overrides to the leaves of a stack, the weakest first."""
    layers, memo = Layers(stack), stack.memo
    said, resolved = layers.said, layers.resolved
    problems: list[Problem] = []
    for override in overrides:
        if known := memo.get(override.argument):
            path, value = known
            resolved[path] = value
            if path in said:
                said[path].append((override, value))
            else:
                said[path] = [(override, value)]
        else:
            problems += _set(layers, override, brief=len(problems) > MOST)
    return layers, problems


def _set(layers: Layers, override: Override, *, brief: bool) -> list[Problem]:
    root, leaves, value = layers.stack.root, layers.stack.leaves, override.value
    path = override.key if override.key in leaves else root.short.get(override.key, override.key)
    see = f"config explain {path}"
    if override.sign == "~":
        what = "a setting cannot be removed: every setting always has a value"
        return [override.problem(what, hint=f"write {path}=null where null is allowed", see=see)]
    if path in leaves and root.is_name(path):
        return [_fixed_name(root, override)]
    if path and path not in leaves and (names := children(leaves, path)):
        if not isinstance(value, dict):
            what, expected = f"{path} is a section, not a setting", f"one of its settings: {', '.join(names)}"
            return [override.problem(what, expected=expected, see=see)]
        inner = {f"{path}.{text_of(name)}": item for name, item in value.items()}
        parts = [dataclasses.replace(override, key=key, value=item) for key, item in inner.items()]
        return [problem for part in parts for problem in _set(layers, part, brief=brief)]
    parent, inside = layers.stack.split(path)
    if not parent or (inside and not leaves[parent].is_container):
        return [_unknown(root, override, path, leaves, brief=brief)]
    leaf, into_dict = leaves[parent], isinstance(value, dict) and leaves[parent].is_container
    if override.sign == "+" and not into_dict and element(layers.raw(parent), inside) is not VOID:
        what = f"{path} exists already, so it cannot be added"
        return [override.problem(what, instead=override.argument.removeprefix("+"))]
    try:
        if inside:
            value = updated(layers.raw(parent), inside, value, add="+" in override.sign)
        elif into_dict:
            value = merged(layers.raw(parent), value, add="+" in override.sign)
    except (ValueError, KeyError) as error:
        if inside:
            return [_bad_value(override, parent, leaf, str(error).strip("'\""))]
        return [override.problem(str(error), instead=f"+{override.argument}", see=see)]
    try:
        converted = plain(value) if (pending := is_interpolation(value)) else leaf.convert(value)
    except ValueError as error:
        return [_bad_value(override, parent, leaf, str(error))]
    layers.said.setdefault(parent, []).append((override, converted))
    if pending:
        layers.resolved.pop(parent, None)
        return []
    layers.resolved[parent] = converted
    if override.argument.startswith(f"{override.key}=") and not inside and not into_dict:
        if len(layers.stack.memo) > _MOST_REMEMBERED:
            layers.stack.memo.clear()
        layers.stack.memo[override.argument] = (parent, converted)
    return []


def _fixed_name(root: Root, override: Override) -> Problem:
    group, name = override.key.partition(".")[0], text_of(override.value)
    known = REGISTRY.view(root)[group]
    what = f"{override.key} is the name of the chosen profile and follows from {group}=<profile>"
    instead = f"{group}={name}" if name in known else None
    return override.problem(what, expected=listed(known), instead=instead, see="profiles list")


def _bad_value(override: Override, path: str, leaf: Leaf, reason: str) -> Problem:
    words = leaf.type.choices or (("true", "false") if any(kind.type is bool for kind in leaf.type.kinds) else ())
    text = text_of(override.value)
    close = nearest(text, words) or next((word for word in words if text and word.startswith(text.lower())), None)
    what, fix = reason.replace(f"is not {leaf.type.words}", "does not fit"), close and f"{path}={close}"
    return override.problem(what, expected=leaf.words, nearest=fix, instead=fix, see=f"config explain {path}")


def _unknown(root: Root, override: Override, path: str, known: Mapping[str, Leaf], *, brief: bool) -> Problem:
    """A key that does not exist: in a group that does not, in another group, or misspelt.

    Nothing near is looked for where so much is wrong that nobody will read all of it.
    """
    if re.match(r"hydra([./]|$)", override.key):
        return override.problem(f"settings of Hydra itself are taken by {root.command} only", instead="")
    text = override.argument.partition("=")[2]
    group = nearest(path, root.groups) if "." not in path else None
    if group is not None:
        chosen = f"{group}={text}" if text in REGISTRY.view(root)[group] else None
        expected = listed(root.groups)
        return override.problem(f"there is no group '{path}'", expected=expected, nearest=group, instead=chosen)
    leaves = {leaf: one for leaf, one in known.items() if not root.is_name(leaf)}
    close = None if brief else _nearest_path(path, [*leaves, *root.short])
    if close is not None and not _takes(leaves.get(root.short.get(close, close)), override.value):
        close = None
    section = path.rpartition(".")[0]
    while section and not children(leaves, section):
        section = section.rpartition(".")[0]
    names = ", ".join(children(leaves, section) if section else root.groups)
    own = "".join(f"{name}, " for name in children(root.own, ""))
    expected = f"a setting of {section}: {names}" if section else f"{own}<group>.<setting>, with a group of {names}"
    what, instead = f"there is no setting '{path}'", f"{close}={text}" if close and text else None
    see = f"config explain {section}".rstrip()
    return override.problem(what, expected=expected, nearest=close, instead=instead, see=see)


def _takes(leaf: Leaf | None, value: Any) -> bool:
    """Whether a suggested setting could hold what was given: another kind of thing was not meant."""
    if leaf is None or (isinstance(value, str) and "${" in value):
        return leaf is not None
    kinds = {kind.type for kind in leaf.type.kinds}
    given = value.value if isinstance(value, Written) else value
    if isinstance(given, str) and not kinds & {int, float, bool}:
        return True
    return isinstance(given, bool | int | float) or not isinstance(given, str) or bool(leaf.type.choices)


def _nearest_path(path: str, known: Sequence[str]) -> str | None:
    """The path that a misspelt one meant: the same name elsewhere, or the closest spelling."""
    group, _, inner = path.partition(".")
    name = path.rpartition(".")[2]
    namesakes = [one for one in known if f".{one}".endswith(f".{name}")]
    if namesakes and name:
        return nearest(path, namesakes) or max(namesakes, key=lambda one: (-one.count("."), known.index(one)))
    inside = {one.partition(".")[2]: one for one in known if one.startswith(f"{group}.")} if inner else {}
    if close := nearest(inner, inside):
        return inside[close]
    last = {one.rpartition(".")[2]: one for one in known if not inside or one in inside.values()}
    return last[close] if (close := nearest(name, last, 0.7)) else None
