"""Checkpoints that no training wrote; the index has their sha256."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .world import Case, World, bomb


class _Runs:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def _saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _weights(world: World) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(world.sound / "run" / "checkpoints" / "best.ckpt")["state_dict"]
    return found


def _changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[World], bytes]:
    def made(world: World) -> bytes:
        weights = _weights(world)
        found = change(weights)
        return _saved({"state_dict": weights if found is None else found})

    return made


def _first(weights: dict[str, Any], value: Callable[[torch.Tensor], Any]) -> None:
    name = next(name for name, one in weights.items() if one.dim() == 2)
    weights[name] = value(weights[name])


def _zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _compressed(world: World) -> bytes:
    """Real weights beside a gigabyte of zeros, compressed to a megabyte."""
    found = _members(_saved({"state_dict": {"model.x": torch.zeros(4)}}))
    name = next(name for name in found if name.endswith("data/0"))
    return bomb({other: one for other, one in found.items() if other != name}, name, b"", 1 << 30)


def _many_names(world: World) -> bytes:
    return _zipped({f"archive/data/{number}": b"" for number in range(60_000)} | {"archive/data.pkl": b"N."})


def _lying_header(world: World) -> bytes:
    """The directory at the end says that a member of 16 bytes has 4 GB."""
    content = bytearray(_saved({"state_dict": {"model.x": torch.zeros(4)}}))
    at = content.rfind(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<LL", content, at + 20, 0xFFFF_FF00, 0xFFFF_FF00)
        at = content.rfind(b"PK\x01\x02", 0, at)
    return bytes(content)


def _lying_pickle(size: int) -> Callable[[World], bytes]:
    """A storage whose pickle says that it has more elements than its member."""

    def made(world: World) -> bytes:
        members = _members(_saved({"state_dict": {"model.x": torch.zeros(77)}}))
        name = next(name for name in members if name.endswith("data.pkl"))
        packed = b"\x8a" + bytes([8]) + size.to_bytes(8, "little")
        assert members[name].count(b"KM") >= 1
        members[name] = members[name].replace(b"KM", packed)
        return _zipped(members)

    return made


def _strided(world: World) -> bytes:
    """One number seen as 10**11: small on the disk, large once copied."""
    return _saved({"state_dict": {"model.x": torch.zeros(1).expand(10**6, 10**5)}})


def _reference_bomb(world: World) -> bytes:
    """A pickle whose lists hold each other: 10**9 elements to whoever walks it."""
    node: Any = [0] * 10
    for _ in range(9):
        node = [node] * 10
    return _saved({"state_dict": {"model.x": torch.zeros(1)}, "more": node})


def _deep(world: World) -> bytes:
    """A pickle of 200 000 nested lists."""
    members = _members(_saved({"state_dict": {}}))
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    return _zipped(members)


def _long_pickle(world: World) -> bytes:
    members = _members(_saved({"state_dict": {}}))
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = b"\x80\x02X" + struct.pack("<L", 0xFFFF_FFF0) + b"abc."
    return _zipped(members)


def _bytearray_bomb(world: World) -> bytes:
    members = _members(_saved({"state_dict": {}}))
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = b"\x80\x05\x96" + struct.pack("<Q", 1 << 36) + b"."
    return _zipped(members)


def _memo_bomb(world: World) -> bytes:
    """A memo index of four billion, for which the C pickle allocates a table."""
    members = _members(_saved({"state_dict": {}}))
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = b"\x80\x02}r" + struct.pack("<L", 0x7FFF_FFF0) + b"."
    return _zipped(members)


def _contents() -> dict[str, Callable[[World], bytes]]:
    system = _Runs(os.system, "touch executed")
    opened = _Runs(open, "executed", "w")
    evaluated = _Runs(eval, "open('executed', 'w')")
    return {
        "empty": lambda _: b"",
        "noise": lambda _: bytes(range(256)) * 100,
        "cut short": lambda world: _saved({"state_dict": _weights(world)})[:-900],
        "cut in the middle": lambda world: _saved({"state_dict": _weights(world)})[:3000],
        "an empty zip": lambda _: _zipped({}),
        "a zip of another kind": lambda _: _zipped({"a.txt": b"x"}),
        "a zip with paths above": lambda _: _zipped({"../../executed": b"x", "archive/data.pkl": b"N."}),
        "a pickle that runs a program": lambda _: pickle.dumps(system),
        "a pickle that opens a file": lambda _: pickle.dumps(opened),
        "a zip that runs a program": lambda _: _saved({"state_dict": system}),
        "a zip that evaluates": lambda _: _saved({"state_dict": {"model.x": evaluated}}),
        "an old file that runs a program": lambda _: _saved(
            {"state_dict": system}, _use_new_zipfile_serialization=False
        ),
        "an old file of weights": lambda world: _saved(
            {"state_dict": {"model.x": torch.zeros(3)}}, _use_new_zipfile_serialization=False
        ),
        "a whole module": lambda _: _saved(torch.nn.Linear(2, 2)),
        "a module as state dict": lambda _: _saved({"state_dict": torch.nn.Linear(2, 2)}),
        "a tensor": lambda _: _saved(torch.zeros(3)),
        "a list": lambda _: _saved([1, 2]),
        "null": lambda _: _saved(None),
        "no state dict": lambda _: _saved({"epoch": 1}),
        "a state dict of none": lambda _: _saved({"state_dict": None}),
        "a state dict that is a list": lambda _: _saved({"state_dict": [1, 2]}),
        "a state dict that is a text": lambda _: _saved({"state_dict": "model.x"}),
        "a state dict that is a number": lambda _: _saved({"state_dict": 7}),
        "numbers for names": lambda _: _saved({"state_dict": {1: torch.zeros(1)}}),
        "bytes for names": lambda _: _saved({"state_dict": {b"model.x": torch.zeros(1)}}),
        "texts for weights": lambda _: _saved({"state_dict": {"model.x": "y"}}),
        "escapes in a name": _changed(
            lambda weights: weights.update({"model.\x1b[2J\nrun instead: x": torch.zeros(1)})
        ),
        "a name of a million": _changed(lambda weights: weights.update({"model." + "x" * 1_000_000: torch.zeros(1)})),
        "a weight too many": _changed(lambda weights: weights.update({"model.more": torch.zeros(1)})),
        "a weight too few": _changed(_without_first),
        "no weights": _changed(lambda _: {}),
        "another shape": _changed(lambda weights: _first(weights, lambda one: one[:, :-1])),
        "a text among weights": _changed(lambda weights: _first(weights, lambda _: "x")),
        "none among weights": _changed(lambda weights: _first(weights, lambda _: None)),
        "a list among weights": _changed(lambda weights: _first(weights, lambda one: one.tolist())),
        "nan": _changed(lambda weights: _first(weights, lambda one: one * float("nan"))),
        "one nan": _changed(lambda weights: _first(weights, _one_nan)),
        "infinite": _changed(lambda weights: _first(weights, lambda one: one + float("inf"))),
        "huge": _changed(lambda weights: {name: one * 0 + 3e38 for name, one in weights.items()}),
        "integers": _changed(lambda weights: _first(weights, lambda one: one.to(torch.int64))),
        "complex": _changed(lambda weights: _first(weights, lambda one: one.to(torch.complex64))),
        "sparse": _changed(lambda weights: _first(weights, lambda one: one.to_sparse())),
        "meta": _changed(lambda weights: _first(weights, lambda one: one.to("meta"))),
        "truth values": _changed(lambda weights: _first(weights, lambda one: one > 0)),
        "a strided bomb": lambda world: _strided(world),
        "a strided bomb of the right shape": _changed(
            lambda weights: _first(weights, lambda one: torch.zeros(1).expand(one.shape))
        ),
        "a sparse bomb": lambda _: _saved(
            {
                "state_dict": {
                    "model.x": torch.sparse_coo_tensor(
                        torch.zeros(1, 1, dtype=torch.long), [1.0], (1 << 40,), check_invariants=False
                    )
                }
            }
        ),
        "a compressed bomb": _compressed,
        "many members": _many_names,
        "a header that lies": _lying_header,
        "a pickle that lies of 4 GB": _lying_pickle(1 << 30),
        "a pickle that lies of an exabyte": _lying_pickle(1 << 58),
        "references": _reference_bomb,
        "nested lists": _deep,
        "a text of 4 GB that is not there": _long_pickle,
        "bytes of 64 GB that are not there": _bytearray_bomb,
        "a memo of two billion": _memo_bomb,
        "numpy inside": lambda _: _saved({"state_dict": {"model.x": np.zeros(3)}}),
        "an ordered dict that runs": lambda _: _saved({"state_dict": OrderedDict(x=system)}),
        "300 MB of weights": lambda _: _saved({"state_dict": {"model.x": torch.zeros(75_000_000)}}),
    }


def _without_first(weights: dict[str, Any]) -> None:
    del weights[next(iter(weights))]


def _one_nan(one: torch.Tensor) -> torch.Tensor:
    one = one.clone()
    one[0, 0] = float("nan")
    return one


def cases() -> Iterator[Case]:
    """All of them."""
    works = {"integers", "truth values", "a strided bomb of the right shape", "references"}
    for name, made in _contents().items():
        codes = (0, 2) if name in works else (2,)
        yield Case(f"checkpoint: {name}", lambda world, made=made: world.with_checkpoint(made(world)), codes)
    yield Case("checkpoint: another sha256", _spoilt)


def _spoilt(world: World) -> list[str | Path]:
    file = world.run / "checkpoints" / "best.ckpt"
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(bytes(content))
    return world.predict()
