"""Converting TensorFlow graphs to ONNX without their large weights, which are inserted afterwards.

tf2onnx holds some 35 copies of what is a constant: the export of 0.36 GB of weights took 13 GB and
three minutes. Large weights are therefore inputs of the graph that it converts, and constants of
the graph that is written. What it computes from constants alone, such as a kernel in another order
of axes, is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.deployment.export_signature import export_signature
from keras_prelu.deployment.formats.base import Settings
from keras_prelu.deployment.formats.onnx.affine import fold_into_convolutions
from keras_prelu.deployment.formats.onnx.graph import constants, remove_unread
from keras_prelu.typing import Array

__all__ = ["LargeWeights"]

_LARGE = 2**20
"""The smallest number of bytes of a weight that is converted apart."""
_OF_CONSTANTS = ("Cast", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operations between a weight and what is computed with it."""


class LargeWeights:
    """The large weights of a model, which are inserted into its ONNX graph.

    Args:
        model: `keras.Model`, as `lower_model` returns it.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._variables = [
            variable
            for variable in model.variables
            if variable.dtype == "float32" and 4 * np.prod(variable.shape, dtype=float) >= _LARGE
        ]
        self._names = [f"{model.name}_weight_{index}" for index in range(len(self._variables))]

    def can_be_apart(self) -> bool:
        """Return whether there are large weights in a model that takes them as inputs."""
        # tf2onnx converts loops over time steps only with constant weights as well as it can.
        return (
            keras.backend.backend() == "tensorflow"
            and bool(self._variables)
            and not any(isinstance(layer, keras.layers.RNN) for layer in sublayers(self._model))
        )

    def export(self, path: Path, settings: Settings) -> None:
        """Write an ONNX file in which the large weights are inputs, with Keras's exporter."""
        specs = [
            keras.InputSpec(shape=variable.shape, dtype=variable.dtype, name=name)
            for variable, name in zip(self._variables, self._names, strict=True)
        ]
        signature = [export_signature(self._model, settings.samples), specs]
        model = _TakesWeights(self._model, self._variables)
        model.export(
            path,
            format="onnx",
            verbose=False,
            opset_version=settings.opset,
            input_signature=signature,
        )

    def insert(self, exported: Any) -> None:
        """Make the inputs that stand for weights constants, and compute what depends on constants.

        Args:
            exported: `onnx.ModelProto`, as `export` writes it. It is changed.
        """
        from onnx import numpy_helper

        graph = exported.graph
        for variable, name in zip(self._variables, self._names, strict=True):
            array = keras.ops.convert_to_numpy(variable)
            graph.initializer.append(numpy_helper.from_array(array, name))
        for value in [value for value in graph.input if value.name in self._names]:
            graph.input.remove(value)
        _compute_constants(graph, exported.opset_import, self._names)
        fold_into_convolutions(graph)
        remove_unread(graph)


class _TakesWeights(keras.Model):
    """A model that takes some of its own weights as inputs."""

    def __init__(self, model: keras.Model, variables: Sequence[Any]) -> None:
        super().__init__(name=model.name, autocast=False)
        self._model = [model]
        self._replaced = list(variables)
        self.built = True

    def call(self, inputs: Any, weights: Any) -> Any:
        mapping = list(zip(self._replaced, weights, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return self._model[0](inputs)


def _compute_constants(graph: Any, opsets: Any, weights: Sequence[str]) -> None:
    """Replace what is computed from weights and other constants alone by its value."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    known = constants(graph)
    from_weights = set(weights)
    for node in list(graph.node):
        if (
            node.op_type not in _OF_CONSTANTS
            or not from_weights.intersection(node.input)
            or not all(name in known for name in node.input)
        ):
            continue
        values = {name: known[name] for name in node.input}
        inner = helper.make_graph(
            [node],
            "constants",
            [helper.make_tensor_value_info(name, _type(values[name]), None) for name in values],
            [helper.make_empty_tensor_value_info(node.output[0])],
        )
        model = helper.make_model(inner, opset_imports=list(opsets))
        (value,) = ReferenceEvaluator(model).run(None, values)
        known[node.output[0]] = value
        from_weights.add(node.output[0])
        graph.node.remove(node)
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), node.output[0])
        graph.initializer.append(tensor)


def _type(array: Array) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(array.dtype))
