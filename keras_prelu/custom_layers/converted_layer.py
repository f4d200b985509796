"""Layers and subclassed models whose inner rectifiers are PReLUs: still of the user's class, and
saved as that class plus the PReLUs.

The Python code of a layer can't be rewritten, but what it calls can be exchanged: a ReLU layer's
`call`, the `activation` of a Dense, an attribute that holds `keras.activations.relu`. `attach` does
that on a copy of the layer, gives the PReLUs to it, and makes it an instance of a subclass whose
configuration holds the user's own and the PReLUs, which are exchanged again when it is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import unlocked
from keras_prelu.custom_layers.held_rectifiers import OWN_LAYERS, find_places
from keras_prelu.errors import ConversionError
from keras_prelu.graph.cloning import rebuild
from keras_prelu.graph.hooks import set_attribute
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = [
    "Applied",
    "ConvertedLayer",
    "attach",
    "exchange_prelus",
    "freeze_like",
    "is_as_written",
    "is_converted",
    "prelus",
    "rebuild_as_written",
]

Tensor = Any
Shape = tuple[int | None, ...]


class Applied:
    """What is called in a rectifier's place: the PReLU for the width of the tensor that comes."""

    stands_in = True

    def __init__(self, address: str, layers: Sequence[PReLU]) -> None:
        self.address = address
        self.layers = tuple(layers)
        self._by_width: dict[Any, Callable[[Tensor], Tensor]] = {
            self.width(layer, _input_shape(layer)): layer for layer in layers
        }

    def __call__(self, inputs: Tensor) -> Tensor:
        layer = self._by_width.get(self.width(self.layers[0], inputs.shape))
        if layer is None:
            raise ConversionError(
                f"'{self.address}' is applied to a tensor of shape {tuple(inputs.shape)}, but its"
                " slopes are for"
                f" {' and '.join(str(_input_shape(layer)) for layer in self.layers)}. Convert the"
                " model again as it is called now."
            )
        return layer(inputs)

    def exchange(self, make: Callable[[PReLU], Callable[[Tensor], Tensor]]) -> None:
        """Call something else for each PReLU from now on, in this process: what is saved stays the
        PReLU."""
        self._by_width = {
            width: make(layer) for width, layer in zip(self._by_width, self.layers, strict=True)
        }

    @staticmethod
    def width(layer: PReLU, shape: Shape) -> tuple[int, int | None]:
        """Rank and number of channels."""
        channels = shape[1 if layer.data_format == "channels_first" else -1]
        return len(shape), (
            None if channels is None else int(channels)
        )  # PyTorch's tracer has tensors for sizes


class ConvertedLayer:
    """What a converted layer has beside what the user's class gives it. See `attach`."""

    converted_from: type
    _applied: list[Applied]
    _undo: dict[str, Callable[[], None]]

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self._exchange()
        outputs = super().call(*args, **kwargs)  # type: ignore[misc]
        if self._exchange():  # that call itself created some of the layers inside
            outputs = super().call(*args, **kwargs)  # type: ignore[misc]
        return outputs

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        super().build_from_config(config)  # type: ignore[misc]
        self._exchange()

    def get_config(self) -> dict[str, Any]:
        with self._as_written():
            layer = keras.saving.serialize_keras_object(self)
        # They are those of the converted layer too, which Keras writes beside this configuration.
        written = {
            key: value
            for key, value in layer.items()
            if key not in ("build_config", "compile_config")
        }
        serialize = keras.saving.serialize_keras_object
        return {
            "layer": written,
            "prelus": {
                applied.address: [serialize(layer) for layer in applied.layers]
                for applied in self._applied
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        deserialize = keras.saving.deserialize_keras_object
        layer = deserialize(config["layer"])
        layer.name = config["layer"]["config"].get(
            "name", layer.name
        )  # some constructors append to the name that they are given
        return attach(
            layer,
            {
                address: [deserialize(item) for item in items]
                for address, items in config["prelus"].items()
            },
        )

    def _exchange(self) -> bool:
        """Put the PReLUs where they belong, as far as the layers there exist yet; whether there was
        something to do."""
        missing = [applied for applied in self._applied if applied.address not in self._undo]
        if not missing:
            return False
        places = {place.address: place for place in find_places(self)}
        for applied in missing:
            if applied.address in places:
                place = places[applied.address]
                self._undo[applied.address] = set_attribute(place.owner, place.attribute, applied)
        return any(applied.address in self._undo for applied in missing)

    @contextmanager
    def _as_written(self) -> Iterator[None]:
        """Be for a moment the layer that the user wrote, so that its own `get_config` finds what it
        put there."""
        converted = type(self)
        for undo in reversed(self._undo.values()):
            undo()
        self._undo.clear()
        object.__setattr__(self, "__class__", converted.converted_from)
        try:
            yield
        finally:
            object.__setattr__(self, "__class__", converted)
            self._exchange()


def attach(layer: Any, prelus: Mapping[str, Sequence[PReLU]]) -> Any:
    """Make a layer apply PReLUs in place of the rectifiers inside it.

    Args:
        layer: A layer or subclassed model, built or not. It is changed.
        prelus: For the address of a rectifier (see `Place`) the built PReLU layers, one for each
            width of tensor that it meets.

    Returns:
        `layer`, now an instance of a subclass of its class and of `ConvertedLayer`.

    Raises:
        ConversionError: The layer is built and has no rectifier at one of the addresses.
    """
    applied = [Applied(address, layers) for address, layers in prelus.items()]
    before = list(layer._applied) if is_converted(layer) else []
    vars(layer)["_applied"] = [*before, *applied]
    vars(layer).setdefault("_undo", {})
    _track(layer, [prelu for item in layer._applied for prelu in item.layers])
    if not is_converted(layer):
        object.__setattr__(layer, "__class__", _converted_class(layer.__class__))
    layer._exchange()
    if layer.built:
        missing = [item.address for item in layer._applied if item.address not in layer._undo]
        if missing:
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__}) has no activation at '{missing[0]}'"
                " any more."
            )
    return layer


def exchange_prelus(
    layer: ConvertedLayer, make: Callable[[PReLU], Callable[[Tensor], Tensor]]
) -> None:
    """Make a converted layer call something else for each of its PReLUs from now on, in this
    process."""
    for applied in layer._applied:
        applied.exchange(make)


def freeze_like(layer: Any, original: Any) -> None:
    """Make the PReLUs of a converted layer as trainable as the layers in its original that they
    stand in for."""
    trainable = {
        place.address: getattr(place.owner, "trainable", True) for place in find_places(original)
    }
    for applied in layer._applied:
        for prelu in applied.layers:
            prelu.trainable = trainable.get(applied.address, prelu.trainable)


def is_as_written(layer: ConvertedLayer, prune: float) -> bool:
    """Whether the PReLUs of a converted layer do what the rectifiers do that they stand in for;
    those of ReLUs but for `prune`."""
    with layer._as_written():
        rectifiers = {place.address: place.rectifier for place in find_places(layer)}

    def alike(prelu: PReLU, rectifier: Rectifier | None) -> bool:
        if (
            rectifier is None
            or rectifier.smooth
            or rectifier.negative_slope is None
            or rectifier.max_value != prelu.max_value
        ):
            return False
        slopes = keras.ops.convert_to_numpy(slopes_in_effect(prelu))
        near = prune if rectifier.negative_slope == 0 else 0.0
        return bool(np.abs(slopes - np.float32(rectifier.negative_slope)).max() <= near)

    return all(
        alike(prelu, rectifiers.get(applied.address))
        for applied in layer._applied
        for prelu in applied.layers
    )


def rebuild_as_written(layer: ConvertedLayer) -> Any:
    """A new layer of the user's class from the configuration of a converted one, without PReLUs."""
    with layer._as_written():
        return rebuild(layer)


def is_converted(layer: Any) -> bool:
    """Whether a layer is one whose inner rectifiers were exchanged."""
    return isinstance(layer, ConvertedLayer)


def prelus(layer: Any) -> list[PReLU]:
    """The PReLUs of a converted layer; none of any other."""
    return (
        [prelu for applied in layer._applied for prelu in applied.layers]
        if is_converted(layer)
        else []
    )


def _track(layer: Any, layers: list[PReLU]) -> None:
    """Make PReLUs sublayers of a layer, under an attribute that saved weights name."""
    with unlocked(layer):
        setattr(layer, OWN_LAYERS, layers)


def _input_shape(layer: PReLU) -> Shape:
    return tuple(layer.get_build_config()["input_shape"])


@functools.cache
def _converted_class(cls: Any) -> type:
    """The subclass of a user's class whose instances are converted. All are registered under one
    name: a file says which by the layer."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return ConvertedLayer.call(self, *args, **kwargs)

    keep_signature = functools.wraps(cls.call)
    namespace = {
        "converted_from": cls,
        "call": keep_signature(call),
        "__module__": __name__,
        "__doc__": cls.__doc__,
    }
    converted = type(cls)(cls.__name__, (ConvertedLayer, cls), namespace)
    return _registered(converted)


def _registered(cls: type) -> type:
    """Under the name of `ConvertedLayer`, which is last, so that it is what the name means when a
    file is read."""
    for item in (cls, ConvertedLayer):
        keras.saving.register_keras_serializable(package="keras_prelu", name="ConvertedLayer")(item)
    return cls


_registered(ConvertedLayer)
