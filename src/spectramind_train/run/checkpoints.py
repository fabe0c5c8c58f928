"""Checkpoint files and their index: which there are, whether they are whole, and which are kept.

A checkpoint is written beside its final name, flushed and renamed, and the index, with its sha256, is written last. So
what the index lists is on the disk, at any moment; what it does not list is left over from a save that was cut short.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import msgspec

from spectramind_config import ConfigError, files
from spectramind_train.run.atomic_files import write_atomically
from spectramind_train.run.memory import require_readable

INDEX = "index.json"
_NEWEST_KEPT = 2
_LARGEST_INDEX = 10_000_000
_DAMAGED = ".damaged"
_LEFTOVER = re.compile(r"\..+|epoch\d+-step\d+(-\d+)?\.ckpt")
"""Names of unfinished files, and of checkpoints."""


class Saved(msgspec.Struct, frozen=True):
    """A checkpoint.

    Attributes:
        file: Its name in the folder.
        sha256: Of its content, in hex.
        epoch: Epochs that were done.
        step: Optimizer steps that were done.
        score: Validation score of its weights, higher is better; None where they have not been validated.
        kept: Why it is kept: as one of the ``best``, as one of the ``last``, or as both.
    """

    file: str
    sha256: str
    epoch: int
    step: int
    score: float | None
    kept: tuple[Literal["best", "last"], ...] = ()


class Index:
    """The checkpoints in a folder, in the order in which they were saved.

    Args:
        folder: Where they lie.
        entries: The checkpoints.
    """

    def __init__(self, folder: Path, entries: Sequence[Saved] = ()) -> None:
        self.folder = folder
        self.entries = list(entries)

    @classmethod
    def read(cls, folder: Path) -> Index:
        """The index of a folder; empty where nothing has been saved.

        Raises:
            ConfigError: The index is damaged.
        """
        file = folder / INDEX
        try:
            entries = msgspec.json.decode(files.read(file, _LARGEST_INDEX), type=list[Saved])
        except FileNotFoundError:
            return cls(folder)
        except OSError as error:
            raise ConfigError(f"{file}: not an index of checkpoints: {error.strerror}") from None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ConfigError(f"{file}: the index of the checkpoints cannot be read: {error}") from None
        for one in entries:
            if Path(one.file).name != one.file or one.file.startswith("."):
                raise ConfigError(f"{file}: {one.file!r} is no name of a checkpoint in its folder")
        return cls(folder, entries)

    @property
    def newest(self) -> Saved | None:
        """The checkpoint that was saved last."""
        return self.entries[-1] if self.entries else None

    @property
    def best(self) -> Saved | None:
        """The checkpoint with the best score, of several the oldest; None where none is kept for its score."""
        return max((one for one in self.entries if "best" in one.kept), key=_score, default=None)

    def epochs(self, file: str) -> int | None:
        """Epochs that were done when a checkpoint was saved; None where the index does not list it."""
        return next((one.epoch for one in self.entries if one.file == file), None)

    def is_whole(self, saved: Saved) -> bool:
        """Whether a checkpoint's file is there with the content that was written."""
        try:
            require_readable(self.folder / saved.file)
            with (self.folder / saved.file).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == saved.sha256
        except OSError:
            return False

    def add(self, content: bytes, *, epoch: int, step: int, score: float | None, best: int) -> Saved:
        """Write a checkpoint, then the index, then remove what is no longer kept.

        Args:
            content: The file's content.
            epoch: Epochs that are done.
            step: Optimizer steps that are done.
            score: Validation score of its weights, if known.
            best: How many of the best to keep besides the last two; -1 keeps all.

        Raises:
            OSError: It cannot be written; all that was there before is as it was.
        """
        name = self._free_name(epoch, step)
        saved = Saved(name, hashlib.sha256(content).hexdigest(), epoch, step, score)
        kept = _kept([*self.entries, saved], best)
        path = self.folder / name
        try:
            write_atomically(path, content)
            self._write(kept)
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        gone = {one.file for one in self.entries} - {one.file for one in kept}
        self.entries = kept
        for file in gone:
            with suppress(OSError):
                (self.folder / file).unlink(missing_ok=True)
        return kept[-1]

    def repair(self, warn: Callable[[str], None]) -> None:
        """Set damaged checkpoints aside, named by a warning each, and remove what cut-short saves have left.

        To be called where nothing else writes in the folder.
        """
        damaged = [one for one in self.entries if not self.is_whole(one)]
        for one in damaged:
            file = self.folder / one.file
            warn(f"{file}: the checkpoint is {'damaged' if file.is_file() else 'missing'}, so it is left out")
            with suppress(OSError):
                file.replace(file.with_name(file.name + _DAMAGED))
        self.entries = [one for one in self.entries if one not in damaged]
        listed = {one.file for one in self.entries}
        with suppress(OSError):
            if damaged:
                self._write(self.entries)
            for file in self.folder.iterdir():
                if _LEFTOVER.fullmatch(file.name) and file.name not in listed:
                    file.unlink()

    def _write(self, entries: Sequence[Saved]) -> None:
        write_atomically(self.folder / INDEX, msgspec.json.format(msgspec.json.encode(entries)) + b"\n")

    def _free_name(self, epoch: int, step: int) -> str:
        stem = f"epoch{epoch:03d}-step{step:06d}"
        names = (f"{stem}.ckpt", *(f"{stem}-{number}.ckpt" for number in range(2, 1000)))
        return next(name for name in names if not (self.folder / name).exists())


def newest_whole(folder: Path, warn: Callable[[str], None]) -> Saved | None:
    """The newest checkpoint of a folder whose content is what was written; damaged ones are named by a warning each.

    Raises:
        ConfigError: The index is damaged.
    """
    index = Index.read(folder)
    for one in reversed(index.entries):
        if index.is_whole(one):
            return one
        warn(f"{folder / one.file}: the checkpoint is damaged or missing: its sha256 is not that of the index")
    return None


def _kept(entries: Sequence[Saved], best: int) -> list[Saved]:
    """The checkpoints to keep, each with the reason."""
    scored = sorted((one for one in entries if one.score is not None), key=_score, reverse=True)
    chosen = {"best": scored if best < 0 else scored[:best], "last": entries[-_NEWEST_KEPT:]}
    reasons: dict[str, list[Any]] = {one.file: [name for name in chosen if one in chosen[name]] for one in entries}
    return [msgspec.structs.replace(one, kept=tuple(reasons[one.file])) for one in entries if reasons[one.file]]


def _score(saved: Saved) -> float:
    return float("-inf") if saved.score is None else saved.score


def load_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint that holds tensors and primitives only.

    Raises:
        ConfigError: The file is damaged, or holds anything else.
    """
    import torch  # Whoever only looks at a run's checkpoints need not wait for it.

    try:
        require_readable(path)
        _require_stored(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{path}: the checkpoint cannot be read: {error.strerror or error}") from error
    except UnpicklingError as error:
        raise ConfigError(
            f"{path}: the checkpoint is refused: it holds more than tensors and plain values, which could run code"
        ) from error
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{path}: the checkpoint cannot be read, it is damaged ({reason})") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ConfigError(f"{path}: the checkpoint holds no weights; it was not written by a training")
    return checkpoint


def _require_stored(path: Path) -> None:
    """Raise BadZipFile unless a checkpoint takes no more memory than disk, as all do that ``torch.save`` writes."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise zipfile.BadZipFile("its members are compressed, which no training does")
    if sum(one.file_size for one in members) > size:
        raise zipfile.BadZipFile("its members are larger than it is")
