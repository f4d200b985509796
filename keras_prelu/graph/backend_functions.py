"""Functions of TensorFlow, JAX and PyTorch as nodes of a graph."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["BackendFunction", "is_of_backend"]

_KERAS_NAMES = {
    "Abs": "abs absolute",
    "AdaptiveAveragePool": "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    "Add": "add",
    "Arccos": "acos arccos",
    "Arcsin": "arcsin asin",
    "AveragePool": "avg_pool avg_pool1d avg_pool2d avg_pool3d",
    "BatchNorm": "batch_norm batch_normalization",
    "BroadcastTo": "broadcast_to",
    "Clip": "clamp clip clip_by_value",
    "Concatenate": "cat concat concatenate",
    "Conv": "conv1d conv2d conv3d convolution",
    "Cos": "cos",
    "Cumprod": "cumprod",
    "Cumsum": "cumsum",
    "Divide": "divide divide_no_nan true_divide",
    "Dropout": "dropout dropout1d dropout2d dropout3d",
    "Einsum": "einsum",
    "Exp": "exp",
    "Exp2": "exp2",
    "ExpandDims": "expand_dims unsqueeze",
    "Expm1": "expm1",
    "Flatten": "flatten",
    "Log": "log",
    "Log1p": "log1p",
    "LayerNorm": "layer_norm",
    "LogSoftmax": "log_softmax",
    "Matmul": "bmm dot linear matmul mm",
    "Max": "amax reduce_max",
    "MaxPool": "max_pool max_pool1d max_pool2d max_pool3d",
    "Mean": "mean reduce_mean",
    "Min": "amin reduce_min",
    "Multiply": "mul multiply",
    "Negative": "neg negative",
    "Normalize": "l2_normalize normalize",
    "Pad": "pad",
    "Power": "pow power",
    "Prod": "prod reduce_prod",
    "Reciprocal": "reciprocal",
    "Repeat": "repeat repeat_interleave",
    "Reshape": "reshape",
    "Resize": "interpolate resize upsample",
    "Roll": "roll",
    "Rsqrt": "rsqrt",
    "Sigmoid": "sigmoid",
    "Sin": "sin",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Split": "array_split chunk split unbind unstack",
    "Sqrt": "sqrt",
    "Square": "square",
    "Squeeze": "squeeze",
    "Stack": "stack",
    "StopGradient": "identity stop_gradient",
    "Subtract": "sub subtract",
    "Sum": "reduce_sum sum",
    "Swapaxes": "swapaxes",
    "Tanh": "tanh",
    "Tile": "tile",
    "Transpose": "permute permute_dims transpose",
}
"""Functions of the backends, by the class of Keras whose ranges of values they have as well."""
_BY_FUNCTION = {
    function: name for name, functions in _KERAS_NAMES.items() for function in functions.split()
}
_BACKENDS = ("jax", "jaxlib", "tensorflow", "torch")
_OF_STRUCTURES = (
    "jax._src.tree",
    "jax.tree",
    "tensorflow.python.util.nest",
    "torch.utils._pytree",
)
"""Beginnings of the names of modules whose functions take structures of any objects."""


def is_of_backend(function: Any) -> bool:
    """Return whether TensorFlow, JAX or PyTorch defines a function, and it takes their tensors."""
    module = str(getattr(function, "__module__", "") or "")
    packages = {module.split(".")[0], type(function).__module__.split(".")[0]}
    if isinstance(function, type) or module.startswith(_OF_STRUCTURES):
        return False
    return not packages.isdisjoint(_BACKENDS)


class BackendFunction(keras.Operation):
    """Node of a graph that stands for a function of a backend that Python code calls.

    Args:
        function: Callable that takes tensors of the backend.

    Attributes:
        keras_name: String. Name of a class of Keras's operations that carries ranges of values on
            in the same way, or "" if none is known.
    """

    def __init__(self, function: Any) -> None:
        super().__init__()
        self._function = function
        self.function_name = str(getattr(function, "__name__", type(function).__name__))
        self.keras_name = _BY_FUNCTION.get(self.function_name, "")

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        tensors = [leaf for leaf in keras.tree.flatten((args, kwargs)) if _is_symbolic(leaf)]
        return _OfTensors(self._function, args, kwargs).compute_output_spec(*tensors)


class _OfTensors(keras.Operation):
    """A call as a function of its tensors alone: JAX would trace tuples of numbers as well."""

    def __init__(self, function: Any, args: Any, kwargs: Any) -> None:
        super().__init__()
        self._function = function
        self._arguments = (args, kwargs)

    def call(self, *tensors: Any) -> Any:
        given = iter(tensors)
        args, kwargs = keras.tree.map_structure(
            lambda leaf: next(given) if _is_symbolic(leaf) else leaf, self._arguments
        )
        return self._function(*args, **kwargs)


def _is_symbolic(leaf: Any) -> bool:
    return bool(keras.utils.is_keras_tensor(leaf))
