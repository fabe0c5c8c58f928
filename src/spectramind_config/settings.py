"""What a setting is: a typed dataclass field whose annotation carries its constraints.

One declaration, ``planets: Annotated[int, about(ge=1)] = 100`` with the docstring below it, feeds type checking,
editors (which show that docstring), composition, validation, ``--help``, the reference pages and the JSON Schema.
"""

import copyreg
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from msgspec import Meta, Struct

from spectramind_config.errors import HIDDEN, ConfigError, Problem, hidden, is_secret

__all__ = ["Batches", "Contradiction", "Devices", "Duration", "OneOf", "Precision", "Profile", "Settings"]
__all__ += ["about", "one_of"]

# A launcher pickles the classes of a program: a Meta has no pickling of its own, and MISSING has to stay the one it is.
copyreg.pickle(Meta, lambda meta: (partial(Meta, **dict(meta.__rich_repr__())), ()))
copyreg.pickle(type(MISSING), lambda _: "MISSING")


def about(
    description: str = "",
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    pattern: str | None = None,
    science: bool = True,
    secret: bool = False,
) -> Meta:
    """Describe a field for ``Annotated``: the limits of a number, of a length, of a text (a regular expression).

    The docstring below the field, which editors show, stands for an empty description. The science fingerprint leaves
    out what is no ``science`` but where or how visibly a run happened: paths, devices, workers, logging.
    A ``secret`` is shown and recorded as ``***``, and no fingerprint counts it.
    """
    given: dict[str, Any] = {"ge": ge, "gt": gt, "le": le, "lt": lt, "min_length": min_length, "max_length": max_length}
    given |= {"description": description or None, "pattern": pattern}
    extra = ({} if science else {"science": False}) | ({"secret": True} if secret else {})
    return Meta(extra=extra or None, **given)


def one_of(*choices: str) -> Any:
    """A ``Literal`` of strings that OmegaConf takes, which has none; type checkers read a real one beside it."""
    return Annotated[str, Meta(pattern=rf"^({'|'.join(map(re.escape, choices))})$(?!\n)", extra={"choices": choices})]


if TYPE_CHECKING:
    from typing import Literal as OneOf

    Duration = timedelta
else:

    class OneOf:
        """``one_of`` as type checkers read it: ``OneOf["rich", "plain"]``."""

        def __class_getitem__(cls, choices: tuple[str, ...]) -> Any:
            return one_of(*choices)

    Duration = Annotated[str, Meta(extra={"kind": timedelta})]
"""A length of time, as ``8:30:00``, ``9h`` or ``1h30m``; a ``timedelta`` that OmegaConf, which has none, takes too."""

Devices = Annotated[int, Meta(ge=1)] | OneOf["auto", "cpu", "mps"]
Precision = OneOf["bf16-mixed", "16-mixed", "32", "auto-mixed"]
Batches = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0.0, le=1.0)]
"""A cap on batches: an int counts them, a float is a fraction of the split (1 is one batch, 1.0 is all)."""


@dataclass(kw_only=True)
class Settings:
    """A node of the configuration tree; inside a composed config it is sealed, and assigning to it raises."""

    # It is no frozen dataclass, for OmegaConf makes one read-only, which would forbid overrides.
    if not TYPE_CHECKING:  # They take a class with a __setattr__ for one whose every attribute may be assigned.

        def __setattr__(self, name: str, value: object) -> None:
            if self.__dict__.get("_sealed", False):
                use = f"use cfg.with_overrides(['...={value}'])"
                raise AttributeError(f"cannot assign to '{name}': an effective config is frozen; {use}")
            object.__setattr__(self, name, value)

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"cannot delete '{name}': every setting of {type(self).__name__} always has a value")

    def __init_subclass__(cls) -> None:
        if "__repr__" not in cls.__dict__:  # Or a dataclass would show what is secret.
            cls.__repr__ = Settings.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self) if field.repr)
        shown = (f"{name}={HIDDEN if is_secret(name) and one is not None else repr(one)}" for name, one in values)
        return hidden(f"{type(self).__qualname__}({', '.join(shown)})")


class Contradiction(Struct, frozen=True):
    """Two settings of one profile that cannot both hold: what to set (below its group) to which remedy, and why."""

    path: str
    reason: str
    remedy: str | None = None  # As an override writes it; None when nobody can tell.
    fatal: bool = True  # Or a mere warning.


CHOICES: dict[type, str] = {}
"""What chooses each class that is registered as a profile: ``GROUP=NAME``"""


@dataclass(kw_only=True)
class Profile(Settings):
    """What the schemas of all config groups share; a class right below it is the schema of a group."""

    builds: ClassVar[bool] = False
    """Whether something is built by the class of a profile, so that the class decides the result beside its values"""
    name: Annotated[str, about(science=False)] = ""
    """The profile's name; filled in at registration"""

    def contradictions(self) -> Iterator[Contradiction]:
        """Settings that are valid one by one but not together; a subclass adds its own."""
        yield from ()

    @classmethod
    def of(cls, node: "Profile") -> Self:
        """A node of a config as this class, ``RidgeConfig.of(cfg.model).cosines``; ConfigError if it is another's."""
        if not isinstance(node, cls):
            what = f"{CHOICES.get(type(node), node.name)} is a {type(node).__name__}, and {cls.__name__} is needed here"
            fitting = dict.fromkeys(choice for one, choice in CHOICES.items() if issubclass(one, cls))
            hint = f"choose {' or '.join(fitting) or f'a profile of {cls.__name__}'}"
            raise ConfigError(Problem(what=what, hint=hint, see="profiles list"))
        return node

    @classmethod
    def suggested(cls, name: str) -> tuple[Self, dict[str, str], str]:
        """What ``profiles new NAME`` starts from on this host: values, the reasons for some, and a line about it."""
        return cls(), {}, f"Says in one line what {name} is for."
