"""Callables that stand in for rectifiers inside Python code, and apply PReLU layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_prelu.errors import ConversionError
from keras_prelu.layers import PReLU
from keras_prelu.typing import Shape, Tensor

__all__ = ["StandIn"]

_Width = tuple[int, int | None]
"""Rank and number of channels of a tensor."""


class StandIn:
    """Callable that replaces a rectifier and applies the PReLU layer that fits its input.

    The PReLU layer is selected by the rank and the number of channels of the input tensor.

    Args:
        address: String. Address of the rectifier, see `HeldRectifier`.
        layers: Sequence of built `PReLU` layers, one for each rank and number of channels.
    """

    stands_in = True

    def __init__(self, address: str, layers: Sequence[PReLU]) -> None:
        self.address = address
        self.layers = tuple(layers)
        self._by_width: dict[_Width, Callable[[Tensor], Tensor]] = {
            _width(layer, _input_shape(layer)): layer for layer in layers
        }

    def __call__(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        function = self._by_width.get(_width(self.layers[0], inputs.shape))
        if function is None:
            raise ConversionError(
                f"'{self.address}' is applied to a tensor of shape {tuple(inputs.shape)}, but its"
                " slopes are for"
                f" {' and '.join(str(_input_shape(layer)) for layer in self.layers)}. Convert the"
                " model again as it is called now."
            )
        return function(inputs)

    def exchange(self, make: Callable[[PReLU], Callable[[Tensor], Tensor]]) -> None:
        """Replace what is called for each PReLU layer from now on, in this process.

        The PReLU layer is still what is saved.

        Args:
            make: Callable. Takes a `PReLU` layer and returns the callable that replaces it.
        """
        self._by_width = {
            width: make(layer) for width, layer in zip(self._by_width, self.layers, strict=True)
        }


def _width(layer: PReLU, shape: Shape) -> _Width:
    channels = shape[1 if layer.data_format == "channels_first" else -1]
    # While PyTorch traces a model, sizes are tensors.
    return len(shape), None if channels is None else int(channels)


def _input_shape(layer: PReLU) -> Shape:
    return tuple(layer.get_build_config()["input_shape"])
