"""Leaf modules: which models are taken apart into their layers, and which stay one piece.

A model of a user-defined class, such as a KerasHub backbone or a functional model whose constructor
builds its graph, may contain layers that only that constructor can create: the configuration of
such a layer alone is not enough to rebuild it. The model then is a leaf module, treated like any
layer with Python code of its own: it is rebuilt as a whole, and the rectifiers inside are replaced.

To decide this, models and layers are rebuilt on trial, which runs the code of the user. The answers
are therefore stored for each object and looked up before anything is rebuilt again.
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
from keras_prelu.graph.rebuilding import check_variables, rebuild

__all__ = ["has_class_of_its_own", "is_taken_apart", "rebuild_failure"]

_LEAVES: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
_REBUILD_FAILURES: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def is_taken_apart(layer: Any) -> bool:
    """Return whether `layer` is a model with a graph that is not a leaf module.

    The layers of such a model are copied one by one, and its steps are steps of the model that
    contains it.
    """
    return functional.has_graph(layer) and not _is_leaf(layer)


def has_class_of_its_own(model: Any) -> bool:
    """Return whether the class of a functional model holds more information than its graph.

    A copy of the graph is not an instance of that class.
    """
    return (
        functional.has_graph(model)
        and not type(model).__module__.startswith("keras.")
        and not functional.has_functional_constructor(model)
    )


def rebuild_failure(layer: Any) -> str:
    """Return why a layer or model can't be rebuilt from its configuration, or "" if it can.

    Each object is rebuilt on trial once.
    """
    if layer not in _REBUILD_FAILURES:
        try:
            copy = rebuild(layer)
            if functional.has_graph(layer):
                check_variables(layer, copy)
            _REBUILD_FAILURES[layer] = ""
        except ConversionError as error:
            _REBUILD_FAILURES[layer] = str(error).rstrip(".")
    return _REBUILD_FAILURES[layer]


def _is_leaf(model: Any) -> bool:
    if model not in _LEAVES:
        _LEAVES[model] = (
            has_class_of_its_own(model)
            and not _layers_can_be_rebuilt(model)
            and not rebuild_failure(model)
        )
    return _LEAVES[model]


def _layers_can_be_rebuilt(model: Any) -> bool:
    # A file of a model whose class is registered loads without `custom_objects`, so a file of its
    # graph must do so too.
    names_classes = not _is_registered(type(model))
    return all(_can_be_rebuilt(call, names_classes) for call in functional.calls(model))


def _can_be_rebuilt(call: functional.Call, names_classes: bool) -> bool:
    layer = call.operation
    if functional.has_graph(layer):
        return not _is_leaf(layer) and all(
            _can_be_rebuilt(inner, names_classes) for inner in functional.calls(layer)
        )
    if not isinstance(layer, keras.layers.Layer) or type(layer).__module__.startswith("keras."):
        return True
    custom_objects = {type(layer).__name__: type(layer)} if names_classes else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copy = _from_file(layer, custom_objects)
            copy(*functional.detached(call.args), **functional.detached(call.kwargs))
        check_variables(layer, copy)
    except Exception:  # Whatever the user's code raises.
        return False
    return True


def _from_file(layer: Any, custom_objects: Mapping[str, type]) -> Any:
    """Return the layer as it is loaded from a file, where, for example, tuples become lists."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    return keras.saving.deserialize_keras_object(
        config, custom_objects=dict(custom_objects), safe_mode=False
    )


def _is_registered(cls: type) -> bool:
    return keras.saving.get_registered_object(keras.saving.get_registered_name(cls)) is cls
