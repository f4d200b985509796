"""Sites of the functions that a layer's Python code calls, and that no attribute holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras

from keras_prelu.custom_layers.held_rectifiers import HeldRectifier
from keras_prelu.custom_layers.source_scan import (
    named_relu_functions,
    relu_functions_in_source,
)
from keras_prelu.custom_layers.unreached_calls import unreached_rectifiers
from keras_prelu.graph.layer_code import AppliedFunction
from keras_prelu.graph.rectifier_ranges import takes_floats
from keras_prelu.graph.rectifier_recognition import recognize_call
from keras_prelu.graph.rectifiers import Rectifier, named
from keras_prelu.graph.written_rectifiers import written_rectifier
from keras_prelu.sites.opened_code import Code, layers_with_code
from keras_prelu.sites.opened_layers import OpenedLayers
from keras_prelu.sites.site import Site, describe_site

__all__ = ["sites_in_code"]

_NOT_FOLLOWED = (
    "Python code that can't be followed calls it as a function: give the layer a"
    " keras.layers.ReLU() for it"
)
_IN_PARTS = "Python code computes it in several expressions: call keras.ops.relu for it"


def sites_in_code(
    layer: Any, code: Code, held: Sequence[HeldRectifier], opened: OpenedLayers
) -> Iterator[Site]:
    """Yield the functions that a layer's code calls, none of which can be converted.

    They are found in the graphs that the code creates and, for layers whose code creates none, in
    its source.

    Args:
        layer: Layer with Python code of its own.
        code: `Code` of the layer.
        held: Sequence of `HeldRectifier`. The rectifiers that the layer holds.
        opened: `OpenedLayers`.
    """
    counts = Counter(
        _function_name(each.rectifier) for each in held if each.source and "/" not in each.path
    )
    found = [
        *((each.rectifier, each.reason) for each in _in_graphs(code, held)),
        *((rectifier, _NOT_FOLLOWED) for rectifier in _in_sources(code, opened)),
    ]
    for rectifier, reason in found:
        yield describe_site(
            Rectifier("code", rectifier.negative_slope, rectifier.max_value),
            path=_next_path(_function_name(rectifier), counts),
            layer=type(layer).__name__,
            channels=None,
            reason=reason,
        )
    for inner in layers_with_code(layer):
        for each in unreached_rectifiers(inner) if opened.is_followed(inner) else ():
            yield describe_site(
                Rectifier("code"),
                path=_next_path(each.function, counts),
                layer=type(inner).__name__,
                channels=None,
                reason=each.reason,
                source=each.source,
            )


class _Found(NamedTuple):
    """A rectifier in a graph, and why it can't be converted."""

    rectifier: Rectifier
    reason: str


def _in_graphs(code: Code, held: Sequence[HeldRectifier]) -> list[_Found]:
    """Return the rectifiers among the ops of the graphs, without those that attributes hold."""
    owners = {id(each.owner) for each in held}
    calls = [
        call
        for graph in code.graphs
        for call in graph.calls
        if not isinstance(call.operation, (keras.layers.Layer, AppliedFunction))
        and id(call.operation) not in owners
        and takes_floats(call)
    ]
    found = []
    for call in calls:
        rectifier = recognize_call(call)
        if rectifier is not None and not rectifier.smooth:
            written = written_rectifier(call.operation, call.args, call.kwargs)
            found.append(_Found(rectifier, _NOT_FOLLOWED if written is None else _IN_PARTS))
    return found


def _in_sources(code: Code, opened: OpenedLayers) -> list[Rectifier]:
    """Return the rectifiers that the source of layers without a graph names."""
    found = [
        named(function, "op")
        for layer in code.without_graph
        if not opened.is_followed(layer)
        for function in (*relu_functions_in_source(layer.__class__), *named_relu_functions(layer))
    ]
    return [each for each in found if each is not None and not each.smooth]


def _next_path(function: str, counts: Counter[str]) -> str:
    """Return the path of the next site of a function, such as "relu()#2", and count it."""
    counts[function] += 1
    return f"{function}()" if counts[function] == 1 else f"{function}()#{counts[function]}"


def _function_name(rectifier: Rectifier) -> str:
    if rectifier.negative_slope:
        return "leaky_relu"
    return "relu" if rectifier.max_value is None else "relu6"
