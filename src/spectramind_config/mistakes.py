"""The mistakes of one command line: what each is, and what to write instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from spectramind_config import interpolation
from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.layers import Layers
from spectramind_config.leaves import Leaf
from spectramind_config.overrides import SHORT_NAMES, Override
from spectramind_config.registry import GROUPS, NAMES, REGISTRY
from spectramind_config.settings import Contradiction, Profile
from spectramind_config.site_profiles import failure


class Mistakes:
    """Collects the problems of a composition, so that all are told at once.

    Args:
        arguments: The command line.
        source: Where it comes from.
        lines: Where single overrides come from, if not all from one place: ``file:line``.
    """

    def __init__(self, arguments: Sequence[str], source: str, lines: Mapping[str, str]) -> None:
        self.arguments = arguments
        self.source = source
        self.lines = lines
        self.problems: list[Problem] = []

    def stop(self) -> None:
        """Raise ConfigError if there is any."""
        if self.problems:
            raise ConfigError(self.problems, self.arguments)

    def place(self, argument: str) -> str:
        """Where an override comes from."""
        return self.lines.get(argument, self.source)

    def malformed(self, argument: str, error: ConfigError) -> None:
        """An override that is not in Hydra's grammar."""
        self.problems += [dataclasses.replace(problem, origin=self.place(argument)) for problem in error.problems]

    def add(
        self,
        override: Override,
        what: str,
        *,
        expected: str | None = None,
        close: str | None = None,
        instead: str | None = None,
        hint: str | None = None,
        see: str = "spectramind config explain",
    ) -> None:
        """An override that is wrong."""
        if not override.argument.lstrip("+~").startswith(override.key):
            instead = None  # One element of a dict: a correction would drop the others.
        self.problems.append(
            Problem(
                what=f"{override.argument}: {what}",
                origin=self.place(override.argument),
                expected=expected,
                nearest=close,
                argument=override.argument,
                instead=instead,
                hint=hint,
                see=see,
            )
        )

    def removed_profile(self, override: Override) -> None:
        """``~local`` or ``+local=hpc``."""
        self.add(
            override,
            "every group always has exactly one profile, so none can be added or removed",
            instead=f"{override.key}={override.value}" if override.sign != "~" else None,
            see="spectramind profiles list",
        )

    def unknown_profile(self, override: Override) -> None:
        """A profile that does not exist, or that could not be loaded."""
        group, name = override.key, str(override.value)
        unloaded = failure(group, name)
        if unloaded is not None:
            self.problems.append(unloaded)
            return
        close = nearest(name, REGISTRY.profiles[group])
        self.add(
            override,
            f"there is no profile '{name}' in group {group}",
            expected="one of " + ", ".join(REGISTRY.profiles[group]),
            close=close and f"{group}={close}",
            instead=f"{group}={close}" if close else None,
            see="spectramind profiles list",
        )

    def fixed_name(self, override: Override) -> None:
        """``local.name=x``: the name follows from the choice."""
        group = override.key.partition(".")[0]
        known = isinstance(override.value, str) and REGISTRY.get(group, override.value) is not None
        self.add(
            override,
            f"{override.key} is the name of the chosen profile and follows from {group}=<profile>",
            expected="one of " + ", ".join(REGISTRY.profiles[group]),
            instead=f"{group}={override.value}" if known else None,
            see="spectramind profiles list",
        )

    def removed_setting(self, override: Override, path: str) -> None:
        """``~local.devices``."""
        self.add(
            override,
            "a setting cannot be removed: every setting always has a value",
            hint=f"write {path}=null where null is allowed",
            see=f"spectramind config explain {path}",
        )

    def section(self, override: Override, path: str, leaves: Iterable[str]) -> None:
        """A value for a whole section."""
        self.add(
            override,
            f"{path} is a section, not a setting",
            expected=f"one of its settings: {', '.join(_children(leaves, path))}",
            see=f"spectramind config explain {path}",
        )

    def bad_value(self, override: Override, path: str, leaf: Leaf, reason: str) -> None:
        """A value of the wrong type or out of range."""
        words = leaf.choices or (("true", "false") if bool in leaf.kinds else ())
        text = str(override.value).lower()
        close = nearest(text, words) or next((word for word in words if text and word.startswith(text)), None)
        self.add(
            override,
            reason.replace(f"is not {leaf.expectation}", "does not fit"),
            expected=_words(leaf),
            close=close and f"{path}={close}",
            instead=f"{path}={close}" if close else None,
            see=f"spectramind config explain {path}",
        )

    def unknown_setting(self, override: Override, path: str, known: Iterable[str]) -> None:
        """A key that does not exist: in a group that does not, in another group, or misspelt."""
        if override.is_hydra:
            self.add(override, "settings of Hydra itself are taken by spectramind train only", instead="")
            return
        text = override.argument.partition("=")[2]
        group = nearest(path, GROUPS) if "." not in path else None
        if group is not None:
            self.add(
                override,
                f"there is no group '{path}'",
                expected="one of " + ", ".join(GROUPS),
                close=group,
                instead=f"{group}={text}" if REGISTRY.get(group, text) else None,
            )
            return
        leaves = [leaf for leaf in known if leaf not in NAMES]
        close = _nearest_path(path, [*leaves, *SHORT_NAMES])
        section = path.rpartition(".")[0]
        while section and not _children(leaves, section):
            section = section.rpartition(".")[0]
        names = ", ".join(_children(leaves, section) if section else GROUPS)
        self.add(
            override,
            f"there is no setting '{path}'",
            expected=f"a setting of {section}: {names}" if section else f"<group>.<setting>, with a group of {names}",
            close=close,
            instead=f"{close}={text}" if close and text else None,
            see=f"spectramind config explain {section}".rstrip(),
        )

    def unresolved(self, layers: Layers, path: str, reason: str) -> None:
        """An interpolation that leads nowhere, in a circle, or to a value that does not fit."""
        raw = layers.raw(path)
        missing = [name for name in interpolation.variables(raw) if f"variable {name} is" in reason]
        argument = layers.argument(path)
        group, _, inner = path.partition(".")
        leaf = layers.stack.leaves[path]
        profile = layers.stack.profiles[group]
        hint = f"give it a value: {path}=<value>"
        if missing:
            hint = f"export {missing[0]}=<value>, or give a default: ${{oc.env:{missing[0]},<default>}}"
        elif interpolation.variables(raw) and len(leaf.kinds) > 1:
            hint = f"a variable holds text; to read a number out of it: {path}='${{oc.decode:{raw}}}'"
        self.problems.append(
            Problem(
                what=f"{argument or f'{path}={raw}'}: {reason}",
                origin=self.source if argument else f"{group}={profile.name}, {profile.setter(inner)[0]}",
                expected=_words(leaf),
                argument=argument,
                hint=hint,
                see=f"spectramind config explain {path}",
            )
        )

    def shadowed(self, layers: Layers, path: str, strongest: str, weaker: str) -> None:
        """An override that a stronger layer hides."""
        argument = layers.argument(weaker)
        origin = layers.origin(path)
        text = argument.partition("=")[2]
        self.problems.append(
            Problem(
                what=f"{argument} has no effect: {origin} sets {path} to {origin.value!r}, and local wins over trainer",
                origin=self.place(argument),
                nearest=strongest,
                argument=argument,
                instead="" if strongest in layers.settings else f"{strongest}={text}",
                see=f"spectramind config explain {path}",
            )
        )

    def contradiction(self, layers: Layers, group: str, node: Profile, found: Contradiction) -> None:
        """Settings that are valid one by one but not together."""
        path = f"{group}.{found.path}"
        self.problems.append(
            Problem(
                what=f"{group}={node.name}: {found.reason}",
                origin=layers.origin(path).place,
                nearest=path,
                argument=layers.argument(path),
                instead=None if found.remedy is None else f"{path}={found.remedy}",
                see=f"spectramind config explain {path}",
            )
        )

    def no_precision(self, layers: Layers, trainer: Profile) -> None:
        """Neither layer sets a precision."""
        self.problems.append(
            Problem(
                what="local.precision=null: then nothing sets a precision, for "
                f"trainer={trainer.name} sets none either",
                origin=self.source,
                expected="one of " + ", ".join(layers.stack.leaves["local.precision"].choices),
                argument=layers.argument("local.precision"),
                instead="local.precision=auto-mixed",
            )
        )


def _words(leaf: Leaf) -> str:
    return f"{leaf.expectation} ({leaf.description})" if leaf.description else leaf.expectation


def _children(leaves: Iterable[str], section: str) -> list[str]:
    prefix = f"{section}."
    return list(
        dict.fromkeys(path.removeprefix(prefix).partition(".")[0] for path in leaves if path.startswith(prefix))
    )


def _nearest_path(path: str, known: Sequence[str]) -> str | None:
    """The path that a misspelt one meant: the same name elsewhere, or the closest spelling."""
    name = path.rpartition(".")[2]
    namesakes = [one for one in known if one.endswith(f".{name}")]
    if namesakes:
        return nearest(path, namesakes) or max(namesakes, key=lambda one: one.startswith("local."))
    group, _, inner = path.partition(".")
    same_group = [one for one in known if one.startswith(f"{group}.")]
    if same_group:
        if close := nearest(inner, [one.partition(".")[2] for one in same_group]):
            return f"{group}.{close}"
    elif close := nearest(path, known):
        return close
    last_names = {one.rpartition(".")[2]: one for one in reversed(same_group or known)}
    close_name = nearest(name, last_names)
    return last_names[close_name] if close_name else None
