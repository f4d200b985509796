"""Rewriting a model: a copy in which some layers are exchanged."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import keras

from keras_prelu.backend.dtype_policies import default_dtype_policy
from keras_prelu.backend.keras_internals import has_automatic_name, producer
from keras_prelu.conversion.compile_settings import copy_compile_settings
from keras_prelu.conversion.copies import Copied, Copies, Exchanged, Inserted
from keras_prelu.conversion.replacements import LayerFactory, Replacements, StandInFactories
from keras_prelu.conversion.ties import VariableArguments, VariableOwners
from keras_prelu.custom_layers.converted_layer import attach, detach
from keras_prelu.data.declarations import has_call
from keras_prelu.errors import ConversionError
from keras_prelu.graph import functional
from keras_prelu.graph.duplicates import duplicate
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.output_names import (
    ModelWithOutputNames,
    output_names,
    with_output_names,
)
from keras_prelu.graph.rebuilding import rebuild
from keras_prelu.graph.shared_layers import shared_layers, tie
from keras_prelu.graph.written_rectifiers import written_rectifier
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["copy_model", "new_input", "rewrite"]


@on_large_graphs
def rewrite(model: keras.Model, replacements: Replacements | None = None) -> keras.Model:
    """Return a copy of a model with some layers exchanged.

    The given model is not changed. Weights, names (of outputs too), `trainable` flags, dtype
    policies and the compile settings are kept (the optimizer with fresh state). A Sequential stays
    a Sequential, and a subclassed model keeps its class. A nested model is rewritten once, however
    often it is called, and layers that share weights share them in the copy.

    Args:
        model: `keras.Model`. A built model.
        replacements: `Replacements` or None. What is exchanged. Defaults to None, a plain copy.

    Returns:
        A new model.

    Raises:
        ConversionError: The model has no graph and is not a subclassed model, a layer can't be
            rebuilt from its configuration, or the copy would not share weights as the model does.
    """
    result = with_output_names(copy_model(model, replacements), output_names(model))
    copy_compile_settings(model, result)
    return result


@on_large_graphs
def copy_model(model: keras.Model, replacements: Replacements | None = None) -> keras.Model:
    """Return a copy as `rewrite` does, which is not compiled and has no output names of its own.

    An output has the name of the layer that creates it, as in a stock functional model.
    """
    rewriter = _Rewriter(model, replacements or Replacements())
    if is_taken_apart(model) or functional.is_sequence(model):
        result = rewriter.copy_model(model)
    else:
        result = rewriter.copy_whole(model)
    rewriter.copies.copy_state(model)
    rewriter.arguments.refuse_lost(result)
    return result


class _Rewriter:
    def __init__(self, model: keras.Model, replacements: Replacements) -> None:
        self.copies = Copies()
        self.arguments = VariableArguments()
        self._model = model
        self._replacements = replacements
        self._shared_layers = shared_layers(model)
        # The copies, by id of the original, of layers that only layers outside of graphs call.
        self._held_copies: dict[int, Any] = {}
        self._shared: dict[int, list[Any]] = {}  # The layers that serve all calls of an operation.

    def copy_model(self, model: keras.Model) -> keras.Model:
        """Copy a model layer by layer."""
        if id(model) not in self.copies.models:
            # The entry is added before the models inside are copied, so that outer models come
            # first.
            self.copies.models[id(model)] = Copied(original=model, copy=None)
            # The layers inside layers with Python code of their own get the default policy, which
            # was the model's when the model was made.
            with default_dtype_policy(model.dtype_policy):
                copy = (
                    self._copy_sequential(model)
                    if isinstance(model, keras.Sequential)
                    else self._copy_functional(model)
                )
            self.copies.models[id(model)] = Copied(original=model, copy=copy)
        return self.copies.models[id(model)].copy

    def copy_whole(self, model: keras.Model) -> keras.Model:
        """Copy a model that is not taken apart, such as one with Python code of its own."""
        with default_dtype_policy(model.dtype_policy):
            copy = self._copy(model)
            if not copy.built and has_call(model):
                self._build(copy, model)
            if not self._has_all_variables(model, copy):
                # Its `build` leaves layers to the first call. A duplicate has been called.
                copy = self._copy_leaf(model, duplicate)
                self.copies.leaves[id(model)] = Copied(original=model, copy=copy)
        return copy

    def _has_all_variables(self, model: keras.Model, copy: keras.Model) -> bool:
        try:
            self.copies.check_variables(model, copy)
        except ConversionError:
            return False
        return True

    def _build(self, copy: keras.Model, model: keras.Model) -> None:
        with warnings.catch_warnings():
            # Keras warns of a model that can't be built. The model then lacks variables, which
            # copy_variables reports.
            warnings.simplefilter("ignore")
            # As from a file: Keras tracks the dict of a model that was built by a call, and JAX
            # knows no such type.
            copy.build_from_config(json.loads(json.dumps(model.get_build_config())))

    def _copy_sequential(self, model: keras.Sequential) -> keras.Sequential:
        functional.functional_view(model)  # Raises an error if the model is not built.
        layers: list[Any] = [new_input(model.inputs[0])]
        call_counts: Counter[int] = Counter()
        for layer in model.layers:
            replacement = self._replacement(layer, call_counts[id(layer)])
            call_counts[id(layer)] += 1
            layers.extend([self._copy(layer)] if replacement is None else replacement)
            layers.extend(self._activation_layers(layer))
        if not all(keras.utils.is_keras_tensor(each) or _is_layer(each) for each in layers):
            raise ConversionError(
                f"Sequential model '{model.name}' has a PReLU layer that drops a mask, which no"
                " stock layer does. Build the model with the functional API."
            )
        return keras.Sequential(layers, name=model.name)

    def _copy_functional(self, model: keras.Model) -> keras.Model:
        call_counts: Counter[int] = Counter()

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            replacement = self._replacement(operation, call_counts[id(operation)])
            call_counts[id(operation)] += 1
            if replacement is not None:
                return _chain(replacement, _rectified(operation, args, kwargs))
            argument = partial(self._argument, operation)
            args, kwargs = keras.tree.map_structure(argument, (args, kwargs))
            outputs = self._copy(operation)(*args, **kwargs)
            return _chain(self._activation_layers(operation), outputs)

        inputs = keras.tree.map_structure(new_input, model.input)
        return keras.models.clone_model(
            _uncompiled(model),
            input_tensors=inputs,
            clone_function=lambda operation: operation,
            call_function=call,
        )

    def _argument(self, operation: Any, value: Any) -> Any:
        """Return an argument of a call in the copy: the copy's variable for one of the model's."""
        if not isinstance(value, keras.Variable):
            if keras.ops.is_tensor(value) and not keras.utils.is_keras_tensor(value):
                self._owners.refuse_value(value, operation)
            return value
        owner = self._owners.owner(value)
        if owner is None:
            return value
        copy = self._built_copy(owner)
        self.copies.check_variables(owner, copy)
        by_variable = zip(*self.copies.variables(owner, copy), strict=True)
        found = next(target for source, target in by_variable if source is value)
        self.arguments.add(operation, owner, found)
        return found

    @cached_property
    def _owners(self) -> VariableOwners:
        return VariableOwners(self._model)

    def _replacement(self, operation: Any, index: int) -> list[Any] | None:
        """Return the layers that replace a call of an operation, or None."""
        factory = self._replacements.factory_for(operation, index)
        if factory is not None:
            return self._make(factory, operation)
        shared_factory = self._replacements.shared_factory_for(operation)
        return None if shared_factory is None else self._make_shared(shared_factory, operation)

    def _activation_layers(self, operation: Any) -> list[Any]:
        """Return the layers that replace the inline activation of an operation, if any."""
        factory = self._replacements.activation_factory_for(operation)
        return [] if factory is None else self._make_shared(factory, operation)

    def _make(self, factory: LayerFactory, operation: Any) -> list[Any]:
        product = factory()
        layers = list(product) if isinstance(product, Sequence) else [product]
        if self._replacements.activation_factory_for(operation) is not factory:
            self.copies.replaced.append(operation)
        self.copies.inserted.extend(
            Inserted(operation=operation, layer=layer) for layer in layers if _is_layer(layer)
        )
        return layers

    def _make_shared(self, factory: LayerFactory, operation: Any) -> list[Any]:
        """Return the same layers for all calls of an operation."""
        if id(operation) not in self._shared:
            self._shared[id(operation)] = self._make(factory, operation)
        return self._shared[id(operation)]

    def _copy(self, operation: Any) -> Any:
        if is_taken_apart(operation):
            copy = self.copy_model(operation)
            if output_names(operation) is not None:
                copy.output_names = output_names(operation)
            return copy
        if id(operation) not in self.copies.leaves:
            self.copies.leaves[id(operation)] = Copied(
                original=operation, copy=self._copy_leaf(operation)
            )
        return self.copies.leaves[id(operation)].copy

    def _copy_leaf(self, operation: Any, make: Callable[[Any], Any] = rebuild) -> Any:
        """Copy a layer or op that is not taken apart.

        Args:
            operation: Layer or op.
            make: Callable. Returns a copy of a layer. Defaults to `rebuild`.
        """
        replacements = self._replacements
        is_linear = replacements.activation_factory_for(operation) is not None
        copy = rebuild(operation, linear=True) if is_linear else make(operation)
        tie(operation, copy, self._shared_layers, self._copy_of_shared)
        if copy.name != replacements.name_for(operation):
            copy.name = replacements.name_for(operation)
        factories = replacements.stand_ins_for(operation)
        if factories is not None:
            return self._with_stand_ins(operation, copy, factories)
        held = replacements.held_factories_for(operation)
        if not held:
            return copy
        return attach(
            copy,
            {address: [factory() for factory in factories] for address, factories in held.items()},
        )

    def _copy_of_shared(self, layer: Any, present: Any) -> Any:
        """Return the one copy of a layer that several parts of the model hold.

        Args:
            layer: Layer of the model.
            present: Layer. The copy that one of the parts has made.
        """
        if self._shared_layers[id(layer)].is_in_graph:
            return self._built_copy(layer)
        return self._held_copies.setdefault(id(layer), present)

    def _built_copy(self, layer: Any) -> Any:
        """Return the copy of a layer with variables, which the copy of the graph may call later."""
        copy = self._copy(layer)
        if not copy.built:
            copy.build_from_config(layer.get_build_config())
        return copy

    def _with_stand_ins(self, layer: Any, copy: Any, factories: StandInFactories) -> Any:
        """Exchange some of the PReLU layers in the copy of a converted layer."""
        exchanged = Exchanged(removed=[], added=[], are_trainable=[])
        prelus_in_place: dict[str, list[Any]] = {}
        for original, copied in zip(layer._stand_ins, copy._stand_ins, strict=True):
            given = factories.get(original.address)
            if given is None:
                exchanged.removed.extend(original.layers)
                continue
            for prelu, kept, factory in zip(original.layers, copied.layers, given, strict=True):
                new = kept if factory is None else factory()
                prelus_in_place.setdefault(original.address, []).append(new)
                if factory is not None:
                    exchanged.removed.append(prelu)
                    exchanged.added.append(new)
                    exchanged.are_trainable.append(new.trainable)
        self.copies.exchanged[id(layer)] = exchanged
        detach(copy)
        return attach(copy, prelus_in_place) if prelus_in_place else copy


def _is_layer(value: Any) -> bool:
    return isinstance(value, keras.layers.Layer)


def _rectified(operation: Any, args: Any, kwargs: Any) -> Any:
    """Return the tensor that a call rectifies: its first, unless the call ends an expression."""
    written = written_rectifier(operation, args, kwargs)
    if written is not None:
        return written.tensor
    leaves = keras.tree.flatten((args, kwargs))
    return next(leaf for leaf in leaves if keras.utils.is_keras_tensor(leaf))


def _chain(layers: Sequence[Any], tensor: Any) -> Any:
    """Return the output of layers that are called one after the other."""
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def _uncompiled(model: keras.Model) -> keras.Model:
    """Return a model over the same tensors and layers that is not compiled.

    It has the same class if the constructor of that class is a functional model's. `clone_model`
    compiles its copy like the given model, and fails if a loss or metric can't be rebuilt.
    `copy_compile_settings` compiles the copy later, and warns of such a failure.
    """
    same_class = functional.has_functional_constructor(model) and not isinstance(
        model, ModelWithOutputNames
    )
    if same_class and not model.compiled:
        return model
    return (type(model) if same_class else keras.Model)(model.input, model.output, name=model.name)


def new_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Return an input like a symbolic tensor, of the same name.

    The name is the tensor's, which is the key in dicts of samples, or the layer's if the tensor has
    an automatic name.
    """
    layer = producer(tensor)
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        sparse=tensor.sparse,
        name=layer.name if has_automatic_name(tensor) else tensor.name,
        optional=getattr(layer, "optional", False),
    )
