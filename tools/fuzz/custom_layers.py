"""Custom layers of the random networks, and a model that is Python code."""

from __future__ import annotations

from typing import Any

import keras

__all__ = [
    "CallsFunctions",
    "Dropout",
    "HoldsFunction",
    "HoldsLayers",
    "RectifiedCell",
    "WrittenAsCode",
]


@keras.saving.register_keras_serializable("fuzz")
class HoldsLayers(keras.layers.Layer):
    """A custom layer that holds its rectifier as a layer, beside a residual connection."""

    def __init__(self, size: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        self.inner = keras.layers.Dense(size, activation="relu")
        self.rectifier = keras.layers.ReLU()
        self.outer: Any = None

    def build(self, input_shape: Any) -> None:
        self.inner.build(input_shape)
        self.outer = keras.layers.Dense(input_shape[-1])
        self.outer.build((*input_shape[:-1], self.size))

    def call(self, inputs: Any) -> Any:
        return self.rectifier(inputs + self.outer(self.inner(inputs)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("fuzz")
class HoldsFunction(keras.layers.Layer):
    """A custom layer that holds its rectifier as a function and calls another one by name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.activation = keras.activations.relu
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs) - keras.ops.relu(0.5 - inputs)


@keras.saving.register_keras_serializable("fuzz")
class Dropout(keras.layers.Layer):
    """A custom layer that is named like one of Keras's and is not linear."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs + 0.1 * keras.ops.tanh(inputs)


@keras.saving.register_keras_serializable("fuzz")
class CallsFunctions(keras.layers.Layer):
    """A custom layer whose code calls rectifiers in a loop, in a helper and in an expression."""

    def __init__(self, passes: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.passes = passes
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Any) -> Any:
        h = inputs
        for index in range(self.passes):
            h = keras.activations.relu(h - 0.1 * index) if index else self._rectified(h)
        return h - 0.5 * keras.ops.maximum(0.2 - inputs, 0.0)

    def _rectified(self, x: Any) -> Any:
        return keras.ops.relu6(x) + 0.1 * x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "passes": self.passes}


@keras.saving.register_keras_serializable("fuzz")
class RectifiedCell(keras.layers.Layer):
    """A recurrent cell with a rectifier that it holds as a layer."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units
        self.entry = keras.layers.Dense(units)
        self.recurrence = keras.layers.Dense(units, use_bias=False)
        self.rectifier = keras.layers.ReLU(max_value=4.0)

    def build(self, input_shape: Any) -> None:
        self.entry.build(input_shape)
        self.recurrence.build((input_shape[0], self.units))

    def call(self, inputs: Any, states: Any) -> Any:
        output = self.rectifier(self.entry(inputs) + 0.3 * self.recurrence(states[0]))
        return output, [output]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


class WrittenAsCode(keras.Model):
    """A model that is Python code around a network, and has no configuration."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network
        self.hidden = keras.layers.Dense(6, activation="relu")
        self.head = keras.layers.Dense(3, dtype="float32")

    def call(self, inputs: Any) -> Any:
        outputs = keras.tree.flatten(self.network(inputs))
        h = keras.ops.concatenate(outputs, axis=-1)
        return self.head(self.hidden(h)) + keras.ops.mean(keras.ops.relu(h), axis=-1, keepdims=True)
