"""What hostile cases start from: a sound run, sound light curves, a sound data set; and what a case is."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectramind_config import Simulation, compose
from spectramind_config.host import Host
from spectramind_train.run.directory import Run
from spectramind_train.run.plan import plan
from spectramind_train.simulated.data_set import simulate
from spectramind_train.v50.network import build_model

OVERRIDES = ("model.width=8", "model.fgs1_layers=1", "model.airs_layers=1", "local.devices=cpu")


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        name: What is hostile about it.
        arguments: Makes it in a folder of its own and returns the command line.
        codes: The exit codes that are right.
        words: What the message must have in it.
        variables: More of the environment; ``{folder}`` is the case's folder.
        code: Python to run in place of the command, with ``arguments``.
    """

    name: str
    arguments: Callable[[World], Sequence[str | Path]]
    codes: tuple[int, ...] = (2,)
    words: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    code: str | None = None


@dataclass(frozen=True)
class World:
    """A case's own folder, and what is sound."""

    folder: Path
    sound: Path

    @property
    def run(self) -> Path:
        """A copy of a sound run's directory, for a case to spoil."""
        path = self.folder / "run"
        if not path.exists():
            shutil.copytree(self.sound / "run", path, symlinks=True)
        return path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of a sound run."""
        found: dict[str, Any] = json.loads((self.sound / "run" / "manifest.json").read_text())
        return found

    @property
    def data(self) -> Path:
        """Sound light curves."""
        return self.sound / "curves.npy"

    @property
    def ariel(self) -> Path:
        """A copy of a sound data set."""
        path = self.folder / "ariel"
        if not path.exists():
            shutil.copytree(self.sound / "ariel", path)
        return path

    def predict(self, run: Path | str | None = None, data: Path | str | None = None) -> list[str | Path]:
        """The command line of a prediction."""
        return ["predict", run if run is not None else self.run, "--data", data if data is not None else self.data]

    def with_manifest(self, content: object) -> list[str | Path]:
        """A prediction with a run whose manifest holds something else: bytes, or what JSON encodes."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass")
        (self.run / "manifest.json").write_bytes(raw)
        return self.predict()

    def with_checkpoint(self, content: bytes | Path) -> list[str | Path]:
        """A prediction with a run whose best checkpoint is another file, and whose index has its sha256."""
        file = self.run / "checkpoints" / "best.ckpt"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            shutil.move(content, file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return self.with_index([record("best.ckpt", digest)])

    def with_index(self, content: object) -> list[str | Path]:
        """A prediction with a run whose index of checkpoints holds something else."""
        raw = json.dumps(content).encode("utf-8", "surrogatepass")
        (self.run / "checkpoints" / "index.json").write_bytes(raw)
        return self.predict()


def bomb(members: dict[str, bytes], name: str, start: bytes, zeros: int) -> bytes:
    """A zip whose member ``name`` starts in some way and goes on with so many zeros, written in no time.

    Its checksum is wrong, which nobody can know who has not unpacked it all.
    """
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = stream.compress(start) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(b"\0" * (1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for other, content in members.items():
            file.writestr(other, content)
        file.writestr(name, first + block * (zeros >> 20) + stream.flush())
        info = file.getinfo(name)
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, len(start) + zeros
    found = bytearray(buffer.getvalue())
    struct.pack_into("<H", found, info.header_offset + 8, zipfile.ZIP_DEFLATED)
    struct.pack_into("<L", found, info.header_offset + 22, info.file_size)
    return bytes(found)


def record(file: str, sha256: str) -> dict[str, Any]:
    """A checkpoint as an index lists it."""
    return {"file": file, "sha256": sha256, "epoch": 1, "step": 1, "score": 0.5, "kept": ["best", "last"]}


def sound(folder: Path) -> Path:
    """Make what is sound in a folder."""
    config = compose([*OVERRIDES, f"local.paths.output_dir='{folder}/outputs'"])
    host = Host(name="elsewhere")
    for name in ("run", "victim"):
        run = Run.create(config, plan(config, host), host)
        run.checkpoints.mkdir()
        file = run.checkpoints / "best.ckpt"
        torch.manual_seed(1)
        weights = build_model(config.model).state_dict()
        torch.save({"state_dict": {f"model.{key}": value for key, value in weights.items()}}, file)
        listed = [record(file.name, hashlib.sha256(file.read_bytes()).hexdigest())]
        file.with_name("index.json").write_text(json.dumps(listed))
        run.finish("completed")
        shutil.copytree(run.path, folder / name)
    rng = np.random.default_rng(1)
    np.save(folder / "curves.npy", curves(rng))
    simulate(folder / "ariel", Simulation(planets=3, airs_frames=40, seed=5), workers=1)
    return folder


def curves(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Light curves (1, 60, 283) with a transit."""
    flux = 1e5 * (1.0 + 1e-4 * rng.normal(size=(1, 60, 283)))
    flux[:, 20:40] *= 0.985
    return flux
