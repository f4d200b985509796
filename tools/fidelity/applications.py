"""All constructors of `keras.applications`, with random weights, on small images."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import keras

from tools.common.networks import smallest_size


def applications() -> Iterator[tuple[str, Callable[[], keras.Model]]]:
    """Yield the name and the builder of each network."""
    for name in sorted(dir(keras.applications)):
        constructor = getattr(keras.applications, name)
        if inspect.isfunction(constructor):
            yield name, _builder(constructor, smallest_size(name, 32))


def _builder(constructor: Callable[..., keras.Model], size: int) -> Callable[[], keras.Model]:
    return lambda: constructor(weights=None, input_shape=(size, size, 3), classes=10)
