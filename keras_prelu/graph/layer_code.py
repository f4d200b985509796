"""How the Python code of layers is looked into, as far as this package of modules needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import keras

from keras_prelu.graph.functional import Graph
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.rectifiers import Rectifier

__all__ = ["AppliedFunction", "LayerCode"]


class AppliedFunction(keras.Operation):
    """Node of a graph that stands for a rectifier that Python code calls through an attribute.

    It is a function, or the `call` of a layer or the `activation` of one that is called directly.

    Args:
        target: `HookTarget`. The attribute.
        rectifier: `Rectifier`. What it computes.
    """

    def __init__(self, target: HookTarget, rectifier: Rectifier) -> None:
        super().__init__()
        self.target = target
        self.rectifier = rectifier
        self._function = target.value

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


class LayerCode(Protocol):
    """Looks into layers with Python code of their own."""

    def graph(self, layer: Any, args: Any, kwargs: Any) -> Graph | None:
        """Return the graph that a layer's code creates in a call, or None if that fails.

        Rectifiers that the layer holds and calls without their layers, such as functions, are nodes
        of class `AppliedFunction`.
        """

    def targets(self, layer: Any) -> Sequence[HookTarget]:
        """Return the attributes that apply the rectifiers inside a layer."""

    def rectifiers_of(self, layer: Any) -> dict[tuple[Any, ...], Rectifier]:
        """Return the rectifiers inside a layer, by the keys of these attributes."""
