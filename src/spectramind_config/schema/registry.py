"""Which roots, groups, profiles and experiments exist, in front of Hydra's ConfigStore.

What exists is one immutable value that a change replaces whole, so that a thread that composes never sees half of a
registration, and a registration that fails leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from msgspec import Struct

from spectramind_config.errors import ConfigError, Problem, listed, nearest, unknown
from spectramind_config.schema import rules, store
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import class_file, class_source, leaf_owner, leaf_source, summary_of
from spectramind_config.settings import CHOICES, Profile

SHIPPED = "spectramind"
"""The provider of what this package brings."""

_P = TypeVar("_P", bound=Profile)


class Registered(Struct, frozen=True, eq=False):
    """A profile as the register holds it."""

    group: str
    name: str
    cls: type[Profile]  # What declares it.
    instance: Profile  # Its values; interpolations are not resolved.
    provider: str  # Where it comes from: ``spectramind``, a distribution's name, or a file.
    base: Registered | None = None  # The profile that a YAML overlay changes; None for a class of its own.
    lines: Mapping[str, str] = {}  # ``file:line`` of each setting that a YAML overlay changes.

    @property
    def summary(self) -> str:
        """The first line of the class's docstring, or what an overlay changes."""
        if self.base is not None:
            return f"{self.base.name}, changed in: {', '.join(self.lines) or 'nothing'}"
        return summary_of(self.cls)

    @property
    def source(self) -> str:
        """File and line of the class, or the overlay's file."""
        return f"{self.provider}:1" if self.base is not None else class_source(self.cls)

    def setter(self, path: str) -> tuple[str, str]:
        """``file:line`` of what gives a dotted path its value, and its class, if it is one."""
        if path in self.lines:
            return self.lines[path], ""
        if self.base is not None:
            return self.base.setter(path)
        cls: type = self.cls
        return leaf_source(cls, path), leaf_owner(cls, path)[0].__qualname__

    def parent(self) -> tuple[str, Profile]:
        """The name and the values of the class, or of the profile, that this one changes."""
        if self.base is not None:
            return f"{self.group}={self.base.name}", self.base.instance
        cls = next(base for base in self.cls.__mro__[1:] if issubclass(base, Profile))
        return cls.__name__, cls()


class Experiment(Struct, frozen=True, eq=False):
    """A named list of overrides, with the root it is for, its one line of description and where it is declared."""

    name: str
    overrides: tuple[str, ...]
    root: str
    summary: str
    source: str
    provider: str


class Known(Struct, eq=False):
    """Everything that is registered; treated as immutable once published."""

    roots: dict[str, Root] = {}  # By name.
    profiles: dict[tuple[str, str, type], Registered] = {}  # By group, name and schema: roots may share names.
    experiments: dict[tuple[str, str], Experiment] = {}  # By root and name.
    refused: dict[tuple[str, str, str], tuple[Problem, ...]] = {}  # By group, name and who claimed it.
    views: dict[str, Mapping[str, Mapping[str, Registered]]] = {}  # By root, filled when it is asked for.


class _Local(threading.local):
    """What is a thread's own: the change that it makes, and the installed package that it loads."""

    pending: Known | None = None
    provider = ""


class Registry:
    """The register; every method is safe to call from any thread."""

    def __init__(self) -> None:
        self._known = Known()
        self._lock = threading.RLock()
        self.local = _Local()

    @property
    def known(self) -> Known:
        """What this thread sees: what is published, or the change it is making."""
        return self.local.pending or self._known

    @contextmanager
    def change(self) -> Iterator[Known]:
        """A copy to change, published whole at the end; nothing of it where an exception leaves."""
        if outer := self.local.pending:
            yield outer
            outer.views.clear()
            return
        with self._lock:
            known = self._known
            pending = Known(dict(known.roots), dict(known.profiles), dict(known.experiments), dict(known.refused))
            self.local.pending = pending
            try:
                yield pending
                self._known = pending
            finally:
                self.local.pending = None
                pending.views.clear()

    def view(self, root: Root) -> Mapping[str, Mapping[str, Registered]]:
        """The profiles that a root can choose among, by group and name."""
        known = self.known
        if root.name not in known.views:
            view: dict[str, dict[str, Registered]] = {group: {} for group in root.groups}
            for one in known.profiles.values():
                if root.takes(one.group, one.cls):
                    view[one.group][one.name] = one
            known.views[root.name] = view
        return known.views[root.name]

    def default(self, root: Root, group: str) -> Registered:
        """The default profile of a group; ConfigError where nobody brings it."""
        name, known = root.groups[group].default, self.view(root)[group]
        if name not in known:
            raise unknown("profile", name, list(known), see="profiles list", at=f"{group}={name}")
        return known[name]

    def experiments(self, root: Root) -> dict[str, Experiment]:
        """The experiments of a root by name."""
        return {name: one for (owner, name), one in self.known.experiments.items() if owner == root.name}

    def refusal(self, group: str, name: str) -> Problem | None:
        """Why a profile of this name must not be chosen, although another one of that name may exist."""
        refused = self.known.refused.items()
        problems = [one for (by, what, _), found in refused if what == name and by in (group, "") for one in found]
        if not problems:
            return None
        reasons = "; ".join(dict.fromkeys(problem.what for problem in problems))
        return dataclasses.replace(problems[0], what=f"{group}={name} cannot be chosen: {reasons}", argument=None)

    def add_root(self, root: Root) -> None:
        """Make a root known; ConfigError where another class has its name."""
        with self.change() as known:
            other = known.roots[root.name].cls if root.name in known.roots else root.cls
            if not _defined_again(root.cls, other):
                what = f"root {root.name}: that name is taken by {other.__qualname__} ({class_source(other)})"
                raise ConfigError(Problem(what=what, origin=class_source(root.cls), hint="choose another name"))
            known.roots[root.name] = root

    def add(self, group: str, name: str, cls: Any) -> None:
        """Check a profile and make it known; ConfigError where the class cannot be one, and its name is then refused.

        The profiles of this package are not checked at each import: a test does that.
        """
        shipped = getattr(cls, "__module__", "").startswith(f"{__name__.partition('.')[0]}.profiles.")
        provider = self.local.provider or (SHIPPED if shipped else class_file(cls) or cls.__module__)
        if not shipped and (problems := list(self.refusals(group, name, cls))):
            self.refuse({(group, name)}, provider, problems)
            raise ConfigError(problems)
        self.put(Registered(group, name, cls, cls(name=name), provider))

    def put(self, one: Registered) -> None:
        """Make a profile known that has been checked."""
        CHOICES.setdefault(one.cls, f"{one.group}={one.name}")
        with self.change() as known:
            known.profiles[one.group, one.name, _topmost(one.cls)] = one
            if _interactive(one.cls):  # A class that has been typed in again leaves its other names.
                for key, other in list(known.profiles.items()):
                    renamed = other.group == one.group and other.cls.__qualname__ == one.cls.__qualname__
                    if renamed and other.cls is not one.cls and _interactive(other.cls):
                        del known.profiles[key]
            known.refused.pop((one.group, one.name, one.provider), None)

    def put_experiment(self, one: Experiment) -> None:
        """Make an experiment known that has been checked."""
        with self.change() as known:
            known.experiments[one.root, one.name] = one

    def adopt(self, root: Root, profiles: Sequence[Registered], experiments: Sequence[Experiment]) -> None:
        """Make known, in a process that a launcher started, what is not declared there: classes of ``__main__``."""
        with self.change() as known:
            if root.name not in known.roots:
                self.add_root(root)
            for one in profiles:
                if one.name not in self.view(known.roots[root.name])[one.group]:
                    self.put(one)
            for experiment in experiments:
                if (experiment.root, experiment.name) not in known.experiments:
                    self.put_experiment(experiment)

    def refuse(self, claims: Collection[tuple[str, str]], provider: str, problems: Sequence[Problem]) -> None:
        """Remember names that a profile was refused under; the group ``""`` stands for any."""
        with self.change() as known:
            known.refused |= {(group, name, provider): tuple(problems) for group, name in claims}

    def discard(self, providers: Collection[str]) -> None:
        """Forget everything that comes from these files."""
        with self.change() as known:
            for key, one in list(known.profiles.items()):
                if one.provider in providers:
                    del known.profiles[key]
                    CHOICES.pop(one.cls, None)
            known.experiments = {key: one for key, one in known.experiments.items() if one.provider not in providers}
            known.refused = {key: told for key, told in known.refused.items() if key[2] not in providers}

    def unusable(self, group: str, name: str, cls: type[Profile], origin: str | None = None) -> Iterator[Problem]:
        """Why a new profile of a class cannot have this name."""
        other = self.known.profiles.get((group, name, _topmost(cls)))
        if other is not None and not (other.base is None and _defined_again(cls, other.cls)):
            holder = other.cls.__qualname__ if other.base is None else "an overlay"
            what = f"profile {group}={name}: that name is taken by {holder} ({other.source})"
            yield Problem(what=what, origin=origin, hint="choose another name")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            what = f"profile {group}={name}: '{name}' cannot be a profile's name"
            yield Problem(what=what, origin=origin, expected="letters, digits, '_' and '-', no digit first")

    def refusals(self, group: str, name: str, cls: type[Profile]) -> Iterator[Problem]:
        """Why a class cannot be the profile of that name."""
        label, roots = f"{group}={name}", self.known.roots.values()
        is_profile = isinstance(cls, type) and issubclass(cls, Profile)
        groups = [one for root in roots for one in root.groups.values()]
        schemas = [(one.name, one.schema) for one in groups]
        schemas += [(one.group, _topmost(one.cls)) for one in self.known.profiles.values()]
        fitting = [name for name, schema in schemas if is_profile and issubclass(cls, schema)]
        if group not in fitting and (fitting or not is_profile):
            if names := " or ".join(dict.fromkeys(one.schema.__name__ for one in groups if one.name == group)):
                what = f"{cls.__qualname__} is not a subclass of {names}"
                yield rules.refused(label, cls, what, hint=f"write: class {cls.__name__}({names}):")
            else:
                known = list(dict.fromkeys(fitting or (one.name for one in groups)))
                what = f"there is no config group '{group}'"
                yield rules.refused(label, cls, what, expected=listed(known), nearest=nearest(group, known))
            return
        yield from self.unusable(group, name, cls, class_source(cls))
        found = list(rules.refusals(label, cls))
        yield from found
        for root in roots if not found else ():
            if root.takes(group, cls):
                yield from rules.collisions(label, cls, root, group)
        if not found and (reason := store.unfit(cls(name=name))):
            yield rules.refused(label, cls, f"Hydra cannot hold it: {reason}")


def _topmost(cls: type) -> type[Profile]:
    """The class right below ``Profile`` that a profile descends from."""
    return next((one for one in reversed(cls.__mro__) if issubclass(one, Profile) and one is not Profile), Profile)


def _interactive(cls: type) -> bool:
    """Whether a class was typed into a notebook or an interpreter, where it is defined over and over."""
    return cls.__module__ == "__main__" and class_source(cls) == f"__main__.{cls.__qualname__}"


def _defined_again(cls: type, other: type) -> bool:
    """Whether a class takes the place of another one, as where a notebook cell runs twice."""
    again = (cls.__module__, cls.__qualname__) == (other.__module__, other.__qualname__)
    return again or (_interactive(cls) and _interactive(other))


REGISTRY = Registry()


def profile(group: str, name: str) -> Callable[[type[_P]], type[_P]]:
    """Register a dataclass as a profile, selected by ``group=name``.

    The class is a subclass of the group's schema that restates only what differs. A class that is defined again,
    as in a notebook cell that runs twice, takes its old place.

    Raises:
        ConfigError: The group is unknown, the name is taken by another class, the class is no dataclass below the
            group's schema, a field changes its type, its body sets nothing, or a default breaks its own limits.
    """

    def register(cls: type[_P]) -> type[_P]:
        REGISTRY.add(group, name, cls)
        return cls

    return register
