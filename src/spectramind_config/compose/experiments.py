"""Experiments: named lists of overrides, checked when they are registered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from spectramind_config.compose.composition import composed
from spectramind_config.compose.config import Config
from spectramind_config.errors import Problem
from spectramind_config.schema.registry import REGISTRY, SHIPPED, Experiment
from spectramind_config.schema.root import Root
from spectramind_config.schema.values import children, element, plain

Listing = Callable[[], Sequence[str]]


def experiment(name: str, root: type[Config]) -> Callable[[Listing], Listing]:
    """Register a function that returns a list of overrides; where some are wrong, runs that choose it will stop."""

    def register(listing: Listing) -> Listing:
        spec, file = root._root, listing.__code__.co_filename
        source = f"{file}:{listing.__code__.co_firstlineno}"
        shipped = listing.__module__.startswith(f"{__name__.partition('.')[0]}.profiles.")
        provider = SHIPPED if shipped else REGISTRY.local.provider or file
        listed = listing()
        are_texts = isinstance(listed, list | tuple) and all(isinstance(one, str) for one in listed)
        overrides = tuple(listed) if are_texts else ()
        problems: list[Problem] = []

        def refuse(what: str, **more: str) -> None:
            problems.append(Problem(what=f"experiment {name}: {what}", origin=source, **more))

        known = REGISTRY.experiments(spec).get(name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            refuse(f"'{name}' cannot be an experiment's name", expected="letters, digits, '_' and '-', no digit first")
        elif known is not None and known.source.rpartition(":")[0] != file:
            refuse(f"that name is taken ({known.source})", hint="choose another name")
        elif not are_texts:
            what = f"{listing.__qualname__} returns {listed!r}, which is no list of overrides"
            refuse(what, expected='such as ["GROUP=PROFILE", "SETTING=VALUE"]')
        elif nested := [one for one in overrides if re.match(r"[+~]*experiment\b", one)]:
            hint = f"copy its overrides, or choose both: experiment=[{nested[0].partition('=')[2]},{name}]"
            refuse(f"{nested[0]}: an experiment chooses no other one", hint=hint)
        elif not shipped:
            # A site's file may import the module that this stands in, of which only a part is there yet.
            config, problems = composed(overrides, root, f"experiment {name}, {source}", sites=False)
            if problems:
                config, problems = composed(overrides, root, f"experiment {name}, {source}")
            for one in overrides:
                if config is not None and (whole := _list_of(config, one.lstrip("+").partition("=")[0])):
                    refuse(
                        f"{one}: Hydra merges whole lists, so no element can be set",
                        hint=f"write all of it: {whole}=[…]",
                    )
        if problems:  # None of them is on a command line, which could be corrected.
            told: dict[str, Any] = {"argument": None, "instead": None}
            if elsewhere := _other_root(spec, overrides):
                told |= {"nearest": None, "hint": elsewhere}
            problems = [replace(one, **told) for one in problems]
            REGISTRY.refuse({("experiment", name)}, provider, problems)
            raise spec.error(problems)
        summary = (inspect.getdoc(listing) or "").split("\n")[0]
        REGISTRY.put_experiment(Experiment(name, overrides, spec.name, summary, source, provider))
        return listing

    return register


def _other_root(root: Root, overrides: Sequence[str]) -> str | None:
    """What to write where the overrides are those of another root."""
    keys = {one.lstrip("+~").partition("=")[0].partition(".")[0] for one in overrides}
    fitting = [one for one in REGISTRY.known.roots.values() if keys <= {*one.groups, *children(one.own, "")}]
    if not fitting or root in fitting:
        return None
    return f"say which root it is of: root={fitting[0].cls.__name__}"


def _list_of(config: Config, key: str) -> str:
    """The list that a key is an element of; empty where it is none."""
    leaf, inside = config._layers.stack.split(key)
    for size in range(len(inside) if leaf else 0):
        if isinstance(plain(element(config._layers.value(leaf), inside[:size])), list):
            return ".".join([leaf, *inside[:size]])
    return ""
