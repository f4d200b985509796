"""Rectifiers inside layers with Python code of their own, and inside subclassed models: which there
are, and what reaches them."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.held_rectifiers import Place, find_places
from keras_prelu.custom_layers.tracing import Observation, observe
from keras_prelu.errors import ConversionError, reason_of
from keras_prelu.graph import functional
from keras_prelu.graph.cloning import rebuild
from keras_prelu.graph.detection import recognize, recognize_call
from keras_prelu.graph.gates import Gates
from keras_prelu.graph.hooks import attributes_set
from keras_prelu.graph.rectifiers import Rectifier, named

__all__ = ["Found", "of_layer", "of_model"]

Shape = tuple[int | None, ...]

_MOST_GUESSES = 32


@dataclass(frozen=True)
class Found:
    """A rectifier inside a layer; several where it meets tensors of several widths.

    Attributes:
        path: How to get there from the layer.
        layer: Class name of what applies it.
        rectifier: What is applied.
        channels: Number of channels, or None.
        reason: Why it can't be converted, or "".
        dtype: Of the tensor it is applied to.
        data_format: Where that has its channels.
        place: Where it is held; None for a function that the Python code calls.
        shapes: The shapes of the tensors it is applied to.
    """

    path: str
    layer: str
    rectifier: Rectifier
    channels: int | None
    reason: str
    dtype: str
    data_format: str
    place: Place | None
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class _Use:
    """What a layer is called with."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def of_layer(layer: keras.layers.Layer, calls: Sequence[functional.Call]) -> Iterator[Found]:
    """The rectifiers inside a layer that a graph calls."""
    return _find(layer, [[_Use(call.args, call.kwargs)] for call in calls])


def of_model(model: keras.Model) -> Iterator[Found]:
    """The rectifiers of a model that is kept whole, called with what it was built with.

    Raises:
        ConversionError: It is not built.
    """
    if not model.built:
        raise ConversionError(
            f"Model '{model.name}' ({type(model).__name__}) has no weights yet. Call it once on"
            " data."
        )
    if functional.has_graph(model):
        return _find(model, [[_Use((functional.detached(model.input),), {})]])
    alternatives = list(_arguments_at_build(model))
    return _find(model, [alternatives] if alternatives else [])


def _find(layer: Any, uses: Sequence[Sequence[_Use]]) -> Iterator[Found]:
    """Each use is a list of alternatives, of which the first that works counts."""
    places = find_places(layer)
    if not places and not _relus_in_code(layer.__class__):
        return
    works, observed, failure = _observe(layer, uses, places)
    graphs = [view for use in works[:1] for view in _opened(layer, use, places)]
    data_format = next(
        (item.data_format for item in sublayers(layer) if hasattr(item, "data_format")),
        "channels_last",
    )
    rebuilt = _why_not_rebuilt(layer) if observed else ""
    gates = _gates(graphs, places)
    for address in dict.fromkeys(item.place.address for item in observed):
        items = [item for item in observed if item.place.address == address]
        yield from _by_width(items, data_format, rebuilt or gates.get(address, ""))
    for place in places:
        if not any(item.place.address == place.address for item in observed) and (
            failure or place.rectifier.kind != "function"
        ):
            reason = failure or "it is not applied when the layer is called"
            yield Found(
                place.path, place.layer, place.rectifier, None, reason, "", data_format, place, ()
            )
    yield from _in_code(layer, graphs)


def _observe(
    layer: Any, uses: Sequence[Sequence[_Use]], places: Sequence[Place]
) -> tuple[list[_Use], list[Observation], str]:
    """The uses that work on symbolic tensors, what was observed, and what went wrong."""
    works, observed, failure = (
        [],
        [],
        "" if uses else "it is not known what the layer is called with: call it once on data",
    )
    for alternatives in uses:
        problem = ""
        for use in alternatives:
            seen, wrong = _observe_use(layer, use, places)
            observed += seen
            if seen or not wrong:
                works.append(use)
                problem = wrong
                break
            problem = problem or wrong
        failure = failure or problem
    return works, observed, failure


def _observe_use(layer: Any, use: _Use, places: Sequence[Place]) -> tuple[list[Observation], str]:
    """What was observed, and what went wrong. A graph is not run: the shapes are in it, and one
    layer that fails spoils no other."""
    if not functional.has_graph(layer):
        try:
            return observe(layer, use.args, use.kwargs, places), ""
        except Exception as error:  # whatever the user's code raises
            return (
                [],
                (
                    f"layer '{layer.name}' ({type(layer).__name__}) can't be called on symbolic"
                    f" tensors: {reason_of(error)}"
                ),
            )
    observed: list[Observation] = []
    failure = ""
    applied = {id(place.owner): place for place in places if place.rectifier.kind != "function"}
    for call in functional.calls(layer):
        if id(call.operation) in applied:
            observed.append(Observation.of(applied[id(call.operation)], call))
        elif find_places(call.operation):
            seen, problem = _observe_use(call.operation, _Use(call.args, call.kwargs), places)
            observed += seen
            failure = failure or problem
    return observed, failure


def _by_width(observed: Sequence[Observation], data_format: str, reason: str) -> Iterator[Found]:
    """One finding for each rank and number of channels."""
    place, axis = observed[0].place, 1 if data_format == "channels_first" else -1
    widths: dict[tuple[int, int | None], list[Observation]] = {}
    for item in observed:
        widths.setdefault(
            (len(item.shape), item.shape[axis] if len(item.shape) > 1 else None), []
        ).append(item)
    for number, ((_, channels), items) in enumerate(widths.items(), start=1):
        extra = (
            "it is called with arguments of its own"
            if any(item.arguments for item in items)
            else ""
        )
        yield Found(
            path=f"{place.path}#{number}" if number > 1 else place.path,
            layer=place.layer,
            rectifier=place.rectifier,
            channels=channels,
            reason=extra or reason,
            dtype=items[0].dtype,
            data_format=data_format,
            place=place,
            shapes=tuple(dict.fromkeys(item.shape for item in items)),
        )


def _why_not_rebuilt(layer: Any) -> str:
    try:
        rebuild(layer)
    except ConversionError as error:
        return str(error).rstrip(".")
    return ""


def _arguments_at_build(model: keras.Model) -> Iterator[_Use]:
    """What a model was built with, as far as Keras keeps it: the shapes. Dtypes are guessed,
    numbers before integers."""
    config = model.get_build_config() or {}
    shapes = config.get("input_shape") or config.get("shapes_dict")
    if not shapes:
        return
    count = len(keras.tree.flatten(_tensors(shapes, itertools.repeat("float32"))))
    for dtypes in itertools.islice(
        itertools.product((keras.config.floatx(), "int32"), repeat=count), _MOST_GUESSES
    ):
        tensors = _tensors(shapes, iter(dtypes))
        if config.get("input_shape"):
            yield _Use((tensors,), {})
        else:
            yield _Use((), {key.removesuffix("_shape"): tensor for key, tensor in tensors.items()})


def _tensors(shapes: Any, dtypes: Iterator[str]) -> Any:
    """Symbolic tensors in the structure of shapes, as Keras writes it: a shape is a sequence of
    sizes."""
    if isinstance(shapes, Mapping):
        return {key: _tensors(shape, dtypes) for key, shape in shapes.items()}
    if any(isinstance(item, (Sequence, Mapping)) for item in shapes):
        return [_tensors(shape, dtypes) for shape in shapes]
    return keras.KerasTensor(tuple(shapes), dtype=next(dtypes))


def _opened(layer: Any, use: _Use, places: Sequence[Place]) -> Iterator[functional.Graph]:
    """The graphs of what a layer's code does, and of the layers inside; functions that it holds as
    attributes left out."""
    functions = [place.target for place in places if place.rectifier.kind == "function"]
    with attributes_set(functions, _identity):
        yield from list(_open(layer, use))


def _open(layer: Any, use: _Use) -> Iterator[functional.Graph]:
    view = (
        functional.of_model(layer)
        if functional.has_graph(layer)
        else functional.opened(layer, use.args, use.kwargs)
    )
    if view is None:
        return
    yield view
    for call in view.calls:
        if (
            isinstance(call.operation, keras.layers.Layer)
            and recognize(call.operation) is None
            and _holds_any(call.operation)
        ):
            yield from _open(call.operation, _Use(call.args, call.kwargs))


def _holds_any(layer: Any) -> bool:
    return bool(find_places(layer) or _relus_in_code(layer.__class__))


def _identity(inputs: Any, *args: Any, **kwargs: Any) -> Any:
    return inputs


def _gates(graphs: Sequence[functional.Graph], places: Sequence[Place]) -> dict[str, str]:
    """For addresses of places the reason to leave them alone."""
    owners = {id(place.owner): place for place in places if place.rectifier.kind != "function"}
    reasons: dict[str, str] = {}
    for view in graphs:
        gates = Gates(view)
        for call in view.calls:
            place = owners.get(id(call.operation))
            reason = gates.reason(call, place.rectifier) if place else ""
            if place and reason:
                reasons[place.address] = reason
    return reasons


def _in_code(layer: Any, graphs: Sequence[functional.Graph]) -> Iterator[Found]:
    """Functions that Python code calls: seen in the graph that it makes or, where it makes none,
    read in its source."""
    if graphs:
        held = {id(place.owner) for place in find_places(layer)}
        ops = [
            call
            for view in graphs
            for call in view.calls
            if not isinstance(call.operation, keras.layers.Layer)
        ]
        found = [recognize_call(call) for call in ops if id(call.operation) not in held]
    else:
        found = [named(name, "op") for name in _relus_in_code(layer.__class__)]
    counts: dict[str, int] = {}
    for rectifier in found:
        if rectifier is None or rectifier.smooth:
            continue
        name = _function_name(rectifier)
        counts[name] = counts.get(name, 0) + 1
        yield Found(
            path=f"{name}()" if counts[name] == 1 else f"{name}()#{counts[name]}",
            layer=type(layer).__name__,
            rectifier=Rectifier("code", rectifier.negative_slope, rectifier.max_value),
            channels=None,
            reason=(
                "Python code calls it as a function, out of reach: give the layer a"
                " keras.layers.ReLU() for it"
            ),
            dtype="",
            data_format="channels_last",
            place=None,
            shapes=(),
        )


def _function_name(rectifier: Rectifier) -> str:
    if rectifier.negative_slope:
        return "leaky_relu"
    return "relu" if rectifier.max_value is None else "relu6"


@functools.cache
def _relus_in_code(cls: Any) -> tuple[str, ...]:
    """The names of the ReLU functions that a class of the user's own calls in its source, one for
    each call."""
    names: list[str] = []
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in (
            "keras",
            "keras_prelu",
            "builtins",
            "tensorflow",
            "torch",
            "jax",
        ):
            continue
        for function in vars(base).values():
            if inspect.isfunction(function) and {"relu", "relu6", "leaky_relu"} & set(
                function.__code__.co_names
            ):
                names += _called(function)
    return tuple(names)


def _called(function: Callable[..., Any]) -> list[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.append(node.func.id)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and not _of_self(node.func.value)
        ):
            names.append(node.func.attr)
    return [name for name in names if name in ("relu", "relu6", "leaky_relu")]


def _of_self(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"
