"""Finding the sites of a model, convertible or not.

A site that a conversion can't turn into PReLU comes with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import keras

from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.graph.objections import Objections
from keras_prelu.graph.rectifier_ranges import takes_floats
from keras_prelu.graph.rectifier_recognition import recognize, recognize_call
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.graph.written_rectifiers import written_rectifier
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.sites import inspection
from keras_prelu.sites.opened_code import may_call_functions
from keras_prelu.sites.opened_layers import OpenedLayers
from keras_prelu.sites.recurrent import recurrent_site
from keras_prelu.sites.shared_sites import refuse_shared_sites
from keras_prelu.sites.site import LocatedSite, describe_site, unique_name
from keras_prelu.sites.site_list import Sites
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["find_sites", "inspect", "locate_sites", "locate_sites_in_place"]

_CHANNELS_LAST_OUTPUTS = frozenset(
    {
        "Dense",
        "EinsumDense",
        "Flatten",
        "Moveaxis",
        "Permute",
        "Reshape",
        "Swapaxes",
        "Transpose",
    }
)
"""Operations after which no layer upstream tells where the channels are, by class name."""


@models_by_name("model")
def find_sites(model: ModelLike) -> Sites:
    """Return the places where a model applies ReLU, in the order of execution.

    Args:
        model: `keras.Model`. Built; Sequential, Functional or subclassed, with nested models and
            layers of your own. Sites in a nested model that is called several times are listed
            once.

    Returns:
        A list of `Site`, which notebooks show as a table. It includes the sites that `convert`
        can't convert, or converts on request only, with the reason.

    Raises:
        ConversionError: `model` is not a model, or is not built.

    Example:

    >>> [site.path for site in keras_prelu.find_sites(model) if site.convertible]
    """
    return Sites(located.site for located in locate_sites(model))


inspect = find_sites
"""The name that the command has."""


@keeps_state("model")
@on_large_graphs
def locate_sites(model: keras.Model) -> list[LocatedSite]:
    """Return the sites of `find_sites` together with the live operations."""
    if (
        isinstance(model, keras.Model)
        and not functional.is_sequence(model)
        and not is_taken_apart(model)
    ):
        return list(inspection.sites_of_model(model))
    opened = OpenedLayers()
    _call_layers(model, opened, set())
    objections = Objections(opened)
    objections.examine(functional.graph_of_model(model))
    return refuse_shared_sites(model, list(_sites_of_graph(model, "", set(), objections, opened)))


@keeps_state("model")
@on_large_graphs
def locate_sites_in_place(model: keras.Model) -> list[LocatedSite]:
    """Return the sites of a model that are exchanged in the model itself.

    The model is one layer with Python code of its own, which need not be rebuilt from a
    configuration.

    Raises:
        ConversionError: `model` is not built.
    """
    return list(inspection.sites_of_model(model, is_rebuilt=False))


def _call_layers(model: keras.Model, opened: OpenedLayers, seen: set[int]) -> None:
    """Find the rectifiers that the code of layers in the graph of a model calls as functions."""
    seen.add(id(model))
    for call in functional.graph_of_model(model).calls:
        operation = call.operation
        if not isinstance(operation, keras.layers.Layer):
            continue
        if is_taken_apart(operation):
            if id(operation) not in seen:
                _call_layers(operation, opened, seen)
        elif recognize(operation) is None and may_call_functions(operation):
            # What fails is reported where the sites of the layer are listed.
            with contextlib.suppress(Exception):
                opened.call(operation, call.args, call.kwargs)


def _sites_of_graph(
    model: keras.Model, scope: str, seen: set[int], objections: Objections, opened: OpenedLayers
) -> Iterator[LocatedSite]:
    """Yield the sites of a model with a graph.

    Args:
        model: `keras.Model`.
        scope: String. Prefix of the paths: the model's path and "/", or "".
        seen: Set of integers. Ids of the models and layers that were inspected; more are added.
        objections: `Objections`. What was found in the outermost model.
        opened: `OpenedLayers`.
    """
    seen.add(id(model))
    graph = functional.graph_of_model(model)
    data_formats = _data_formats(graph.calls)
    taken = {call.operation.name for call in graph.calls}
    calls_of: dict[int, list[functional.Call]] = {}
    for call in graph.calls:
        calls_of.setdefault(id(call.operation), []).append(call)
    for call in graph.calls:
        operation = call.operation
        rectifier = None if is_taken_apart(operation) else recognize_call(call)
        recurrent = recurrent_site(call, scope)
        if recurrent is not None:
            if call.index == 0:
                yield recurrent
        elif rectifier is not None:
            if takes_floats(call) and (call.index == 0 or not rectifier.shared):
                target = _target_name(call, rectifier, taken)
                objection = objections.reason(call, rectifier)
                yield _located(call, rectifier, data_formats, scope, target, objection)
        elif isinstance(operation, keras.layers.Layer) and id(operation) not in seen:
            seen.add(id(operation))
            inner_scope = f"{scope}{operation.name}/"
            if is_taken_apart(operation):
                yield from _sites_of_graph(operation, inner_scope, seen, objections, opened)
            else:
                calls = calls_of[id(operation)]
                yield from inspection.sites_of_layer(
                    operation, calls, inner_scope, taken, objections, opened
                )


def _located(
    call: functional.Call,
    rectifier: Rectifier,
    data_formats: Mapping[int, str],
    scope: str,
    target: str,
    objection: str,
) -> LocatedSite:
    output = call.outputs[0]
    data_format = data_formats[id(output)]
    axis = 1 if data_format == "channels_first" else -1
    number = f"#{call.index + 1}" if call.index else ""
    site = describe_site(
        rectifier,
        path=f"{scope}{call.operation.name}{number}",
        layer=type(call.operation).__name__,
        channels=output.shape[axis] if len(output.shape) > 1 else None,
        objection=objection,
        target=f"{scope}{target}",
    )
    return LocatedSite(
        site=site,
        operation=call.operation,
        index=call.index,
        data_format=data_format,
        dtype=output.dtype,
        is_written=written_rectifier(call.operation, call.args, call.kwargs) is not None,
    )


def _target_name(call: functional.Call, rectifier: Rectifier, taken: set[str]) -> str:
    """Return the name of the new layer.

    It is the old layer's name if that layer is replaced, and `<name>_prelu` if a layer is inserted.
    """
    name = call.operation.name
    if rectifier.kind == "inline":
        return unique_name(f"{name}_prelu", taken)
    return name if call.index == 0 else unique_name(f"{name}_{call.index + 1}", taken)


def _data_formats(calls: Sequence[functional.Call]) -> dict[int, str]:
    """Return the data format of each symbolic tensor, by the tensor's id.

    It is that of the nearest layer upstream that has a `data_format`.
    """
    formats: dict[int, str] = {}
    for call in calls:
        data_format = _output_format(call, formats)
        formats.update((id(tensor), data_format) for tensor in call.outputs)
    return formats


def _output_format(call: functional.Call, formats: Mapping[int, str]) -> str:
    operation = call.operation
    own_format = getattr(operation, "data_format", None)
    if own_format in ("channels_first", "channels_last"):
        return own_format
    if type(operation).__name__ in _CHANNELS_LAST_OUTPUTS:
        return "channels_last"
    if functional.has_graph(operation):
        view = functional.functional_view(operation)
        inner_formats = _data_formats(list(functional.calls(view)))
        return inner_formats.get(id(view.outputs[0]), "channels_last")
    known = (formats[id(tensor)] for tensor in call.inputs if id(tensor) in formats)
    return next(known, "channels_last")
