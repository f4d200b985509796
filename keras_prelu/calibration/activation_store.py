"""Storage of the activations of all samples.

Up to a limit they are held in memory. Beyond the limit they are computed anew whenever they are
read, or written to temporary files, which are mapped into memory when they are read.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.arrays import as_array
from keras_prelu.backend.keras_internals import keras_mask, set_keras_mask
from keras_prelu.errors import CalibrationError
from keras_prelu.typing import Tensor

__all__ = ["ActivationStore", "Activations", "Recipe", "size_in_bytes"]


@dataclass(frozen=True)
class _BatchFile:
    """A batch in a file."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        # PyTorch warns of read-only arrays. Mode "c" allows writing without changing the file.
        return np.memmap(self.path, self.dtype, mode="c", shape=self.shape)


@dataclass(frozen=True)
class Recipe:
    """How a tensor is computed from others.

    Attributes:
        compute: Function that returns the tensor for the number of a batch.
        sources: Tuple of `Activations`. What it is computed from.
        steps: Integer. Number of steps that it takes to compute it from what is stored.
        heavy_steps: Integer. How many of them apply a matrix of weights.
    """

    compute: Callable[[int], Tensor]
    sources: tuple[Activations, ...]
    steps: int
    heavy_steps: int


@dataclass(eq=False)
class Activations:
    """The values of one tensor for all samples, as a sequence of batches.

    Attributes:
        samples: Integer. Number of samples in all batches.
        batches: List with a tensor, array or file for each batch. Indexing and iterating return
            tensors.
        masks: Dict from the number of a batch in a file to its mask, which the file does not hold.
        recipe: `Recipe` or None. How batches that are not stored are computed.
        dependents: Integer. Number of activations that are computed from these.
        is_discarded: Boolean. Whether only dependents still read these.
    """

    samples: int = 0
    batches: list[Any] = field(default_factory=list)
    masks: dict[int, Any] = field(default_factory=dict)
    recipe: Recipe | None = None
    dependents: int = 0
    is_discarded: bool = False

    def __len__(self) -> int:
        return len(self.batches if self.recipe is None else self.recipe.sources[0])

    def __getitem__(self, index: int) -> Tensor:
        if self.recipe is not None:
            return self.recipe.compute(index)
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
        self._kept: dict[int, Activations] = {}  # Those with batches in memory, by their id.
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file_count = 0

    def __enter__(self) -> ActivationStore:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def wrap(self, batches: Sequence[np.ndarray]) -> Activations:
        """Return batches of samples as activations that don't count as held.

        Their owner holds these arrays in memory anyway.
        """
        return Activations(samples=sum(map(len, batches)), batches=list(batches))

    def add(self, activations: Activations, batch: Tensor) -> None:
        """Append a batch to the activations of a tensor."""
        size = size_in_bytes(batch)
        activations.samples += len(batch) if batch.shape else 0
        activations.batches.append(batch)
        self.held_bytes += size
        self._kept[id(activations)] = activations
        if size and not self.has_room(0):
            self._move_to_file(activations, len(activations) - 1)
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def has_room(self, size: float) -> bool:
        """Return whether a number of bytes can be held in addition."""
        return self.held_bytes + size <= self._limit

    def make_room(self, size: float) -> None:
        """Move activations to files, so that as many bytes can be taken by something else."""
        for activations in list(self._kept.values()):
            for number, batch in enumerate(activations.batches):
                if self.has_room(size):
                    return
                if not isinstance(batch, (_BatchFile, np.ndarray)) and size_in_bytes(batch):
                    self._move_to_file(activations, number)
            del self._kept[id(activations)]

    def computed(self, recipe: Recipe) -> Activations:
        """Return activations that are computed whenever they are read."""
        for source in recipe.sources:
            source.dependents += 1
        return Activations(samples=recipe.sources[0].samples, recipe=recipe)

    def discard(self, activations: Activations) -> None:
        """Free the batches of a tensor, as soon as nothing is computed from them any more."""
        activations.is_discarded = True
        self._free_unread(activations)

    def _free_unread(self, activations: Activations) -> None:
        if not activations.is_discarded or activations.dependents:
            return
        sources = () if activations.recipe is None else activations.recipe.sources
        activations.recipe = None
        for source in sources:
            source.dependents -= 1
            self._free_unread(source)
        self._kept.pop(id(activations), None)
        for batch in activations.batches:
            if isinstance(batch, _BatchFile):
                # Windows can't delete a file that is still mapped; it is deleted with the folder.
                with contextlib.suppress(OSError):
                    batch.path.unlink()
            elif not isinstance(batch, np.ndarray):
                self.held_bytes -= size_in_bytes(batch)
        activations.batches = []
        activations.masks = {}

    def _move_to_file(self, activations: Activations, number: int) -> None:
        batch = activations.batches[number]
        mask = keras_mask(batch)
        if mask is not None:
            activations.masks[number] = mask
        activations.batches[number] = self._write(batch)
        self.held_bytes -= size_in_bytes(batch)
        self.written_bytes += size_in_bytes(batch)

    def _write(self, batch: Tensor) -> _BatchFile:
        array = np.ascontiguousarray(as_array(batch))
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


def size_in_bytes(tensor: Tensor) -> int:
    """Return the size of a tensor in memory.

    The size is 0 for strings and ragged tensors, which always stay in memory.
    """
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string" or None in tensor.shape:
        return 0
    return math.prod(tensor.shape) * np.dtype(dtype).itemsize
