"""Which code a stored value depends on: a digest that changes when that code does."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path

from spectramind_config import files

_MACHINERY = __name__.rpartition(".")[0]
"""The package that starts, locks and signals processes and writes files; no number is computed in it."""


@functools.cache
def package_digest(package: str) -> str:
    """Sha256 (hex) of all Python files of a package, comments included."""
    file = _file(package)
    if file is None:
        raise ModuleNotFoundError(package)
    digest = hashlib.sha256()
    for one in sorted(file.parent.rglob("*.py")):
        name = one.relative_to(file.parent).as_posix()
        digest.update(f"{name} {hashlib.sha256(one.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@functools.cache
def source_digest(module: str) -> str:
    """Sha256 (hex) of the code of a module and of all that it imports from its own top package, directly or not.

    Comments and layout do not count, nor does how processes are run. What is stored under such a digest is never read
    by code that would have computed something else, and nobody has to remember to raise a version.
    """
    digest = hashlib.sha256()
    for name, code in sorted(_modules(module).items()):
        digest.update(f"{name} {code}\n".encode())
    return digest.hexdigest()


def _modules(module: str) -> dict[str, str]:
    """Digests of a module and of those that it stands on, by name."""
    package = module.partition(".")[0]
    found: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in found or name == _MACHINERY or name.startswith(f"{_MACHINERY}."):
            continue
        if (code := _code(name)) is not None:
            found[name], imports = code
            pending += [one for one in imports if one.partition(".")[0] == package]
    return found


@functools.cache
def _code(module: str) -> tuple[str, tuple[str, ...]] | None:
    """A digest of a module's syntax tree, and names of what it imports; None for a name that is no module."""
    file = _file(module)
    if file is None:
        return None
    tree = files.parsed(file.read_bytes())
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            # What is imported may be a name in that module or a module below it.
            imports += [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _file(module: str) -> Path | None:
    """The file of a module's code; None for a name that is no module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None
