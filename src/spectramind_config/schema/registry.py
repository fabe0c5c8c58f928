"""Which roots, groups, profiles and experiments exist, in front of Hydra's ConfigStore.

What exists is one immutable value that a change replaces whole, so that a thread that composes never sees half of a
registration, and a registration that fails leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from spectramind_config.errors import ConfigError, Problem, nearest, unknown
from spectramind_config.schema import rules, store
from spectramind_config.schema.root import Root
from spectramind_config.schema.sources import class_file, class_source, leaf_owner, leaf_source
from spectramind_config.settings import Profile, Settings

SHIPPED = "spectramind"
"""The provider of what this package brings."""

_P = TypeVar("_P", bound=Profile)


@dataclass(frozen=True, eq=False)
class Registered:
    """A profile as the register holds it.

    Attributes:
        group: Its config group.
        name: The name to select it by.
        cls: The class that declares it.
        instance: Its values; interpolations are not resolved.
        provider: Where it comes from: ``spectramind``, a distribution's name, or a file.
        base: The profile that a YAML overlay changes; None for a class of its own.
        lines: ``file:line`` of each setting that a YAML overlay changes.
    """

    group: str
    name: str
    cls: type[Profile]
    instance: Profile
    provider: str
    base: Registered | None = None
    lines: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the class's docstring, or what an overlay changes."""
        if self.base is not None:
            return f"{self.base.name}, changed in: {', '.join(self.lines) or 'nothing'}"
        return (inspect.getdoc(self.cls) or "").split("\n")[0]

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


@dataclass(frozen=True, eq=False)
class Experiment:
    """A named list of overrides, with the root it is for, its one line of description and where it is declared."""

    name: str
    overrides: tuple[str, ...]
    root: str
    summary: str
    source: str
    provider: str


@dataclass(eq=False)
class _Known:
    """Everything that is registered; treated as immutable once published.

    Attributes:
        roots: By name.
        profiles: By group and name; several of one name belong to groups of different roots.
        experiments: By root and name.
        refused: By group and name, who claimed it and why that was refused.
    """

    roots: dict[str, Root] = field(default_factory=dict)
    profiles: dict[str, dict[str, tuple[Registered, ...]]] = field(default_factory=dict)
    experiments: dict[tuple[str, str], Experiment] = field(default_factory=dict)
    refused: dict[tuple[str, str], dict[str, tuple[Problem, ...]]] = field(default_factory=dict)
    views: dict[str, Mapping[str, Mapping[str, Registered]]] = field(default_factory=dict)

    def copy(self) -> _Known:
        profiles = {group: dict(named) for group, named in self.profiles.items()}
        refused = {claim: dict(by) for claim, by in self.refused.items()}
        return _Known(dict(self.roots), profiles, dict(self.experiments), refused)


class Registry:
    """The register; every method is safe to call from any thread."""

    def __init__(self) -> None:
        self._known = _Known()
        self._lock = threading.RLock()
        self._local = threading.local()

    @property
    def known(self) -> _Known:
        """What this thread sees: what is published, or the change it is making."""
        return getattr(self._local, "pending", None) or self._known

    @property
    def provider(self) -> str:
        """The installed package that this thread is loading; empty outside of that."""
        return getattr(self._local, "distribution", "")

    @contextmanager
    def provided_by(self, distribution: str) -> Iterator[None]:
        """Attribute what this thread registers to an installed package."""
        self._local.distribution = distribution
        try:
            yield
        finally:
            self._local.distribution = ""

    @contextmanager
    def change(self) -> Iterator[_Known]:
        """A copy to change, published whole at the end; nothing of it where an exception leaves."""
        if outer := getattr(self._local, "pending", None):
            yield outer
            return
        with self._lock:
            self._local.pending = self._known.copy()
            try:
                yield self._local.pending
                self._known = self._local.pending
            finally:
                del self._local.pending

    def view(self, root: Root) -> Mapping[str, Mapping[str, Registered]]:
        """The profiles that a root can choose among, by group and name."""
        known = self.known
        if root.name not in known.views:
            known.views[root.name] = {
                group.name: {
                    name: fitting[-1]
                    for name, several in known.profiles.get(group.name, {}).items()
                    if (fitting := [one for one in several if issubclass(one.cls, group.schema)])
                }
                for group in root.groups.values()
            }
        return known.views[root.name]

    def default(self, root: Root, group: str) -> Registered:
        """The default profile of a group.

        Raises:
            ConfigError: Nobody brings it.
        """
        name, known = root.groups[group].default, self.view(root)[group]
        if name not in known:
            raise unknown("profile", name, list(known), see="profiles list", at=f"{group}={name}")
        return known[name]

    def experiments(self, root: Root) -> dict[str, Experiment]:
        """The experiments of a root by name."""
        return {name: one for (owner, name), one in self.known.experiments.items() if owner == root.name}

    def refusal(self, group: str, name: str) -> Problem | None:
        """Why a profile of this name must not be chosen, although another one of that name may exist."""
        by = self.known.refused.get((group, name)) or self.known.refused.get(("", name))
        if not by:
            return None
        problems = [problem for several in by.values() for problem in several]
        reasons = "; ".join(dict.fromkeys(problem.what for problem in problems))
        return dataclasses.replace(problems[0], what=f"{group}={name} cannot be chosen: {reasons}", argument=None)

    def add_root(self, root: Root) -> None:
        """Make a root known, to Hydra as well; a class that is defined again takes its old place.

        Raises:
            ConfigError: Another class has that name.
        """
        with self.change() as known:
            other = known.roots[root.name].cls if root.name in known.roots else root.cls
            again = (other.__module__, other.__qualname__) == (root.cls.__module__, root.cls.__qualname__)
            if not again and not (_interactive(root.cls) and _interactive(other)):
                what = f"root {root.name}: that name is taken by {other.__qualname__} ({class_source(other)})"
                raise ConfigError(Problem(what=what, origin=class_source(root.cls), hint="choose another name"))
            known.roots[root.name] = root
            known.views.clear()
            store.put_root(root)
            for experiment in self.experiments(root).values():
                store.put_experiment(root, experiment.name, experiment.overrides)
            for group in root.groups.values():
                for several in known.profiles.get(group.name, {}).values():
                    for one in several:
                        if issubclass(one.cls, group.schema):
                            store.put(root.name, one.group, one.name, one.instance)

    def add(self, group: str, name: str, cls: Any) -> None:
        """Check a profile and make it known to ``compose`` and to Hydra.

        The profiles of this package are not checked at each import: a test does that.

        Raises:
            ConfigError: The class cannot be a profile of the group; runs that choose the name will stop.
        """
        shipped = getattr(cls, "__module__", "").startswith(f"{__name__.partition('.')[0]}.profiles.")
        provider = self.provider or (SHIPPED if shipped else class_file(cls) or cls.__module__)
        if not shipped and (problems := list(self.refusals(group, name, cls))):
            self.refuse({(group, name)}, provider, problems)
            raise ConfigError(problems)
        self.put(Registered(group, name, cls, cls(name=name), provider))

    def put(self, one: Registered) -> None:
        """Make a profile known that has been checked."""
        with self.change() as known:
            named = known.profiles.setdefault(one.group, {})
            others = tuple(other for other in named.get(one.name, ()) if _topmost(other.cls) is not _topmost(one.cls))
            named[one.name] = (*others, one)
            if _interactive(one.cls):
                _drop_renamed(named, one)
            known.refused.get((one.group, one.name), {}).pop(one.provider, None)
            known.views.clear()
            for root in known.roots.values():
                if one.group in root.groups and issubclass(one.cls, root.groups[one.group].schema):
                    store.put(root.name, one.group, one.name, one.instance)

    def put_experiment(self, one: Experiment) -> None:
        """Make an experiment known that has been checked."""
        with self.change() as known:
            known.experiments[one.root, one.name] = one
            store.put_experiment(known.roots[one.root], one.name, one.overrides)

    def adopt(self, root: Root, profiles: Sequence[Registered], experiments: Sequence[Experiment]) -> None:
        """Make known, in a process that a launcher started, what is not declared there: classes of ``__main__``."""
        with self.change() as known:
            if root.name not in known.roots:
                self.add_root(root)
            view = self.view(known.roots[root.name])
            for one in profiles:
                if one.name not in view[one.group]:
                    self.put(one)
            for experiment in experiments:
                if (experiment.root, experiment.name) not in known.experiments:
                    self.put_experiment(experiment)

    def refuse(self, claims: Collection[tuple[str, str]], provider: str, problems: Sequence[Problem]) -> None:
        """Remember names that a profile was refused under; the group ``""`` stands for any."""
        with self.change() as known:
            for claim in claims:
                known.refused.setdefault(claim, {})[provider] = tuple(problems)

    def discard(self, providers: Collection[str]) -> None:
        """Forget everything that comes from these files."""
        with self.change() as known:
            for group, named in known.profiles.items():
                for name, several in list(named.items()):
                    kept = tuple(one for one in several if one.provider not in providers)
                    if len(kept) < len(several):
                        named[name] = kept
                        for root in known.roots:
                            store.forget(root, group, name)
                        if not kept:
                            del named[name]
            known.experiments = {key: one for key, one in known.experiments.items() if one.provider not in providers}
            for by in known.refused.values():
                for provider in by.keys() & set(providers):
                    del by[provider]
            known.views.clear()

    def groups_of(self, cls: type) -> dict[str, type[Profile]]:
        """The groups whose profiles a class's relatives are, with the schema of each."""
        found = {
            group.name: group.schema
            for root in self.known.roots.values()
            for group in root.groups.values()
            if _related(cls, group.schema)
        }
        for group, named in self.known.profiles.items():
            for several in named.values():
                for one in several:
                    if group not in found and isinstance(cls, type) and _topmost(one.cls) is _topmost(cls):
                        found[group] = _topmost(one.cls)
        return found

    def unusable(self, group: str, name: str, cls: type[Profile], origin: str | None = None) -> Iterator[Problem]:
        """Why a new profile of a class cannot have this name."""
        for known in self.known.profiles.get(group, {}).get(name, ()):
            again = (known.cls.__module__, known.cls.__qualname__) == (cls.__module__, cls.__qualname__)
            replaces = (again and known.base is None) or (_interactive(cls) and _interactive(known.cls))
            if _topmost(known.cls) is _topmost(cls) and not replaces:
                holder = known.cls.__qualname__ if known.base is None else "an overlay"
                what = f"profile {group}={name}: that name is taken by {holder} ({known.source})"
                yield Problem(what=what, origin=origin, hint="choose another name")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            what = f"profile {group}={name}: '{name}' cannot be a profile's name"
            yield Problem(what=what, origin=origin, expected="letters, digits, '_' and '-', no digit first")

    def refusals(self, group: str, name: str, cls: type[Profile]) -> Iterator[Problem]:
        """Why a class cannot be the profile of that name."""
        label, groups = f"{group}={name}", self.groups_of(cls)
        problem = Problem(what="", origin=class_source(cls), see="profiles list")
        schemas = [one.groups[group].schema for one in self.known.roots.values() if group in one.groups]
        if group not in groups and (groups or not (isinstance(cls, type) and issubclass(cls, Profile))):
            if schemas:
                names = " or ".join(dict.fromkeys(schema.__name__ for schema in schemas))
                what = f"profile {label}: {cls.__qualname__} is not a subclass of {names}"
                yield dataclasses.replace(problem, what=what, hint=f"write: class {cls.__name__}({names}):")
            else:
                known = list(groups) or [one for root in self.known.roots.values() for one in root.groups]
                what = f"profile {label}: there is no config group '{group}'"
                expected = "one of " + ", ".join(dict.fromkeys(known)) if len(known) > 1 else known[0]
                close = nearest(group, known)
                yield dataclasses.replace(problem, what=what, expected=expected, nearest=close)
            return
        for unusable in self.unusable(group, name, cls):
            yield dataclasses.replace(unusable, origin=class_source(cls))
        found = list(rules.refusals(label, cls))
        yield from found
        for root in self.known.roots.values():
            schema = root.groups[group].schema if group in root.groups else None
            if schema is not None and issubclass(cls, schema) and not found:
                taken = [
                    (one.name, other)
                    for other in root.linked(group)
                    if other != group
                    for one in dataclasses.fields(root.groups[other].schema)
                ]
                taken += [(other, other) for other in root.groups] if taken else []
                yield from rules.collisions(label, cls, schema, taken)
        if not found and (reason := store.unfit(cls(name=name))):
            yield dataclasses.replace(problem, what=f"profile {label}: Hydra cannot hold it: {reason}")


def _topmost(cls: type) -> type[Profile]:
    """The class right below ``Profile`` that a profile descends from."""
    return next((one for one in reversed(cls.__mro__) if issubclass(one, Profile) and one is not Profile), Profile)


def _related(cls: Any, schema: type[Profile]) -> bool:
    return isinstance(cls, type) and (issubclass(cls, schema) or (cls is not Settings and issubclass(schema, cls)))


def _interactive(cls: type) -> bool:
    """Whether a class was typed into a notebook or an interpreter, where it is defined over and over."""
    return cls.__module__ == "__main__" and class_source(cls) == f"__main__.{cls.__qualname__}"


def _drop_renamed(named: dict[str, tuple[Registered, ...]], one: Registered) -> None:
    """Forget the other names of a class that has been typed in again."""
    for name, several in list(named.items()):
        kept = tuple(
            other
            for other in several
            if other.cls is one.cls or other.cls.__qualname__ != one.cls.__qualname__ or not _interactive(other.cls)
        )
        named[name] = kept
        if not kept:
            del named[name]


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
