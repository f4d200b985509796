"""Where a model applies a ReLU: the sites that a conversion can turn into PReLU, and those it can't, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.surgery import graph
from keras_prelu.surgery.rectifiers import Rectifier, classify, may_rectify

__all__ = ["LocatedSite", "Site", "find_sites", "locate_sites"]


@dataclass(frozen=True)
class Site:
    """A place where a model applies a rectifier.

    Attributes:
        path: Where it is: the names of the enclosing models and of the layer, joined by "/"; `#2`, `#3`, … for the later calls of a
            layer object that is called at several places.
        layer: Class name of the layer, such as "ReLU" or "Conv2D".
        kind: "relu" (a ReLU layer), "activation" (an Activation layer), "inline" (`activation="relu"` of another layer), "op"
            (`keras.ops.relu` in a functional graph), "leaky_relu" or "prelu" (layers of that name).
        channels: Number of channels, or None where it is not known.
        convertible: Whether `keras_prelu.convert` can convert it.
        reason: Why not; empty where it can.
        negative_slope: The slope it has today; None for the learned slopes of a PReLU.
        max_value: The cap on its output (6 for ReLU6), or None.
        target: Path of the PReLU layer that replaces it.
    """

    path: str
    layer: str
    kind: str
    channels: int | None
    convertible: bool
    reason: str
    negative_slope: float | None
    max_value: float | None
    target: str


@dataclass(frozen=True)
class LocatedSite:
    """A site with what surgery needs to replace it: the live operation, which of its calls, where its channels are, its dtype."""

    site: Site
    operation: keras.Operation
    index: int
    data_format: str
    dtype: str


def find_sites(model: keras.Model) -> list[Site]:
    """The places where a model applies ReLU, in the order they are executed.

    Args:
        model: A built Sequential or Functional model, nested models included. Sites in a nested model that is called several times
            are listed once.

    Returns:
        A list of `Site`. Those that `convert` can't convert are in it, with the reason.

    Raises:
        ConversionError: `model` is a subclassed model or is not built.

    Example:

    >>> [site.path for site in keras_prelu.find_sites(model) if site.convertible]
    """
    return [located.site for located in locate_sites(model)]


def locate_sites(model: keras.Model) -> list[LocatedSite]:
    """`find_sites` with the live operations."""
    return list(_walk(model, scope="", seen=set()))


def _walk(model: keras.Model, scope: str, seen: set[int]) -> Iterator[LocatedSite]:
    seen.add(id(model))
    model_calls = list(graph.calls(model))
    formats = _data_formats(model_calls)
    taken = {call.operation.name for call in model_calls}
    for call in model_calls:
        operation = call.operation
        if graph.has_graph(operation):
            if id(operation) not in seen:
                yield from _walk(operation, f"{scope}{operation.name}/", seen)
            continue
        rectifier = _rectifier(operation)
        if rectifier is None:
            yield from _inner_sites(operation, scope, seen)
            continue
        if rectifier.shared and call.index > 0:
            continue
        data_format = formats[id(call.outputs[0])]
        target = _target_name(operation.name, call.index, rectifier, taken)
        yield _located(rectifier, call, scope, target, data_format)


def _located(rectifier: Rectifier, call: graph.Call, scope: str, target: str, data_format: str) -> LocatedSite:
    shape = call.outputs[0].shape
    channels = shape[1 if data_format == "channels_first" else -1] if len(shape) > 1 else None
    reason = rectifier.reason or ("" if channels is not None else "its number of channels is not known when the model is built")
    suffix = f"#{call.index + 1}" if call.index else ""
    site = Site(
        path=f"{scope}{call.operation.name}{suffix}",
        layer=type(call.operation).__name__,
        kind=rectifier.kind,
        channels=channels,
        convertible=not reason,
        reason=reason,
        negative_slope=rectifier.negative_slope,
        max_value=rectifier.max_value,
        target=f"{scope}{target}",
    )
    return LocatedSite(site, call.operation, call.index, data_format, call.outputs[0].dtype)


def _inner_sites(operation: Any, scope: str, seen: set[int]) -> Iterator[LocatedSite]:
    """Rectifiers inside a layer that is no functional model: listed, so that nobody believes they were converted."""
    if id(operation) in seen:
        return
    seen.add(id(operation))
    for layer in graph.sublayers(operation):
        rectifier = _rectifier(layer)
        if rectifier is None:
            continue
        path = f"{scope}{operation.name}/{layer.name}"
        reason = f"it is inside the layer '{operation.name}' ({type(operation).__name__}), which is not a functional model"
        site = Site(
            path, type(layer).__name__, rectifier.kind, None, False, reason, rectifier.negative_slope, rectifier.max_value, target=path
        )
        yield LocatedSite(site, operation, 0, "channels_last", keras.config.floatx())


def _target_name(name: str, index: int, rectifier: Rectifier, taken: set[str]) -> str:
    """The name of the new layer: the old one's for a layer that is replaced, `<name>_prelu` for one that is inserted."""
    if rectifier.kind != "inline" and index == 0:
        return name
    wanted = f"{name}_prelu" if rectifier.kind == "inline" else f"{name}_{index + 1}"
    unique, suffix = wanted, 1
    while unique in taken:
        suffix += 1
        unique = f"{wanted}_{suffix}"
    taken.add(unique)
    return unique


def _rectifier(operation: Any) -> Rectifier | None:
    """The rectifier that an operation applies, if its class is Keras's or ours: a user's subclass of ReLU may compute anything."""
    if type(operation).__module__.split(".")[0] not in ("keras", "keras_prelu"):
        return None
    class_name = type(operation).__name__
    if isinstance(operation, keras.layers.Layer):
        return classify(class_name, operation.get_config()) if may_rectify(class_name) else None
    # The configuration that Keras keeps for the op nodes of a graph lacks what they were created with; their attributes don't.
    rectifier = classify(class_name, vars(operation))
    return rectifier and replace(rectifier, kind="op")


def _data_formats(model_calls: list[graph.Call]) -> dict[int, str]:
    """Where each symbolic tensor has its channels, by the tensor's id: what the nearest layer upstream that has a `data_format` says."""
    formats: dict[int, str] = {}
    for call in model_calls:
        own = getattr(call.operation, "data_format", None)
        if own in ("channels_first", "channels_last"):
            result = own
        elif type(call.operation).__name__ in (
            "Permute",
            "Transpose",
            "Reshape",
            "Flatten",
            "Dense",
            "EinsumDense",
            "Moveaxis",
            "Swapaxes",
        ):
            result = "channels_last"
        elif graph.has_graph(call.operation):
            inner = _data_formats(list(graph.calls(call.operation)))
            result = inner.get(id(graph.functional_view(call.operation).outputs[0]), "channels_last")
        else:
            result = next((formats[id(tensor)] for tensor in call.inputs if id(tensor) in formats), "channels_last")
        formats.update((id(tensor), result) for tensor in call.outputs)
    return formats
