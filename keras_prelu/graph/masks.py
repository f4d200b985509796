"""Masks of time steps, which Keras attaches to tensors while it runs a graph.

Layers pass masks on, and ops drop them. A nested model that supports masking gives the masks of its
inputs to outputs that have none. An execution plan has no step for a nested model, so it contains
the operations of this module where a nested model handles masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import keras_mask, set_keras_mask, sublayers
from keras_prelu.typing import Tensor

__all__ = ["AttachMasks", "PassMasksOn", "creates_masks", "without_mask"]


def creates_masks(operation: Any) -> bool:
    """Return whether an operation may attach a mask to an output although no input has one.

    True for any layer of a user-defined class with a `compute_mask` of its own.
    """
    if not isinstance(operation, keras.layers.Layer):
        return False
    return any(map(_creates_masks, (operation, *sublayers(operation))))


def _creates_masks(layer: Any) -> bool:
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        return True
    defining = next(cls for cls in type(layer).__mro__ if "compute_mask" in vars(cls))
    return not defining.__module__.startswith(("keras.", "keras_prelu."))


def without_mask(tensor: Tensor) -> Tensor:
    """Return a tensor with the same values and without a mask; works on symbolic tensors too."""
    return keras.ops.copy(tensor)


class AttachMasks(keras.Operation):
    """Attaches to the inputs of a nested model the masks that it is called with explicitly."""

    def call(self, inputs: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        for tensor, mask in zip(inputs, masks, strict=False):
            set_keras_mask(tensor, mask)
        return list(inputs)


class PassMasksOn(keras.Operation):
    """Gives the outputs of a nested model the masks that they get where the model is called.

    Args:
        model: `keras.Model`. The nested model.
        name: String. Name of the operation.
    """

    def __init__(self, model: keras.Model, name: str) -> None:
        super().__init__(name=name)
        self._model = [model]  # In a list, since the model is no part of this operation.

    def call(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        if any(keras_mask(tensor) is None for tensor in outputs):
            masks = self._model[0].compute_mask(
                _unpacked(inputs), _unpacked([keras_mask(tensor) for tensor in inputs])
            )
            flat_masks = [] if masks is None else keras.tree.flatten(masks)
            for tensor, mask in zip(outputs, flat_masks, strict=False):
                if mask is not None and keras_mask(tensor) is None:
                    set_keras_mask(tensor, mask)
        return list(outputs)


def _unpacked(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)
