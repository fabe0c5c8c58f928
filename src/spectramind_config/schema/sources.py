"""Where a profile's values are written: the class, file and line of each, and the docstring below it."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

from spectramind_config.files import parsed
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
    statement, _ = field_statements(owner).get(first, (None, ""))
    if statement is None or not rest:
        return owner, statement.lineno if statement else None
    for node in ast.walk(statement):
        if isinstance(node, ast.keyword) and node.arg == rest[-1]:
            return owner, node.value.lineno
    section: Any = section_class(hints(owner)[first])
    return leaf_owner(section, ".".join(rest)) if section else (owner, statement.lineno)


def summary_of(cls: type) -> str:
    """The first line of a class's docstring; empty for the signature that a dataclass has for want of one."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
    return "" if text.startswith(f"{cls.__name__}(") else text


def declaring(cls: type, name: str) -> type:
    """The class in whose body a field is declared, or restated, last."""
    return next((base for base in cls.__mro__ if name in inspect.get_annotations(base)), cls)


def section_class(annotation: Any) -> type[Settings] | None:
    """The settings class that an annotation names, alone or in ``Annotated``; None for any other type."""
    bare = get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
    return bare if isinstance(bare, type) and issubclass(bare, Settings) else None


class UnsupportedTypeError(TypeError):
    """An annotation that no setting can have; the message names class, field and the nearest type that works."""

    source = ""
    """``file:line`` of the field, once that is known."""

    def of(self, cls: type, name: str = "") -> UnsupportedTypeError:
        """The same about a field of a class; what a class inside says of its own stays as it is."""
        if self.source:
            return self
        found = UnsupportedTypeError(f"{cls.__qualname__}.{name}: {self}" if name else f"{cls.__qualname__}: {self}")
        found.source = leaf_source(cls, name) if name else class_source(cls)
        return found


_HINTS: dict[type, Mapping[str, Any]] = {}


def hints(cls: type) -> Mapping[str, Any]:
    """The annotations of a class and its parents, evaluated; UnsupportedTypeError where one cannot be.

    A class of ``__main__`` keeps them so: in a process that a launcher starts, the names in them are not known.
    """
    if cls in _HINTS:
        return _HINTS[cls]
    try:
        found = _HINTS[cls] = get_type_hints(cls, include_extras=True)
    except Exception as error:  # noqa: BLE001 - an annotation may name anything; it is refused with the reason.
        reason = f"its annotations cannot be read: {error}; import the names that annotations use"
        raise UnsupportedTypeError(reason).of(cls) from None
    for base in cls.__mro__:
        if base.__module__ == "__main__" and (annotated := inspect.get_annotations(base)):
            own = get_type_hints(base, include_extras=True)
            base.__annotations__ = {name: own[name] for name in annotated}
    return found


@functools.cache
def field_statements(cls: type) -> Mapping[str, tuple[ast.AnnAssign, str]]:
    """The annotated assignments in a class's body, by field, and the docstring below each as one line.

    They have the line numbers of the file.
    """
    body: list[ast.stmt] = getattr(_declaration(cls), "body", [])
    found: dict[str, tuple[ast.AnnAssign, str]] = {}
    for statement, below in zip(body, [*body[1:], None], strict=True) if body else ():
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = statement, " ".join(text.split())
            case ast.AnnAssign(target=ast.Name(id=name)), _:
                found[name] = statement, ""
    return found


def inert(cls: type) -> Iterator[tuple[str, str]]:
    """What is wrong with each assignment in a class's body that is no field, for want of an annotation; the remedy."""
    annotated = inspect.get_annotations(cls)
    for name, value in vars(cls).items():
        assigned = not name.startswith("_") and name not in annotated and not hasattr(value, "__get__")
        if assigned and not isinstance(value, type | types.GenericAlias):
            yield f"{name} = {value!r} has no annotation, so it sets nothing", f"write {name}: <type> = {value!r}"


def declared_twice(cls: type) -> bool:
    """Whether the file of a class declares another one of its name beside it."""
    scopes = [id(scope) for scope, _ in _declarations(_lines(cls)).get(cls.__qualname__, ())]
    return len(scopes) > len(set(scopes))


def _declaration(cls: type) -> ast.ClassDef | None:
    """The statement that declares a class, the first of several; None where its source cannot be read."""
    found = _declarations(_lines(cls)).get(cls.__qualname__)
    return found[0][1] if found else None


@functools.cache
def _lines(cls: type) -> tuple[str, ...]:
    file = class_file(cls)
    if file is None:
        return ()
    linecache.checkcache(file)
    return tuple(linecache.getlines(file, vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else None))


@functools.lru_cache(maxsize=64)
def _declarations(lines: tuple[str, ...]) -> Mapping[str, list[tuple[object, ast.ClassDef]]]:
    """The classes of a file by qualified name, each with the block that it stands in: ``inspect`` parses for each."""
    found: dict[str, list[tuple[object, ast.ClassDef]]] = {}

    def search(statements: list[Any], prefix: str) -> None:
        for one in statements:
            inside = f"{prefix}{one.name}." if isinstance(one, ast.ClassDef) else prefix
            if isinstance(one, ast.ClassDef):
                found.setdefault(prefix + one.name, []).append((statements, one))
            elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = f"{prefix}{one.name}.<locals>."
            for name in ("body", "orelse", "handlers", "finalbody", "cases"):
                search(getattr(one, name, ()), inside)  # type: ignore[arg-type]

    try:
        search(parsed("".join(lines)).body, "")
    except (SyntaxError, ValueError):
        return {}
    return found
