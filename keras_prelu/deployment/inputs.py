"""Samples for checking an exported file."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.data.declarations import declared_input
from keras_prelu.data.samples import as_samples
from keras_prelu.errors import ExportError
from keras_prelu.graph import functional
from keras_prelu.typing import Array
from keras_prelu.verification.prediction import argument_shapes
from keras_prelu.verification.probes import probe

__all__ = ["as_model_inputs", "random_inputs"]

_RANDOM_SAMPLES, _UNKNOWN_SIZE = 8, 32
_WORDS = ("a", "the word", "several words of text")


def random_inputs(model: keras.Model) -> Any:
    """Return random samples: normal numbers; zeros and ones for integers, and words for text.

    Sizes that the model leaves open are 32.

    Args:
        model: `keras.Model`.

    Raises:
        ExportError: The model has no graph that declares its inputs, and takes none of those that
            it was built for; or it takes text, which this backend has no tensors of.
    """
    rng = np.random.default_rng(0)

    def random(tensor: Any) -> Array:
        sizes = (_UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:])
        shape = (_RANDOM_SAMPLES, *sizes)
        if tensor.dtype == "string":
            _check_text(tensor)
            return rng.choice(np.array(_WORDS), size=shape)
        if keras.backend.is_float_dtype(tensor.dtype):
            return rng.normal(size=shape).astype(
                "float64" if tensor.dtype == "float64" else "float32"
            )
        return rng.integers(0, 2, shape).astype(tensor.dtype)

    if not functional.has_graph(model):
        return _drawn_as_built(model)
    return keras.tree.map_structure(random, declared_input(model))


def _check_text(tensor: Any) -> None:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ExportError(
            f"The input '{tensor.name}' takes text, which Keras reads on TensorFlow alone, and this"
            f" is {backend}. Export with KERAS_BACKEND=tensorflow (--backend tensorflow), or a"
            " model of the layers that take numbers."
        )


def _drawn_as_built(model: keras.Model) -> Any:
    """Return random samples of the shape that a model with Python code of its own was built with.

    Raises:
        ExportError: It is not known, or the model does not take them.
    """
    found = "its call takes several arguments" if argument_shapes(model) else probe(model)
    if isinstance(found, str):
        raise ExportError(
            f"Model '{model.name}' doesn't declare its inputs, and none can be drawn ({found}):"
            " give `samples` (--data) to check the exported file with."
        )
    return found.inputs


def as_model_inputs(model: keras.Model, samples: Any) -> Any:
    """Return samples in the types and ranks that the model declares.

    Runtimes, unlike Keras, don't cast, nor do they add or drop a last axis of size 1.

    Args:
        model: `keras.Model`.
        samples: Array, or a structure of arrays, as the model takes them.

    Raises:
        DataError: The samples do not fit the model, hold NaN, or there are none.
    """
    checked = as_samples(samples, model=model, labels="ignored").in_memory().x
    arrays = keras.tree.map_structure(np.asarray, checked)
    flat, tensors = keras.tree.flatten(arrays), getattr(model, "inputs", None) or []
    if len(flat) != len(tensors):
        return arrays
    by_name = {tensor.name: tensor for tensor in tensors}
    keys = model.input if isinstance(getattr(model, "input", None), dict) else {}
    if isinstance(arrays, dict) and set(arrays) == set(by_name) != set(keys):
        return {name: _declared(array, by_name[name]) for name, array in arrays.items()}
    declared = [_declared(array, tensor) for array, tensor in zip(flat, tensors, strict=True)]
    return keras.tree.pack_sequence_as(arrays, declared)


def _declared(array: Array, tensor: Any) -> Array:
    axes = len(tensor.shape)
    if array.ndim == axes - 1 and tensor.shape[-1] == 1:
        array = array[..., None]
    elif array.ndim == axes + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    return array if tensor.dtype == "string" else array.astype(tensor.dtype)
