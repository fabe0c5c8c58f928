"""``spectramind config …``: what a command line means, and who set it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from spectramind_config.composition import compose
from spectramind_config.effective import EffectiveConfig, Origin
from spectramind_config.reporting import plain, short, take_flags


def _show(arguments: list[str]) -> int:
    flags = take_flags(arguments, "--json")
    config = compose(arguments)
    print(json.dumps(config.to_dict(), indent=2) if flags else config.to_yaml(), end="\n" if flags else "")
    return 0


def _validate(arguments: list[str]) -> int:
    take_flags(arguments)
    compose(arguments)
    return 0


def _hash(arguments: list[str]) -> int:
    flags = take_flags(arguments, "--science")
    config = compose(arguments)
    print(config.science_fingerprint if flags else config.fingerprint)
    return 0


def _explain(arguments: list[str]) -> int:
    flags = take_flags(arguments, "--json")
    paths = [argument for argument in arguments if "=" not in argument]
    config = compose([argument for argument in arguments if argument not in paths])
    origins = _selected(config, paths)
    if flags:
        print(json.dumps([origin.to_dict() for origin in origins], indent=2))
    else:
        print("\n".join(_explained(origins)))
    return 0


def _selected(config: EffectiveConfig, paths: Sequence[str]) -> list[Origin]:
    if not paths:
        return config.origins()
    found: list[Origin] = []
    for path in paths:
        section = [origin for origin in config.origins() if origin.path.startswith(f"{path}.")]
        found += section or [config.origin(path)]
    return found


def _explained(origins: Sequence[Origin]) -> list[str]:
    width = max(len(origin.path) for origin in origins)
    lines = []
    for origin in origins:
        lines.append(f"{origin.path:<{width}}  {plain(origin.value)}")
        setter = origin.option if origin.layer == "override" else f"{origin.layer}={origin.option}"
        behind = f", from {origin.raw}" if origin.raw else ""
        lines.append(f"{'':<{width}}    set by {setter} ({short(origin.source)}{behind})")
        for one in origin.shadowed:
            setter = one.option if one.layer == "override" else f"{one.layer}={one.option}"
            lines.append(f"{'':<{width}}    shadows {plain(one.value)} of {setter} ({short(one.source)})")
    return lines


COMMANDS: Mapping[str, Callable[[list[str]], int]] = {
    "show": _show,
    "explain": _explain,
    "validate": _validate,
    "hash": _hash,
}
