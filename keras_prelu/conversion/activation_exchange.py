"""Copies of models with other layers in place of their PReLU layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import keras

from keras_prelu.backend.keras_internals import producer
from keras_prelu.conversion.replacements import (
    ActivationFactory,
    BuiltLayerFactory,
    Replacements,
    StandInFactories,
)
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.custom_layers.as_written import addresses_as_written
from keras_prelu.custom_layers.converted_layer import ConvertedLayer, is_converted
from keras_prelu.graph import functional
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.masks import without_mask
from keras_prelu.graph.output_names import output_names
from keras_prelu.graph.plan import compile_plan
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.sites.site import unique_name

__all__ = ["exchangeable_operations", "operations_inside", "with_activations"]


def with_activations(
    model: keras.Model,
    prune: float,
    make: ActivationFactory,
    chosen: Collection[int] | None = None,
) -> keras.Model:
    """Return a copy of a model with other layers in place of the `PReLU` layers of its graph.

    Args:
        model: `keras.Model`. It is not changed.
        prune: Float. As in `bake`. Layers with Python code whose PReLUs are all pruned get their
            own class back.
        make: `ActivationFactory`. Factory for the other layers.
        chosen: Collection of integers or None. Ids of the PReLU layers to replace. Defaults to
            None, all.
    """
    taken_names = {operation.name for operation in operations_inside(model)}
    new_names = _names_of_outputs(model, taken_names)
    dropping = _masks_to_drop(model)

    def make_chain(layer: PReLU) -> list[Any]:
        name = str(new_names.get(id(layer), layer.name))
        chain = make(layer, name, unique_name(f"{name}_cap", taken_names))
        if id(layer) in new_names and len(chain) > 1:  # The last layer creates the output.
            chain[0].name, chain[-1].name = chain[-1].name, chain[0].name
        chain[-1].activity_regularizer = layer.activity_regularizer
        return [*chain, without_mask] if id(layer) in dropping else chain

    replacements = Replacements()
    for operation in exchangeable_operations(model):
        if isinstance(operation, PReLU) and (chosen is None or id(operation) in chosen):
            replacements.replace_operation(operation, partial(make_chain, operation))
        elif is_converted(operation):
            factories = _stand_ins(operation, prune, chosen)
            if factories is not None:
                replacements.exchange_stand_ins(operation, factories)
        if id(operation) in new_names:
            replacements.rename(operation, new_names[id(operation)])
    copy = copy_model(model, replacements)
    names = output_names(model)
    if names is not None and output_names(copy) is not None:
        copy.output_names = names
    return copy


def _stand_ins(
    layer: ConvertedLayer, prune: float, chosen: Collection[int] | None
) -> StandInFactories | None:
    """Return what takes the place of the PReLU layers in the code of a layer, or None for nothing.

    Where they compute what the code's own rectifiers do, the code applies those again.
    """
    factories: dict[str, list[BuiltLayerFactory | None]] = {}
    written = addresses_as_written(layer, prune)
    for stand_in in layer._stand_ins:
        are_chosen = [chosen is None or id(prelu) in chosen for prelu in stand_in.layers]
        if not (stand_in.address in written and all(are_chosen)):
            factories[stand_in.address] = [
                partial(_with_one_slope, prelu) if is_chosen and chosen is not None else None
                for prelu, is_chosen in zip(stand_in.layers, are_chosen, strict=True)
            ]
    is_changed = len(factories) < len(layer._stand_ins) or any(map(any, factories.values()))
    return factories if is_changed else None


def _with_one_slope(layer: PReLU) -> PReLU:
    """Return a built layer like a PReLU layer whose slopes are all equal, with one that is frozen.

    It is a LeakyReLU for Python code, in which no stock layer finds its place in a file.
    """
    config = {
        **layer.get_config(),
        "alpha_initializer": float(to_float64(slopes_in_effect(layer)).flat[0]),
        "parameterization": "identity",
        "shared_axes": "channel_shared",
        **dict.fromkeys(("alpha_regularizer", "beta_regularizer", "alpha_constraint")),
    }
    new = PReLU.from_config(config)
    new.build(layer.get_build_config()["input_shape"])
    new.trainable = False
    return new


def _masks_to_drop(model: keras.Model) -> set[int]:
    """Return the ids of the PReLU layers that drop a mask, which no stock activation layer does."""
    if not any(getattr(operation, "drop_mask", False) for operation in operations_inside(model)):
        return set()
    plan = compile_plan(model)
    return {
        id(step.operation)
        for step in plan.steps
        if getattr(step.operation, "drop_mask", False) and not plan.masked.isdisjoint(step.inputs)
    }


def _names_of_outputs(model: keras.Model, taken_names: set[str]) -> dict[int, str]:
    """Return new names of layers, by id, that give outputs their names in a stock model.

    A stock model takes the name of an output from the layer that creates it. In a converted model,
    this may be a PReLU beside the layer of that name, which then gets another one.
    """
    names = output_names(model)
    if names is None or isinstance(model, keras.Sequential):
        return {}
    writers = [producer(tensor) for tensor in model.outputs]
    wanted = {id(writer): name for writer, name in zip(writers, names, strict=True)}
    is_unique = len(set(wanted.values())) == len(wanted)
    if not is_unique or any(
        wanted[id(writer)] != name for writer, name in zip(writers, names, strict=True)
    ):
        return {}  # One name for several layers, or several for one.
    operations = {operation.name: operation for operation in functional.operations(model)}
    new_names: dict[int, str] = {}
    for writer in writers:
        name = wanted[id(writer)]
        caps = isinstance(writer, PReLU) and writer.max_value is not None
        if isinstance(writer, PReLU) and (writer.name != name or caps):
            new_names[id(writer)] = name
            other = operations.get(name)
            if other is not None and other is not writer:
                new_names[id(other)] = unique_name(f"{name}_linear", taken_names)
    return new_names


def exchangeable_operations(model: keras.Model) -> Iterator[Any]:
    """Yield what a copy of a model exchanges, or whose PReLU layers it exchanges.

    These are the layers and ops of `operations_inside`, and the model itself if its Python code
    applies PReLU layers.
    """
    yield from operations_inside(model)
    if not is_taken_apart(model):
        yield model


def operations_inside(model: keras.Model) -> Iterator[Any]:
    """Yield each layer and op of a model and of the models inside it."""
    for operation in functional.operations(model):
        yield operation
        if is_taken_apart(operation):
            yield from operations_inside(operation)
