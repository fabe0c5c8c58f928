"""Where a profile's values are written: the class, file and line of each, and the docstring below it."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import linecache
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

from spectramind_config.settings import Settings


@functools.cache
def class_file(cls: Any) -> str | None:
    """The file that a class stands in; None where there is none, as for a class typed into an interpreter."""
    try:
        return inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return None


def class_source(cls: type) -> str:
    """``file:line`` of a class, or the module's name where there is no file."""
    node = _declaration(cls)
    if node is None:
        return f"{cls.__module__}.{cls.__qualname__}"
    return f"{class_file(cls)}:{node.decorator_list[0].lineno if node.decorator_list else node.lineno}"


def leaf_source(cls: type, path: str) -> str:
    """``file:line`` of the assignment that gives a dotted path of a profile its value."""
    owner, line = leaf_owner(cls, path)
    return f"{class_file(owner)}:{line}" if line else class_source(owner)


@functools.lru_cache(maxsize=4096)
def leaf_owner(cls: Any, path: str) -> tuple[type, int | None]:
    """The class whose body gives a dotted path of a profile its value, and the line where that can be read."""
    first, *rest = path.split(".")
    owner = declaring(cls, first)
    line = _field_line(owner, first)
    if line is None or not rest:
        return owner, line
    statement = field_statements(owner)[first]
    keywords = [node for node in ast.walk(statement) if isinstance(node, ast.keyword) and node.arg == rest[-1]]
    if keywords:
        return owner, keywords[-1].value.lineno
    nested: Any = section_class(hints(owner)[first])
    return leaf_owner(nested, ".".join(rest)) if nested else (owner, statement.lineno)


def _field_line(cls: type, name: str) -> int | None:
    """The line of a field; found without parsing where its class stands at the top of its file."""
    found = _block(cls)
    for number, line in enumerate(found[1] if found else ()):
        if line.startswith(f"    {name}:"):
            return found[0] + number + 1 if found else None
    statement = field_statements(cls).get(name)
    return statement.lineno if statement else None


def declaring(cls: type, name: str) -> type:
    """The class in whose body a field is declared, or restated, last."""
    return next((base for base in cls.__mro__ if name in inspect.get_annotations(base)), cls)


def section_class(annotation: Any) -> type[Settings] | None:
    """The settings class that an annotation names, alone or in ``Annotated``; None for any other type."""
    bare = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    return bare if isinstance(bare, type) and issubclass(bare, Settings) else None


@functools.cache
def hints(cls: Any) -> Mapping[str, Any]:
    """The annotations of a class and its parents, evaluated.

    A class of ``__main__`` keeps them so: in a process that a launcher starts, the names in them are not known.
    """
    found = get_type_hints(cls, include_extras=True)
    for base in cls.__mro__:
        if base.__module__ == "__main__" and (annotated := inspect.get_annotations(base)):
            own = get_type_hints(base, include_extras=True)
            base.__annotations__ = {name: own[name] for name in annotated}
    return found


@functools.cache
def field_statements(cls: type) -> Mapping[str, ast.AnnAssign]:
    """The annotated assignments in a class's body, by field, with line numbers of the file."""
    node = _declaration(cls)
    return {
        statement.target.id: statement
        for statement in (node.body if node else ())
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def inert(cls: type) -> Iterator[tuple[str, Any]]:
    """The assignments in a class's body that are no fields, for want of an annotation."""
    annotated = inspect.get_annotations(cls)
    for name, value in vars(cls).items():
        assigned = not name.startswith("_") and name not in annotated and not hasattr(value, "__get__")
        if assigned and not isinstance(value, type | types.GenericAlias):
            yield name, value


@functools.cache
def docstrings(cls: type) -> Mapping[str, str]:
    """The docstrings below the fields in a class's body, each as one line."""
    node = _declaration(cls)
    found: dict[str, str] = {}
    for field, below in zip(node.body, node.body[1:], strict=False) if node else ():
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def declared_twice(cls: type) -> bool:
    """Whether the file of a class declares another one of its name beside it."""
    tree = _parsed(_lines(cls))
    if tree is None:
        return False
    found = {id(node) for name, node in _nested_classes(tree, "") if name == cls.__qualname__}
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return any(sum(id(child) in found for child in scope.body) > 1 for scope in scopes)


@functools.cache
def _declaration(cls: type) -> ast.ClassDef | None:
    """The statement that declares a class; None where its source cannot be read."""
    if found := _block(cls):
        with contextlib.suppress(SyntaxError, ValueError):
            node = ast.parse("".join(found[1])).body[-1]
            if isinstance(node, ast.ClassDef):
                return ast.increment_lineno(node, found[0])
    return _declarations(_lines(cls)).get(cls.__qualname__)


def _lines(cls: type) -> tuple[str, ...]:
    file = class_file(cls)
    if file is None:
        return ()
    linecache.checkcache(file)
    return tuple(linecache.getlines(file, vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else None))


@functools.cache
def _block(cls: type) -> tuple[int, tuple[str, ...]] | None:
    """The lines before a class that stands once at the top of its file, and its own: a whole file takes longer."""
    lines, name = _lines(cls), cls.__qualname__
    found = [number for number, line in enumerate(lines) if line.startswith((f"class {name}(", f"class {name}:"))]
    if len(found) != 1:
        return None
    first = end = found[0]
    while first and lines[first - 1].strip() and not lines[first - 1].startswith((" ", "#", '"', ")")):
        first -= 1
    while end + 1 < len(lines) and (lines[end + 1][:1].isspace() or lines[end + 1][:1] in ("#", ")", "")):
        end += 1
    return first, lines[first : end + 1]


@functools.lru_cache(maxsize=64)
def _declarations(lines: tuple[str, ...]) -> Mapping[str, ast.ClassDef]:
    """The classes of a file by qualified name; ``inspect.getsourcelines`` would parse the file for each of them."""
    tree = _parsed(lines)
    return dict(reversed(list(_nested_classes(tree, "")))) if tree else {}


@functools.lru_cache(maxsize=64)
def _parsed(lines: tuple[str, ...]) -> ast.Module | None:
    try:
        return ast.parse("".join(lines))
    except (SyntaxError, ValueError):
        return None


def _nested_classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield prefix + child.name, child
            yield from _nested_classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _nested_classes(child, f"{prefix}{child.name}.<locals>.")
        elif hasattr(child, "body"):
            yield from _nested_classes(child, prefix)
