"""Rebuilding a model with layers exchanged: a new model, the given one untouched."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from keras_prelu.backend.keras_internals import has_automatic_name, producer, sublayers
from keras_prelu.custom_layers.converted_layer import (
    attach,
    freeze_like,
    prelus,
    rebuild_as_written,
)
from keras_prelu.errors import KerasPReLUWarning, reason_of
from keras_prelu.graph import functional
from keras_prelu.graph.cloning import check_variables, copy_other_state, copy_variables, rebuild
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["Inside", "Key", "Make", "rewrite"]

Key = tuple[int, int | None]
"""A call of an operation: the operation's id and how often it was called before; None stands for
all its calls, served by one layer."""

Make = Callable[[], "keras.layers.Layer | Sequence[keras.layers.Layer]"]
"""What makes the layer to call, or several to call one after the other; none hands the input on."""

Inside = Mapping[str, Sequence[Callable[[], Any]]]
"""For the address of a rectifier inside a layer, what makes the built PReLUs to apply there, one
for each width."""


@on_large_graphs
def rewrite(
    model: keras.Model,
    replaced: Mapping[Key, Make] = MappingProxyType({}),
    appended: Mapping[int, Make] = MappingProxyType({}),
    inside: Mapping[int, Inside] = MappingProxyType({}),
    restored: Collection[int] = frozenset(),
) -> keras.Model:
    """A copy of a model in which some calls are made to other layers, and some layers' activations
    are layers of their own.

    Weights, names, `trainable` flags, dtype policies and the compile settings are kept (the
    optimizer with fresh state). A Sequential stays one, a subclassed model stays of its class. A
    nested model is rewritten once, however often it is called.

    Args:
        model: A built model.
        replaced: For a call of an operation, what makes the layer or layers to call instead.
        appended: For a layer's id, what makes the layer to call on its output; the layer's own
            `activation` becomes linear, and the new layer is shared by all of its calls.
        inside: For the id of a layer with Python code of its own, what is applied inside.
        restored: The ids of converted layers that are to be as the user wrote them again, without
            PReLUs.

    Returns:
        A new model.

    Raises:
        ConversionError: The model has no graph and is no subclassed model, or a layer can't be
            rebuilt from its configuration.
    """
    rewriter = _Rewriter(replaced, appended, inside, restored)
    result = (
        rewriter.model(model)
        if is_taken_apart(model) or isinstance(model, keras.Sequential)
        else rewriter.whole(model)
    )
    rewriter.copy_state()
    _copy_compilation(model, result)
    return result


class _Rewriter:
    def __init__(
        self,
        replaced: Mapping[Key, Make],
        appended: Mapping[int, Make],
        inside: Mapping[int, Inside],
        restored: Collection[int],
    ) -> None:
        self._replaced = replaced
        self._appended = appended
        self._inside = inside
        self._restored = restored
        self._models: dict[
            int, tuple[Any, Any]
        ] = {}  # id → (original, copy), outer models before the models in them
        self._leaves: dict[int, tuple[Any, Any]] = {}
        self._shared: dict[
            int, list[Any]
        ] = {}  # id of an operation → the layers that serve all its calls
        self._new: list[
            tuple[Any, Any]
        ] = []  # (operation that was replaced, layer that replaces it)

    def model(self, model: keras.Model) -> keras.Model:
        if id(model) not in self._models:
            self._models[id(model)] = (model, None)
            copy = (
                self._sequential(model)
                if isinstance(model, keras.Sequential)
                else self._functional(model)
            )
            self._models[id(model)] = (model, copy)
        return self._models[id(model)][1]

    def whole(self, model: keras.Model) -> keras.Model:
        """A copy of a model that is written in Python, or kept whole for another reason."""
        copy = self._copy(model)
        if copy.built:
            return copy
        with warnings.catch_warnings():
            # Keras warns where it can't be built; then variables are missing, which copy_variables
            # reports.
            warnings.simplefilter("ignore")
            copy.build_from_config(model.get_build_config())
        return copy

    def _sequential(self, model: keras.Sequential) -> keras.Sequential:
        functional.functional_view(model)  # raises where it isn't built
        layers: list[Any] = [_copy_input(model.inputs[0])]
        for layer in model.layers:
            replacement = self._replacement(layer, 0)
            layers.extend([self._copy(layer)] if replacement is None else replacement)
            if id(layer) in self._appended:
                layers.extend(self._make_once(self._appended[id(layer)], layer))
        return keras.Sequential(layers, name=model.name)

    def _functional(self, model: keras.Model) -> keras.Model:
        counts: dict[int, int] = {}

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            index = counts.get(id(operation), 0)
            counts[id(operation)] = index + 1
            layers = self._replacement(operation, index)
            if layers is not None:
                return _chained(
                    layers,
                    next(
                        leaf
                        for leaf in keras.tree.flatten((args, kwargs))
                        if keras.utils.is_keras_tensor(leaf)
                    ),
                )
            outputs = self._copy(operation)(*args, **kwargs)
            if id(operation) not in self._appended:
                return outputs
            return _chained(self._make_once(self._appended[id(operation)], operation), outputs)

        inputs = keras.tree.map_structure(_copy_input, model.input)
        return keras.models.clone_model(
            _view(model),
            input_tensors=inputs,
            clone_function=lambda operation: operation,
            call_function=call,
        )

    def _replacement(self, operation: Any, index: int) -> list[Any] | None:
        """The layers to call instead of a call's operation, or None."""
        if (id(operation), index) in self._replaced:
            return self._make(self._replaced[id(operation), index], operation)
        make = self._replaced.get((id(operation), None))
        return None if make is None else self._make_once(make, operation)

    def _make(self, make: Make, operation: Any) -> list[Any]:
        made = make()
        layers = list(made) if isinstance(made, Sequence) else [made]
        self._new.extend((operation, layer) for layer in layers)
        return layers

    def _make_once(self, make: Make, operation: Any) -> list[Any]:
        """The same layers for all calls of an operation."""
        if id(operation) not in self._shared:
            self._shared[id(operation)] = self._make(make, operation)
        return self._shared[id(operation)]

    def _copy(self, operation: Any) -> Any:
        if is_taken_apart(operation):
            return self.model(operation)
        if id(operation) not in self._leaves:
            restored = id(operation) in self._restored
            copy = (
                rebuild_as_written(operation)
                if restored
                else rebuild(operation, linear=id(operation) in self._appended)
            )
            if id(operation) in self._inside:
                copy = attach(
                    copy,
                    {
                        address: [make() for make in all_]
                        for address, all_ in self._inside[id(operation)].items()
                    },
                )
            self._leaves[id(operation)] = (operation, copy)
        return self._leaves[id(operation)][1]

    def copy_state(self) -> None:
        """Weights, and `trainable` flags: those of models first, since setting one sets those of
        all layers in it."""
        for original, copy in self._models.values():
            copy.trainable = original.trainable
        for original, copy in self._leaves.values():
            if isinstance(original, keras.layers.Layer):
                self._copy_layer_state(original, copy)
        for original, new in self._new:
            new.trainable = getattr(original, "trainable", True)

    def _copy_layer_state(self, original: Any, copy: Any) -> None:
        added = prelus(copy)[len(prelus(original)) :]
        apart = [*added, *(prelus(original) if id(original) in self._restored else [])]
        ids, variables = (
            {id(layer) for layer in apart},
            frozenset(id(variable) for layer in apart for variable in layer.variables),
        )
        check_variables(original, copy, variables)
        one_by_one = (
            [layer for layer in sublayers(whole) if id(layer) not in ids]
            for whole in (original, copy)
        )
        inside = list(zip(*one_by_one, strict=False))
        for one, other in ((original, copy), *inside):
            copy_other_state(one, other)
        # Afterwards, since loading may compute variables anew from others: they are to be what they
        # were, bit for bit.
        copy_variables(original, copy, variables)
        for one, other in ((original, copy), *inside):
            other.trainable = one.trainable
        if added:
            freeze_like(copy, original)


def _chained(layers: Sequence[Any], tensor: Any) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def _view(model: keras.Model) -> keras.Model:
    """What `clone_model` is given for a model: a model over the same tensors and layers that is not
    compiled, of the same class where its constructor is a functional model's.

    `clone_model` compiles its copy like the model it is given, and fails where a loss or metric
    can't be rebuilt; `_copy_compilation` does that later, and says so.
    """
    same_class = functional.has_functional_constructor(model)
    if same_class and not model.compiled:
        return model
    return (type(model) if same_class else keras.Model)(model.input, model.output, name=model.name)


def _copy_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """An input of the same name: the tensor's, by which dicts of samples go, or the layer's where
    the tensor has an automatic one."""
    name = producer(tensor).name if has_automatic_name(tensor) else tensor.name
    return keras.Input(
        batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=name
    )


def _copy_compilation(model: keras.Model, copy: keras.Model) -> None:
    if not model.compiled:
        return
    try:
        config = model.get_compile_config()
        if config is None:
            return
        copy.compile_from_config(
            {
                key: _rename_keys(value, _renamed_outputs(model, copy))
                for key, value in config.items()
            }
        )
    except Exception as error:
        warnings.warn(
            f"The compile settings of '{model.name}' could not be carried over"
            f" ({reason_of(error)}). Compile the new model yourself.",
            KerasPReLUWarning,
            stacklevel=4,
        )


def _renamed_outputs(model: keras.Model, copy: keras.Model) -> dict[str, str]:
    if not functional.has_graph(model):
        return {}
    old, new = (
        functional.functional_view(model).output_names,
        functional.functional_view(copy).output_names,
    )
    return {a: b for a, b in zip(old, new, strict=True) if a != b}


def _rename_keys(value: Any, renamed: Mapping[str, str]) -> Any:
    """Losses and metrics are given by output name; an activation that became a layer of its own
    changes an output's name."""
    if not isinstance(value, Mapping) or "class_name" in value:
        return value
    return {renamed.get(key, key): item for key, item in value.items()}
