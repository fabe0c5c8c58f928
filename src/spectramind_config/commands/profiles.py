"""``profiles …``: which profiles and experiments exist, what they change, and new ones."""

from __future__ import annotations

import ast
import builtins
import copy
import dataclasses
import functools
import inspect
import json
import os
import re
import shlex
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from enum import Enum
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from spectramind_config.commands.command import JSON, Command, fitted, out, out_json, short, shown, width
from spectramind_config.compose.config import Config
from spectramind_config.errors import ConfigError, Problem, listed, nearest, unknown
from spectramind_config.files import parsed
from spectramind_config.schema.fields import leaves_of
from spectramind_config.schema.registry import REGISTRY, Experiment, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import declaring, field_statements, summary_of
from spectramind_config.schema.values import plain, same, value_at
from spectramind_config.settings import Profile, Settings
from spectramind_config.sites.loading import load, script, warn
from spectramind_config.sites.overlay import Overlay

_PACKAGE = __name__.partition(".")[0]
_TEMPLATE = '''\
"""{title}"""

from __future__ import annotations

from dataclasses import {dataclasses}

import spectramind_config as sc{imports}


@sc.profile("{group}", "{name}")
@dataclass(kw_only=True)
class {cls}({base}):
    """{summary}{notes}"""
{body}'''


def _list(options: Namespace, root: type[Config]) -> None:
    load(root._root)
    found = [one for group in REGISTRY.view(root._root).values() for one in group.values()]
    names = ("group", "name", "provider", "summary", *["source"] * options.json)
    experiments = REGISTRY.experiments(root._root).values()
    table = [{name: str(getattr(one, name, "experiment")) for name in names} for one in (*found, *experiments)]
    if options.json:
        out_json(table)
        return
    cells = [[one["group"], one["name"], short(one["provider"])] for one in table]
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, one in zip(cells, table, strict=True):
        padded = "  ".join(text.ljust(size) for text, size in zip(first, sizes, strict=True))
        if len(padded) + 32 <= width():
            out(fitted(f"{padded}  ", one["summary"]).rstrip())
        else:
            out("  ".join(first).rstrip(), fitted("    ", one["summary"]).rstrip())


def _show(options: Namespace, root: type[Config]) -> None:
    load(root._root, quiet=True)
    if not options.names:
        raise ConfigError(Problem(what="profiles show needs a profile", expected="GROUP=NAME", see="profiles list"))
    found = [_differences(_named(argument, root._root)) for argument in options.names]
    warn()
    if options.json:
        out_json(found[0] if len(found) == 1 else found)
        return
    for number, one in enumerate(found):
        out("\n" * bool(number) + fitted(f"{one['group']}={one['name']}: ", one["summary"]))
        if "overrides" in one:
            out(fitted("  ", f"from {short(one['provider'])}, {short(one['source'])}"))
            out(*(f"  {override}" for override in one["overrides"]))
            continue
        out(fitted("  ", f"changes {one['parent']}; from {short(one['provider'])}, {short(one['source'])}"))
        for change in one["changes"]:
            was = f" instead of {shown(change['parent'])}" if "parent" in change else " (added)"
            path, value = change["path"], shown(change["value"])
            line = f"  {path} = {value}" if len(path) + len(value) + 5 <= width() else f"  {path} =\n      {value}"
            out(f"{line}{was}" if len(line + was) <= min(100, width()) else f"{line}\n     {was}")
            out(fitted("      ", f"{change['description'] or 'no description'}; {short(change['source'])}"))


def _differences(chosen: Registered | Experiment) -> dict[str, Any]:
    names = ("name", "summary", "provider", "source")
    told = {"group": "experiment"} | {name: getattr(chosen, name) for name in names}
    if isinstance(chosen, Experiment):
        return told | {"overrides": list(chosen.overrides)}
    parent, reference = chosen.parent()
    known = leaves_of(type(reference))
    changes = []
    for path, leaf in leaves_of(chosen.cls).items():
        value = plain(value_at(chosen.instance, path))
        before = plain(value_at(reference, path)) if path in known else None
        if path != "name" and not (path in known and same(before, value)):
            change = {"path": path, "value": value, "description": leaf.description, "source": chosen.setter(path)[0]}
            changes.append(change | ({"parent": before} if path in known else {}))
    return told | {"group": chosen.group, "parent": parent, "changes": changes}


def _named(text: str, root: Root) -> Registered | Experiment:
    group, equals, name = text.rpartition("=")
    view: dict[str, Mapping[str, Registered | Experiment]] = {**REGISTRY.view(root)}
    view["experiment"] = REGISTRY.experiments(root)
    candidates = [group] if equals else list(view)
    for one in candidates:
        if refused := REGISTRY.refusal(one, name):
            raise ConfigError(refused)
    found = {one: view[one][name] for one in candidates if one in view and name in view[one]}
    if len(found) == 1:
        return found.popitem()[1]
    if found:
        choices = ", ".join(f"{one}={name}" for one in found)
        raise ConfigError(f"'{text}' is a profile of several groups: {choices}")
    known = {f"{one}={other}" if equals else other: f"{one}={other}" for one in view for other in view[one]}
    close, what = known.get(nearest(text, known) or ""), f"there is no profile '{text}'"
    if close:
        raise ConfigError(Problem(what=what, nearest=close, argument=text, instead=close))
    inside = listed(f"{text}={other}" for other in view[text]) if text in view else None
    raise ConfigError(Problem(what=what, expected=inside, see="profiles list"))


def _new(options: Namespace, root: type[Config]) -> None:
    load(root._root)
    group, name = _group(options, root._root), options.name
    _require_usable(root._root, group, name)
    default = root._root.groups[group].default
    title = f"Profile {group}={name}; edit it freely.\n\nWhat is not here keeps the base's value, as told by\n"
    title += f"    {options.program} profiles show {group}={default}\n"
    values, reasons, about = REGISTRY.default(root._root, group).cls.suggested(name)
    summary, _, notes = about.partition("\n\n")
    _write(options, root._root, group, name, _source(group, name, values, (title, summary, notes), reasons))


def _import(options: Namespace, root: type[Config]) -> None:
    load(root._root)
    group, file = _group(options, root._root), Path(options.file).absolute()
    overlay = Overlay(file, group, root._root, partial=options.partial)
    name = options.name or overlay.name
    _require_usable(root._root, group, name)
    title = f"Profile {group}={name}, imported from {file.name}."
    summary = f"{group}={overlay.base.name} with the settings of {file.name}."
    _write(options, root._root, group, name, _source(group, name, overlay.instance, (title, summary, ""), {}))
    out(*(f"dropped: _target_ ({short(line)}), for the class itself says what it is" for line in overlay.dropped))
    out(*(f"left out: {problem}" for problem in overlay.rest))


def _require_usable(root: Root, group: str, name: str) -> None:
    if problems := list(REGISTRY.unusable(group, name, root.groups[group].schema)):
        raise ConfigError(problems)


def _write(options: Namespace, root: Root, group: str, name: str, text: str) -> None:
    file = Path(options.output or _file(name.replace("-", "_"), group))
    if file.suffix != ".py":
        raise ConfigError(Problem(what=f"{file}: a profile is a Python file", expected="a path that ends in .py"))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise ConfigError(Problem(what=f"{file} exists already", hint="--output FILE names another file")) from None
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    listed = dict.fromkeys([*filter(None, os.environ.get(root.variable, "").split(os.pathsep)), str(file)])
    variable = f"{root.variable}={shlex.quote(os.pathsep.join(listed))}"
    out(f"written: {file}", f"next:    edit it, then {variable} {options.command} {group}={name}")


def _file(name: str, group: str) -> str:
    """A file beside a script must not be taken for a module that the script, or Python itself, imports."""
    found = PathFinder.find_spec(name)
    other = found is not None and found.origin != str(Path(f"{name}.py").absolute())
    return f"{name}_{group}.py" if other or name in sys.stdlib_module_names else f"{name}.py"


def _group(options: Namespace, root: Root) -> str:
    group: str = options.group or next((one.name for one in root.groups.values() if one.over), next(iter(root.groups)))
    if group not in root.groups:
        raise unknown("config group", group, list(root.groups), see="profiles list", at=f"--group {group}")
    return group


def _source(group: str, name: str, values: Profile, texts: tuple[str, str, str], reasons: Mapping[str, str]) -> str:
    """The module that declares a profile with these values as a subclass that restates only what differs."""
    # A mere alias of ours says less than its parent; on one's own class a program may dispatch.
    ours = type(values).__module__.startswith(f"{_PACKAGE}.")
    base = next(cls for cls in type(values).__mro__ if inspect.get_annotations(cls) or not ours)
    imports: dict[str, str] = {}
    parent = _class(base, imports)
    leaves = leaves_of(base)
    body: list[str] = []
    for path in _changed(values, base()):
        owner, value = declaring(base, path), getattr(values, path)
        annotation = _annotation(owner, path)
        imports |= _imports(annotation, owner)
        about = leaves[path].description if path in leaves else summary_of(type(value))
        if comment := ". ".join(text.rstrip(".") for text in (about, reasons.get(path)) if text):
            body += ["", *textwrap.wrap(f"{comment}.", 110, initial_indent="    # ", subsequent_indent="    # ")]
        text = _expression(value, "    ", imports)
        if isinstance(value, Settings | list | dict):
            text = f"field(\n        default_factory=lambda: {_expression(value, ' ' * 8, imports)}\n    )"
        body.append(f"    {path}: {ast.unparse(annotation)} = {text}")
    imports = {one: script() or module if module == "__main__" else module for one, module in imports.items()}
    imports = {one: module.replace(f"{load.__module__}.", ".") for one, module in imports.items()}
    modules = ((module, sorted(one for one in imports if imports[one] == module)) for module in {*imports.values()})
    title, summary, notes = (text.replace("\\", "\\\\").replace('"""', '\\"""') for text in texts)
    words = "".join(word[:1].upper() + word[1:] for word in re.split("[_-]+", name))
    return _TEMPLATE.format(
        title=title,
        dataclasses="dataclass, field" if any("field(" in line for line in body) else "dataclass",
        imports="".join(f"\nfrom {module} import {', '.join(names)}" for module, names in sorted(modules)),
        group=group,
        name=name,
        cls=f"{'' if words[:1].isalpha() else 'Profile'}{words}{group.capitalize()}",
        base=parent,
        summary=summary,
        notes=f"\n\n{textwrap.indent(notes, '    ')}\n    " if notes else "",
        body="".join(f"{line}\n" for line in body),
    )


def _changed(values: Settings, reference: Settings) -> Iterator[str]:
    for name in (field.name for field in dataclasses.fields(reference) if field.name != "name"):
        if not same(plain(getattr(values, name)), plain(getattr(reference, name))):
            yield name


def _expression(value: Any, indent: str, imports: dict[str, str]) -> str:
    def inner(one: Any) -> str:
        return _expression(one, indent, imports)

    cls = ""
    if isinstance(value, Settings | Enum | Path | timedelta):
        cls = _class(Path if isinstance(value, Path) else type(value), imports)
    match value:
        case Settings():
            indent += "    "
            arguments = (f"\n{indent}{name}={inner(getattr(value, name))}," for name in _changed(value, type(value)()))
            return f"{cls}({''.join(arguments)}\n{indent[4:]})"
        case dict():
            return "{" + ", ".join(f"{inner(key)}: {inner(one)}" for key, one in value.items()) + "}"
        case list():
            return f"[{', '.join(map(inner, value))}]"
        case tuple():
            return f"({', '.join(map(inner, value))}{',' * (len(value) == 1)})"
        case Enum():
            return f"{cls}.{value.name}"
        case Path():
            return f"Path({inner(str(value))})"
        case timedelta():
            return f"timedelta(seconds={value.total_seconds():g})"
        case str() if value.isprintable():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _is_public(name: str, meant: object) -> bool:
    """Whether a name of ours is written with ``sc.``."""
    return getattr(sys.modules[_PACKAGE], name, None) is meant and meant is not None


def _class(cls: type, imports: dict[str, str]) -> str:
    """A class as the module names it, which then has to import it, unless that is one of our public ones."""
    if _is_public(cls.__name__, cls):
        return f"sc.{cls.__name__}"
    imports[cls.__name__] = "pathlib" if cls is Path else cls.__module__
    return cls.__name__


def _annotation(owner: type, name: str) -> ast.expr:
    annotation = copy.deepcopy(field_statements(owner)[name][0].annotation)
    match annotation:
        case ast.Subscript(ast.Name("Annotated") | ast.Attribute(attr="Annotated"), ast.Tuple([declared, *_])):
            annotation = declared
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and _is_public(node.id, getattr(sys.modules[owner.__module__], node.id, None)):
            node.id = f"sc.{node.id}"
    return annotation


@functools.lru_cache(maxsize=8)
def _origins(source: str) -> Mapping[str, str | None]:
    imports = [one for one in parsed(source).body if isinstance(one, ast.ImportFrom)]
    return {alias.asname or alias.name: one.module for one in imports for alias in one.names}


def _imports(annotation: ast.expr, owner: type) -> dict[str, str]:
    """Where the names in an annotation come from: the module that the owner's module imports them from, or itself."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} - vars(builtins).keys() - {"sc"}
    names = {name for name in names if not name.startswith("sc.")}
    origins = _origins(inspect.getsource(sys.modules[owner.__module__])) if names else {}
    return {name: origins.get(name) or owner.__module__ for name in names}


_PROFILES = {"names": {"nargs": "*", "metavar": "GROUP=NAME", "help": "a profile, or experiment=NAME"}}
_NAME = {"name": {"metavar": "NAME", "help": "what to call it"}}
_TARGET = {
    "--group": {"metavar": "GROUP", "help": "the group it is for; by default the one that is folded over another"},
    "--output": {"metavar": "FILE", "help": "the file to write; NAME.py, or NAME_GROUP.py, by default"},
}
_FILE = {
    "file": {"metavar": "OLD.yaml", "help": "a YAML overlay"},
    "--name": {"help": "what to call it; the file's name by default"},
    "--partial": {"action": "store_true", "help": "take what can be read, and list the rest"},
}
COMMANDS = (
    Command("profiles list", "every profile and experiment, with its origin", _list, JSON),
    Command("profiles show", "what a profile changes from its parent, or an experiment sets", _show, _PROFILES | JSON),
    Command("profiles new", "write a profile for this host, to edit", _new, _NAME | _TARGET),
    Command("profiles import", "turn a YAML overlay into a profile", _import, _FILE | _TARGET),
)
