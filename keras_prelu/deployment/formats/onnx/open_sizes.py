"""ONNX files of models that leave sizes open, written by PyTorch.

Keras's exporter traces a model on PyTorch with 1 in place of each open size. Kernels do not fit
into an image of one pixel, and what is traced for it does not hold for others: the exporter takes
axes of size 1 for axes that are broadcast.

What Python code decides by a size is in the file as it was decided for that size. Keras's
convolutions with padding="same" and strides of 2 pad both sides of an odd size alike, and then the
file pads any size so; of an even size one side is padded by what the file computes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_prelu.data.declarations import declared_input
from keras_prelu.deployment.export_signature import export_signature
from keras_prelu.deployment.formats.base import Settings
from keras_prelu.deployment.other_sizes import has_open_sizes, with_sizes

__all__ = ["export_with_open_sizes", "is_traced_wrongly"]

_DIVISOR = 32
"""By how much networks for images divide the size."""


def is_traced_wrongly(model: keras.Model) -> bool:
    """Return whether a model has open sizes, besides the number of samples, on PyTorch."""
    return keras.backend.backend() == "torch" and has_open_sizes(model)


def export_with_open_sizes(model: keras.Model, path: Path, settings: Settings) -> None:
    """Write an ONNX file as Keras's exporter does, traced with sizes that strides of 2 divide.

    Args:
        model: `keras.Model`, as `lower_model` returns it, of which `is_traced_wrongly`.
        path: Path. The file.
        settings: `Settings`.
    """
    import torch

    structure = declared_input(model)
    specs = keras.tree.flatten(export_signature(model, settings.samples))
    names = [spec.name for spec in specs]
    one = _sample_to_trace(model, settings)
    arrays = settings.interface.inputs_by_name(one, settings.interface.inputs)
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays.values()]

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            outputs = self.model(keras.tree.pack_sequence_as(structure, list(tensors)))
            return tuple(keras.tree.flatten(outputs))

    torch.onnx.export(
        Flat().eval(),
        tuple(tensors),
        str(path),
        input_names=names,
        dynamic_axes={
            name: _open_axes(index, spec.shape)
            for index, (name, spec) in enumerate(zip(names, specs, strict=True))
        },
        opset_version=settings.opset,
        dynamo=False,
        verbose=False,
    )


def _sample_to_trace(model: keras.Model, settings: Settings) -> Any:
    """Return one sample with even sizes, or as it is if the model doesn't take those."""

    def one(change: Callable[[int], int]) -> Any:
        return with_sizes(model, settings.interface, settings.samples, change, samples=1)

    even = one(lambda size: -(-size // _DIVISOR) * _DIVISOR)
    try:
        model(even)
    except Exception:  # Whatever a layer raises for a size that it doesn't take.
        return one(lambda size: size)
    return even


def _open_axes(index: int, shape: Any) -> dict[int, str]:
    """Return the names of the open axes of an input, which Keras's exporter gives them too."""
    return {
        axis: f"dim_{index}_{axis}" if axis else "batch"
        for axis, size in enumerate(shape)
        if size is None
    }
