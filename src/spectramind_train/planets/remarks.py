"""What is wrong with a planet that is used all the same; kept beside its entry in the cache, to be told each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from spectramind_config import ConfigError, files
from spectramind_train.run.atomic_files import write_atomically

_LARGEST: Final = 1_000_000


class Remarks(msgspec.Struct, frozen=True):
    """What is wrong with a planet that is used all the same, a sentence each.

    Attributes:
        visits: Visits that are left out of the average, with the reason of each.
        pixels: Calibration frames that say nothing of some pixels, which count as dead.
    """

    visits: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        yield from (*self.visits, *self.pixels)


def write_remarks(entry: Path, remarks: Remarks) -> None:
    """Put remarks beside an entry, before the entry itself is there; where there are none, no file is.

    Raises:
        ConfigError: They cannot be written.
    """
    try:
        if remarks == Remarks():
            _file(entry).unlink(missing_ok=True)
        else:
            write_atomically(_file(entry), msgspec.json.encode(remarks))
    except OSError as error:
        raise ConfigError(
            f"{_file(entry)}: cannot be written ({error.strerror or error}); free some space or set "
            "paths.cache_dir to another folder"
        ) from error


def read_remarks(entry: Path) -> Remarks:
    """The remarks beside an entry."""
    try:
        return msgspec.json.decode(files.read(_file(entry), _LARGEST), type=Remarks)
    except FileNotFoundError:
        return Remarks()
    except (OSError, msgspec.MsgspecError):
        return Remarks(pixels=(f"{_file(entry)}: damaged, so that nobody knows what is wrong with the planet",))


def _file(entry: Path) -> Path:
    return entry.with_suffix(".json")
