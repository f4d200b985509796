"""The graph of a functional model as data: calls of operations in execution order."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras

from keras_prelu.backend.keras_internals import (
    Functional,
    functional_like_constructor,
    is_sparse,
    nodes_in_order,
    nodes_kept,
    producer,
    sublayers,
)
from keras_prelu.backend.symbolic_operators import symbolic_operators
from keras_prelu.data.declarations import check_model
from keras_prelu.errors import ConversionError
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.model_state import variables_kept
from keras_prelu.graph.parts import callable_form

__all__ = [
    "AddedLoss",
    "Call",
    "Graph",
    "are_inputs",
    "calls",
    "detached",
    "functional_view",
    "graph_of_layer",
    "graph_of_model",
    "has_functional_constructor",
    "has_graph",
    "is_sequence",
    "losses_of_calls",
    "operations",
]

# For models of user-defined classes, whether their constructors take inputs and outputs; see
# `has_functional_constructor`.
_FUNCTIONAL_CONSTRUCTORS: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
_PLACEHOLDER = "keras_prelu_none"
_BATCH_SIZE = 2
_OPEN_SIZE = 16


@dataclass(frozen=True)
class Call:
    """One call of an operation in a functional graph.

    Attributes:
        operation: Layer, nested model or op. What is called.
        index: Integer. How often the operation was called earlier in this graph.
        args: Tuple. Positional arguments, a structure with symbolic tensors at its leaves.
        kwargs: Dict. Keyword arguments, with symbolic tensors at their leaves.
        inputs: Tuple of symbolic tensors. Those among the arguments.
        outputs: Tuple of symbolic tensors. Those that the call creates.
    """

    operation: keras.Operation
    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


@dataclass(frozen=True)
class Graph:
    """A functional graph.

    Attributes:
        calls: Tuple of `Call`, in execution order.
        outputs: Tuple of symbolic tensors. The outputs of the graph.
        inputs: Tuple of symbolic tensors. The inputs of the graph.
        losses: Tuple of symbolic tensors. What Python code adds to the loss. Defaults to none.
    """

    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]
    inputs: tuple[keras.KerasTensor, ...]
    losses: tuple[keras.KerasTensor, ...] = ()


def has_graph(layer: Any) -> bool:
    """Return whether `layer` is a model that runs a graph.

    Such a model is Functional (or of a subclass that keeps its `call`), or a Sequential that is
    built for one input.
    """
    if isinstance(layer, keras.Sequential):
        # A Sequential that is called with several inputs is built, but has no graph.
        has_inputs = bool(getattr(layer, "inputs", None))
        return type(layer).call is keras.Sequential.call and layer.built and has_inputs
    return isinstance(layer, Functional) and type(layer).call is Functional.call


def is_sequence(model: Any) -> bool:
    """Return whether `model` is a Sequential that is, or will be, a graph of its layers.

    One with a `call` of its own, or that was built for several inputs, is Python code.
    """
    if not isinstance(model, keras.Sequential) or type(model).call is not keras.Sequential.call:
        return False
    return has_graph(model) or not model.built


def has_functional_constructor(model: Any) -> bool:
    """Return whether the class of a model is constructed from inputs and outputs.

    `keras.Model` is constructed in this way, and a copy of the graph of such a model can be of the
    same class. Keras decides by the signature of the constructor. A constructor that passes all
    arguments on (`*args, **kwargs`) may still build the model from a size; such a constructor is
    therefore called on trial, once for each model.
    """
    if not functional_like_constructor(type(model)):
        return False
    if type(model).__module__.startswith("keras."):
        return True
    if model not in _FUNCTIONAL_CONSTRUCTORS:
        _FUNCTIONAL_CONSTRUCTORS[model] = _constructs_graph(model)
    return _FUNCTIONAL_CONSTRUCTORS[model]


def _constructs_graph(model: Any) -> bool:
    try:
        copy = type(model)(model.input, model.output, name=model.name)
    except Exception:  # Whatever the user's constructor raises.
        return False
    return [id(tensor) for tensor in copy.outputs] == [id(tensor) for tensor in model.outputs]


def operations(model: keras.Model) -> list[Any]:
    """Return the layers and ops of a Sequential or functional model; none for a subclassed one."""
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    return list(model.operations) if isinstance(model, Functional) else []


def functional_view(model: keras.Model) -> keras.Model:
    """Return `model` itself or, for a Sequential, a functional model over the same layers.

    The functional model has the same tensors. No node is added to any layer.

    Raises:
        ConversionError: `model` has no graph; the message says why and what to do.
        InvalidArgumentError: A ValueError; `model` is no Keras model.
    """
    if isinstance(model, Functional) and has_graph(model):
        return model
    check_model(model)
    if not isinstance(model, keras.Sequential):
        raise ConversionError(
            f"Model '{model.name}' is a subclassed model ({type(model).__name__}): its graph is"
            " written in Python and can't be rewritten. Rebuild it with the functional API, or"
            " convert the functional models it is made of."
        )
    if model.built and not is_sequence(model):
        raise ConversionError(
            f"Sequential model '{model.name}' takes several inputs or has a call() of its own, for"
            " which Keras records no graph. Write it as keras.Model(inputs, outputs)."
        )
    if not has_graph(model):
        raise ConversionError(
            f"Sequential model '{model.name}' has no input shape yet. Add a keras.Input as its"
            " first layer, or call it once on data."
        )
    return keras.Model(model.inputs, model.outputs, name=model.name)


def calls(model: keras.Model) -> Iterator[Call]:
    """Yield the calls in the graph of a model in the order in which Keras executes them.

    A nested model is one call; inputs are left out.

    Raises:
        ConversionError: `model` has no graph.
    """
    yield from _calls(functional_view(model))


def graph_of_model(model: keras.Model) -> Graph:
    """Return the graph of a model.

    Raises:
        ConversionError: `model` has no graph.
    """
    view = functional_view(model)
    return Graph(calls=tuple(calls(view)), outputs=tuple(view.outputs), inputs=tuple(view.inputs))


def graph_of_layer(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph | None:
    """Return the graph that the Python code of a layer creates, or None.

    Returns None if the code accepts only real tensors, not symbolic ones.

    Args:
        layer: Layer. It is left unchanged.
        args: Sequence. Positional arguments, with symbolic tensors, of which only the shapes and
            dtypes matter. If the code needs to know all sizes, those that are open are made up.
        kwargs: Mapping. Keyword arguments, with symbolic tensors.
    """
    layer = callable_form(layer)
    inner_layers = sublayers(layer)
    for like in (_like, _like_with_sizes):
        structure = keras.tree.map_structure(like, (tuple(args), dict(kwargs)))
        inputs = [leaf for leaf in keras.tree.flatten(structure) if _is_symbolic(leaf)]
        with (
            variables_kept(layer),
            nodes_kept(inner_layers),
            symbolic_operators(),
            _lenient_specs(inner_layers),
            losses_of_calls([layer]) as added,
        ):
            try:
                leaves = keras.tree.flatten(layer.call(*structure[0], **structure[1]))
                outputs = tuple(leaf for leaf in leaves if _is_symbolic(leaf))
                losses = tuple(each.loss for each in added if _is_symbolic(each.loss))
                ends = (*outputs, *losses)
                traced = tuple(_calls(keras.Function(inputs, ends))) if ends else ()
            except Exception:  # Whatever the user's code raises for symbolic tensors.
                continue
            if any(tensor.name == _PLACEHOLDER for call in traced for tensor in call.inputs):
                continue
            if not are_inputs(inputs):
                continue
            return Graph(calls=traced, outputs=outputs, inputs=tuple(inputs), losses=losses)
    return None


def are_inputs(tensors: Sequence[Any]) -> bool:
    """Return whether symbolic tensors that were made as inputs still are.

    If a branch of `keras.ops.cond` returns an input, Keras takes it for the result of the branches,
    and the condition is in no graph.
    """
    return all(isinstance(producer(tensor), keras.layers.InputLayer) for tensor in tensors)


class AddedLoss(NamedTuple):
    """A loss that the code of a layer added."""

    layer: Any
    loss: Any


@contextmanager
def losses_of_calls(layers: Sequence[Any]) -> Iterator[list[AddedLoss]]:
    """Let the code of layers run outside of `__call__`, where Keras lets it add no losses.

    Yields:
        A list of the losses that the layers added, instead of which the model gets none.
    """
    added: list[AddedLoss] = []
    with ExitStack() as undo:
        for layer in layers:
            note = partial(_note_loss, added, layer)
            undo.callback(set_target(HookTarget(layer, "add_loss"), note))
        yield added


def _note_loss(added: list[AddedLoss], layer: Any, loss: Any) -> None:
    added += [AddedLoss(layer, each) for each in keras.tree.flatten(loss)]


@contextmanager
def _lenient_specs(layers: Sequence[Any]) -> Iterator[None]:
    """Let layers of users be called on symbolic tensors as they are called on real ones.

    Their `compute_output_spec` may lack the argument `training`, and they may return None among
    their outputs, in place of which there is a symbolic tensor that nothing may read.
    """
    with ExitStack() as undo:
        for layer in layers:
            if not type(layer).__module__.startswith("keras."):
                lenient = _lenient(layer.compute_output_spec)
                undo.callback(set_target(HookTarget(layer, "compute_output_spec"), lenient))
        yield


def _lenient(compute_output_spec: Callable[..., Any]) -> Callable[..., Any]:
    parameters = inspect.signature(compute_output_spec).parameters.values()
    takes_training = any(
        item.name == "training" or item.kind is item.VAR_KEYWORD for item in parameters
    )

    def lenient(*args: Any, **kwargs: Any) -> Any:
        if not takes_training:
            kwargs.pop("training", None)
        return keras.tree.map_structure(_or_placeholder, compute_output_spec(*args, **kwargs))

    return lenient


def _or_placeholder(spec: Any) -> Any:
    return keras.KerasTensor((), name=_PLACEHOLDER) if spec is None else spec


def detached(structure: Any) -> Any:
    """Return a structure with new symbolic tensors in place of those in it.

    Calls with the new tensors leave no trace in the original graph.
    """
    return keras.tree.map_structure(_like, structure)


def _like(leaf: Any) -> Any:
    return (
        keras.Input(batch_shape=leaf.shape, dtype=leaf.dtype, sparse=is_sparse(leaf))
        if _is_symbolic(leaf)
        else leaf
    )


def _like_with_sizes(leaf: Any) -> Any:
    if not _is_symbolic(leaf):
        return leaf
    first, *others = (*leaf.shape, None)[: max(1, len(leaf.shape))]
    sizes = [first or _BATCH_SIZE, *(size or _OPEN_SIZE for size in others)][: len(leaf.shape)]
    return keras.Input(batch_shape=sizes, dtype=leaf.dtype, sparse=is_sparse(leaf))


def _is_symbolic(leaf: Any) -> bool:
    return bool(keras.utils.is_keras_tensor(leaf))


def _calls(function: Any) -> Iterator[Call]:
    counts: dict[int, int] = {}
    for node in nodes_in_order(function):
        index = counts.get(id(node.operation), 0)
        counts[id(node.operation)] = index + 1
        yield Call(
            operation=node.operation,
            index=index,
            args=node.args,
            kwargs=node.kwargs,
            inputs=node.inputs,
            outputs=node.outputs,
        )
