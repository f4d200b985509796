"""All constructors of `keras.applications`, with random weights, on the smallest images they
take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import keras

_SMALLEST = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}


def applications() -> Iterator[tuple[str, Callable[[], keras.Model]]]:
    for name in sorted(dir(keras.applications)):
        constructor = getattr(keras.applications, name)
        if inspect.isfunction(constructor):
            yield name, _builder(constructor, _SMALLEST.get(name, 32))


def _builder(constructor: Callable[..., keras.Model], size: int) -> Callable[[], keras.Model]:
    return lambda: constructor(weights=None, input_shape=(size, size, 3), classes=10)
