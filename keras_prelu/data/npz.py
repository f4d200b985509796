"""Arrays of `.npz` files; those too large for memory become memory maps."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

__all__ = ["read_arrays"]

# Number of bytes before a member's name. The last four bytes hold the lengths of the name and of
# the field after it.
_LOCAL_HEADER = 30


def read_arrays(path: Path, memory_limit: float) -> dict[str, np.ndarray]:
    """Read the arrays of a file by name.

    Args:
        path: `pathlib.Path` of an `.npz` file.
        memory_limit: Float. Number of bytes above which an array that was saved without compression
            is mapped into memory instead of read.

    Raises:
        Exception: Any exception of zipfile, numpy or zlib for an archive that is damaged or holds
            pickled objects.
    """
    with zipfile.ZipFile(path) as archive:
        large = [
            member
            for member in archive.infolist()
            if member.file_size > memory_limit and member.compress_type == zipfile.ZIP_STORED
        ]
    arrays: dict[str, np.ndarray] = {
        member.filename.removesuffix(".npy"): _mapped(path, member) for member in large
    }
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays |= {key: archive[key] for key in archive.files if key not in arrays}
    return arrays


def _mapped(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
        name, extra = (int.from_bytes(header[start : start + 2], "little") for start in (26, 28))
        file.seek(member.header_offset + _LOCAL_HEADER + name + extra)
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
