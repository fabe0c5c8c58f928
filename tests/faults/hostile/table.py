"""Every hostile input."""

from __future__ import annotations

from itertools import chain

from . import arrays, checkpoints, manifests, tables, words
from .world import Case


def cases() -> list[Case]:
    """All of them, each under a name of its own."""
    found = list(chain(*(module.cases() for module in (manifests, checkpoints, arrays, tables, words))))
    names = [case.name for case in found]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return found
