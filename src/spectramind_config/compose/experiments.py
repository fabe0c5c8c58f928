"""Experiments: named lists of overrides, checked when they are registered."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence

from spectramind_config.compose.composition import composed
from spectramind_config.compose.config import Config
from spectramind_config.compose.mistakes import Mistakes
from spectramind_config.errors import Problem
from spectramind_config.schema.registry import REGISTRY, SHIPPED, Experiment
from spectramind_config.schema.values import plain

Listing = Callable[[], Sequence[str]]


def _list_of(config: Config, key: str) -> str:
    """The list that a key is an element of; empty where it is none."""
    layers = config._layers
    leaf = key
    while leaf and leaf not in layers.stack.leaves:
        leaf = leaf.rpartition(".")[0]
    value, path = plain(layers.value(leaf)) if leaf else None, leaf
    for part in key[len(leaf) + 1 :].split(".") if leaf != key else ():
        if isinstance(value, list):
            return path
        value, path = value.get(part) if isinstance(value, dict) else None, f"{path}.{part}"
    return ""


def experiment(name: str, root: type[Config]) -> Callable[[Listing], Listing]:
    """Register a function that returns a list of overrides.

    Raises:
        ConfigError: With every mistake in the overrides; runs that choose the name will stop.
    """

    def register(listing: Listing) -> Listing:
        spec, code = root._root, listing.__code__
        source = f"{code.co_filename}:{code.co_firstlineno}"
        listed = listing()
        are_texts = isinstance(listed, list | tuple) and all(isinstance(one, str) for one in listed)
        overrides = tuple(listed) if are_texts else ()
        shipped = listing.__module__.startswith(f"{__name__.partition('.')[0]}.profiles.")
        problems: list[Problem] = []
        known = REGISTRY.experiments(spec).get(name)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            what = f"experiment {name}: '{name}' cannot be an experiment's name"
            problems.append(Problem(what=what, expected="letters, digits, '_' and '-', no digit first", origin=source))
        elif known is not None and known.source.rpartition(":")[0] != code.co_filename:
            what = f"experiment {name}: that name is taken ({known.source})"
            problems.append(Problem(what=what, origin=source, hint="choose another name"))
        elif not are_texts:
            what = f"experiment {name}: {listing.__qualname__} returns {listed!r}, which is no list of overrides"
            problems.append(Problem(what=what, origin=source, expected='such as ["GROUP=PROFILE", "SETTING=VALUE"]'))
        elif nested := [one for one in overrides if re.match(r"[+~]*experiment\b", one)]:
            what = f"experiment {name}: {nested[0]}: an experiment chooses no other one"
            hint = f"copy its overrides, or choose both: experiment=[{nested[0].partition('=')[2]},{name}]"
            problems.append(Problem(what=what, origin=source, hint=hint))
        elif not shipped:
            lines = dict.fromkeys(overrides, f"experiment {name}, {source}")
            config, problems = composed(overrides, root, Mistakes(spec, f"experiment {name}, {source}", lines))
            for one in overrides:
                if config is not None and (whole := _list_of(config, one.lstrip("+").partition("=")[0])):
                    what = f"experiment {name}: {one}: Hydra merges whole lists, so no element can be set"
                    problems.append(Problem(what=what, origin=source, hint=f"write all of it: {whole}=[…]"))
        provider = SHIPPED if shipped else REGISTRY.local.provider or code.co_filename
        if problems:
            REGISTRY.refuse({("experiment", name)}, provider, problems)
            raise spec.error(problems, list(overrides))
        summary = (inspect.getdoc(listing) or "").split("\n")[0]
        REGISTRY.put_experiment(Experiment(name, overrides, spec.name, summary, source, provider))
        return listing

    return register
