"""What a setting is: a typed dataclass field whose annotation carries its description and its constraints.

One declaration, ``devices: Annotated[Devices, about("Which accelerators to use")] = "auto"``, feeds type
checking (the static type), composition (OmegaConf sees the bare type), validation and the JSON Schema
(``msgspec.Meta``), the command line's help and the reference pages.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta


def about(
    description: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    pattern: str | None = None,
    science: bool = True,
) -> Meta:
    """Describe a field for ``Annotated``.

    ``science=False`` marks a setting that only says where or how visibly a run happened (paths, devices,
    workers, logging); the science fingerprint leaves it out.
    """
    limits = {"ge": ge, "gt": gt, "le": le, "min_length": min_length, "pattern": pattern}
    given: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    return Meta(description=description, extra=None if science else {"science": False}, **given)


def one_of(*choices: str) -> Any:
    """A closed set of strings as OmegaConf and msgspec both understand it.

    OmegaConf 2.3 has no ``Literal``: type checkers read the ``Literal`` beside it, the run time reads this.
    """
    pattern = "^(" + "|".join(map(re.escape, choices)) + r")$(?!\n)"
    return Annotated[str, Meta(pattern=pattern, extra_json_schema={"enum": list(choices)}, extra={"choices": choices})]


if TYPE_CHECKING:
    Devices = int | Literal["auto", "cpu", "mps"]
    Precision = Literal["bf16-mixed", "16-mixed", "32", "auto-mixed"]
else:
    Devices = Annotated[int, Meta(ge=1)] | one_of("auto", "cpu", "mps")
    Precision = one_of("bf16-mixed", "16-mixed", "32", "auto-mixed")

Batches = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0.0, le=1.0)]
"""A cap on batches: an int counts them, a float is a fraction of the split (1 is one batch, 1.0 is all)."""


@dataclass(kw_only=True)
class Settings:
    """A node of the configuration tree.

    Instances inside an ``EffectiveConfig`` are sealed: assigning to them raises. Profiles stay plain, unfrozen
    dataclasses because OmegaConf makes a frozen one read-only, which would forbid overrides.
    """

    # Type checkers take a class with a __setattr__ for one that any attribute may be assigned to.
    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            if self.__dict__.get("_sealed", False):
                raise AttributeError(
                    f"cannot assign to '{name}': an effective config is frozen; use cfg.with_overrides(['...={value}'])"
                )
            object.__setattr__(self, name, value)

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"cannot delete '{name}': every setting of {type(self).__name__} always has a value")


@dataclass(frozen=True)
class Contradiction:
    """Two settings of one profile that cannot both hold.

    Attributes:
        path: The setting to change, below its group.
        reason: Why the values contradict each other, in one sentence.
        remedy: The value that resolves it, as an override writes it; None when nobody can tell.
        fatal: False for a mere warning.
    """

    path: str
    reason: str
    remedy: str | None = None
    fatal: bool = True


@dataclass(kw_only=True)
class Profile(Settings):
    """What the schemas of all config groups share."""

    name: Annotated[str, about("The profile's name; filled in at registration", science=False)] = ""

    def contradictions(self) -> Iterator[Contradiction]:
        """Settings that are valid one by one but not together; a subclass adds its own."""
        yield from ()
