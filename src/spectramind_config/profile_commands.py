"""``spectramind profiles …``: which profiles exist and what they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spectramind_config.errors import ConfigError, Problem, nearest
from spectramind_config.leaves import leaves_of, value_at
from spectramind_config.registry import GROUPS, REGISTRY, Registered, leaf_source
from spectramind_config.reporting import plain, short, take_flags


def _list(arguments: list[str]) -> int:
    take_flags(arguments)
    rows = [
        (group, one.name, one.provider, one.summary) for group in GROUPS for one in REGISTRY.profiles[group].values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))
    return 0


def _show_profile(arguments: list[str]) -> int:
    take_flags(arguments)
    if not arguments:
        raise ConfigError("profiles show needs a profile: spectramind profiles show local=hpc")
    for number, argument in enumerate(arguments):
        chosen = _named(argument)
        parent = next(base for base in chosen.cls.__mro__[1:] if base.__name__ != "object")
        blank = "\n" if number else ""
        print(f"{blank}{chosen.group}={chosen.name}: {chosen.summary}")
        print(f"  {chosen.cls.__qualname__}({parent.__name__}), {chosen.source}")
        reference = parent()
        for path, leaf in leaves_of(chosen.cls).items():
            value = value_at(chosen.instance, path)
            known = path in leaves_of(parent)
            if path != "name" and not (known and value_at(reference, path) == value):
                was = f" instead of {plain(value_at(reference, path))}" if known else " (added)"
                print(f"  {path} = {plain(value)}{was}  # {leaf.description}; {short(leaf_source(chosen.cls, path))}")
    return 0


def _named(text: str) -> Registered:
    group, equals, name = text.rpartition("=")
    candidates = [group] if equals else list(GROUPS)
    found = [one for group in candidates if group in GROUPS and (one := REGISTRY.get(group, name)) is not None]
    if len(found) == 1:
        return found[0]
    known = [f"{group}={one}" for group in GROUPS for one in REGISTRY.profiles[group]]
    close = nearest(text if equals else f"local={text}", known)
    if found:
        raise ConfigError(
            f"'{text}' is a profile of several groups: " + ", ".join(f"{one.group}={name}" for one in found)
        )
    raise ConfigError(
        Problem(what=f"there is no profile '{text}'", nearest=close, hint="spectramind profiles list shows them all")
    )


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {"list": _list, "show": _show_profile}
