"""Which models are taken apart into their layers, and which are kept whole.

A model of a class of its own (a KerasHub backbone, a functional model with a constructor that
builds it) may hold layers that only that constructor can make: their own configuration doesn't
bring them back. Such a model is treated like any layer with Python code: rebuilt as a whole, its
rectifiers exchanged inside.
"""

from __future__ import annotations

import json
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import keras

from keras_prelu.errors import ConversionError
from keras_prelu.graph import functional
from keras_prelu.graph.cloning import check_variables, rebuild

__all__ = ["has_class_of_its_own", "is_taken_apart"]

_KEPT_WHOLE: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def is_taken_apart(layer: Any) -> bool:
    """Whether `layer` is a model with a graph whose layers are copied one by one."""
    return functional.has_graph(layer) and not _is_kept_whole(layer)


def has_class_of_its_own(model: Any) -> bool:
    """Whether a functional model's class says more than its graph: a copy of the graph is no
    instance of it."""
    return (
        functional.has_graph(model)
        and not type(model).__module__.startswith("keras.")
        and not functional.has_functional_constructor(model)
    )


def _is_kept_whole(model: Any) -> bool:
    if not has_class_of_its_own(model):
        return False
    if model not in _KEPT_WHOLE:
        # Where the model's class is registered, a file of it loads without more; one of its graph
        # must too.
        needs_help = not _is_registered(type(model))
        _KEPT_WHOLE[model] = not all(
            _can_be_rebuilt(call, needs_help) for call in functional.calls(model)
        ) and _rebuilds(model)
    return _KEPT_WHOLE[model]


def _can_be_rebuilt(call: functional.Call, with_help: bool) -> bool:
    layer = call.operation
    if functional.has_graph(layer):
        return not _is_kept_whole(layer) and all(
            _can_be_rebuilt(inner, with_help) for inner in functional.calls(layer)
        )
    if not isinstance(layer, keras.layers.Layer) or type(layer).__module__.startswith("keras."):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copy = _from_a_file(layer, {type(layer).__name__: type(layer)} if with_help else {})
            copy(*functional.detached(call.args), **functional.detached(call.kwargs))
        check_variables(layer, copy)
    except Exception:  # whatever the user's code raises
        return False
    return True


def _from_a_file(layer: Any, known: Mapping[str, type]) -> Any:
    """The layer as it comes back from a file, with some classes named: JSON, for one, makes lists
    of tuples."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    return keras.saving.deserialize_keras_object(
        config, custom_objects=dict(known), safe_mode=False
    )


def _is_registered(cls: type) -> bool:
    return keras.saving.get_registered_object(keras.saving.get_registered_name(cls)) is cls


def _rebuilds(model: Any) -> bool:
    try:
        check_variables(model, rebuild(model))
    except ConversionError:
        return False
    return True
