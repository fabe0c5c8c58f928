"""Who set each value, and what that shadows: as a table of all settings, or as the story of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spectramind_config.commands.reporting import setter, shown, width
from spectramind_config.compose.composition import compose
from spectramind_config.compose.config import Config
from spectramind_config.compose.interpolation import Reference, segments
from spectramind_config.compose.provenance import Origin, Setter
from spectramind_config.errors import ConfigError, wrapped
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.values import plain, same


def table(config: Config) -> Iterator[str]:
    """Every setting on a line, by group; ``*`` marks those that differ from the default profiles."""
    usual: dict[str, Any] = {}
    with suppress(ConfigError):  # Nobody may bring a default profile.
        default = compose([], type(config))._layers
        usual = {path: default.effective_value(path) for path in default.paths()}
    groups = config._root.groups
    origins = [one for one in config.origins() if not is_name(config, one.path)]
    yield "* differs from the default profile of its group"
    for group in ("", *groups):
        inside = [one for one in origins if (one.key.partition(".")[0] if group else "") == group]
        inside = [one for one in inside if group or one.key.partition(".")[0] not in groups]
        if group:
            chosen = REGISTRY.view(config._root)[group].get(config.profiles[group])
            label = f"{group}={config.profiles[group]}: "
            yield from ("", wrapped(label, chosen.summary, width()) if chosen else label.rstrip(": "))
        elif inside:
            yield from ("", config._root.cls.__name__)
        paths = max((len(one.path) for one in inside), default=0)
        values = min(28, max((len(shown(one.value)) for one in inside), default=0))
        for one in inside:
            mark = " " if one.path in usual and same(plain(usual[one.path]), plain(one.value)) else "*"
            cells = [f"{mark} {one.path:<{paths}}", f"{shown(one.value):<{values}}"]
            yield from _row([*cells, *_notes(one, group)], min(paths + 4, width() // 2))


def is_name(config: Config, path: str) -> bool:
    """Whether a path says which profile was chosen."""
    return path.endswith(".name") and path.removesuffix(".name") in config._root.groups


def _notes(origin: Origin, group: str) -> Iterator[str]:
    where = f"{origin.owner} {Path(origin.source).name}".strip()
    yield where if origin.layer == group or origin.layer == "root" else f"{origin}, {where}"
    yield from (_variable(name) for name in origin.variables)
    if origin.raw is not None and not origin.variables:
        yield f"= {plain(origin.raw)}"
    for one in origin.shadowed:
        yield f"over {shown(one.value)} of {one}"


def _row(cells: Sequence[str], indent: int) -> Iterator[str]:
    line = cells[0]
    for cell in cells[1:]:
        if len(line) + 2 + len(cell.rstrip()) > width():
            yield line.rstrip()
            line = " " * max(4, min(indent - 2, width() - 2 - len(cell.rstrip())))
        line += f"  {cell}"
    yield line.rstrip()


def _variable(name: str) -> str:
    return f"{name} is set" if name in os.environ else f"{name} is not set"


def story(config: Config, origin: Origin) -> Iterator[str]:
    """Everything about one setting: what it means and takes, who set it and why, and what that shadows."""
    leaf = config._layers.stack.leaves[origin.key]
    yield f"{origin.path} = {shown(origin.value)}"
    rows = [("meaning", leaf.description), ("takes", leaf.type.words), ("set by", setter(origin))]
    rows += _behind(config, origin)
    for one in origin.shadowed:
        rows.append(("over", f"{shown(one.value)} of {setter(one)}"))
    if not is_name(config, origin.path):
        rows.append(("change", f"{origin.key}=<value>"))
    for label, text in rows if leaf.description else rows[1:]:
        yield wrapped(f"  {label + ':':<9} ", text, width())


def _behind(config: Config, one: Setter) -> list[tuple[str, str]]:
    """What an interpolated value is made of."""
    if one.raw is None:
        return []
    rows = [("written", one.raw if isinstance(one.raw, str) else shown(one.raw))]
    for name in one.variables:
        rest = "" if name in os.environ else ", so the default after the comma stands"
        rows.append(("variable", f"{_variable(name)}{rest}"))
    for part in (segments(one.raw) if isinstance(one.raw, str) else None) or ():
        if isinstance(part, Reference):
            other = config.origin(part.absolute(one.key))
            rows.append(("made of", f"{other.path} = {shown(other.value)}, set by {setter(other)}"))
    return rows


def chosen(config: Config, paths: Sequence[str]) -> list[Origin]:
    """The origins of settings, sections or whole groups; of everything where no path is given."""
    found: list[Origin] = []
    for path in paths:
        inside = [
            origin
            for origin in config.origins()
            if origin.path.startswith(f"{path}.") or origin.key.startswith(f"{path}.")
        ]
        found += inside or [config.origin(path)]
    return found if paths else config.origins()
