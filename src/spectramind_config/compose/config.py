"""What a composition returns: frozen, with the origin of every value; and how a root of one's own is declared."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import yaml

from spectramind_config.compose.layers import Layers, Origin
from spectramind_config.errors import ConfigError, Problem, hidden_in, nearest
from spectramind_config.schema.registry import REGISTRY
from spectramind_config.schema.root import Root, define
from spectramind_config.sites.loading import importable

C = TypeVar("C", bound="Config")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Config:
    """What every root extends: a composed configuration.

    Equal configs have equal fingerprints; assigning to any part of one raises. Only a composition makes one.
    """

    _root: ClassVar[Root]

    if TYPE_CHECKING:

        @property
        def _layers(self) -> Layers: ...

    else:  # Type checkers read the signature of the dataclass.

        def __new__(cls, **values: object) -> Self:
            """Refuse values, those of ``dataclasses.replace`` too; copies and pickles give none."""
            if values:
                use = "sc.compose, or cfg.with_overrides(['SETTING=VALUE'])"
                raise TypeError(
                    f"only a composition makes a {cls.__name__}, for it knows who set each value: use {use}"
                )
            return super().__new__(cls)

    @property
    def profiles(self) -> dict[str, str]:
        """The chosen profile of each group."""
        return {group: getattr(self, group).name for group in self._root.groups}

    @property
    def overrides(self) -> tuple[str, ...]:
        """The command line that it was composed from, without what is secret."""
        return tuple(map(hidden_in, self._layers.overrides))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed, and may surprise."""
        return self._layers.warnings

    def to_dict(self) -> dict[str, Any]:
        """Every resolved value as JSON has it; a folded group holds what does not stand at the top."""
        return self._layers.tree()

    def to_yaml(self) -> str:
        """``to_dict`` as YAML that every reader takes for the same texts; ``config validate --file`` reads it back."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)

    def origin(self, path: str) -> Origin:
        """Who set the value at a dotted path such as ``precision`` or ``dev.limit_train_batches``.

        Raises:
            ConfigError: There is no such path.
        """
        try:
            return self._layers.origin(path)
        except KeyError:
            close = nearest(path, self._layers.stack.setters)
            what, program = f"there is no setting '{path}'", self._root.program
            problem = Problem(what=what, nearest=close, argument=path, instead=close, see="config explain")
            raise ConfigError(problem, [path, *self.overrides], program, f"{program} config explain") from None

    def origins(self) -> list[Origin]:
        """The origin of every leaf, in the order of ``to_dict``."""
        return [self._layers.origin(path) for path in self._layers.stack.setters]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Sha256 (hex) of every value; the same in every process, on every machine, for any order of overrides."""
        return self._layers.stack.all.of(self._layers)

    @functools.cached_property
    def science_fingerprint(self) -> str:
        """Sha256 (hex) of the values that decide the result, without those that say where it was computed.

        The class of a profile counts where its schema says that it ``builds`` something.
        """
        return self._layers.science_fingerprint(self.science())

    def science(self) -> Mapping[str, Any]:
        """More that decides the result, by name, which no setting says by itself; a root adds its own."""
        return {}

    def with_overrides(self, overrides: Sequence[str]) -> Self:
        """A new config: this one's command line with more overrides behind it."""
        return self._layers.compose([*self._layers.overrides, *overrides], type(self))  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Config) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        choices = ", ".join(f"{group}={name}" for group, name in self.profiles.items())
        return f"<{type(self).__name__} {choices}, fingerprint {self.fingerprint[:12]}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


def _sealed(_: Config, name: str, value: object = "...") -> None:
    use = f"use cfg.with_overrides(['{name}={value}'])"
    raise dataclasses.FrozenInstanceError(f"cannot assign to '{name}': an effective config is frozen; {use}")


for _method in ("__setattr__", "__delattr__"):  # Here, for the body of a frozen dataclass must not hold them.
    setattr(Config, _method, _sealed)


def root(
    name: str,
    *,
    program: str | None = None,
    command: str | None = None,
    variable: str | None = None,
    entry_points: str | None = None,
    short: Mapping[str, str] | None = None,
) -> Callable[[type[C]], type[C]]:
    """Declare a root: a frozen dataclass below ``Config`` of groups, settings of its own and folded settings.

    Args:
        name: Its name in the ConfigStore, which Hydra's ``compose`` takes.
        program: The program whose commands messages name; the root's name by default.
        command: What stands before overrides on its command line; the program by default.
        variable: The environment variable that names files of profiles; ``NAME_PROFILES`` by default.
        entry_points: The entry points of packages that bring profiles; ``name.profiles`` by default.
        short: Short names of settings on the command line.

    Raises:
        ConfigError: With everything that is wrong about the class, each with its line.
    """

    def declare(cls: type[C]) -> type[C]:
        if not (isinstance(cls, type) and issubclass(cls, Config)):
            hint = f"write: class {cls.__name__}(sc.Config):"
            raise ConfigError(Problem(what=f"root {name}: {cls.__qualname__} is no config", hint=hint))
        for method in ("__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__"):  # A dataclass's say less.
            made = inspect.unwrap(cls.__dict__.get(method) or getattr(Config, method))
            if method in cls.__dict__ and getattr(made, "__code__", None) and made.__code__.co_filename == "<string>":
                delattr(cls, method)
        cls._root = define(
            name,
            cls,
            program=program or name,
            command=command or program or name,
            variable=variable or f"{name.upper()}_PROFILES",
            entry_points=entry_points or f"{name}.profiles",
            short=short or {},
            taken=frozenset(dir(Config)),
        )
        REGISTRY.add_root(cls._root)
        importable(cls._root)
        return cls

    return declare


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some reader of YAML could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = text[:1].isalpha() and all(one.isalnum() or one in "_-/" for one in text) and text.isascii()
    ambiguous = not plain or text.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if ambiguous else None)


_Dumper.add_representer(str, _text)
