"""The linear layers inside a layer with Python code of its own, and what reaches them, seen while
it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.recorders import listening

__all__ = ["Inner", "holds_linear", "inner_layers", "watch"]

Tensor = Any


@dataclass(frozen=True)
class Inner:
    """A linear layer inside a converted layer.

    Attributes:
        layer: It.
        reference: Its counterpart in the original layer.
        normalization: The BatchNormalization that alone gets its output, as far as was seen; or
            None.
    """

    layer: Any
    reference: Any
    normalization: Any


def holds_linear(layer: Any) -> bool:
    """Whether there are linear layers inside, the layer itself left out."""
    return any(linear_view(inner) is not None for inner in sublayers(layer))


def inner_layers(converted: Any, original: Any, run: Callable[[], object]) -> list[Inner]:
    """The linear layers inside a converted layer that are applied, in the order in which they are.

    Args:
        converted: A layer of the converted model.
        original: The same layer of the original.
        run: Runs `original` once.
    """
    own = {id(layer) for layer in prelus(converted)}
    kept = [layer for layer in sublayers(converted) if id(layer) not in own]
    pairs = {id(a): (a, b) for a, b in zip(sublayers(original), kept, strict=True)}
    watched = [
        a
        for a, _ in pairs.values()
        if linear_view(a) is not None or isinstance(a, keras.layers.BatchNormalization)
    ]
    seen: list[tuple[Any, Tensor, Tensor]] = []
    with listening(watched, _noting(seen)):
        run()
    linear = dict.fromkeys(id(layer) for layer, _, _ in seen if linear_view(layer) is not None)
    return [
        Inner(pairs[key][1], pairs[key][0], _normalization(pairs[key][0], seen, pairs))
        for key in linear
    ]


def watch(layer: Any, run: Callable[[], object]) -> list[Tensor]:
    """The inputs that a layer gets while something runs, one for each call."""
    seen: list[tuple[Any, Tensor, Tensor]] = []
    with listening([layer], _noting(seen)):
        run()
    return [inputs for _, inputs, _ in seen]


def _noting(seen: list[tuple[Any, Tensor, Tensor]]) -> Callable[[Any, Tensor, Tensor], Tensor]:
    def noting(layer: Any, inputs: Tensor, outputs: Tensor) -> Tensor:
        seen.append((layer, inputs, outputs))
        return outputs

    return noting


def _normalization(
    layer: Any, seen: Sequence[tuple[Any, Tensor, Tensor]], pairs: dict[int, tuple[Any, Any]]
) -> Any:
    """The converted model's BatchNormalization that gets what a layer of the original puts out,
    each of them called once."""
    outputs = [result for other, _, result in seen if other is layer]
    readers = [other for other, inputs, _ in seen if any(inputs is result for result in outputs)]
    once = (
        len(outputs) == 1
        and len(readers) == 1
        and sum(other is readers[0] for other, _, _ in seen) == 1
    )
    return (
        pairs[id(readers[0])][1]
        if once and isinstance(readers[0], keras.layers.BatchNormalization)
        else None
    )
