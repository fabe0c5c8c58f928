"""Writes docs/reference: a page for the root ``train`` and for each of its groups, from their declarations.

``make reference`` runs this; a test fails while a page is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import spectramind_config as sc
from spectramind_config.schema.fields import Leaf, leaves_of
from spectramind_config.schema.registry import REGISTRY, SHIPPED, Registered
from spectramind_config.schema.root import Group, Root
from spectramind_config.schema.sources import class_source
from spectramind_config.schema.values import plain, same, value_at

FOLDER = Path(__file__).with_name("reference")
SOURCES = Path(sc.__file__).parents[1]
ROOT: Root = sc.EffectiveConfig._root
FOOT = "Written by `make reference` from the declarations; do not edit."


def pages() -> dict[Path, str]:
    """Every page by its file."""
    found = {ROOT.name: _root_page(), **{group.name: _group_page(group) for group in ROOT.groups.values()}}
    return {FOLDER / f"{name}.md": "\n".join([*lines, FOOT]) + "\n" for name, lines in found.items()}


def _root_page() -> Iterator[str]:
    """Groups, folded settings, experiments and names of the root."""
    yield from (f"# The root `{ROOT.name}`", "", _first_line(ROOT.cls), "")
    yield f"`sc.compose(overrides)` returns it, as `sc.{ROOT.cls.__name__}`; `{ROOT.command}` runs with it."
    yield from ("", "## Groups", "", "From left to right; of two that are folded, the one further right wins.", "")
    yield from _table(
        ("group", "schema", "profiles", "default", "folded over"),
        (
            (
                f"[`{group.name}`]({group.name}.md)",
                f"`sc.{group.schema.__name__}`",
                ", ".join(f"`{one.name}`" for one in _profiles(group)),
                f"`{group.default}`",
                f"`{group.over}`" if group.over else "",
            )
            for group in ROOT.groups.values()
        ),
    )
    yield from (
        "## Settings at the top",
        "",
        "Each has one value: that of the first group named here that has one.",
        "",
    )
    yield from _table(
        ("in code", "set by", ""),
        (
            (f"`cfg.{name}`", ", ".join(f"`{group}.{name}`" for group in fold.groups), _meaning(fold.groups[0], name))
            for name, fold in ROOT.folds.items()
        ),
    )
    yield from ("## Experiments", "", "Chosen with `experiment=NAME`, or several with `experiment=[NAME,NAME]`.", "")
    for one in REGISTRY.experiments(ROOT).values():
        if one.provider == SHIPPED:
            yield from (f"### `experiment={one.name}`", "", one.summary, "")
            yield from (*(f"* `{override}`" for override in one.overrides), "")
    yield from ("## Names", "")
    yield f"* `{ROOT.variable}`: the environment variable that names files of profiles"
    yield f"* `{ROOT.entry_points}`: the entry points of packages that bring profiles"
    yield f"* `spectramind://{ROOT.name}`: the search path by which another Hydra application finds the groups"
    for short, path in ROOT.short.items():
        yield f"* `{short}`: short for `{path}`"
    yield ""


def _meaning(group: str, name: str) -> str:
    leaves = leaves_of(ROOT.groups[group].schema)
    if name in leaves:
        return leaves[name].description
    inside = [path for path in leaves if path.startswith(f"{name}.")]
    return f"a section: {', '.join(path.removeprefix(f'{name}.') for path in inside)}"


def _group_page(group: Group) -> Iterator[str]:
    """Every setting with its default, then what each profile changes."""
    yield from (f"# `{group.name}`", "", _first_line(group.schema), "")
    yield f"Choose a profile with `{group.name}=<profile>`, set a single value with `{group.name}.<setting>=<value>`."
    yield f"Without a choice it is `{group.name}={group.default}`. {_place(group)}"
    yield from ("", "## Settings", "")
    known: dict[str, tuple[Leaf, Registered]] = {}
    for one in sorted(_profiles(group), key=lambda one: one.name != group.default):
        known |= {path: (leaf, one) for path, leaf in leaves_of(one.cls).items() if path not in known}
    known.pop("name")
    yield from _table(
        ("setting", "takes", "default", ""),
        (
            (
                f"`{path}`{'' if leaf.science else ' ¹'}",
                leaf.type.words,
                _value(value_at(one.instance, path)),
                leaf.description,
            )
            for path, (leaf, one) in known.items()
        ),
    )
    if any(not leaf.science for leaf, _ in known.values()):
        yield "¹ says only where or how visibly a run happens; the science fingerprint leaves it out."
        yield ""
    yield from ("## Profiles", "")
    for one in _profiles(group):
        yield from _profile(one)


def _place(group: Group) -> str:
    linked = ROOT.linked(group.name)
    if len(linked) == 1:
        return f"In code: `cfg.{group.name}.<setting>`."
    strongest, *others = (f"`{one}`" for one in linked)
    return (
        "In a composed config these settings stand at the top: `<setting>` is read as `cfg.<setting>`.\n"
        f"Where {strongest} and {' and '.join(others)} set the same one, {strongest} wins."
    )


def _profiles(group: Group) -> list[Registered]:
    return [one for one in REGISTRY.view(ROOT)[group.name].values() if one.provider == SHIPPED]


def _profile(one: Registered) -> Iterator[str]:
    name, parent = one.parent()
    file = Path(class_source(one.cls).rpartition(":")[0]).relative_to(SOURCES)
    yield from (
        f"### `{one.group}={one.name}`",
        "",
        f"{one.summary} `{one.cls.__name__}` in `src/{file.as_posix()}`.",
        "",
    )
    before = leaves_of(type(parent))
    changed = [
        path
        for path in leaves_of(one.cls)
        if path in before and path != "name" and not same(value_at(parent, path), value_at(one.instance, path))
    ]
    if not changed:
        yield from ("Changes nothing of the settings above.", "")
        return
    yield from _table(
        ("changes", "to", f"from {name}"),
        ((f"`{path}`", _value(value_at(one.instance, path)), _value(value_at(parent, path))) for path in changed),
    )


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").split("\n")[0].replace("``", "`")


def _value(value: object) -> str:
    return f"`{json.dumps(plain(value), ensure_ascii=False)}`"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def write() -> None:
    """Write every page, and remove what is none."""
    FOLDER.mkdir(exist_ok=True)
    for file in set(FOLDER.glob("*.md")) - pages().keys():
        file.unlink()
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
