"""Tracing a model with PyTorch on one sample, for the formats of devices."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.errors import ExportError
from keras_prelu.graph.functional import has_graph

__all__ = ["check_sizes", "traced_on_one"]


def check_sizes(model: keras.Model, what: str) -> None:
    """Raise an ExportError if a model takes inputs of any size.

    Args:
        model: `keras.Model`.
        what: String. What the model is exported to.
    """
    if not has_graph(model):
        return  # Its samples tell the sizes.
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise ExportError(
                f"{what} has inputs of fixed sizes, and '{tensor.name}' of model '{model.name}' has"
                f" the shape {tuple(tensor.shape)}. Build the model with fixed sizes and give it"
                " these weights."
            )


def traced_on_one(model: keras.Model, samples: Any) -> Any:
    """Return the `torch.export.ExportedProgram` of a model on one sample, on the CPU.

    It takes the inputs, and returns the outputs, in the order in which Keras flattens them, and
    consists of PyTorch's core operations.

    Args:
        model: `keras.Model`.
        samples: Array, or a structure of arrays, as the model takes them.
    """
    import torch
    from torch.export.passes import move_to_device_pass

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            inputs = keras.tree.pack_sequence_as(samples, list(tensors))
            return tuple(keras.tree.flatten(self.model(inputs, training=False)))

    one = keras.tree.map_structure(lambda array: array[:1], samples)
    tensors = tuple(map(keras.ops.convert_to_tensor, keras.tree.flatten(one)))
    with torch.no_grad():
        program = torch.export.export(Flat().eval(), tensors, strict=False)
    program = move_to_device_pass(program, "cpu").run_decompositions()
    return _without_memory_formats(program).run_decompositions()


_VIEWS = ("aten.view.default", "aten._unsafe_view.default")


def _without_memory_formats(program: Any) -> Any:
    """Return a program without the copies by which Keras orders the channels in memory.

    ExecuTorch refuses them, and runtimes have an order of their own.
    """
    import torch

    aten = torch.ops.aten
    formats = (torch.channels_last, torch.channels_last_3d)
    for node in list(program.graph.nodes):
        is_copy = node.target is aten.clone.default
        if is_copy and node.kwargs.get("memory_format") in formats:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        elif str(node.target) in _VIEWS:
            node.target = aten.reshape.default  # A view needs that order in memory.
    program.graph_module.recompile()
    return program
