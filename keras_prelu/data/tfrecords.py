"""Random access to the records of TFRecord files.

The files have no index; their records are found by a scan that reads the lengths alone. The form of
a file is described in TensorFlow's guide "TFRecord and tf.train.Example"
(https://www.tensorflow.org/tutorials/load_data/tfrecord).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_prelu.errors import DataError

__all__ = ["Part", "TFRecords"]

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_BEFORE = _LENGTH.size + _CHECKSUM.size  # The length of the record, and its checksum.
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, kw_only=True)
class Part:
    """A range of the records of one file.

    Attributes:
        path: `pathlib.Path` of the file.
        skip: Int. The number of records before the range.
        count: Int. The number of records in it.
    """

    path: Path
    skip: int
    count: int


class TFRecords:
    """The records of several files by position, read when they are asked for.

    Args:
        parts: Sequence of `Part`.

    Raises:
        DataError: A file has fewer records, or ends within one.
        ImportError: `google_crc32c` is not installed.

    Example:

    >>> records = TFRecords([Part(path=Path("a.tfrecord"), skip=0, count=100)])
    >>> first, last = records.read([0, 99])
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        import google_crc32c

        self._checksum = google_crc32c.value
        self._paths = [part.path for part in parts]
        self._offsets = np.concatenate([_offsets(part) for part in parts])
        self._files = np.repeat(np.arange(len(parts)), [part.count for part in parts])

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, positions: Sequence[int]) -> list[bytes]:
        """Return the records at positions, with their checksums verified."""
        return [self._record(self._files[row], int(self._offsets[row])) for row in positions]

    def _record(self, file: int, offset: int) -> bytes:
        path = self._paths[file]
        with open(path, "rb", buffering=0) as stream:
            head = os.pread(stream.fileno(), _BEFORE, offset)
            length = _LENGTH.unpack_from(head)[0]
            body = os.pread(stream.fileno(), length + _CHECKSUM.size, offset + _BEFORE)
        record, checksum = body[:length], body[length:]
        if len(checksum) < _CHECKSUM.size or not self._fits(record, checksum):
            raise DataError(f"'{path}' is damaged: the record at byte {offset} is not as written.")
        return record

    def _fits(self, record: bytes, checksum: bytes) -> bool:
        value = self._checksum(record)
        rotated = (value >> 15 | value << 17) & 0xFFFFFFFF
        return (rotated + _MASK_DELTA) & 0xFFFFFFFF == _CHECKSUM.unpack(checksum)[0]


def _offsets(part: Part) -> np.ndarray:
    """Return where the records of a part start in its file."""
    size = part.path.stat().st_size
    offsets = np.empty(part.count, dtype=np.int64)
    with open(part.path, "rb") as stream:
        position = 0
        for index in range(part.skip + part.count):
            stream.seek(position)
            head = stream.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                raise DataError(
                    f"'{part.path}' has {index:,} records, fewer than the"
                    f" {part.skip + part.count:,} that it should have."
                )
            if index >= part.skip:
                offsets[index - part.skip] = position
            position += _BEFORE + _LENGTH.unpack(head)[0] + _CHECKSUM.size
    if position > size:
        raise DataError(f"'{part.path}' is damaged: it ends within a record.")
    return offsets
