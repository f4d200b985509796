"""Converted layers: layers and subclassed models that apply PReLUs in place of their rectifiers.

The Python code of a layer can't be rewritten, but what it calls can be replaced: the `call` of a
ReLU layer, the `activation` of a Dense, an attribute that holds `keras.activations.relu`, and, in a
followed copy of the code (see `code_calls`), a function that it calls. `attach` replaces each of
these with a `StandIn`, makes the PReLU layers sublayers of the layer, and makes the layer an
instance of a subclass of its class. The configuration of that subclass holds the configuration of
the user's class and of the PReLU layers, and loading it attaches them again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from keras_prelu.backend.keras_internals import unlocked, untrack
from keras_prelu.custom_layers.called_rectifiers import called_target
from keras_prelu.custom_layers.held_rectifiers import OWN_LAYERS, find_held_rectifiers
from keras_prelu.custom_layers.stand_in import StandIn
from keras_prelu.data.declarations import has_call
from keras_prelu.errors import ConversionError
from keras_prelu.graph.hooks import set_target
from keras_prelu.graph.rebuilding import (
    duplicate_instead,
    rebuild_from_config,
    refuse_divided_layers,
)
from keras_prelu.layers import PReLU
from keras_prelu.typing import Tensor

__all__ = [
    "ConvertedLayer",
    "attach",
    "detach",
    "exchange_prelus",
    "freeze_like",
    "is_converted",
    "prelus",
]


class ConvertedLayer:
    """Base class of converted layers, in addition to the user's class. See `attach`.

    Attributes:
        converted_from: Class. The user's class.
    """

    converted_from: type
    _stand_ins: list[StandIn]
    # Maps the address of each stand-in that is in place to the function that removes it.
    _removers: dict[str, Callable[[], None]]

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self._put_in_place()
        outputs = self._call_as_written(*args, **kwargs)
        if self._put_in_place():
            # The first call created layers inside this one, and applied their original rectifiers.
            outputs = self._call_as_written(*args, **kwargs)
        return outputs

    def _call_as_written(self, *args: Any, **kwargs: Any) -> Any:
        """Run the `call` of the user's class; `CodeCalls` replaces this by a followed copy."""
        return super().call(*args, **kwargs)  # type: ignore[misc]

    def build_from_config(self, config: Mapping[str, Any]) -> None:
        super().build_from_config(config)  # type: ignore[misc]
        self._put_in_place()

    def get_config(self) -> dict[str, Any]:
        with self.as_written():
            layer = keras.saving.serialize_keras_object(self)
        # Keras writes these two entries next to the configuration of the converted layer.
        written = {
            key: value
            for key, value in layer.items()
            if key not in ("build_config", "compile_config")
        }
        serialize = keras.saving.serialize_keras_object
        return {
            "layer": written,
            "prelus": {
                stand_in.address: [serialize(layer) for layer in stand_in.layers]
                for stand_in in self._stand_ins
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        deserialize = keras.saving.deserialize_keras_object
        layer = deserialize(config["layer"])
        # Some constructors append to the name that they are given.
        layer.name = config["layer"]["config"].get("name", layer.name)
        return attach(
            layer,
            {
                address: [deserialize(prelu) for prelu in serialized]
                for address, serialized in config["prelus"].items()
            },
        )

    def rebuild_converted(self) -> Any:
        """Return a new layer of the same kind, from the configurations of what it consists of.

        `graph.rebuilding.rebuild` calls it, since the functions that the stand-ins replace are in
        no configuration.
        """
        serialize, deserialize = (
            keras.saving.serialize_keras_object,
            keras.saving.deserialize_keras_object,
        )
        try:
            with self.as_written():
                written = rebuild_from_config(self)
                refuse_divided_layers(self, written, added=len(_layers_of(self._stand_ins)))
        except ConversionError as error:
            return duplicate_instead(self, error)
        return attach(
            written,
            {
                stand_in.address: [deserialize(serialize(layer)) for layer in stand_in.layers]
                for stand_in in self._stand_ins
            },
        )

    @classmethod
    def adopt(cls, layer: Any) -> None:
        """Make a copy of a converted layer, which was made while that was `as_written`, one too."""
        object.__setattr__(layer, "__class__", cls)
        layer._put_in_place()

    def _put_in_place(self) -> bool:
        """Put the stand-ins into the attributes of layers that exist by now.

        Returns:
            Whether any stand-in was put in place.
        """
        waiting = [item for item in self._stand_ins if item.address not in self._removers]
        if not waiting:
            return False
        targets = {held.address: held.target for held in find_held_rectifiers(self)}
        for stand_in in waiting:
            address = stand_in.address
            target = targets.get(address) or called_target(self, address)
            if target is not None:
                self._removers[stand_in.address] = set_target(target, stand_in)
        return any(stand_in.address in self._removers for stand_in in waiting)

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """Restore the layer that the user wrote as long as the context lasts.

        The `get_config` of its class then finds what the class assigned to the attributes.
        """
        converted_class = type(self)
        for remove in reversed(self._removers.values()):
            remove()
        self._removers.clear()
        object.__setattr__(self, "__class__", converted_class.converted_from)
        try:
            yield
        finally:
            object.__setattr__(self, "__class__", converted_class)
            self._put_in_place()


def attach(layer: Any, prelus: Mapping[str, Sequence[PReLU]]) -> Any:
    """Make a layer apply PReLU layers in place of the rectifiers inside it.

    Args:
        layer: Layer or subclassed model, built or not. It is modified in place.
        prelus: Mapping from the address of a rectifier (see `HeldRectifier`) to the built PReLU
            layers, one for each rank and number of channels that it meets.

    Returns:
        `layer`, now an instance of a subclass of its class and of `ConvertedLayer`.

    Raises:
        ConversionError: The layer is built and has no rectifier at one of the addresses.
    """
    before = list(layer._stand_ins) if is_converted(layer) else []
    stand_ins = [
        *before,
        *(StandIn(address, layers) for address, layers in prelus.items()),
    ]
    # Stored in the instance dictionary because Keras would track an assigned attribute.
    vars(layer)["_stand_ins"] = stand_ins
    vars(layer).setdefault("_removers", {})
    if not is_converted(layer):
        object.__setattr__(layer, "__class__", _converted_class(layer.__class__))
    try:
        _track(layer, _layers_of(stand_ins))
        layer._put_in_place()
        missing = [item.address for item in stand_ins if item.address not in layer._removers]
        if missing and (layer.built or not has_call(layer)):
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__}) has no activation at '{missing[0]}'"
                " any more."
            )
    except BaseException:
        detach(layer, before)
        raise
    return layer


def detach(layer: Any, kept: Sequence[StandIn] = ()) -> Any:
    """Make a converted layer apply its rectifiers again in place of its PReLU layers.

    Args:
        layer: `ConvertedLayer`. It is modified in place.
        kept: Sequence of `StandIn`. Those that stay. Defaults to none: the layer is an instance of
            the user's class then.

    Returns:
        `layer`.
    """
    addresses = {stand_in.address for stand_in in kept}
    for address in [each for each in reversed(layer._removers) if each not in addresses]:
        layer._removers.pop(address)()
    removed = [each for each in layer._stand_ins if each.address not in addresses]
    if kept:
        vars(layer)["_stand_ins"] = list(kept)
        _track(layer, _layers_of(kept))
    else:
        with unlocked(layer):
            delattr(layer, OWN_LAYERS)
        for name in ("_stand_ins", "_removers"):
            del vars(layer)[name]
        object.__setattr__(layer, "__class__", layer.converted_from)
    untrack(layer, _layers_of(removed))
    return layer


def exchange_prelus(
    layer: ConvertedLayer, make: Callable[[PReLU], Callable[[Tensor], Tensor]]
) -> None:
    """Replace what a converted layer calls for each of its PReLU layers, in this process.

    Args:
        layer: `ConvertedLayer`. It is modified in place.
        make: Callable. Takes a `PReLU` layer and returns the callable that replaces it.
    """
    for stand_in in layer._stand_ins:
        stand_in.exchange(make)


def freeze_like(layer: Any, original: Any) -> None:
    """Set `trainable` of a converted layer's PReLU layers as in the layers that they replace."""
    trainable = {
        held.address: getattr(held.owner, "trainable", True)
        for held in find_held_rectifiers(original)
    }
    own = {each.address for each in original._stand_ins} if is_converted(original) else set()
    for stand_in in layer._stand_ins:
        address = stand_in.address
        target = None if address in own else called_target(original, address)
        if target is not None:
            trainable[address] = target.owner.trainable
        for prelu in stand_in.layers:
            prelu.trainable = trainable.get(address, prelu.trainable)


def is_converted(layer: Any) -> bool:
    """Return whether a layer is a converted layer."""
    return isinstance(layer, ConvertedLayer)


def prelus(layer: Any) -> list[PReLU]:
    """Return the PReLU layers of a converted layer, or an empty list for any other layer."""
    if not is_converted(layer):
        return []
    return _layers_of(layer._stand_ins)


def _layers_of(stand_ins: Sequence[StandIn]) -> list[PReLU]:
    return [prelu for stand_in in stand_ins for prelu in stand_in.layers]


def _track(layer: Any, prelus: list[PReLU]) -> None:
    """Make PReLU layers sublayers of a layer, under an attribute whose name saved weights use."""
    with unlocked(layer):
        setattr(layer, OWN_LAYERS, prelus)


@functools.cache
def _converted_class(cls: Any) -> type:
    """Return the subclass of a user's class whose instances are converted layers.

    All of these subclasses are registered under one name; the configuration in a file names the
    user's class.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return ConvertedLayer.call(self, *args, **kwargs)

    namespace = {
        "converted_from": cls,
        "call": functools.wraps(cls.call)(call),  # Keras reads the signature.
        "__module__": __name__,
        "__doc__": cls.__doc__,
    }
    converted_class = type(cls)(cls.__name__, (ConvertedLayer, cls), namespace)
    return _registered(converted_class)


def _registered(cls: type) -> type:
    """Register a class under the name of `ConvertedLayer`.

    `ConvertedLayer` itself is registered last, so that the name refers to it when a file is read.
    """
    for registered in (cls, ConvertedLayer):
        keras.saving.register_keras_serializable(package="keras_prelu", name="ConvertedLayer")(
            registered
        )
    return cls


_registered(ConvertedLayer)
