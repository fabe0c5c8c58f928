"""Which code a stored value depends on: a digest that changes when, and only when, that code does."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path

from spectramind_config import files


@functools.cache
def source_digest(module: str) -> str:
    """Sha256 (hex) of the code of a module and of all that it imports from its own top package, directly or not.

    Comments and layout do not count. What is stored under such a digest is never read by code that would have
    computed something else, and nobody has to remember to raise a version.
    """
    digest = hashlib.sha256()
    for name, tree in sorted(_trees(module).items()):
        digest.update(f"{name} {ast.dump(tree)}\n".encode())
    return digest.hexdigest()


def _trees(module: str) -> dict[str, ast.Module]:
    """The syntax trees of a module and of those that it stands on, by name."""
    package = module.partition(".")[0]
    found: dict[str, ast.Module] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        file = _file(name)
        if name in found or file is None:
            continue
        found[name] = files.parsed(file.read_bytes())
        for node in ast.walk(found[name]):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
                # What is imported may be a name in that module or a module below it.
                pending += [f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                pending += [alias.name for alias in node.names if alias.name.partition(".")[0] == package]
    return found


def _file(module: str) -> Path | None:
    """The file of a module's code; None for a name that is no module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None
