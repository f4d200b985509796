"""Where calibration keeps the activations of all samples: in memory up to a limit, past it in files
that are mapped when they are read."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import CalibrationError

__all__ = ["Activations", "Store"]

Tensor = Any


@dataclass(frozen=True)
class _File:
    """A batch on disk."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        return np.memmap(
            self.path, self.dtype, mode="c", shape=self.shape
        )  # "c" can be written to, which PyTorch asks for


@dataclass
class Activations:
    """One tensor's values for all samples, batch by batch, and how many samples that are."""

    samples: int = 0
    parts: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Tensor:
        part = self.parts[number]
        return keras.ops.convert_to_tensor(part.read() if isinstance(part, _File) else part)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))


class Store:
    """Keeps activations. A context: its files are gone when it ends.

    Args:
        limit: How many bytes of tensors are held in memory.

    Attributes:
        held: Bytes in memory now.
        spilled: Bytes that were written to files so far.
        peak: The most bytes that were held in memory.
    """

    def __init__(self, limit: float) -> None:
        self.held = self.peak = self.spilled = 0
        self._limit = limit
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def view(self, arrays: list[np.ndarray]) -> Activations:
        """Batches that are held elsewhere anyway: arrays of samples."""
        return Activations(sum(map(len, arrays)), list(arrays))

    def add(self, activations: Activations, batch: Tensor) -> None:
        """Keep one more batch of a tensor."""
        size = _bytes(batch)
        activations.samples += len(batch) if batch.shape else 0
        if size and self.held + size > self._limit:
            activations.parts.append(self._write(batch))
            self.spilled += size
            return
        activations.parts.append(batch)
        self.held += size
        self.peak = max(self.peak, self.held)

    def discard(self, activations: Activations) -> None:
        """Free a tensor's batches."""
        for part in activations.parts:
            if isinstance(part, _File):
                with contextlib.suppress(
                    OSError
                ):  # Windows keeps what is still mapped; it goes with the folder
                    part.path.unlink()
            elif not isinstance(part, np.ndarray):
                self.held -= _bytes(part)
        activations.parts = []

    def _write(self, batch: Tensor) -> _File:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(batch))
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="keras_prelu_", ignore_cleanup_errors=True
                )
            path = Path(self._folder.name) / str(self._files)
            self._files += 1
            path.write_bytes(array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise CalibrationError(
                "The calibration samples' activations, past what may be held in memory, can't be"
                f" written to '{tempfile.gettempdir()}' ({os.strerror(error.errno or 0)}). Point"
                " TMPDIR to a folder with more room, or give fewer samples."
            ) from error
        return _File(path, array.dtype, array.shape)


def _bytes(tensor: Tensor) -> int:
    """Size in memory; 0 of strings and ragged tensors, which stay there."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return (
        0
        if dtype == "string" or None in tensor.shape
        else math.prod(tensor.shape) * np.dtype(dtype).itemsize
    )
