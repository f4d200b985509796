"""A limit on the memory that a file's layers take for weights: no more than the file holds."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_prelu.errors import FileError
from keras_prelu.utils.process_state import SharedChange

__all__ = ["weights_within"]

_BYTES = 4
"""Bytes of an element in memory. A file may hold fewer, in half precision."""
_SLACK = 4
"""How many times the bytes in the file the weights may take in memory."""
_SMALL = 64 * 2**20
"""Bytes that a model may take whatever the file holds."""


class _Budget:
    """The memory that the layers of one file may still take.

    Attributes:
        file: String. The name of the file, for the message.
        bytes_left: Integer. The bytes that may still be taken.
    """

    def __init__(self, file: str, bytes_left: int) -> None:
        self.file = file
        self.bytes_left = bytes_left

    def spend(self, layer: Any, shape: tuple[int | None, ...]) -> None:
        self.bytes_left -= _BYTES * math.prod(size for size in shape if size is not None)
        if self.bytes_left < 0:
            raise FileError(
                f"'{self.file}' is damaged: layer '{layer.name}' wants {shape} weights, more than"
                " the file holds."
            )


class _Budgets(threading.local):
    """The budgets of the files that this thread is reading, nested one inside the other."""

    def __init__(self) -> None:
        self.stack: list[_Budget] = []


_budgets = _Budgets()


@contextlib.contextmanager
def weights_within(file: str, stored_bytes: int) -> Iterator[None]:
    """Raise a FileError as soon as layers ask for more weights than a file can fill.

    Only layers that this thread builds count.

    Args:
        file: String. The name of the file, for the message.
        stored_bytes: Integer. The bytes of the weights that the file holds.
    """
    with _weights_counted():
        _budgets.stack.append(_Budget(file, _SLACK * stored_bytes + _SMALL))
        try:
            yield
        finally:
            _budgets.stack.pop()


def _count_weights() -> Callable[[], None]:
    add_weight = keras.layers.Layer.add_weight

    @functools.wraps(add_weight)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        shape = kwargs.get("shape", args[0] if args else None)
        sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
        for budget in _budgets.stack:
            budget.spend(self, sizes)
        return add_weight(self, *args, **kwargs)

    keras.layers.Layer.add_weight = counted

    def undo() -> None:
        keras.layers.Layer.add_weight = add_weight

    return undo


_weights_counted = SharedChange(_count_weights)
"""Context in which `keras.layers.Layer.add_weight` is replaced by a function that counts.

Keras builds a model from its configuration before it looks at the weights, and no public hook sees
their sizes. Layers that other threads build meanwhile pass through the function and are not
counted. Failure mode: if other code replaces `add_weight` too while a file is read, and ends later,
it restores the counting function, which then counts nothing.
"""
