"""The engine as the tests of this package see it: the root ``train``, laid out with its default profiles."""

from __future__ import annotations

from collections.abc import Mapping

import spectramind_config as sc
from spectramind_config.compose.layers import Stack, stack_of
from spectramind_config.schema.registry import REGISTRY, Registered
from spectramind_config.sites import loading

ROOT = sc.EffectiveConfig._root
GROUPS = tuple(ROOT.groups)
NAMES = frozenset(f"{group}.name" for group in GROUPS)
VARIABLE = ROOT.variable


def profiles() -> Mapping[str, Mapping[str, Registered]]:
    """Every profile of the root by group and name."""
    return REGISTRY.view(ROOT)


def default_stack() -> Stack:
    """The layers of the default profiles."""
    return stack_of(ROOT, {name: profiles()[name][group.default] for name, group in ROOT.groups.items()})


def load() -> None:
    """Load what is new from elsewhere."""
    loading.load(ROOT)


LEAVES = default_stack().leaves
