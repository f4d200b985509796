"""Private parts of Keras's layers: what they hold and the states they change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras

__all__ = [
    "added_losses",
    "copy_tf_wrapper",
    "direct_sublayers",
    "exchange_sublayer",
    "keep_losses",
    "own_attributes",
    "recurrent_states",
    "seed_states",
    "state_variables",
    "sublayers",
    "unlocked",
    "untrack",
]


def sublayers(layer: Any) -> list[keras.layers.Layer]:
    """Return the layers inside a layer, at any depth, without the layer itself."""
    return (
        list(layer._flatten_layers(include_self=False))
        if isinstance(layer, keras.layers.Layer)
        else []
    )


def direct_sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers that a layer holds itself, without those inside them."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def own_attributes(layer: Any) -> list[tuple[str, Any]]:
    """Return the names and values of the attributes that a layer's own class set.

    Attributes that Keras, TensorFlow or PyTorch set are left out.
    """
    # PyTorch stores attributes that are modules in a dictionary of their own.
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}
    return [
        (name, value)
        for name, value in attributes.items()
        if name not in _attributes_of_keras() and not name.startswith("_self_")
    ]


@functools.cache
def _attributes_of_keras() -> frozenset[str]:
    # A model sets those of a Sequential: the functions that `fit` and `predict` compile, and more.
    return frozenset({*vars(keras.layers.Layer()), *vars(keras.Sequential(name="unused"))}) | {
        "_functional",
        "_layers",
        "_modules",
        "_torch_params",
    }


@contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Let a built layer take new sublayers within the context.

    Keras locks a layer when it is built, against code that adds state too late.
    """
    tracker = layer._tracker
    locked = tracker.locked
    tracker.unlock()
    try:
        yield
    finally:
        if locked:
            tracker.lock()


def untrack(layer: Any, layers: Sequence[Any]) -> None:
    """Make layers no sublayers of a layer any more; no attribute of it may hold them."""
    for each in layers:
        layer._tracker.untrack(each)
    if hasattr(layer, "_torch_params"):
        layer._track_variables()


def exchange_sublayer(owner: Any, present: Any, new: Any) -> None:
    """Put a layer into the attributes of another in place of one that is there, and track it so.

    The order in which sublayers, and thus variables, are listed stays the same. A layer without
    such an attribute, such as a model that holds it in its graph, is left as it is.

    Args:
        owner: Layer. It is modified in place.
        present: Layer that `owner` may hold.
        new: Layer.
    """
    found = [(name, value) for name, value in own_attributes(owner) if _holds(value, present)]
    if not found:
        return
    with unlocked(owner):
        tracker = owner._tracker
        if tracker.is_in_store("layers", new):
            tracker.untrack(present)
        elif tracker.is_in_store("layers", present):
            tracker.replace_tracked_value("layers", present, new)
        for name, value in found:
            setattr(owner, name, _exchanged(value, present, new))
    if hasattr(owner, "_torch_params"):
        owner._track_variables()


def _holds(value: Any, layer: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(item, layer) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds(item, layer) for item in value)
    return value is layer


def _exchanged(value: Any, present: Any, new: Any) -> Any:
    """Return a value with another layer in it; lists and dicts are modified in place."""
    if value is present:
        return new
    if isinstance(value, dict):
        for key, item in value.items():
            if _holds(item, present):
                value[key] = _exchanged(item, present, new)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if _holds(item, present):
                value[index] = _exchanged(item, present, new)
    elif isinstance(value, tuple):
        items = [_exchanged(item, present, new) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def state_variables(layer: Any) -> list[keras.Variable]:
    """Return the variables of a layer, at any depth, that may change while it is called.

    They are the variables that were created as not trainable (moving statistics, states of
    recurrent layers, counters), and those of random generators and metrics. Weights that are
    frozen are not among them.
    """
    layers = [layer, *sublayers(layer)] if isinstance(layer, keras.layers.Layer) else []
    variables = [variable for each in layers for variable in each._non_trainable_variables]
    variables += [each.state for inner in layers for each in inner._seed_generators]
    for inner in layers:
        variables += [*inner.metrics_variables, *recurrent_states(inner)]
    unique = {id(variable): variable for variable in variables}
    return list(unique.values())


def seed_states(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the states of the random generators of a layer, at any depth."""
    return [each.state for inner in (layer, *sublayers(layer)) for each in inner._seed_generators]


def recurrent_states(layer: Any) -> list[keras.Variable]:
    """Return the states that a stateful recurrent layer carries to the next batch.

    Keras does not count them among the layer's variables.
    """
    if not isinstance(layer, keras.layers.RNN) or not layer.stateful:
        return []
    return [
        state for state in keras.tree.flatten(layer.states) if isinstance(state, keras.Variable)
    ]


def added_losses(layer: keras.layers.Layer) -> list[Any]:
    """Return the losses that the last call of a layer added, at any depth.

    Unlike `layer.losses`, they don't include the regularizers of weights.
    """
    return [loss for each in (layer, *sublayers(layer)) for loss in each._get_own_losses()]


@contextmanager
def keep_losses(layer: Any) -> Iterator[None]:
    """Restore the losses that the last call of a layer left, at any depth, after the context."""
    layers = [layer, *sublayers(layer)] if isinstance(layer, keras.layers.Layer) else []
    kept = [(each, list(each._losses), set(each._loss_ids)) for each in layers]
    try:
        yield
    finally:
        for each, losses, ids in kept:
            each._losses.clear()
            each._losses.extend(losses)
            each._loss_ids.clear()
            each._loss_ids.update(ids)


def copy_tf_wrapper(value: Any, copied: Callable[[Any], Any]) -> Any:
    """Return a copy of a list, dict or tuple in the wrapper by which TensorFlow tracks it.

    Args:
        value: Any.
        copied: Function that returns the copy of what is in the wrapper.

    Returns:
        The copy, or None for any other value.
    """
    if not type(value).__module__.startswith("tensorflow.python.trackable.data_structures"):
        return None
    import tensorflow as tf

    kind = next(kind for kind in (dict, list, tuple) if isinstance(value, kind))
    return tf.__internal__.tracking.wrap(kind(copied(kind(value))))
