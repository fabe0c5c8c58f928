"""Who set each value, and what that shadows: as a table of all settings, or as the story of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from spectramind_config.composition import compose
from spectramind_config.effective import EffectiveConfig
from spectramind_config.interpolation import Reference, segments
from spectramind_config.leaves import leaves_of, same
from spectramind_config.provenance import Origin, Setter
from spectramind_config.registry import GROUPS, NAMES, REGISTRY
from spectramind_config.reporting import WIDTH, plain, setter


def table(config: EffectiveConfig) -> Iterator[str]:
    """Every setting on a line, by group; ``*`` marks those that differ from the default profiles."""
    usual = {origin.path: origin.value for origin in compose().origins()}
    origins = [origin for origin in config.origins() if origin.path not in NAMES]
    yield "* differs from the default profile of its group"
    for group in GROUPS:
        name = config.profiles[group]
        chosen = REGISTRY.get(group, name)
        yield f"\n{group}={name}: {chosen.summary if chosen else ''}".rstrip(": ")
        inside = [one for one in origins if one.key.startswith(f"{group}.")]
        paths = max((len(one.path) for one in inside), default=0)
        values = min(28, max((len(plain(one.value)) for one in inside), default=0))
        for one in inside:
            mark = " " if same(usual.get(one.path), one.value) else "*"
            cells = [f"{mark} {one.path:<{paths}}", f"{plain(one.value):<{values}}"]
            yield from _row([*cells, *_notes(one, group)], paths + 4)


def _notes(origin: Origin, group: str) -> Iterator[str]:
    where = f"{origin.owner} {Path(origin.source).name}".strip()
    yield where if origin.layer == group else f"{origin}, {where}"
    yield from (_variable(name) for name in origin.variables)
    if origin.raw is not None and not origin.variables:
        yield f"= {origin.raw}"
    for one in origin.shadowed:
        yield f"over {plain(one.value)} of {one}"


def _row(cells: Sequence[str], indent: int) -> Iterator[str]:
    line = cells[0]
    for cell in cells[1:]:
        if len(line) + 2 + len(cell.rstrip()) > WIDTH:
            yield line.rstrip()
            line = " " * (indent - 2)
        line += f"  {cell}"
    yield line.rstrip()


def _variable(name: str) -> str:
    return f"{name} is set" if name in os.environ else f"{name} is not set"


def story(config: EffectiveConfig, origin: Origin) -> Iterator[str]:
    """Everything about one setting: what it means and takes, who set it and why, and what that shadows."""
    group, _, inner = origin.key.partition(".")
    chosen = REGISTRY.profiles[group][config.profiles[group]]
    leaf = leaves_of(chosen.cls)[inner]
    yield f"{origin.path} = {plain(origin.value)}"
    rows = [("meaning", leaf.description), ("takes", leaf.expectation), ("set by", setter(origin))]
    rows += _behind(config, origin)
    for one in origin.shadowed:
        rows.append(("over", f"{plain(one.value)} of {setter(one)}"))
    if origin.path not in NAMES:
        rows.append(("change", f"{origin.key}=<value>"))
    for label, text in rows:
        yield f"  {label + ':':<9} {text}"


def _behind(config: EffectiveConfig, one: Setter) -> list[tuple[str, str]]:
    """What an interpolated value is made of."""
    if one.raw is None:
        return []
    rows = [("written", plain(one.raw) if not isinstance(one.raw, str) else one.raw)]
    for name in one.variables:
        rest = "" if name in os.environ else ", so the default after the comma stands"
        rows.append(("variable", f"{_variable(name)}{rest}"))
    for part in (segments(one.raw) if isinstance(one.raw, str) else None) or ():
        if isinstance(part, Reference):
            other = config.origin(part.absolute(one.key))
            rows.append(("made of", f"{other.path} = {plain(other.value)}, set by {setter(other)}"))
    return rows


def chosen(config: EffectiveConfig, paths: Sequence[str]) -> list[Origin]:
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
