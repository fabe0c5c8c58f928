"""The contenders: this package and its peers on the same settings, each in a process of its own.

``python peers.py NAME`` prepares one contender, composes once, and then obeys lines on its standard input:
``compose N`` and ``read N`` print the seconds of one call, the mean of N.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import functools
import importlib
import importlib.util
import json
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHOICES = {"trainer": "multi_gpu", "local": "hpc"}
PROFILES = [f"{group}={name}" for group, name in CHOICES.items()]
PLAIN = "plain_settings"
HEADERS = {
    PLAIN: "import dataclasses, functools\n\nfield = dataclasses.field\n"
    "settings = functools.partial(dataclasses.dataclass, kw_only=True)\n",
    f"{PLAIN}_chz": "import chz\n\nfield = chz.field\nsettings = chz.chz\n",
}


def write_plain_settings(folder: Path) -> int:
    """Write this package's settings as plain dataclasses and as chz classes, for the peers, and their programs.

    Returns:
        How many settings there are.
    """
    import spectramind_config as sc
    from spectramind_config.compose.overrides import write
    from spectramind_config.schema.registry import REGISTRY

    root = sc.EffectiveConfig._root
    view = REGISTRY.view(root)
    defaults = {group: one.default for group, one in root.groups.items()}
    classes: dict[type, str] = {}
    for group, profiles in view.items():
        schema = root.groups[group].schema
        _add_class(schema, schema(), classes)
        for one in profiles.values():
            _add_class(one.cls, one.instance, classes, schema.__name__)
    chosen = {group: view[group][name].cls.__name__ for group, name in {**defaults, **CHOICES}.items()}
    schemas = {group: one.schema.__name__ for group, one in root.groups.items()}
    stored = {group: {name: one.cls.__name__ for name, one in found.items()} for group, found in view.items()}
    origins = sc.compose(PROFILES).origins()
    # Of as many settings as there are, each with the value that it has anyway.
    overrides = [write(one.key, one.value) for one in origins if one.raw is None and not one.path.endswith("name")]
    overrides.remove("local.devices=4")
    order = ["_self_", *({group: name} for group, name in defaults.items())]
    tail = [
        _class_text("Chosen", "", [(group, name, f"{name}()", True) for group, name in chosen.items()]),
        _class_text("Root", "", [("defaults", "list", repr(order), True)]
                    + [(group, name, f"{name}()", True) for group, name in schemas.items()]),
        f"PROFILES = {json.dumps(stored)}\n",
        f"OVERRIDES = {json.dumps(overrides)}\n",
    ]  # fmt: skip
    for name, program in HELP.items():
        (folder / f"{name}_help.py").write_text(program, encoding="utf-8")
    for module, header in HEADERS.items():
        (folder / f"{module}.py").write_text("\n\n".join([header, *classes.values(), *tail]), encoding="utf-8")
    return len(origins)


def _add_class(cls: type, instance: Any, classes: dict[type, str], base: str = "") -> None:
    if cls in classes:
        return
    fields = []
    hints = typing.get_type_hints(cls)
    for name in [field.name for field in dataclasses.fields(cls)]:  # type: ignore[arg-type]
        kind = hints[name]
        value = getattr(instance, name)
        if dataclasses.is_dataclass(kind):
            _add_class(typing.cast("type", kind), typing.cast("Any", kind)(), classes)
        fields.append((name, _type_text(kind), _literal(value), dataclasses.is_dataclass(value)))
    classes[cls] = _class_text(cls.__name__, base, fields)


def _class_text(name: str, base: str, fields: list[tuple[str, str, str, bool]]) -> str:
    lines = [
        f"    {field}: {kind} = " + (f"field(default_factory=lambda: {value})" if made else value)
        for field, kind, value, made in fields
    ]
    return "\n".join(["@settings", f"class {name}({base}):" if base else f"class {name}:", *lines, ""])


def _type_text(kind: Any) -> str:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " | ".join(map(_type_text, typing.get_args(kind)))
    if kind is type(None):
        return "None"
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _literal(value: Any) -> str:
    if isinstance(value, dt.timedelta):
        return repr(str(value))  # The peers hold a length of time as text.
    if not dataclasses.is_dataclass(value):
        return repr(value)
    inner = ", ".join(f"{field.name}={_literal(getattr(value, field.name))}" for field in dataclasses.fields(value))
    return f"{type(value).__name__}({inner})"


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to get the typed config of a command line.

    Attributes:
        compose: Takes ``k`` and gives the config with ``local.devices=k``.
        read: Reads one setting of it.
    """

    compose: Callable[[int], Any]
    read: Callable[[Any], Any] = lambda config: config.local.devices


def _spectramind(options: argparse.Namespace, *, everything: bool = True) -> Contender:
    import spectramind_config as sc

    root, overrides = _grown(options)

    def compose(k: int) -> Any:
        config = sc.compose([*overrides, f"local.devices={k}"], root=root)
        if everything:
            assert config.fingerprint != config.science_fingerprint  # noqa: S101
            assert config.origin("local.devices").value == k  # noqa: S101
        return config

    return Contender(compose)


def _hydra_on_our_store(options: argparse.Namespace) -> Contender:
    import hydra
    from omegaconf import OmegaConf

    root, overrides = _grown(options)
    hydra.initialize(version_base="1.3", config_path=None).__enter__()
    return Contender(lambda k: OmegaConf.to_object(hydra.compose(root._root.name, [*overrides, f"local.devices={k}"])))


def _grown(options: argparse.Namespace) -> tuple[Any, list[str]]:
    """Register what a growth measurement asks for; return the root and the overrides that use it."""
    import spectramind_config as sc

    for number in range(options.profiles):
        _declared(f"Unused{number}", [], sc.LocalConfig, sc.profile("local", f"unused_{number}"))
    for number in range(options.roots):
        _root(f"unused_{number}", {})
    overrides = [*PROFILES, *importlib.import_module(PLAIN).OVERRIDES[: max(0, options.overrides - 1)]]
    if not options.fields:
        return sc.EffectiveConfig, overrides
    groups: dict[str, Any] = {}
    for number in range(6):
        fields = [(f"setting_{index}", *KINDS[index % len(KINDS)]) for index in range(options.fields // 6)]
        groups[f"group_{number}"] = _declared(f"Group{number}", fields, sc.Profile, lambda cls: cls)
        _declared(f"Profile{number}", [], groups[f"group_{number}"], sc.profile(f"group_{number}", "grown"))
    return _root("grown", groups), overrides


KINDS: list[tuple[type, Any]] = [(int, 1), (float, 0.5), (str, "text"), (bool, True)]
"""Types and values of the settings that a root of many has."""


def _declared(name: str, fields: list[tuple[str, type, Any]], base: type, register: Callable[[Any], Any]) -> Any:
    namespace = {"__module__": __name__}
    return register(dataclasses.make_dataclass(name, fields, bases=(base,), kw_only=True, namespace=namespace))


def _root(name: str, groups: dict[str, Any]) -> Any:
    """A root with our two folded groups and some more."""
    import spectramind_config as sc

    fields: list[Any] = [("trainer", sc.TrainerConfig, sc.group("defaults"))]
    fields.append(("local", sc.LocalConfig, sc.group("default", over="trainer")))
    fields.append(("precision", sc.Precision, sc.folded()))
    fields += [(group, schema, sc.group("grown")) for group, schema in groups.items()]
    namespace = {"__module__": __name__}
    cls = dataclasses.make_dataclass(
        f"Root_{name}", fields, bases=(sc.Config,), frozen=True, kw_only=True, namespace=namespace
    )
    return sc.root(name)(cls)


def _hydra(options: argparse.Namespace, package: str = "hydra", omegaconf: str = "omegaconf") -> Contender:
    del options
    plain = importlib.import_module(PLAIN)
    package_ = importlib.import_module(package)
    store = importlib.import_module(f"{package}.core.config_store").ConfigStore.instance()
    for group, profiles in plain.PROFILES.items():
        for name, cls in profiles.items():
            store.store(group=group, name=name, node=getattr(plain, cls))
    store.store(name="root", node=plain.Root)
    package_.initialize(version_base="1.3", config_path=None).__enter__()
    to_object = importlib.import_module(omegaconf).OmegaConf.to_object
    return Contender(
        lambda k: to_object(package_.compose("root", overrides=[*PROFILES, f"local.devices={k}"])),
        lambda config: config["local"]["devices"] if type(config) is dict else config.local.devices,
    )


def _hydra_dictconfig(options: argparse.Namespace) -> Contender:
    _hydra(options)
    import hydra

    return Contender(lambda k: hydra.compose("root", overrides=[*PROFILES, f"local.devices={k}"]))


def _hydra_zen(options: argparse.Namespace) -> Contender:
    del options
    import hydra
    import hydra_zen

    plain = importlib.import_module(PLAIN)
    store = hydra_zen.ZenStore("benchmark", deferred_hydra_store=True)
    for group, profiles in plain.PROFILES.items():
        for name, cls in profiles.items():
            store(hydra_zen.builds(getattr(plain, cls), populate_full_signature=True), group=group, name=name)
    root = plain.Root()
    store(hydra_zen.make_config(hydra_defaults=root.defaults, **dict.fromkeys(plain.PROFILES)), name="root")
    store.add_to_hydra_store()
    hydra.initialize(version_base="1.3", config_path=None).__enter__()
    return Contender(
        lambda k: hydra_zen.instantiate(hydra.compose("root", overrides=[*PROFILES, f"local.devices={k}"]))
    )


def _chz(options: argparse.Namespace) -> Contender:
    del options
    import chz

    chosen = importlib.import_module(f"{PLAIN}_chz").Chosen
    return Contender(lambda k: chz.Blueprint(chosen).make_from_argv([f"local.devices={k}"]))


def _tyro(options: argparse.Namespace) -> Contender:
    del options
    import tyro

    chosen = importlib.import_module(PLAIN).Chosen
    return Contender(lambda k: tyro.cli(chosen, args=["--local.devices", str(k)]))


def _jsonargparse(options: argparse.Namespace) -> Contender:
    del options
    import jsonargparse

    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(importlib.import_module(PLAIN).Chosen)
    return Contender(lambda k: parser.instantiate_classes(parser.parse_args([f"--local.devices={k}"])))


def _by_hand(options: argparse.Namespace) -> Contender:
    del options
    chosen = importlib.import_module(PLAIN).Chosen()

    def compose(k: int) -> Any:
        return dataclasses.replace(chosen, local=dataclasses.replace(chosen.local, devices=k))

    return Contender(compose)


CONTENDERS: dict[str, tuple[str, str, Callable[[argparse.Namespace], Contender]]] = {
    "spectramind": ("spectramind_config", "spectramind", _spectramind),
    "spectramind, compose alone": (
        "spectramind_config",
        "spectramind",
        functools.partial(_spectramind, everything=False),
    ),
    "Hydra": ("hydra", "hydra-core", _hydra),
    "Hydra, without to_object": ("hydra", "hydra-core", _hydra_dictconfig),
    "Hydra on our ConfigStore": ("hydra", "hydra-core", _hydra_on_our_store),
    "hydra-zen": ("hydra_zen", "hydra-zen", _hydra_zen),
    "hydra-fast": (
        "hydra_fast",
        "hydra-fast",
        functools.partial(_hydra, package="hydra_fast", omegaconf="hydra_fast"),
    ),
    "chz": ("chz", "chz", _chz),
    "tyro": ("tyro", "tyro", _tyro),
    "jsonargparse": ("jsonargparse", "jsonargparse", _jsonargparse),
    "dataclasses by hand": ("dataclasses", "", _by_hand),
}
"""By name: the module to import, the distribution to install, and how to prepare it."""

HELP = {
    "Hydra": f"import hydra, {PLAIN} as plain\nfrom hydra.core.config_store import ConfigStore\n"
    "store = ConfigStore.instance()\n"
    "for group, profiles in plain.PROFILES.items():\n"
    "    for name, cls in profiles.items():\n"
    "        store.store(group=group, name=name, node=getattr(plain, cls))\n"
    "store.store(name='root', node=plain.Root)\n"
    "@hydra.main(version_base='1.3', config_path=None, config_name='root')\n"
    "def app(config): ...\n"
    "app()\n",
    "chz": f"import chz, {PLAIN}_chz as plain\nchz.entrypoint(plain.Chosen)\n",
    "tyro": f"import tyro, {PLAIN} as plain\ntyro.cli(plain.Chosen)\n",
    "jsonargparse": f"import jsonargparse, {PLAIN} as plain\njsonargparse.auto_cli(plain.Chosen)\n",
}
"""Programs whose ``--help`` shows the settings."""


def installed(name: str) -> bool:
    """Whether a contender's package is there."""
    return importlib.util.find_spec(CONTENDERS[name][0]) is not None


def _count() -> Iterator[int]:
    while True:
        yield from range(1, 9)


def main() -> None:
    """Prepare one contender, compose once, and obey."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    for growth in ("fields", "profiles", "roots", "overrides"):
        parser.add_argument(f"--{growth}", type=int, default=0)
    options = parser.parse_args()
    contender = CONTENDERS[options.name][2](options)
    devices = _count()
    start = time.perf_counter()
    config = contender.compose(next(devices))
    first = time.perf_counter() - start
    if contender.read(config) != 1:
        sys.exit(f"{options.name}: composed {contender.read(config)!r} devices instead of 1")
    print(json.dumps({"first": first}), flush=True)
    for line in sys.stdin:
        word, number = line.split()
        start = time.perf_counter()
        if word == "compose":
            for _ in range(int(number)):
                config = contender.compose(next(devices))
        else:
            for _ in range(int(number)):
                contender.read(config)
        print((time.perf_counter() - start) / int(number), flush=True)


if __name__ == "__main__":
    main()
