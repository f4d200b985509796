"""The three activations that are compared, as layers for an input of any rank."""

from __future__ import annotations

from collections.abc import Callable

import keras

import keras_prelu as kp
from tools.bench.records import OURS, RELU, STOCK

Activation = Callable[[int], keras.layers.Layer]


def _stock(rank: int) -> keras.layers.Layer:
    shared = list(range(1, rank - 1)) or None
    return keras.layers.PReLU(
        alpha_initializer=keras.initializers.Constant(0.25), shared_axes=shared
    )


ACTIVATIONS: dict[str, Activation] = {
    RELU: lambda rank: keras.layers.ReLU(),
    STOCK: _stock,
    OURS: lambda rank: kp.PReLU(0.25),
}
