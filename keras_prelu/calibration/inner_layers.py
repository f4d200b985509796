"""The linear layers inside a layer with Python code of its own.

Their inputs are observed while that code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.graph.channel_scaling import is_batch_normalization
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.layer_calls import layers_in_loops
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.typing import Tensor

__all__ = [
    "InnerLayer",
    "find_inner_layers",
    "has_linear_layers",
    "inputs_during",
    "is_spectrally_normalized",
]

IN_LOOP = "it runs in the loop of a recurrent layer"
NOT_SEEN = "it is not called, or only in a loop, a branch or code that the backend traces by itself"


@dataclass(frozen=True)
class InnerLayer:
    """A linear layer inside a converted layer.

    Attributes:
        layer: Layer. The linear layer.
        counterpart: Layer. The same layer inside the original's layer.
        normalization: `keras.layers.BatchNormalization` or None. The only observed reader of the
            layer's output, if that reader is a BatchNormalization.
        obstacle: String. Why the layer can't be refitted, or "".
    """

    layer: Any
    counterpart: Any
    normalization: Any
    obstacle: str


def has_linear_layers(layer: Any) -> bool:
    """Return whether a layer contains linear layers, other than itself."""
    return any(linear_view(inner) is not None for inner in sublayers(layer))


def is_spectrally_normalized(layer: Any, outer: Any) -> bool:
    """Return whether a SpectralNormalization in or around a layer wraps an inner layer.

    In each training step it divides the kernel by its spectral norm, as a constraint would.
    """
    return any(
        isinstance(each, keras.layers.SpectralNormalization)
        and any(inner is layer for inner in sublayers(each))
        for each in (outer, *sublayers(outer))
    )


def find_inner_layers(
    converted: Any, original: Any, run_original: Callable[[], object]
) -> list[InnerLayer]:
    """Return the linear layers inside a converted layer, in the order of their calls.

    Those that are not seen when the layer is called come last.

    Args:
        converted: Layer of the converted model.
        original: Layer of the original model that is the counterpart of `converted`.
        run_original: Function that calls `original` once.

    Returns:
        A list with an `InnerLayer` for each linear layer.
    """
    by_id = {id(layer): layer for layer in _without_prelus(original)}
    converted_of = dict(zip(by_id, _without_prelus(converted), strict=True))
    in_loops = layers_in_loops(original)
    linear = [key for key, layer in by_id.items() if linear_view(layer) is not None]
    observed = [
        layer for key, layer in by_id.items() if key in linear or is_batch_normalization(layer)
    ]
    calls = _calls_during(run_original, observed)
    called = dict.fromkeys(id(call.target.owner) for call in calls)

    def obstacle(key: int) -> str:
        if key in in_loops:
            return IN_LOOP
        return "" if key in called else NOT_SEEN

    return [
        InnerLayer(
            layer=converted_of[key],
            counterpart=by_id[key],
            normalization=_normalization_after(by_id[key], calls, converted_of),
            obstacle=obstacle(key),
        )
        for key in dict.fromkeys([*(key for key in called if key in linear), *linear])
    ]


def _without_prelus(layer: Any) -> list[Any]:
    """Return the layers inside a layer, except the PReLU layers of a conversion."""
    added = {id(inner) for inner in prelus(layer)}
    return [inner for inner in sublayers(layer) if id(inner) not in added]


def inputs_during(run: Callable[[], object], layer: Any) -> list[Tensor]:
    """Return the input of each call of a layer that is seen while a function runs."""
    return [call.inputs for call in _calls_during(run, [layer])]


def _calls_during(run: Callable[[], object], layers: Sequence[Any]) -> list[HookedCall]:
    calls: list[HookedCall] = []
    with hook_seen_calls([HookTarget(layer) for layer in layers], calls.append):
        run()
    return calls


def _normalization_after(
    layer: Any, calls: Sequence[HookedCall], converted_of: Mapping[int, Any]
) -> Any:
    """Return the converted model's BatchNormalization after a layer, or None.

    It is returned if its counterpart alone reads the output of the layer in the original, and both
    are called once.
    """
    outputs = [call.outputs for call in calls if call.target.owner is layer]
    readers = [
        call.target.owner for call in calls if any(call.inputs is output for output in outputs)
    ]
    if len(outputs) != 1 or len(readers) != 1:
        return None
    reader = readers[0]
    reader_calls = sum(call.target.owner is reader for call in calls)
    if reader_calls != 1 or not is_batch_normalization(reader):
        return None
    return converted_of[id(reader)]
