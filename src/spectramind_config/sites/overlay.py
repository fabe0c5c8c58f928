"""YAML overlays: profiles of the old kind, read into typed ones and checked by the schema of their group."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spectramind_config.errors import ConfigError, Problem, listed, nearest
from spectramind_config.schema.fields import Leaf, leaves_of, sealed
from spectramind_config.schema.registry import REGISTRY, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.values import children, is_interpolation, merged, plain, quote, value_at
from spectramind_config.sites import yaml

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_PACKAGE = re.compile(r"\s*#\s*@package\s+(\S+)")


class Overlay:
    """A YAML file that changes some settings of a profile, its ``base``; ConfigError with every mistake in it.

    All the values are in ``instance``, and ``name`` is what the file calls itself. ``_target_`` lines, which no typed
    profile needs, are ``dropped``; a ``partial`` reading lists what it does not understand as the ``rest``.
    """

    def __init__(self, file: Path, group: str, root: Root, *above: Path, partial: bool = False) -> None:
        self.file, self.group, self.root, self.name = file, group, root, file.stem
        self.dropped: list[str] = []
        self._lines: dict[str, str] = {}
        self._prefix = ""
        text, content, self._numbers = yaml.read(
            file, expected="lines of key: value", see=f"profiles show {group}={root.groups[group].default}"
        )
        content = self._unwrapped(text, content)
        self.base = self._base(content.pop("defaults", None), {*above, file})
        self.instance = copy.deepcopy(self.base.instance)
        self._leaves = leaves_of(self.base.cls)
        found = list(self._read(content))
        self.rest, problems = (found, []) if partial else ([], found)
        if problems := problems or list(self._contradictions()):
            raise ConfigError(problems)

    def _registered(self) -> Registered:
        self.instance.name, base = self.file.stem, self.base
        return Registered(self.group, self.file.stem, base.cls, self.instance, str(self.file), base, self._lines)

    def register(self) -> None:
        """Make it a profile under its file's name; ConfigError where it imports a class or cannot have that name."""
        what, name = "_target_: a config never says what to import", self.file.stem
        problems = [Problem(what=what, origin=line, hint="remove the line") for line in self.dropped]
        problems += REGISTRY.unusable(self.group, name, self.base.cls, self._line("name"))
        if self.name != name:
            problems.append(self._problem(f"name: an overlay is called as its file, '{name}'", "name"))
        if problems:
            raise ConfigError(problems)
        REGISTRY.put(self._registered())

    def _line(self, path: str) -> str:
        return f"{self.file}:{self._numbers.get(f'{self._prefix}{path}', 1)}"

    def _problem(self, what: str, path: str = "", **told: str | None) -> Problem:
        return Problem(what=what, origin=self._line(path) if path else f"{self.file}:1", **told)

    def _refused(self, what: str, path: str = "", **told: str | None) -> ConfigError:
        return ConfigError(self._problem(what, path, **told))

    def _unwrapped(self, text: str, content: Any) -> Any:
        """The settings of the group: the whole file, or what stands below the group's name."""
        if not isinstance(content, dict | None):
            raise self._refused("the file holds no settings", expected="lines of key: value")
        content = content or {}
        package = found[1] if (found := _PACKAGE.match(text)) else ""
        if package not in ("", "_global_", "_group_", self.group):
            raise self._refused(f"@package {package}: an overlay sets its own group only", hint="remove the line")
        if isinstance(inner := content.get(self.group), dict):
            self._prefix = f"{self.group}."
            outer = {name: content[name] for name in ("defaults", "name") if name in content}
            others = content.keys() - {*outer, self.group, "_target_"}
            return outer | inner | {f"/{name}": value for name, value in content.items() if name in others}
        if package == "_global_" and content.keys() - {"defaults"}:
            hint = next((f"--group {name}" for name in content if name in self.root.groups), None)
            raise self._refused(f"@package _global_: there is nothing for {self.group} in the file", hint=hint)
        return content

    def _base(self, written: Any, above: set[Path]) -> Registered:
        default, known = self.root.groups[self.group].default, REGISTRY.view(self.root)[self.group]
        entries = [default] if written is None else written if isinstance(written, list) else []
        names = [name for name in map(self._listed, entries) if name not in (None, "_self_")]
        if len(names) != 1 or entries[0] == "_self_":
            what = f"defaults: {quote(written)} is not one profile to start from"
            raise self._refused(what, "defaults", expected=f"such as [{default}, _self_]")
        if (name := str(names[0])) in known:
            return known[name]
        beside = self.file.parent / f"{name}.yaml"
        is_file = os.path.isfile(beside)  # noqa: PTH113 - Path.is_file raises for a name that is too long.
        if beside.name == f"{name}.yaml" and beside not in above and is_file:
            return Overlay(beside, self.group, self.root, *above)._registered()
        what = f"defaults: there is no profile '{name}' in group {self.group}"
        raise self._refused(what, "defaults", expected=listed(known), nearest=nearest(name, known))

    def _listed(self, entry: Any) -> str | None:
        """The profile of this group that an entry of a defaults list names; None for another group's."""
        named = entry if isinstance(entry, dict) else {self.group: entry}
        own = (name for group, name in named.items() if group.removeprefix("override ").lstrip("/") == self.group)
        return next(map(str, map(plain, own)), None)

    def _read(self, content: dict[str, Any], prefix: str = "") -> Iterator[Problem]:
        for key, value in content.items():
            path = f"{prefix}{key}"
            if key == "_target_":
                self.dropped.append(self._line(path))
            elif leaf := self._leaves.get(path):
                try:
                    self._set(leaf, value)
                except ValueError as error:
                    yield self._problem(f"{path}: {error}", path, expected=leaf.words)
            elif not (section := children(self._leaves, path)):
                yield self._unknown(path)
            elif isinstance(value, dict):
                yield from self._read(value, f"{path}.")
            else:
                what, expected = f"{path}={quote(value)}: {path} is a section, not a setting", ", ".join(section)
                yield self._problem(what, path, expected=f"its settings: {expected}")

    def _set(self, leaf: Leaf, raw: Any) -> None:
        section, _, name = leaf.path.rpartition(".")
        holder = value_at(self.instance, section) if section else self.instance
        if isinstance(raw, str):
            raw = _REFERENCE.sub(lambda found: self._reference(found[1], section), raw)
        elif isinstance(raw, dict):
            raw = merged(getattr(holder, name), raw)
        value = plain(raw) if is_interpolation(raw) else leaf.convert(raw)
        if leaf.path == "name":
            self.name = str(value)
        else:
            self._lines[leaf.path] = self._line(leaf.path)
            setattr(holder, name, value)

    def _reference(self, target: str, section: str) -> str:
        """A reference as the composed config needs it: old files write ``${paths.output_dir}`` from their own top."""
        if target not in self._leaves or target.partition(".")[0] in self.root.groups:
            return f"${{{target}}}"
        above, _, name = target.rpartition(".")
        return f"${{.{name}}}" if above == section else f"${{{self.group}.{target}}}"

    def _unknown(self, path: str) -> Problem:
        if path.startswith("/"):
            first = path[1:].partition(".")[0]
            hint = f"import it by itself: --group {first}" if first in self.root.groups else "leave it out"
            what, origin = f"{first}: this is not a part of {self.group}", f"{self.file}:{self._numbers.get(first, 1)}"
            return Problem(what=what, origin=origin, hint=hint)
        known = [leaf for leaf in self._leaves if leaf != "name"]
        others = [group for group, one in self.root.groups.items() if path in leaves_of(one.schema)]
        close = [f"{group}.{path}" for group in others if group != self.group]
        close += [leaf for leaf in known if leaf.rpartition(".")[2] == path.rpartition(".")[2]]
        what, see = (
            f"{path}: there is no such setting in group {self.group}",
            f"profiles show {self.group}={self.base.name}",
        )
        return self._problem(what, path, nearest=close[0] if close else nearest(path, known), see=see)

    def _contradictions(self) -> Iterator[Problem]:
        try:
            instance = sealed(self.instance, {})
        except ValueError as error:
            yield self._problem(str(error))
            return
        for one in (one for one in instance.contradictions() if one.fatal):
            hint = f"set {one.path} to {one.remedy}" if one.remedy else None
            yield self._problem(one.reason, one.path, hint=hint)
