"""What manifests say otherwise than each other: of code, packages, host and plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from spectramind_train.run.manifest import DataRecord, Manifest

Part = Literal["config", "code", "packages", "data", "host", "plan", "scores"]
PARTS: Final = ("config", "code", "packages", "host", "plan", "data")
"""What may change a result."""
_DECIDE: Final = ("accelerator", "devices", "num_nodes", "strategy", "precision", "sync_batchnorm", "threads")
NOTHING: Final = "-"
"""What stands where a manifest says nothing."""


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in all of some runs.

    Attributes:
        part: Where it belongs.
        name: What it is.
        values: What each of them says, in their order; ``-`` where it says nothing.
    """

    part: Part
    name: str
    values: tuple[str, ...]


def recorded(manifest: Manifest) -> dict[Part, Mapping[str, Any]]:
    """What a manifest says of all but the data that may change a result."""
    code = {name: digest[:12] for name, digest in manifest.code.items()}
    if (git := manifest.git) is not None:
        code["git commit"] = git.commit[:12] + (", files changed" if git.dirty else "")
    plan = {name: manifest.plan.get(name) for name in _DECIDE}
    return {"code": code, "packages": manifest.packages, "host": manifest.host, "plan": plan}


def of_data(record: DataRecord | None) -> dict[str, str]:
    """What a manifest says of the data set and the planets, a digest in place of their names."""
    if record is None:
        return {}
    told = {"root": record.root, "labels, names and sizes": record.fingerprint[:12]}
    for part, names in record.planets.items():
        digest = hashlib.sha256("\n".join(names).encode(errors="backslashreplace")).hexdigest()
        told[f"{part} planets"] = f"{len(names)}, digest of their names {digest[:12]}"
    return told


def of_config(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config as a manifest has it, by dotted path."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= of_config(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def differing(part: Part, sides: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """What is not the same on all sides; of a number, every bit counts."""
    plain = [{name: msgspec.to_builtins(value) for name, value in side.items()} for side in sides]
    for name in dict.fromkeys(name for side in plain for name in side):
        values = tuple(_text(side.get(name)) for side in plain)
        if len(set(values)) > 1:
            yield Difference(part, name, values)


def _text(value: Any) -> str:
    if value in (None, [], ()):
        return NOTHING
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
