"""Where a model applies a ReLU: the sites that a conversion can turn into PReLU, and those it
can't, with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.custom_layers import inspection
from keras_prelu.custom_layers.converted_layer import is_converted, prelus
from keras_prelu.custom_layers.held_rectifiers import Place
from keras_prelu.graph import functional
from keras_prelu.graph.detection import recognize_call
from keras_prelu.graph.gates import Gates
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["LocatedSite", "Site", "find_sites", "locate_sites", "unique_name"]


@dataclass(frozen=True)
class Site:
    """A place where a model applies a rectifier.

    Attributes:
        path: Where it is: the names of the enclosing models and of the layer, joined by "/"; inside
            a layer with Python code of its own, the attributes that lead to it. `#2`, `#3`, … for
            the later calls of a layer object that is called at several places, or, inside such a
            layer, for the other widths of tensor that it meets.
        layer: Class name of the layer, such as "ReLU" or "Conv2D".
        kind: "relu" (a ReLU layer), "activation" (an Activation layer), "inline"
            (`activation="relu"` of another layer), "op" (`keras.ops.relu` in a functional graph),
            "function" (an attribute of a custom layer that holds `keras.activations.relu`), "code"
            (a function that a custom layer calls in its Python code), "leaky_relu", "prelu" or
            "elu" (layers of that name).
        channels: Number of channels, or None where it is not known.
        convertible: Whether `keras_prelu.convert` can convert it.
        reason: Why not, or why on request only; empty where it simply can.
        negative_slope: The slope it has today; None for the learned slopes of a PReLU.
        max_value: The cap on its output (6 for ReLU6), or None.
        target: Path of the PReLU layer that replaces it.
        on_request: Whether it is converted only where `include` matches it: smooth relatives of
            ReLU such as ELU and GELU.
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
    on_request: bool = False


@dataclass(frozen=True)
class LocatedSite:
    """A site with what surgery needs to replace it.

    Attributes:
        site: The site.
        operation: The live layer or op that is called in the graph; the layer with Python code that
            holds the site, if one does.
        index: How often the operation was called before.
        data_format: Where its channels are.
        dtype: Of its output.
        place: Where the layer with Python code holds it; None for a site of a graph.
        shapes: The shapes of the tensors it is applied to, batch first; for a site inside such a
            layer.
    """

    site: Site
    operation: keras.Operation
    index: int
    data_format: str
    dtype: str
    place: Place | None = None
    shapes: tuple[tuple[int | None, ...], ...] = ()

    @property
    def owner(self) -> Any:
        """The layer, op or object that applies the rectifier."""
        return self.operation if self.place is None else self.place.owner


def find_sites(model: keras.Model) -> list[Site]:
    """The places where a model applies ReLU, in the order they are executed.

    Args:
        model: A built model: Sequential, Functional or subclassed, with nested models and layers of
            your own. Sites in a nested model that is called several times are listed once.

    Returns:
        A list of `Site`. Those that `convert` can't convert, or converts on request only, are in
        it, with the reason.

    Raises:
        ConversionError: `model` is no model, or is not built.

    Example:

    >>> [site.path for site in keras_prelu.find_sites(model) if site.convertible]
    """
    return [located.site for located in locate_sites(model)]


@on_large_graphs
def locate_sites(model: keras.Model) -> list[LocatedSite]:
    """`find_sites` with the live operations."""
    if (
        isinstance(model, keras.Model)
        and not isinstance(model, keras.Sequential)
        and not is_taken_apart(model)
    ):
        return list(_inside(inspection.of_model(model), model, "", "channels_last", set()))
    return list(_walk(model, scope="", seen=set()))


def _walk(model: keras.Model, scope: str, seen: set[int]) -> Iterator[LocatedSite]:
    seen.add(id(model))
    view = functional.of_model(model)
    model_calls = view.calls
    formats = _data_formats(model_calls)
    gates = Gates(view)
    taken = {call.operation.name for call in model_calls}
    uses: dict[int, list[functional.Call]] = {}
    for call in model_calls:
        uses.setdefault(id(call.operation), []).append(call)
    for call in model_calls:
        operation = call.operation
        if is_taken_apart(operation):
            if id(operation) not in seen:
                yield from _walk(operation, f"{scope}{operation.name}/", seen)
            continue
        rectifier = recognize_call(call)
        data_format = formats[id(call.outputs[0])] if call.outputs else "channels_last"
        if rectifier is None:
            if id(operation) not in seen and isinstance(operation, keras.layers.Layer):
                seen.add(id(operation))
                yield from _inside(
                    inspection.of_layer(operation, uses[id(operation)]),
                    operation,
                    f"{scope}{operation.name}/",
                    data_format,
                    taken,
                )
            continue
        if rectifier.shared and call.index > 0:
            continue
        target = _target_name(operation.name, call.index, rectifier, taken)
        yield _located(rectifier, call, scope, target, data_format, gates.reason(call, rectifier))


def _located(
    rectifier: Rectifier,
    call: functional.Call,
    scope: str,
    target: str,
    data_format: str,
    gate: str,
) -> LocatedSite:
    shape = call.outputs[0].shape
    channels = shape[1 if data_format == "channels_first" else -1] if len(shape) > 1 else None
    suffix = f"#{call.index + 1}" if call.index else ""
    path, layer = f"{scope}{call.operation.name}{suffix}", type(call.operation).__name__
    site = _site(rectifier, path, layer, channels, gate, f"{scope}{target}")
    return LocatedSite(site, call.operation, call.index, data_format, call.outputs[0].dtype)


def _inside(
    found: Iterator[inspection.Found],
    holder: keras.layers.Layer,
    scope: str,
    data_format: str,
    taken: set[str],
) -> Iterator[LocatedSite]:
    """The sites inside a layer with Python code of its own."""
    for item in found:
        name = unique_name(_as_name(item.path), taken)
        site = _site(
            item.rectifier,
            f"{scope}{item.path}",
            item.layer,
            item.channels,
            item.reason,
            f"{scope}{name}",
        )
        yield LocatedSite(
            site, holder, 0, item.data_format or data_format, item.dtype, item.place, item.shapes
        )
    if is_converted(holder):
        for layer in prelus(holder):
            path, channels = f"{scope}{layer.name}", layer.beta.shape[-1]
            reason = "it is a keras_prelu.PReLU already"
            site = Site(
                path, "PReLU", "prelu", channels, False, reason, None, layer.max_value, path
            )
            yield LocatedSite(site, holder, 0, layer.data_format, layer.compute_dtype)


def _site(
    rectifier: Rectifier, path: str, layer: str, channels: int | None, reason: str, target: str
) -> Site:
    why_not = (
        rectifier.reason
        or reason
        or (
            ""
            if channels is not None
            else "its number of channels is not known when the model is built"
        )
    )
    on_request = bool(rectifier.smooth) and not why_not
    reason = (
        f"{rectifier.smooth} is smooth: converted on request only (include)"
        if on_request
        else why_not
    )
    return Site(
        path,
        layer,
        rectifier.kind,
        channels,
        not why_not,
        reason,
        rectifier.negative_slope,
        rectifier.max_value,
        target,
        on_request,
    )


def _as_name(path: str) -> str:
    """The name of a new layer for a site inside a layer: Keras allows no slash in one."""
    words = "".join(character if character.isalnum() else "_" for character in path).strip("_")
    return f"{words}_prelu"


def unique_name(wanted: str, taken: set[str]) -> str:
    """A name that no layer has, from the wanted one; it is added to those taken."""
    unique, suffix = wanted, 1
    while unique in taken:
        suffix += 1
        unique = f"{wanted}_{suffix}"
    taken.add(unique)
    return unique


def _target_name(name: str, index: int, rectifier: Rectifier, taken: set[str]) -> str:
    """The name of the new layer: the old one's for a layer that is replaced, `<name>_prelu` for one
    that is inserted."""
    if rectifier.kind != "inline" and index == 0:
        return name
    wanted = f"{name}_prelu" if rectifier.kind == "inline" else f"{name}_{index + 1}"
    return unique_name(wanted, taken)


def _data_formats(model_calls: Sequence[functional.Call]) -> dict[int, str]:
    """Where each symbolic tensor has its channels, by the tensor's id: what the nearest layer
    upstream that has a `data_format` says."""
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
        elif functional.has_graph(call.operation):
            within = _data_formats(list(functional.calls(call.operation)))
            result = within.get(
                id(functional.functional_view(call.operation).outputs[0]), "channels_last"
            )
        else:
            result = next(
                (formats[id(tensor)] for tensor in call.inputs if id(tensor) in formats),
                "channels_last",
            )
        formats.update((id(tensor), result) for tensor in call.outputs)
    return formats
