"""The least-squares form of a layer: what its variables are as one matrix, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.arrays import as_array
from keras_prelu.graph.batch_norm import channel_axis, normalizes_last_axis
from keras_prelu.graph.hooks import HookTarget, attributes_set
from keras_prelu.graph.layer_kinds import has_linear_activation, is_channels_last
from keras_prelu.graph.linear_layers import LinearView
from keras_prelu.graph.weight_constraints import has_constraint, projected, satisfies_constraint
from keras_prelu.typing import Tensor

__all__ = [
    "Assignment",
    "Design",
    "Intercept",
    "Positions",
    "channels_last_shape",
    "linear_output",
]


_CHECK_TOLERANCE = 0.02
"""Relative tolerance, above bfloat16's errors and far below those of a wrong padding or stride."""


@dataclass(frozen=True)
class Intercept:
    """The variable that takes the bias of a refitted layer, if there is one.

    The variable is the layer's own bias or the moving mean of a BatchNormalization after it.
    BatchNormalization(z + b) is the same as subtracting b from the moving mean, so a layer without
    a bias of its own can get one there.

    Attributes:
        bias: Variable or None. The layer's own bias.
        moving_mean: Variable or None. The moving mean that takes the bias if there is no `bias`.
    """

    bias: Any
    moving_mean: Any

    @classmethod
    def of_layer(cls, view: LinearView, normalization: Any) -> Intercept:
        """Return the intercept of a layer.

        Args:
            view: `LinearView` of the layer.
            normalization: `keras.layers.BatchNormalization` that alone reads the layer's output, or
                None.
        """
        has_place = (
            view.bias is None
            and normalization is not None
            and has_linear_activation(view.layer)
            and _normalizes_channels(view, normalization)
        )
        return cls(bias=view.bias, moving_mean=normalization.moving_mean if has_place else None)

    @property
    def exists(self) -> bool:
        return self.bias is not None or self.moving_mean is not None


def _normalizes_channels(view: LinearView, normalization: Any) -> bool:
    """Return whether a BatchNormalization has one moving mean for each output of a layer."""
    if not is_channels_last(view.layer):
        return channel_axis(normalization) == 1
    return view.writes_channels_last and normalizes_last_axis(normalization)


@dataclass(frozen=True)
class Assignment:
    """A variable and its new value."""

    variable: Any
    value: np.ndarray


@dataclass(frozen=True)
class Positions:
    """The output positions of a batch that become rows.

    Attributes:
        sample: Integer array. For each row, the index of its sample in the batch.
        position: Integer array. For each row, the index of its output position.
    """

    sample: np.ndarray
    position: np.ndarray


class Design:
    """The least-squares form of a layer: output = design rows × matrix.

    Args:
        view: `LinearView` of the layer in the converted model.
        intercept: `Intercept` of the layer. If there is one, it is the last row of the matrix.
    """

    def __init__(self, view: LinearView, intercept: Intercept) -> None:
        self.view = view
        self._intercept = intercept

    def matrix(self, view: LinearView) -> np.ndarray:
        """Return a layer's kernel and bias as one float64 matrix (groups, unknowns, outputs)."""
        matrix = view.to_matrix(keras.ops.convert_to_numpy(view.kernel).astype(np.float64))
        if not self._intercept.exists:
            return matrix
        if view.bias is None:
            bias = np.zeros((matrix.shape[0], 1, matrix.shape[2]))
        else:
            bias = view.bias_to_matrix(keras.ops.convert_to_numpy(view.bias).astype(np.float64))
        return np.concatenate([matrix, bias], axis=1)

    def rows(self, inputs: Tensor, positions: Positions) -> np.ndarray:
        """Return the design rows (groups, rows, unknowns) in float32."""
        rows = self.view.rows(_to_numpy(self.view, inputs), positions.sample, positions.position)
        if not self._intercept.exists:
            return rows
        return np.concatenate([rows, np.ones((*rows.shape[:-1], 1), rows.dtype)], axis=-1)

    def predicts(self, product: np.ndarray, inputs: Tensor, positions: Positions) -> bool:
        """Return whether rows × matrix is what the layer computes.

        This guards against a `LinearView` that misinterprets a layer.
        """
        view = self.view
        predicted = np.moveaxis(product, 0, 1).reshape(len(positions.sample), -1)
        outputs = view.flat_outputs(_to_numpy(view, linear_output(view.layer, inputs)))
        if (
            outputs.shape[1] != view.positions(channels_last_shape(view, inputs))
            or outputs.shape[2] != predicted.shape[1]
        ):
            return False
        outputs = outputs[positions.sample, positions.position]
        scale = float(np.sqrt(np.mean(np.square(outputs)))) + 1e-12
        deviation = float(np.sqrt(np.mean(np.square(predicted - outputs))))
        return deviation <= _CHECK_TOLERANCE * scale

    @property
    def is_constrained(self) -> bool:
        """Whether Keras constrains a variable that the fit would change."""
        return has_constraint([self.view.kernel, self._intercept.bias])

    def projected(self, matrix: np.ndarray) -> np.ndarray | None:
        """Return a matrix with the layer's variables projected onto their constraints.

        Return None if a constraint returns nothing that can be assigned.
        """
        values = []
        for variable, value in self._parts(matrix):
            allowed = projected(variable, value)
            if allowed is None:
                return None
            values.append(allowed)
        rows = [self.view.to_matrix(values[0])]
        if self._intercept.bias is not None:
            rows.append(self.view.bias_to_matrix(values[1]))
        elif self._intercept.exists:
            rows.append(matrix[:, -1:])
        return np.concatenate(rows, axis=1)

    def satisfies_constraints(self, matrix: np.ndarray) -> bool:
        """Return whether the constraints of the layer's variables leave a matrix as it is."""
        return all(satisfies_constraint(variable, value) for variable, value in self._parts(matrix))

    def assignments(self, matrix: np.ndarray) -> tuple[Assignment, ...]:
        """Return the assignments that set the layer's weights to a matrix."""
        kernel, *bias = [
            Assignment(variable=variable, value=_without_rounding(variable, value))
            for variable, value in self._parts(matrix)
        ]
        moving_mean = self._intercept.moving_mean
        if moving_mean is None:
            return kernel, *bias
        mean = keras.ops.convert_to_numpy(moving_mean) - matrix[:, -1:].reshape(-1)
        return kernel, Assignment(variable=moving_mean, value=mean)

    def _parts(self, matrix: np.ndarray) -> list[tuple[Any, np.ndarray]]:
        """Return the variables of the layer itself with the values that a matrix gives them."""
        view, intercept = self.view, self._intercept
        unknowns = matrix.shape[1] - intercept.exists
        parts = [(view.kernel, view.from_matrix(matrix[:, :unknowns]))]
        if intercept.bias is not None:
            parts.append((intercept.bias, view.bias_from_matrix(matrix[:, unknowns:])))
        return parts


def _without_rounding(variable: Any, value: np.ndarray) -> np.ndarray:
    """Return a value that satisfies the constraint of a variable up to rounding, without it."""
    allowed = projected(variable, value)
    return value if allowed is None else allowed


def linear_output(layer: Any, inputs: Tensor) -> Tensor:
    """Return the output of a layer before its inline activation."""
    if has_linear_activation(layer):
        return layer(inputs)
    with attributes_set([HookTarget(layer, "activation")], keras.activations.linear):
        return layer(inputs)


def _to_numpy(view: LinearView, tensor: Tensor) -> np.ndarray:
    if keras.backend.standardize_dtype(tensor.dtype) != "float32":
        tensor = keras.ops.cast(tensor, "float32")
    return view.channels_last(as_array(tensor))


def channels_last_shape(view: LinearView, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return shape if is_channels_last(view.layer) else (shape[0], *shape[2:], shape[1])
