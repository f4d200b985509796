"""Stopping a file's layers from taking more memory for weights than the file holds.

Keras builds a model from its configuration before it looks at the weights, and no public hook sees
the sizes: `Layer.add_weight` is exchanged while a file is read. Only the thread that reads is
counted.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from typing import Any

import keras

from keras_prelu.errors import FileError

__all__ = ["weights_within"]

# Bytes of an element, of which a file may hold fewer (half precision), and what models without
# weights may take all the same.
_BYTES, _SLACK, _SMALL = 4, 4, 64 * 2**20

_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def weights_within(file: str, held: int) -> Iterator[None]:
    """Raise a FileError as soon as the layers that this thread builds ask for more weights than a
    file can fill.

    Args:
        file: Its name, for the message.
        held: The bytes of the weights that it holds.
    """
    with _one_at_a_time:
        add_weight = keras.layers.Layer.add_weight
        keras.layers.Layer.add_weight = _counted(add_weight, file, _SLACK * held + _SMALL)
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight


def _counted(add_weight: Any, file: str, budget: int) -> Any:
    used, reader = 0, threading.get_ident()

    @functools.wraps(add_weight)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal used
        if threading.get_ident() == reader:
            shape = kwargs.get("shape", args[0] if args else None)
            sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
            used += _BYTES * math.prod(size for size in sizes if size is not None)
            if used > budget:
                raise FileError(
                    f"'{file}' is damaged: layer '{self.name}' wants {sizes} weights, more than the"
                    " file holds."
                )
        return add_weight(self, *args, **kwargs)

    return counted
