"""Values of weights as their layers' initializers draw them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.typing import Array

__all__ = ["InitializedWeight", "seeded_weights"]


@dataclass(frozen=True, kw_only=True)
class InitializedWeight:
    """A weight of a layer and its initializer.

    Attributes:
        layer: Keras layer.
        role: String. What the initializer is for, such as "kernel" or "depthwise".
        variable: `keras.Variable`. The weight.
        initializer: Callable. A `keras.Initializer`, or a function of a shape and a dtype.
        forget_bias: Boolean. Whether the second quarter of the weight starts at 1, as that of the
            bias of an LSTM does.
    """

    layer: Any
    role: str
    variable: keras.Variable
    initializer: Callable[..., Any]
    forget_bias: bool

    @property
    def is_random(self) -> bool:
        """Whether the initializer takes a seed."""
        return "seed" in _config(self.initializer)

    def draw(self, seed: int) -> Array:
        """Return new initial values, as float64.

        Args:
            seed: Integer. Takes the place of the initializer's own seed, if it has one.
        """
        initializer = self.initializer
        if self.is_random:
            config = {**_config(initializer), "seed": seed}
            initializer = type(initializer).from_config(config)  # type: ignore[attr-defined]
        values = to_float64(initializer(self.variable.shape, dtype=self.variable.dtype))
        if self.forget_bias:
            quarter = len(values) // 4
            values[quarter : 2 * quarter] = 1.0
        return values


def _initialized_weights(layer: Any) -> Iterator[InitializedWeight]:
    """Yield the weights of a layer for which the layer has an initializer, as Keras's layers do.

    The initializer is the attribute `kernel_initializer` for the weight `kernel`, and so on.
    Weights of layers inside the layer are left out.
    """
    for attribute, initializer in list(vars(layer).items()):
        if not (attribute.endswith("_initializer") and callable(initializer)):
            continue
        role = attribute.removesuffix("_initializer")
        names: tuple[str, ...] = (role,)
        if role in ("depthwise", "pointwise", "recurrent"):
            names = (role, f"{role}_kernel", "kernel")
        candidates = (getattr(layer, name, None) for name in names)
        variable = next((value for value in candidates if isinstance(value, keras.Variable)), None)
        if variable is not None:
            yield InitializedWeight(
                layer=layer,
                role=role,
                variable=variable,
                initializer=initializer,
                forget_bias=role == "bias" and getattr(layer, "unit_forget_bias", False),
            )


def seeded_weights(layers: Iterable[Any], seed: int) -> Iterator[tuple[InitializedWeight, int]]:
    """Yield the weights of layers that have an initializer, each with a seed of its own.

    Args:
        layers: Iterable of layers.
        seed: Integer. Seed of the seeds.
    """
    rng = np.random.default_rng(seed)
    for layer in layers:
        for weight in _initialized_weights(layer):
            yield weight, int(rng.integers(2**31))


def _config(initializer: Any) -> dict[str, Any]:
    return dict(initializer.get_config()) if isinstance(initializer, keras.Initializer) else {}
