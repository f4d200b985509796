"""Rebuilding a model with layers exchanged: a new model, the given one untouched."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_prelu._backends import snapshot
from keras_prelu.errors import ConversionError, KerasPReLUWarning, reason_of
from keras_prelu.surgery import graph

__all__ = ["Key", "copy_variables", "rebuild", "rewrite"]

Key = tuple[int, int | None]
"""A call of an operation: the operation's id and how often it was called before; None stands for all its calls, served by one layer."""


def rewrite(
    model: keras.Model,
    replaced: Mapping[Key, Callable[[], keras.layers.Layer]],
    appended: Mapping[int, Callable[[], keras.layers.Layer]],
) -> keras.Model:
    """A copy of a model in which some calls are made to other layers, and some layers' activations are layers of their own.

    Weights, names, `trainable` flags, dtype policies and the compile settings are kept (the optimizer with fresh state). A Sequential
    stays one. A nested model is rewritten once, however often it is called.

    Args:
        model: Sequential or Functional.
        replaced: For a call of an operation, what makes the layer to call instead.
        appended: For a layer's id, what makes the layer to call on its output; the layer's own `activation` becomes linear, and
            the new layer is shared by all of its calls.

    Returns:
        A new model.

    Raises:
        ConversionError: The model has no graph, or a layer can't be rebuilt from its configuration.
    """
    rewriter = _Rewriter(replaced, appended)
    result = rewriter.model(model)
    rewriter.copy_state()
    _copy_compilation(model, result)
    return result


class _Rewriter:
    def __init__(self, replaced: Mapping[Key, Callable[[], Any]], appended: Mapping[int, Callable[[], Any]]) -> None:
        self._replaced = replaced
        self._appended = appended
        self._models: dict[int, tuple[Any, Any]] = {}  # id → (original, copy), outer models before the models in them
        self._leaves: dict[int, tuple[Any, Any]] = {}
        self._shared: dict[int, Any] = {}  # id of an operation → the one layer that serves all its calls
        self._new: list[tuple[Any, Any]] = []  # (operation that was replaced, layer that replaces it)

    def model(self, model: keras.Model) -> keras.Model:
        if id(model) not in self._models:
            self._models[id(model)] = (model, None)
            copy = self._sequential(model) if isinstance(model, keras.Sequential) else self._functional(model)
            self._models[id(model)] = (model, copy)
        return self._models[id(model)][1]

    def _sequential(self, model: keras.Sequential) -> keras.Sequential:
        graph.functional_view(model)  # raises where it isn't built
        layers: list[Any] = [_copy_input(model.inputs[0])]
        for layer in model.layers:
            layers.append(self._replacement(layer, 0) or self._copy(layer))
            if id(layer) in self._appended:
                layers.append(self._make_once(self._appended[id(layer)], layer))
        return keras.Sequential(layers, name=model.name)

    def _functional(self, model: keras.Model) -> keras.Model:
        counts: dict[int, int] = {}

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            index = counts.get(id(operation), 0)
            counts[id(operation)] = index + 1
            layer = self._replacement(operation, index)
            if layer is not None:
                return layer(args[0] if args else next(iter(kwargs.values())))
            outputs = self._copy(operation)(*args, **kwargs)
            if id(operation) not in self._appended:
                return outputs
            return self._make_once(self._appended[id(operation)], operation)(outputs)

        inputs = keras.tree.map_structure(_copy_input, model.input)
        return keras.models.clone_model(
            _uncompiled(model), input_tensors=inputs, clone_function=lambda operation: operation, call_function=call
        )

    def _replacement(self, operation: Any, index: int) -> Any:
        """The layer to call instead of a call's operation, or None."""
        if (id(operation), index) in self._replaced:
            return self._make(self._replaced[id(operation), index], operation)
        make = self._replaced.get((id(operation), None))
        return None if make is None else self._make_once(make, operation)

    def _make(self, make: Callable[[], Any], operation: Any) -> Any:
        layer = make()
        self._new.append((operation, layer))
        return layer

    def _make_once(self, make: Callable[[], Any], operation: Any) -> Any:
        """One layer for all calls of an operation."""
        if id(operation) not in self._shared:
            self._shared[id(operation)] = self._make(make, operation)
        return self._shared[id(operation)]

    def _copy(self, operation: Any) -> Any:
        if graph.has_graph(operation):
            return self.model(operation)
        if id(operation) not in self._leaves:
            self._leaves[id(operation)] = (operation, rebuild(operation, linear=id(operation) in self._appended))
        return self._leaves[id(operation)][1]

    def copy_state(self) -> None:
        """Weights, and `trainable` flags: those of models first, since setting one sets those of all layers in it."""
        for original, copy in self._models.values():
            copy.trainable = original.trainable
        for original, copy in self._leaves.values():
            if isinstance(original, keras.layers.Layer):
                copy_variables(original, copy)
                copy.trainable = original.trainable
                for inner, inner_copy in zip(graph.sublayers(original), graph.sublayers(copy), strict=False):
                    inner_copy.trainable = inner.trainable
        for original, new in self._new:
            new.trainable = getattr(original, "trainable", True)


def _uncompiled(model: keras.Model) -> keras.Model:
    """A model over the same tensors and layers that is not compiled, of the same class where its constructor is a functional model's.

    `clone_model` compiles its copy like the model it is given, and fails where a loss or metric can't be rebuilt; `_copy_compilation`
    does that later, and says so.
    """
    if not model.compiled:
        return model
    try:
        return type(model)(model.input, model.output, name=model.name)
    except Exception:  # a constructor of the user's own; clone_model gives such a model back as a plain Functional too
        return keras.Model(model.input, model.output, name=model.name)


def _copy_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=tensor.name)


def rebuild(operation: Any, *, linear: bool) -> Any:
    """A new layer or op from the configuration of one, its inline activation left out where `linear`; without the weights.

    Raises:
        ConversionError: The configuration does not describe the layer.
    """
    try:
        config = operation.get_config()
        if linear:
            config["activation"] = "linear"
        if isinstance(operation, keras.layers.Lambda):
            # The function is live in this process already; safe mode is for files.
            return type(operation).from_config(config, safe_mode=False)
        return type(operation).from_config(config)
    except Exception as error:
        raise ConversionError(
            f"Layer '{operation.name}' ({type(operation).__name__}) can't be rebuilt from its configuration: {reason_of(error)}. "
            "Give its class a get_config() with every argument of __init__."
        ) from error


def copy_variables(original: Any, copy: Any) -> None:
    """Give a rebuilt layer the variables' values of the layer it was rebuilt from.

    Raises:
        ConversionError: The variables do not match: the configuration does not describe the layer.
    """
    sources, targets = original.variables, copy.variables
    if [tuple(v.shape) for v in sources] != [tuple(v.shape) for v in targets]:
        raise ConversionError(
            f"Layer '{original.name}' ({type(original).__name__}) has other variables after being rebuilt from its configuration "
            f"({len(targets)} instead of {len(sources)}, or other shapes). Its get_config() does not describe all of it."
        )
    for source, target in zip(sources, targets, strict=True):
        target.assign(snapshot(source))


def _copy_compilation(model: keras.Model, copy: keras.Model) -> None:
    if not model.compiled:
        return
    try:
        config = model.get_compile_config()
        if config is None:
            return
        old, new = graph.functional_view(model).output_names, graph.functional_view(copy).output_names
        renamed = {a: b for a, b in zip(old, new, strict=True) if a != b}
        copy.compile_from_config({key: _rename_keys(value, renamed) for key, value in config.items()})
    except Exception as error:
        warnings.warn(
            f"The compile settings of '{model.name}' could not be carried over ({reason_of(error)}). Compile the new model yourself.",
            KerasPReLUWarning,
            stacklevel=4,
        )


def _rename_keys(value: Any, renamed: Mapping[str, str]) -> Any:
    """Losses and metrics are given by output name; an activation that became a layer of its own changes an output's name."""
    if not isinstance(value, Mapping) or "class_name" in value:
        return value
    return {renamed.get(key, key): item for key, item in value.items()}
