"""Profiles as Python source: what ``profiles new`` and ``profiles import`` write."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from spectramind_config.schema.fields import leaves_of
from spectramind_config.schema.sources import declaring, field_statements
from spectramind_config.schema.values import plain, same
from spectramind_config.settings import Profile, Settings

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


def source_of(
    group: str,
    name: str,
    values: Profile,
    texts: tuple[str, str, str],  # The module's docstring, the class's summary, and more of that.
    reasons: Mapping[str, str],  # Why a setting at the top has its value.
) -> str:
    """The module that declares a profile with these values as a subclass that restates only what differs."""
    # A mere alias says less than its parent.
    base = next(cls for cls in type(values).__mro__ if inspect.get_annotations(cls))
    public = getattr(sys.modules[__name__.partition(".")[0]], base.__name__, None) is base
    imports = {} if public else {base.__name__: base.__module__}
    leaves = leaves_of(base)
    body: list[str] = []
    for path in _changed(values, base()):
        owner, value = declaring(base, path), getattr(values, path)
        annotation = _annotation(owner, path)
        imports |= _imports(annotation, owner)
        about = leaves[path].description if path in leaves else (inspect.getdoc(type(value)) or "").partition("\n")[0]
        if comment := ". ".join(text.rstrip(".") for text in (about, reasons.get(path)) if text):
            body += ["", *textwrap.wrap(f"{comment}.", 110, initial_indent="    # ", subsequent_indent="    # ")]
        text = _expression(value, "    ", imports)
        if isinstance(value, Settings | list | dict):
            text = f"field(\n        default_factory=lambda: {_expression(value, ' ' * 8, imports)}\n    )"
        body.append(f"    {path}: {ast.unparse(annotation)} = {text}")
    modules = {
        module: sorted(one for one in imports if imports[one] == module) for module in sorted(set(imports.values()))
    }
    title, summary, notes = (text.replace("\\", "\\\\").replace('"""', '\\"""') for text in texts)
    words = "".join(word[:1].upper() + word[1:] for word in re.split("[_-]+", name))
    return _TEMPLATE.format(
        title=title,
        dataclasses="dataclass, field" if any("field(" in line for line in body) else "dataclass",
        imports="".join(f"\nfrom {module} import {', '.join(names)}" for module, names in modules.items()),
        group=group,
        name=name,
        cls=f"{'' if words[:1].isalpha() else 'Profile'}{words}{group.capitalize()}",
        base=f"sc.{base.__name__}" if public else base.__name__,
        summary=summary,
        notes=f"\n\n{textwrap.indent(notes, '    ')}\n    " if notes else "",
        body="".join(f"{line}\n" for line in body),
    )


def _changed(values: Settings, reference: Settings) -> Iterator[str]:
    """The fields that differ, in the order of declaration."""
    for name in (field.name for field in dataclasses.fields(reference)):
        if name != "name" and not same(plain(getattr(values, name)), plain(getattr(reference, name))):
            yield name


def _expression(value: Any, indent: str, imports: dict[str, str]) -> str:
    def inner(one: Any) -> str:
        return _expression(one, indent, imports)

    cls: Any = Path if isinstance(value, Path) else type(value)
    if isinstance(value, Settings | Enum | Path | timedelta):
        imports[cls.__name__] = "pathlib" if cls is Path else cls.__module__
    match value:
        case Settings():
            indent += "    "
            arguments = (f"\n{indent}{name}={inner(getattr(value, name))}," for name in _changed(value, cls()))
            return f"{cls.__name__}({''.join(arguments)}\n{indent[4:]})"
        case dict():
            return "{" + ", ".join(f"{inner(key)}: {inner(one)}" for key, one in value.items()) + "}"
        case list():
            return f"[{', '.join(map(inner, value))}]"
        case tuple():
            return f"({', '.join(map(inner, value))}{',' * (len(value) == 1)})"
        case Enum():
            return f"{cls.__name__}.{value.name}"
        case Path():
            return f"Path({inner(str(value))})"
        case timedelta():
            return f"timedelta(seconds={value.total_seconds():g})"
        case str() if value.isprintable():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _annotation(owner: type, name: str) -> ast.expr:
    """A field's type as its source writes it, without its description."""
    match field_statements(owner)[name].annotation:
        case ast.Subscript(ast.Name("Annotated") | ast.Attribute(attr="Annotated"), ast.Tuple([declared, *_])):
            return declared
        case annotation:
            return annotation


def _imports(annotation: ast.expr, owner: type) -> dict[str, str]:
    """Where the names in an annotation come from: the module that the owner's module imports them from, or itself."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} - vars(builtins).keys()
    statements = ast.parse(inspect.getsource(sys.modules[owner.__module__])).body if names else []
    imports = [one for one in statements if isinstance(one, ast.ImportFrom)]
    origins = {alias.asname or alias.name: one.module for one in imports for alias in one.names}
    return {name: origins.get(name) or owner.__module__ for name in names}
