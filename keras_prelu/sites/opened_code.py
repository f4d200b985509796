"""The Python code of a layer and of the layers inside, as graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.source_scan import may_call_relu_functions
from keras_prelu.graph import functional
from keras_prelu.graph.rectifier_recognition import recognize
from keras_prelu.sites.opened_layers import OpenedLayers
from keras_prelu.sites.traces import Arguments

__all__ = ["Code", "add_graphs", "layers_with_code", "may_call_functions"]


@dataclass(frozen=True)
class Code:
    """The code of a layer and of the layers inside, as graphs.

    Attributes:
        graphs: List of `Graph`. Those that the code creates.
        without_graph: List of layers. Those whose code creates none.
    """

    graphs: list[functional.Graph]
    without_graph: list[Any]


def add_graphs(opened: OpenedLayers, layer: Any, arguments: Arguments, code: Code) -> None:
    """Add the graphs of a layer's code and of the layers inside to `code`."""
    if isinstance(layer, keras.layers.TimeDistributed):
        # Its code calls the layer inside once for each step.
        if recognize(layer.layer) is None:
            add_graphs(opened, layer.layer, _one_step(arguments), code)
        return
    graph = opened.graph(layer, arguments.args, arguments.kwargs)
    if graph is None:
        code.without_graph.extend(layers_with_code(layer))
        return
    code.graphs.append(graph)
    for call in graph.calls:
        inner = call.operation
        if (
            isinstance(inner, keras.layers.Layer)
            and recognize(inner) is None
            and (opened.rectifiers(inner) or may_call_functions(inner))
        ):
            add_graphs(opened, inner, Arguments(call.args, call.kwargs), code)


def _one_step(arguments: Arguments) -> Arguments:
    """Return the arguments for one step of a sequence, without the mask."""
    tensors = keras.tree.flatten((arguments.args, dict(arguments.kwargs)))
    first = next(tensor for tensor in tensors if keras.utils.is_keras_tensor(tensor))
    step = keras.KerasTensor((first.shape[0], *first.shape[2:]), dtype=first.dtype)
    return Arguments((step,), {})


def layers_with_code(layer: Any) -> list[Any]:
    """Return those among a layer and the layers inside whose code may call ReLU functions."""
    return [inner for inner in (layer, *sublayers(layer)) if may_call_relu_functions(inner)]


def may_call_functions(layer: Any) -> bool:
    return bool(layers_with_code(layer))
