"""What Keras's exporter is to declare for the inputs of a model."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.data.declarations import declared_input
from keras_prelu.graph.functional import has_graph

__all__ = ["export_signature"]


def export_signature(model: keras.Model, samples: Any, batch_size: int | None = None) -> Any:
    """Return the sizes, dtypes and names of a model's inputs, in its structure.

    Args:
        model: `keras.Model`.
        samples: Array, or a structure of arrays. What a model that declares no inputs takes.
        batch_size: Integer or None. The number of samples that the exported model takes at a time.
            Defaults to None: any number.
    """
    declared = declared_input(model) if has_graph(model) else samples

    def spec(tensor: Any) -> keras.InputSpec:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        shape = (batch_size, *tensor.shape[1:])
        return keras.InputSpec(shape=shape, dtype=dtype, name=getattr(tensor, "name", None))

    return keras.tree.map_structure(spec, declared)
