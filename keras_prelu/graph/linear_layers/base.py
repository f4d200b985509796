"""Base class of the views of linear layers, and the registry that finds them.

Views use NumPy only, in the channels-last layout. Calibration checks each view against the real
output of its layer before it relies on the view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from keras_prelu.graph.layer_kinds import is_channels_last, keras_class
from keras_prelu.typing import Array

__all__ = ["LinearView", "linear_view"]


_REGISTRY: dict[str, type[LinearView]] = {}


class LinearView:
    """A linear layer as a least-squares problem.

    The weights are split into groups that share no inputs and no outputs; an ordinary layer is one
    group.

    Args:
        layer: Built Keras layer of a class in `layers`.

    Attributes:
        layers: Tuple of strings. Class names of the layers that a subclass describes.
    """

    layers: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _REGISTRY.update(dict.fromkeys(cls.layers, cls))

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    @property
    def describes_layer(self) -> bool:
        """Whether the view describes this layer with its configuration."""
        return True

    @property
    def kernel(self) -> Any:
        """The variable that is refitted."""
        return self.layer.kernel

    @property
    def bias(self) -> Any:
        """The variable that is added to the outputs, or None.

        It has one entry for each group and output.
        """
        return self.layer.bias if self.layer.use_bias else None

    @property
    def writes_channels_last(self) -> bool:
        """Whether the groups and outputs together are the last axis of the layer's output."""
        return is_channels_last(self.layer)

    def positions(self, shape: Sequence[int]) -> int:
        """Return the number of output positions of one sample.

        Args:
            shape: Sequence of integers. Shape of the layer's input, batch first, channels last.
        """
        raise NotImplementedError

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        """Return the design rows of the outputs at `position[i]` of `inputs[sample[i]]`.

        The shape of the result is (groups, rows, unknowns).
        """
        raise NotImplementedError

    def to_matrix(self, kernel: Array) -> Array:
        """Return the kernel as (groups, unknowns, outputs of a group)."""
        raise NotImplementedError

    def from_matrix(self, matrix: Array) -> Array:
        """Return the kernel from what `to_matrix` returns."""
        raise NotImplementedError

    def bias_to_matrix(self, bias: Array) -> Array:
        """Return the bias as (groups, 1, outputs of a group)."""
        groups = self.to_matrix(np.empty(self.kernel.shape, dtype=bool)).shape[0]
        return bias.reshape(groups, 1, -1)

    def bias_from_matrix(self, matrix: Array) -> Array:
        """Return the bias from what `bias_to_matrix` returns."""
        return matrix.reshape(-1)

    def flat_outputs(self, outputs: Array) -> Array:
        """Return the layer's outputs as (samples, positions, groups × outputs of a group).

        The outputs passed in are channels last.
        """
        return outputs.reshape(outputs.shape[0], -1, outputs.shape[-1])

    def channels_last(self, tensor: Array) -> Array:
        """Return an input or output of the layer with its channels moved to the last axis."""
        if getattr(self.layer, "data_format", None) == "channels_first":
            return np.moveaxis(tensor, 1, -1)
        return tensor


def linear_view(layer: Any) -> LinearView | None:
    """Return the view of a layer, or None.

    Returns None for a layer that is not linear in its kernel, that is adapted or quantized, or that
    no view describes; also for a subclass that changes the computation of its base class, whose
    weights may mean anything.
    """
    cls = keras_class(layer)
    view_class = None if cls is None else _REGISTRY.get(cls.__name__)
    if (
        view_class is None
        or not layer.built
        or getattr(layer, "lora_enabled", False)
        or getattr(layer, "quantization_mode", None)
    ):
        return None
    view = view_class(layer)
    return view if view.describes_layer else None
