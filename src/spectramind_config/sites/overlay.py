"""YAML overlays: profiles of the old kind, read into typed ones and checked by the schema of their group."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.schema.fields import Leaf, leaves_of, sealed
from spectramind_config.schema.registry import REGISTRY, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.values import children, is_interpolation, merged, plain, quote, value_at
from spectramind_config.settings import Profile
from spectramind_config.sites import yaml

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_PACKAGE = re.compile(r"\s*#\s*@package\s+(\S+)")


class Overlay:
    """A YAML file that changes some settings of a profile.

    Attributes:
        name: What the file calls itself, or the file's name.
        base: The profile it changes: the one in its ``defaults``, or the group's default.
        instance: All the values.
        lines: ``file:line`` of each setting in the file.
        dropped: ``file:line`` of each ``_target_``, which no typed profile needs.
        rest: What was not understood, where that was to be left out.
    """

    def __init__(
        self, file: Path, group: str, root: Root, *, partial: bool = False, above: tuple[Path, ...] = ()
    ) -> None:
        """Read a file.

        Args:
            file: The YAML file.
            group: The group it is for.
            root: The root that has the group.
            partial: Whether to take what can be understood, and list the ``rest``.
            above: The files that this one is a base of.

        Raises:
            ConfigError: It cannot be read; or every key that is unknown and every value that does not fit.
        """
        self.file = file
        self.group = group
        self.root = root
        self.name = file.stem
        self.lines: dict[str, str] = {}
        self.dropped: list[str] = []
        self.rest: list[Problem] = []
        text, content, self._numbers = yaml.read(file, expected="lines of key: value", see=f"profiles show {group}")
        self._prefix = ""
        content = dict(self._unwrapped(text, content))
        self.base = self._base(content.pop("defaults", None), (*above, file))
        self.instance: Profile = copy.deepcopy(self.base.instance)
        self._leaves = leaves_of(self.base.cls)
        problems = list(self._read(content, ""))
        if partial:
            self.rest, problems = problems, []
        if not problems:
            problems = list(self._checked())
        if problems:
            raise ConfigError(problems)

    def registered(self) -> Registered:
        """The profile that it is."""
        lines = {path: line for path, line in self.lines.items() if path != "name"}
        self.instance.name = self.file.stem
        return Registered(self.group, self.file.stem, self.base.cls, self.instance, str(self.file), self.base, lines)

    def register(self) -> None:
        """Make it a profile under its file's name.

        Raises:
            ConfigError: It would import a class, or its name cannot be a profile's or is taken.
        """
        problems = [
            Problem(what="_target_: a config never says what to import", origin=line, hint="remove the line")
            for line in self.dropped
        ]
        name, origin = self.file.stem, self._line("name")
        problems += REGISTRY.unusable(self.group, name, self.base.cls, origin)
        if self.name != name:
            problems.append(Problem(what=f"name: an overlay is called as its file, '{name}'", origin=origin))
        if problems:
            REGISTRY.refuse({(self.group, name)}, str(self.file), problems)
            raise ConfigError(problems)
        REGISTRY.put(self.registered())

    def _line(self, path: str) -> str:
        return f"{self.file}:{self._numbers.get(f'{self._prefix}{path}', 1)}"

    def _unwrapped(self, text: str, content: Any) -> Any:
        """The settings of the group: the whole file, or what stands below the group's name."""
        if content is not None and not isinstance(content, dict):
            problem = Problem(
                what="the file holds no settings", origin=f"{self.file}:1", expected="lines of key: value"
            )
            raise ConfigError(problem)
        content = content or {}
        package = _PACKAGE.match(text)
        if package and package[1] not in ("_global_", "_group_", self.group):
            what = f"@package {package[1]}: an overlay sets its own group only"
            raise ConfigError(Problem(what=what, origin=f"{self.file}:1", hint="remove the line"))
        wrapped = isinstance(content.get(self.group), dict)
        if not wrapped and package and package[1] == "_global_" and content.keys() - {"defaults"}:
            found = next((name for name in content if name in self.root.groups), None)
            hint = f"--group {found}" if found else None
            what = f"@package _global_: there is nothing for {self.group} in the file"
            raise ConfigError(Problem(what=what, origin=f"{self.file}:1", hint=hint))
        if not wrapped:
            return content
        self._prefix = f"{self.group}."
        others = [name for name in content if name not in ("defaults", self.group, "name", "_target_")]
        return (
            {name: content[name] for name in ("defaults", "name") if name in content}
            | content[self.group]
            | {f"/{name}": content[name] for name in others}
        )

    def _base(self, listed: Any, above: tuple[Path, ...]) -> Registered:
        default = self.root.groups[self.group].default
        names = [default] if listed is None else listed if isinstance(listed, list) else []
        own = [name for name in map(self._listed, names) if name not in (None, "_self_")]
        if len(own) != 1 or (names and names[0] == "_self_"):
            what = f"defaults: {quote(listed)} is not one profile to start from"
            raise ConfigError(
                Problem(what=what, origin=self._line("defaults"), expected=f"such as [{default}, _self_]")
            )
        name = str(own[0])
        known = REGISTRY.view(self.root)[self.group]
        beside = self.file.with_name(f"{name}.yaml")
        if name in known:
            return known[name]
        if beside.is_file() and beside not in above:
            return Overlay(beside, self.group, self.root, above=above).registered()
        raise ConfigError(
            Problem(
                what=f"defaults: there is no profile '{name}' in group {self.group}",
                origin=self._line("defaults"),
                expected="one of " + ", ".join(known),
                nearest=nearest(name, known),
            )
        )

    def _listed(self, entry: Any) -> str | None:
        """The profile of this group that an entry of a defaults list names; None for another group's."""
        if not isinstance(entry, dict):
            return str(plain(entry))
        for key, name in entry.items():
            if key.removeprefix("override ").lstrip("/") == self.group:
                return str(plain(name))
        return None

    def _read(self, content: dict[str, Any], prefix: str) -> Iterator[Problem]:
        for key, value in content.items():
            path, section = f"{prefix}{key}", children(self._leaves, f"{prefix}{key}")
            if key == "_target_":
                self.dropped.append(self._line(path))
            elif path in self._leaves:
                yield from self._set(self._leaves[path], path, value)
            elif not section:
                yield self._unknown(path)
            elif isinstance(value, dict):
                yield from self._read(value, f"{path}.")
            else:
                what = f"{path}={quote(value)}: {path} is a section, not a setting"
                yield Problem(what=what, origin=self._line(path), expected=f"its settings: {', '.join(section)}")

    def _set(self, leaf: Leaf, path: str, raw: Any) -> Iterator[Problem]:
        if isinstance(raw, str):
            raw = _REFERENCE.sub(lambda found: self._reference(found[1], path), raw)
        elif isinstance(raw, dict):
            raw = merged(value_at(self.instance, path), raw)
        try:
            value = plain(raw) if is_interpolation(raw) else leaf.convert(raw)
        except ValueError as error:
            expected = f"{leaf.type.words}: {leaf.description}"
            yield Problem(what=f"{path}: {error}", origin=self._line(path), expected=expected)
            return
        self.lines[path] = self._line(path)
        if path == "name":
            self.name = str(value)
            return
        *sections, name = path.split(".")
        setattr(value_at(self.instance, ".".join(sections)) if sections else self.instance, name, value)

    def _reference(self, target: str, path: str) -> str:
        """A reference as the composed config needs it: old files write ``${paths.output_dir}`` from their own top."""
        if target not in self._leaves or target.partition(".")[0] in self.root.groups:
            return f"${{{target}}}"
        section, _, name = target.rpartition(".")
        return f"${{.{name}}}" if section == path.rpartition(".")[0] else f"${{{self.group}.{target}}}"

    def _unknown(self, path: str) -> Problem:
        first = path.removeprefix("/").partition(".")[0]
        if path.startswith("/"):
            hint = f"import it by itself: --group {first}" if first in self.root.groups else "leave it out"
            what = f"{first}: this is not a part of {self.group}"
            return Problem(what=what, origin=f"{self.file}:{self._numbers.get(first, 1)}", hint=hint)
        known = [leaf for leaf in self._leaves if leaf != "name"]
        namesakes = [leaf for leaf in known if leaf.rpartition(".")[2] == path.rpartition(".")[2]]
        elsewhere = [
            f"{group}.{leaf}"
            for group, one in self.root.groups.items()
            for leaf in leaves_of(one.schema)
            if group != self.group and leaf == path
        ]
        return Problem(
            what=f"{path}: there is no such setting in group {self.group}",
            origin=self._line(path),
            nearest=next(iter([*elsewhere, *namesakes]), None) or nearest(path, known),
            see=f"profiles show {self.group}={self.base.name}",
        )

    def _checked(self) -> Iterator[Problem]:
        try:
            instance = sealed(self.instance, {})
        except ValueError as error:
            yield Problem(what=str(error), origin=f"{self.file}:1")
            return
        for found in instance.contradictions():
            if found.fatal:
                hint = f"set {found.path} to {found.remedy}" if found.remedy else None
                yield Problem(what=found.reason, origin=self._line(found.path), hint=hint)
