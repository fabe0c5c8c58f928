"""The first stages of a composition: overrides are parsed, and those that choose profiles are taken out of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from spectramind_config.compose.overrides import COMMAND_LINE, Override, parse, text_of
from spectramind_config.errors import ConfigError, Problem, listed, nearest
from spectramind_config.schema.registry import REGISTRY, Registered
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import leaf_source
from spectramind_config.schema.values import Written


def parsed(arguments: Iterable[str], source: str, places: Mapping[str, str]) -> tuple[list[Override], list[Problem]]:
    """Parse overrides that come from one source, or some from places of their own."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    for argument in arguments:
        try:
            overrides.append(parse(argument, places.get(argument, source) if places else source))
        except ConfigError as error:
            problems += error.problems
    return overrides, problems


def choose(
    root: Root, overrides: Sequence[Override]
) -> tuple[dict[str, Registered] | None, list[Override], list[Problem]]:
    """The profile of each group, unless one is missing, and the overrides that remain to be set, the weakest first."""
    view = REGISTRY.view(root)
    overrides, problems = _with_experiments(root, overrides)
    profiles: dict[str, Registered] = {}
    asked: set[str] = set()
    settings: list[Override] = []

    def choice(override: Override) -> None:
        group, name = override.key, text_of(override.value)
        if refused := _refused(override, name):
            problems.append(refused)
        elif name in view[group] and isinstance(override.value, str | Written):
            profiles[group] = view[group][name]
        else:
            problems.append(_unknown(root, override, view[group]))

    for override in overrides:
        if override.key not in root.groups or isinstance(override.value, dict):
            settings.append(override)
        elif override.sign:
            what = "every group always has exactly one profile, so none can be added or removed"
            instead = f"{override.key}={text_of(override.value)}" if override.sign != "~" else None
            problems.append(override.problem(what, instead=instead, see="profiles list"))
        else:
            asked.add(override.key)
            choice(override)
    for group, spec in root.groups.items():
        if group not in asked:
            told = len(problems)
            choice(parse(f"{group}={spec.default}"))
            for one in problems[told:]:
                here = f"{root.cls.__qualname__}, {leaf_source(root.cls, group)}"
                origin = here if one.origin == COMMAND_LINE else one.origin
                problems[told] = dataclasses.replace(one, origin=origin, argument=None, instead=None)
        elif group not in profiles and spec.default in view[group]:  # Then the other mistakes are found too.
            profiles[group] = view[group][spec.default]
    return (profiles if len(profiles) == len(root.groups) else None), settings, problems


def _with_experiments(root: Root, overrides: Sequence[Override]) -> tuple[list[Override], list[Problem]]:
    """The overrides without ``experiment=``, behind those of the experiments that the last of these asks for."""
    asked = [override for override in overrides if override.key == "experiment"]
    if not asked:
        return list(overrides), []
    problems: list[Problem] = []
    for override in (override for override in asked if override.sign):
        what = "the last experiment= names all experiments of a run, so none can be added or removed"
        without = override.argument.lstrip("+") if override.sign != "~" else ""
        problems.append(override.problem(what, instead=without, see="profiles list"))
    found: list[Override] = []
    known, value = REGISTRY.experiments(root), asked[-1].value
    names = [] if value is None or problems else value if isinstance(value, list) else [value]
    for name in map(text_of, names):
        if refused := _refused(asked[-1], name):
            problems.append(refused)
        elif name in known:
            found += [parse(one, known[name].source, name) for one in known[name].overrides]
        else:
            what, close = f"there is no experiment '{name}'", nearest(name, known)
            fix = close and f"experiment={close}"
            expected = listed(known).replace("one of", "one or several of")
            instead = None if isinstance(value, list) else fix
            problem = asked[-1].problem(what, expected=expected, nearest=fix, instead=instead, see="profiles list")
            problems.append(problem)
    return found + [override for override in overrides if override.key != "experiment"], problems


def _refused(override: Override, name: str) -> Problem | None:
    """Why a profile or experiment must not be chosen: it was refused, or two sources claim its name."""
    found = REGISTRY.refusal(override.key, name)
    return found and dataclasses.replace(found, argument=override.argument, see="profiles list")


def _unknown(root: Root, override: Override, known: Iterable[str]) -> Problem:
    group, name = override.key, text_of(override.value)
    close, hint = nearest(name, known), None
    fix = close and f"{group}={close}"
    if elsewhere := [one for key, one in REGISTRY.known.profiles.items() if key[:2] == (group, name)]:
        hint = f"{elsewhere[0].cls.__qualname__} ({elsewhere[0].source}) is no {root.groups[group].schema.__name__}"
    what = f"there is no profile '{name}' in group {group}"
    return override.problem(what, expected=listed(known), nearest=fix, instead=fix, hint=hint, see="profiles list")
