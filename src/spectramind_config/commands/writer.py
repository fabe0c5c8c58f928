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
from types import MappingProxyType
from typing import Any

from spectramind_config.schema.fields import leaves_of
from spectramind_config.schema.sources import declaring, field_statements
from spectramind_config.schema.values import plain, same, value_at
from spectramind_config.settings import Profile, Settings
from spectramind_config.sites.loading import script

_TEMPLATE = '''\
"""{title}"""

from __future__ import annotations

from dataclasses import {dataclasses}

{imports}


@sc.profile("{group}", "{name}")
@dataclass(kw_only=True)
class {cls}({base}):
    """{summary}{notes}"""
{body}'''


def source_of(
    group: str,
    name: str,
    values: Profile,
    title: str,
    summary: str,
    notes: str = "",
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The module that declares a profile with these values as a subclass that restates only what differs.

    Args:
        group: Its group.
        name: Its name.
        values: All its values; their class is the base.
        title: The module's docstring.
        summary: The class's docstring.
        notes: More of it.
        reasons: Why a top setting has its value, for the comment above it.
    """
    base = type(values)
    base = next(cls for cls in base.__mro__ if inspect.get_annotations(cls))  # A mere alias says less than its parent.
    imports: dict[str, str] = {}
    public = getattr(sys.modules[__name__.partition(".")[0]], base.__name__, None) is base
    if not public:
        imports[base.__name__] = base.__module__
    body: list[str] = []
    leaves = leaves_of(base)
    for path in _changed(values, base()):
        owner = declaring(base, path)
        annotation = _annotation(owner, path)
        imports |= _imports(annotation, owner)
        value = getattr(values, path)
        about = leaves[path].description if path in leaves else (inspect.getdoc(type(value)) or "").partition("\n")[0]
        comment = ". ".join(text.rstrip(".") for text in (about, reasons.get(path)) if text)
        if comment:
            body += ["", *textwrap.wrap(f"{comment}.", 110, initial_indent="    # ", subsequent_indent="    # ")]
        text = _expression(value, "    ", imports)
        if isinstance(value, Settings | list | dict):
            text = f"field(\n        default_factory=lambda: {_expression(value, ' ' * 8, imports)}\n    )"
        body.append(f"    {path}: {ast.unparse(annotation)} = {text}")
    modules: dict[str, list[str]] = {}
    for imported, module in imports.items():
        modules.setdefault(script() or module if module == "__main__" else module, []).append(imported)
    lines = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(modules.items())]
    return _TEMPLATE.format(
        title=_docstring(title),
        dataclasses="dataclass, field" if any("field(" in line for line in body) else "dataclass",
        imports="\n".join(["import spectramind_config as sc", *lines]),
        group=group,
        name=name,
        cls=_class_name(group, name),
        base=base.__name__ if base.__name__ in imports else f"sc.{base.__name__}",
        summary=_docstring(summary),
        notes=f"\n\n{textwrap.indent(_docstring(notes), '    ')}\n    " if notes else "",
        body="\n".join([*body, ""]),
    )


def _changed(values: Settings, reference: Settings) -> Iterator[str]:
    """The fields that differ, in the order of declaration."""
    leaves = [path for path in leaves_of(type(reference)) if path != "name"]
    changed = {
        path.partition(".")[0]
        for path in leaves
        if not same(plain(value_at(values, path)), plain(value_at(reference, path)))
    }
    return (field.name for field in dataclasses.fields(reference) if field.name in changed)


def _expression(value: Any, indent: str, imports: dict[str, str]) -> str:
    if isinstance(value, Settings):
        cls = type(value)
        imports[cls.__name__] = cls.__module__
        inner = f"{indent}    "
        arguments = [f"{name}={_expression(getattr(value, name), inner, imports)}" for name in _changed(value, cls())]
        return f"{cls.__name__}({''.join(f'{chr(10)}{inner}{one},' for one in arguments)}\n{indent})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_expression(key, indent, imports)}: {_expression(one, indent, imports)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        items = ", ".join(_expression(one, indent, imports) for one in value)
        return f"[{items}]" if isinstance(value, list) else f"({items}{',' * (len(value) == 1)})"
    if isinstance(value, Enum):
        imports[type(value).__name__] = type(value).__module__
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, Path):
        imports["Path"] = "pathlib"
        return f"Path({_text(str(value))})"
    if isinstance(value, timedelta):
        imports["timedelta"] = "datetime"
        return f"timedelta(seconds={value.total_seconds():g})"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and value.isprintable() else repr(value)


def _annotation(owner: type, name: str) -> ast.expr:
    """A field's type as its source writes it, without its description."""
    found = field_statements(owner)[name].annotation
    annotated = isinstance(found, ast.Subscript) and ast.unparse(found.value).endswith("Annotated")
    if annotated and isinstance(found.slice, ast.Tuple):  # type: ignore[attr-defined]
        return found.slice.elts[0]  # type: ignore[attr-defined]
    return found


def _imports(annotation: ast.expr, owner: type) -> dict[str, str]:
    """Where the names in an annotation come from: the module that the owner's module imports them from, or itself."""
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} - vars(builtins).keys()
    tree = ast.parse(inspect.getsource(sys.modules[owner.__module__])) if names else ast.Module([], [])
    origins = {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return {name: origins.get(name, owner.__module__) for name in names}


def _class_name(group: str, name: str) -> str:
    words = "".join(word[:1].upper() + word[1:] for word in re.split("[_-]+", name))
    return f"{'' if words[:1].isalpha() else 'Profile'}{words}{group.capitalize()}"


def _docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', '\\"""')
