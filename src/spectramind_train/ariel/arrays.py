"""Arrays in npy and npz files that anybody may have written: checked by what their headers say before any is read."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Container
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from spectramind_config import files

MOST_NUMBERS: Final = 1 << 27
"""Numbers of one array, a gigabyte of them; the challenge's planets, calibrated and binned, have half as many."""
LARGEST_ITEM: Final = 1024
"""Bytes of one element, such as the name of a planet."""

_LOCAL_HEADER: Final = struct.Struct("<26x2H")
"""Of a member of a zip file: the lengths of its name and of an extra field, which stand before its bytes."""
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(
    path: Path, names: Container[str], alone: str = "", mapped: Container[str] = ()
) -> dict[str, NDArray[Any]]:
    """The named arrays in an npz file, or the one in an npy file under the name ``alone``.

    Those of an npz file that are ``mapped``, too, are checked like the others, and then stay in the file: read-only,
    in memory while the system has room. The file may be replaced or deleted, and must not be written into.

    No object is unpickled, and no more memory taken than the file's arrays have room for: a file whose headers promise
    more than it holds, or more than ``MOST_NUMBERS``, is refused by them.

    Raises:
        OSError: The file cannot be read or is no regular file.
        Exception: It is damaged or hostile; which one depends on its bytes.
    """
    size = files.require_regular(path)
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            file.seek(0)
            return {alone: _read(file, size)}
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if one.filename.removesuffix(".npy") in names]
            if any(one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for one in members):
                raise ValueError("it is compressed as numpy compresses nothing")
            found = {}
            for one in members:
                name = one.filename.removesuffix(".npy")
                with archive.open(one) as member:
                    found[name] = _read(member, one.file_size)
                if name in mapped:
                    found[name] = _mapped(path, one, found[name])
            return found


def _mapped(path: Path, member: zipfile.ZipInfo, read: NDArray[Any]) -> NDArray[Any]:
    """What was read of a member, as a part of the file in memory, for which no file stays open."""
    with pa.memory_map(str(path)) as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        # The numbers are the last bytes of the member.
        start = member.header_offset + len(header) + sum(_LOCAL_HEADER.unpack(header)) + member.file_size - read.nbytes
        file.seek(start)
        values = np.frombuffer(file.read_buffer(read.nbytes), read.dtype).reshape(read.shape)
    if not np.array_equal(values, read):
        raise ValueError("it is not stored as numpy stores arrays, or has changed meanwhile")
    return values


def _read(file: IO[bytes], size: int) -> NDArray[Any]:
    """The array in a file, or in a member of an archive, of so many bytes."""
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"numpy's format {version} is not read")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run anything")
    if dtype.itemsize > LARGEST_ITEM or any(axis < 0 for axis in shape):
        raise ValueError(f"its elements are {dtype.itemsize} bytes each, its shape {shape}")
    numbers = math.prod(shape)
    if max(numbers, *shape, 0) > MOST_NUMBERS:
        raise ValueError(f"it holds more than {MOST_NUMBERS} numbers")
    if numbers * dtype.itemsize > size:
        raise ValueError("it is cut short, or its header promises more than it holds")
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)
