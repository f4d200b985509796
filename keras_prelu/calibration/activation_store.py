"""Storage of the activations of all samples.

Up to a limit they are held in memory. Beyond the limit they are written to temporary files, which
are mapped into memory when they are read.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import keras_mask, set_keras_mask
from keras_prelu.errors import CalibrationError
from keras_prelu.typing import Tensor

__all__ = ["ActivationStore", "Activations"]


@dataclass(frozen=True)
class _BatchFile:
    """A batch in a file."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        # PyTorch warns of read-only arrays. Mode "c" allows writing without changing the file.
        return np.memmap(self.path, self.dtype, mode="c", shape=self.shape)


@dataclass
class Activations:
    """The values of one tensor for all samples, as a sequence of batches.

    Attributes:
        samples: Integer. Number of samples in all batches.
        batches: List with a tensor, array or file for each batch. Indexing and iterating return
            tensors.
        masks: Dict from the number of a batch in a file to its mask, which the file does not hold.
    """

    samples: int = 0
    batches: list[Any] = field(default_factory=list)
    masks: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Tensor:
        batch = self.batches[index]
        if not isinstance(batch, _BatchFile):
            return keras.ops.convert_to_tensor(batch)
        tensor = keras.ops.convert_to_tensor(batch.read())
        if index in self.masks:
            set_keras_mask(tensor, self.masks[index])
        return tensor

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))


class ActivationStore:
    """A context that stores activations and deletes its files when it ends.

    Args:
        limit: Float. Largest number of bytes of tensors to hold in memory.

    Attributes:
        held_bytes: Integer. Bytes in memory now.
        peak_bytes: Integer. The largest value of `held_bytes` so far.
        written_bytes: Integer. Bytes written to files so far.
    """

    def __init__(self, limit: float) -> None:
        self.held_bytes = self.peak_bytes = self.written_bytes = 0
        self._limit = limit
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file_count = 0

    def __enter__(self) -> ActivationStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def wrap(self, batches: Sequence[np.ndarray]) -> Activations:
        """Return batches of samples as activations that don't count as held.

        Their owner holds these arrays in memory anyway.
        """
        return Activations(samples=sum(map(len, batches)), batches=list(batches))

    def add(self, activations: Activations, batch: Tensor) -> None:
        """Append a batch to the activations of a tensor."""
        size = _size_in_bytes(batch)
        activations.samples += len(batch) if batch.shape else 0
        if size and self.held_bytes + size > self._limit:
            mask = keras_mask(batch)
            if mask is not None:
                activations.masks[len(activations)] = mask
            activations.batches.append(self._write(batch))
            self.written_bytes += size
            return
        activations.batches.append(batch)
        self.held_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def discard(self, activations: Activations) -> None:
        """Free the batches of a tensor."""
        for batch in activations.batches:
            if isinstance(batch, _BatchFile):
                # Windows can't delete a file that is still mapped; it is deleted with the folder.
                with contextlib.suppress(OSError):
                    batch.path.unlink()
            elif not isinstance(batch, np.ndarray):
                self.held_bytes -= _size_in_bytes(batch)
        activations.batches = []
        activations.masks = {}

    def _write(self, batch: Tensor) -> _BatchFile:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(batch))
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="keras_prelu_", ignore_cleanup_errors=True
                )
            path = Path(self._folder.name) / str(self._file_count)
            self._file_count += 1
            path.write_bytes(array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise CalibrationError(
                "The activations beyond the memory limit can't be written to"
                f" '{tempfile.gettempdir()}' ({os.strerror(error.errno or 0)}). Set TMPDIR to a"
                " folder with more space, or give fewer samples."
            ) from error
        return _BatchFile(path=path, dtype=array.dtype, shape=array.shape)


def _size_in_bytes(tensor: Tensor) -> int:
    """Return the size of a tensor in memory.

    The size is 0 for strings and ragged tensors, which always stay in memory.
    """
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string" or None in tensor.shape:
        return 0
    return math.prod(tensor.shape) * np.dtype(dtype).itemsize
