"""YAML overlays: profiles of the old kind, read into typed ones and checked by the schema of their group."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.leaves import Leaf, is_interpolation, leaves_of, value_at
from spectramind_config.registry import DEFAULTS, GROUPS, REGISTRY, Registered
from spectramind_config.settings import Profile

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
    """

    def __init__(self, file: Path, group: str) -> None:
        """Read a file.

        Raises:
            ConfigError: It cannot be read; or every key that is unknown and every value that does not fit.
        """
        self.file = file
        self.group = group
        self.name = file.stem
        self.lines: dict[str, str] = {}
        self.dropped: list[str] = []
        self._loader, root = _parsed(file)
        content = dict(root.value and self._pairs(root))
        self.base = self._base(content.pop("defaults", None))
        self.instance: Profile = copy.deepcopy(self.base.instance)
        self._leaves = leaves_of(self.base.cls)
        problems = list(self._read(content, ""))
        if not problems:
            problems = list(self._contradictions())
        if problems:
            raise ConfigError(problems)

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
        problems += REGISTRY.unusable(self.group, name, origin)
        if self.name != name:
            problems.append(Problem(what=f"name: an overlay is called as its file, '{name}'", origin=origin))
        if problems:
            raise ConfigError(problems)
        self.instance.name = name
        lines = {path: line for path, line in self.lines.items() if path != "name"}
        REGISTRY.put(Registered(self.group, name, self.base.cls, self.instance, str(self.file), self.base, lines))

    def _line(self, path: str) -> str:
        return self.lines.get(path, f"{self.file}:1")

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node]]:
        return ((str(key.value), value) for key, value in node.value)

    def _value(self, node: yaml.Node) -> Any:
        return self._loader.construct_object(node, deep=True)

    def _base(self, node: yaml.Node | None) -> Registered:
        listed = [DEFAULTS[self.group]] if node is None else self._value(node)
        names = [name for name in listed if name != "_self_"] if isinstance(listed, list) else []
        if len(names) != 1 or not isinstance(names[0], str) or listed[0] == "_self_":
            raise ConfigError(
                Problem(
                    what=f"defaults: {listed!r} is not one profile to start from",
                    origin=f"{self.file}:{node.start_mark.line + 1}" if node else str(self.file),
                    expected="such as [hpc, _self_]",
                )
            )
        base = REGISTRY.get(self.group, names[0])
        if base is None:
            known = list(REGISTRY.profiles[self.group])
            raise ConfigError(
                Problem(
                    what=f"defaults: there is no profile '{names[0]}' in group {self.group}",
                    origin=f"{self.file}:{node.start_mark.line + 1}" if node else str(self.file),
                    expected="one of " + ", ".join(known),
                    nearest=nearest(names[0], known),
                )
            )
        return base

    def _read(self, content: dict[str, yaml.Node], prefix: str) -> Iterator[Problem]:
        for key, node in content.items():
            path, origin = f"{prefix}{key}", f"{self.file}:{node.start_mark.line + 1}"
            section = [leaf.removeprefix(f"{path}.") for leaf in self._leaves if leaf.startswith(f"{path}.")]
            if key == "_target_":
                self.dropped.append(origin)
            elif path in self._leaves:
                yield from self._set(self._leaves[path], path, self._value(node), origin)
            elif not section:
                yield self._unknown(path, origin)
            elif isinstance(node, yaml.MappingNode):
                yield from self._read(dict(self._pairs(node)), f"{path}.")
            else:
                what = f"{path}={self._value(node)!r}: {path} is a section, not a setting"
                yield Problem(what=what, origin=origin, expected=f"its settings: {', '.join(section)}")

    def _set(self, leaf: Leaf, path: str, raw: Any, origin: str) -> Iterator[Problem]:
        if isinstance(raw, str):
            raw = _REFERENCE.sub(lambda found: self._reference(found[1], path), raw)
        try:
            value = raw if is_interpolation(raw) else leaf.convert(raw)
        except ValueError as error:
            expected = f"{leaf.expectation}: {leaf.description}"
            yield Problem(what=f"{path}: {error}", origin=origin, expected=expected)
            return
        self.lines[path] = origin
        if path == "name":
            self.name = str(value)
            return
        *sections, name = path.split(".")
        setattr(value_at(self.instance, ".".join(sections)) if sections else self.instance, name, value)

    def _reference(self, target: str, path: str) -> str:
        """A reference as the composed config needs it: old files write ``${paths.output_dir}`` from their own top."""
        if target not in self._leaves or target.partition(".")[0] in GROUPS:
            return f"${{{target}}}"
        section, _, name = target.rpartition(".")
        return f"${{.{name}}}" if section == path.rpartition(".")[0] else f"${{{self.group}.{target}}}"

    def _unknown(self, path: str, origin: str) -> Problem:
        known = [leaf for leaf in self._leaves if leaf != "name"]
        namesakes = [leaf for leaf in known if leaf.rpartition(".")[2] == path.rpartition(".")[2]]
        return Problem(
            what=f"{path}: there is no such setting in group {self.group}",
            origin=origin,
            nearest=namesakes[0] if namesakes else nearest(path, known),
            see=f"spectramind profiles show {self.group}={self.base.name}",
        )

    def _contradictions(self) -> Iterator[Problem]:
        for found in self.instance.contradictions():
            if found.fatal:
                hint = f"set {found.path} to {found.remedy}" if found.remedy else None
                yield Problem(what=found.reason, origin=self._line(found.path), hint=hint)


def _parsed(file: Path) -> tuple[Any, yaml.MappingNode]:
    """The file's nodes, read by OmegaConf's rules, so that a value means what it means to Hydra."""
    try:
        text = file.read_text(encoding="utf-8")
        loader = get_yaml_loader()(text)
        root = loader.get_single_node()
        if root is not None:
            loader.construct_object(root, deep=True)
    except OSError as error:
        raise ConfigError(Problem(what=f"{file} cannot be read: {error.strerror}")) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        origin = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigError(Problem(what=f"this is not YAML: {reason}", origin=origin)) from None
    if root is None:
        root = yaml.MappingNode("tag:yaml.org,2002:map", [])
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            Problem(what="the file holds no settings", origin=f"{file}:1", expected="lines of key: value")
        )
    package = _PACKAGE.match(text)
    if package and package[1] not in ("_group_", file.parent.name):
        what = f"@package {package[1]}: an overlay sets its own group only"
        raise ConfigError(Problem(what=what, origin=f"{file}:1", hint="remove the line"))
    return loader, root
