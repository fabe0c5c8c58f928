"""Writes docs/reference: a page for each config group, from the declarations of its fields and profiles.

Run ``python docs/reference.py`` after a change of a field or a profile; a test fails while a page is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spectramind_config.compose.layers import OVERLAPPING
from spectramind_config.schema.fields import Leaf, leaves_of, same, value_at
from spectramind_config.schema.registry import DEFAULTS, GROUPS, REGISTRY, Registered
from spectramind_config.commands.reporting import plain
from spectramind_config.schema.sources import class_source

FOLDER = Path(__file__).with_name("reference")


def page(group: str) -> str:
    """The reference page of a group."""
    profiles = [one for one in REGISTRY.profiles[group].values() if one.provider == "spectramind"]
    schema = REGISTRY.schemas[group]
    lines = [f"# `{group}`", "", (schema.__doc__ or "").split("\n")[0], ""]
    choose = f"Choose a profile with `{group}=<profile>`, set a single value with `{group}.<setting>=<value>`. "
    choose += f"Without a choice it is `{group}={DEFAULTS[group]}`.{_place(group)}"
    lines += [choose, "", "## Settings", "", *_settings(group, profiles)]
    lines += ["## Profiles", ""]
    for one in profiles:
        lines += [*_profile(one), ""]
    lines += ["Written by `python docs/reference.py`; do not edit."]
    return "\n".join(lines) + "\n"


def _place(group: str) -> str:
    if group in OVERLAPPING:
        return (
            f" In the effective config these settings stand at the top: `{group}.<setting>` is read as "
            "`cfg.<setting>`. Where `trainer` and `local` set the same one, `local` wins."
        )
    return f" In code: `cfg.{group}.<setting>`."


def _settings(group: str, profiles: list[Registered]) -> Iterator[str]:
    default = REGISTRY.profiles[group][DEFAULTS[group]]
    known: dict[str, tuple[Leaf, Registered]] = {}
    for one in (default, *profiles):
        known |= {path: (leaf, one) for path, leaf in leaves_of(one.cls).items() if path not in known}
    known.pop("name")
    yield "| setting | takes | default | |"
    yield "|---|---|---|---|"
    for path, (leaf, one) in known.items():
        mark = "" if leaf.science else " ¹"
        yield f"| `{path}`{mark} | {leaf.expectation} | {_value(value_at(one.instance, path))} | {leaf.description} |"
    yield ""
    if any(not leaf.science for leaf, _ in known.values()):
        yield "¹ says only where or how visibly a run happens; the science fingerprint leaves it out."
        yield ""


def _profile(one: Registered) -> Iterator[str]:
    _, parent = one.parent()
    file = Path(class_source(one.cls).rpartition(":")[0])
    yield f"### `{one.group}={one.name}`"
    yield ""
    yield f"{one.summary} `{one.cls.__name__}` in [{file.name}](../../src/spectramind_config/{file.name})."
    known = leaves_of(type(parent))
    changed = [
        path
        for path in leaves_of(one.cls)
        if path in known and path != "name" and not same(value_at(parent, path), value_at(one.instance, path))
    ]
    yield ""
    if not changed:
        yield "Changes nothing of the settings above."
        return
    yield f"| changes | to | from {type(parent).__name__} |"
    yield "|---|---|---|"
    for path in changed:
        yield f"| `{path}` | {_value(value_at(one.instance, path))} | {_value(value_at(parent, path))} |"


def _value(value: object) -> str:
    return f"`{plain(value)}`"


def pages() -> dict[Path, str]:
    """Every page by its file."""
    return {FOLDER / f"{group}.md": page(group) for group in GROUPS}


def write() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
