"""Baking: a copy of a converted model with stock Keras layers, whose weights are the slopes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import producer, sublayers
from keras_prelu.conversion.batch_norm_folding import fold_batch_normalization as fold
from keras_prelu.conversion.compile_settings import (
    copy_compile_settings,
    settings_without_optimizer,
)
from keras_prelu.conversion.optimizer_copies import copy_optimizer
from keras_prelu.conversion.replacements import Replacements
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.conversion.variable_matching import match_variables
from keras_prelu.custom_layers.as_written import is_as_written
from keras_prelu.custom_layers.converted_layer import is_converted
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph import functional
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.masks import without_mask
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.graph.output_names import output_names
from keras_prelu.graph.plan import compile_plan
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.ops import capped
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.sites.site import unique_name
from keras_prelu.typing import Tensor
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS, SAME_OPERATIONS
from keras_prelu.verification.same_function import FunctionCheck

__all__ = [
    "bake",
    "check_prune",
    "compile_with_stock_optimizer",
    "refuse_inner_prelus",
    "with_activations",
    "with_stock_activations",
]

_ADVICE = "Keep keras_prelu installed where the model is loaded"
_OWN_MODULES = "keras_prelu."
"""Prefix of the names of this package's modules."""


@models_by_name("model")
@keeps_state("model")
@on_large_graphs
def bake(
    model: ModelLike, *, fold_batch_normalization: bool = False, prune: float = 0.0
) -> keras.Model:
    """Return a copy of a model with stock Keras layers in place of `keras_prelu.PReLU`.

    The copy loads where this package is not installed. A PReLU becomes a `keras.layers.PReLU` with
    the slopes as its weights; a ReLU if all slopes are 0, a LeakyReLU if they are equal (and
    float32 has that number, where the layer computes in float64), an Identity if they are 1. A cap
    becomes a `keras.layers.ReLU(max_value, negative_slope)`: the same layer if slopes are equal, an
    additional one (`<name>_cap`, with negative slope 1) otherwise. Names (of outputs too), weights,
    `trainable` flags and dtype policies are kept; a linear layer that an output has its name from
    becomes `<name>_linear`. Compile settings are kept too, but the weights' optimizer replaces a
    `SlopeOptimizer`. Activity regularizers are kept; regularizers and constraints of slopes are
    dropped.

    Args:
        model: `keras.Model`. Sequential or functional, with nested models; converted or not. It is
            not changed. Custom layers are kept.
        fold_batch_normalization: Boolean. Whether each BatchNormalization is folded into the linear
            layer before it. This is exact at inference, but the model can no longer be trained as
            before, and kernel and bias regularizers of the folded layers are dropped. Kept are
            pairs of layers that compute in different dtypes, or whose folded weights their dtype
            can't hold, that have constraints, or that are called with `training=True`. Defaults to
            False.
        prune: Float. A layer whose slopes are all at most this far from 0 becomes a ReLU, which
            changes the function. Defaults to 0.0, only slopes of exactly 0.

    Returns:
        A new model of the same kind (a Sequential stays one).

    Raises:
        ConversionError: The model has no graph; or the copy predicts something else; or a layer
            with Python code of its own applies PReLUs, which no stock layer can replace. If these
            PReLUs compute what the layer's own rectifiers did (all slopes 0, or pruned), the
            layer's own class is restored instead.
        InvalidArgumentError: A ValueError; `prune` is negative.

    Example:

    >>> keras_prelu.bake(converted).save("stock.keras")

    References:
        Folding: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """
    check_prune(prune)
    _refuse_own_constructor(model)
    refuse_inner_prelus(model, float(prune))
    with _pruned(model, float(prune)):
        check = FunctionCheck(model)
    baked = with_stock_activations(model, float(prune))
    check.refuse(baked, SAME_OPERATIONS, "Baking")
    compile_with_stock_optimizer(model, baked)
    if not fold_batch_normalization:
        return baked
    folded = fold(baked)
    check.refuse(folded, OTHER_WEIGHTS, "Folding BatchNormalization")
    return folded


@contextmanager
def _pruned(model: keras.Model, prune: float) -> Iterator[None]:
    """Let the PReLU layers of a model that are to be pruned compute a ReLU within the context."""
    layers = [layer for _, layer in prelu_layers(model)] if prune else []
    with ExitStack() as undo:
        for layer in layers:
            if np.abs(to_float64(slopes_in_effect(layer))).max() <= prune:
                undo.callback(set_target(HookTarget(layer), partial(_as_relu, layer)))
        yield


def _as_relu(layer: PReLU, inputs: Tensor) -> Tensor:
    return capped(keras.ops.relu(inputs), layer.max_value)


def check_prune(prune: Any) -> None:
    """Check the argument `prune` of `bake`.

    Raises:
        InvalidArgumentError: The argument is not a number of at least 0.
    """
    if isinstance(prune, bool) or not isinstance(prune, (int, float)) or not prune >= 0:
        raise InvalidArgumentError(
            f"`prune` must be a number, 0 or more. Received: prune={prune!r}"
        )


def _refuse_own_constructor(model: keras.Model) -> None:
    """Check that a model is not built by a class of its own.

    Raises:
        ConversionError: It is.
    """
    if not is_taken_apart(model):
        functional.functional_view(model)  # Raises a clearer error if the model has no graph.
        raise ConversionError(
            f"Model '{model.name}' ({type(model).__name__}) is built by its own constructor."
            f" {_ADVICE}."
        )


def refuse_inner_prelus(
    model: keras.Model, prune: float, chosen: Collection[int] | None = None
) -> None:
    """Check that no PReLU is applied by the Python code of a layer that can't be restored.

    Args:
        model: `keras.Model`. It has a graph.
        prune: Float. As in `bake`.
        chosen: Collection of integers or None. As in `with_stock_activations`.

    Raises:
        ConversionError: A PReLU is applied by such code.
    """
    for step in compile_plan(model).steps:
        layer = step.operation
        inner_prelus = [
            inner
            for inner in sublayers(layer)
            if isinstance(inner, PReLU) and (chosen is None or id(inner) in chosen)
        ]
        if inner_prelus and not _can_be_restored(layer, prune):
            raise ConversionError(
                f"Layer '{step.path}' ({type(layer).__name__}) applies '{inner_prelus[0].name}' in"
                f" its own Python code, where no stock layer can take its place. {_ADVICE}, or"
                " exclude the layer from the conversion."
            )


def _can_be_restored(operation: Any, prune: float) -> bool:
    """Return whether an operation is a converted layer that computes what the original does."""
    return is_converted(operation) and is_as_written(operation, prune)


ActivationFactory = Callable[[PReLU, str, str], list[keras.layers.Layer]]
"""Factory for the layers that replace a PReLU, one applied to the output of the other.

Its arguments are the PReLU, the name of the first layer, and a name that is free for a second.
"""


def with_stock_activations(
    model: keras.Model, prune: float, chosen: Collection[int] | None = None
) -> keras.Model:
    """Return a copy of a model with stock layers in place of the `PReLU` layers of its graph.

    Args:
        model: `keras.Model`. It is not changed.
        prune: Float. As in `bake`.
        chosen: Collection of integers or None. As in `with_activations`.
    """
    slopes_by_stock_prelu: list[tuple[keras.layers.PReLU, np.ndarray]] = []

    def make_stock(layer: PReLU, name: str, cap_name: str) -> list[keras.layers.Layer]:
        slopes = to_float64(slopes_in_effect(layer))
        stock = _simplest_stock_layer(layer, slopes, prune, name)
        if isinstance(stock, keras.layers.PReLU):
            slopes_by_stock_prelu.append((stock, slopes))
        return [stock] if layer.max_value is None else _capped(stock, layer.max_value, cap_name)

    baked = with_activations(model, prune, make_stock, chosen)
    for stock, slopes in slopes_by_stock_prelu:
        stock.alpha.assign(slopes.reshape(stock.alpha.shape))
    return baked


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
    taken_names = {operation.name for operation in _operations(model)}
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
    for operation in _operations(model):
        if isinstance(operation, PReLU) and (chosen is None or id(operation) in chosen):
            replacements.replace_operation(operation, partial(make_chain, operation))
        elif _can_be_restored(operation, prune) and _has_chosen(operation, chosen):
            replacements.restore(operation)
        if id(operation) in new_names:
            replacements.rename(operation, new_names[id(operation)])
    copy = copy_model(model, replacements)
    names = output_names(model)
    if names is not None and output_names(copy) is not None:
        copy.output_names = names
    return copy


def _has_chosen(layer: Any, chosen: Collection[int] | None) -> bool:
    return chosen is None or any(id(inner) in chosen for inner in sublayers(layer))


def _masks_to_drop(model: keras.Model) -> set[int]:
    """Return the ids of the PReLU layers that drop a mask, which no stock activation layer does."""
    if not any(getattr(operation, "drop_mask", False) for operation in _operations(model)):
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


def _operations(model: keras.Model) -> Iterator[Any]:
    """Yield each layer and op of a model and of the models inside it."""
    for operation in functional.operations(model):
        yield operation
        if is_taken_apart(operation):
            yield from _operations(operation)


def _simplest_stock_layer(
    layer: PReLU, slopes: np.ndarray, prune: float, name: str
) -> keras.layers.Layer:
    """Return the simplest stock layer with the slopes of a layer.

    A PReLU is returned without its slopes, which are assigned once it is built.
    """
    first = float(slopes.flat[0])
    common: dict[str, Any] = {"name": name, "dtype": layer.dtype_policy}
    if np.abs(slopes).max() <= prune:
        return keras.layers.ReLU(**common)
    if np.all(slopes == first) and first == 1.0:
        if layer.activity_regularizer is not None:  # The configuration of an Identity has none.
            return keras.layers.Activation("linear", **common)
        # That configuration can't hold a policy object either.
        return keras.layers.Identity(name=name, dtype=layer.dtype_policy.name)
    # TensorFlow's leaky ReLU has its slope in float32.
    is_exact = layer.compute_dtype != "float64" or float(np.float32(first)) == first
    if np.all(slopes == first) and first > 0 and is_exact:
        return keras.layers.LeakyReLU(negative_slope=first, **common)
    shared_axes = [axis for axis, size in enumerate(slopes.shape, 1) if size == 1]
    return keras.layers.PReLU(shared_axes=shared_axes, **common)


def _capped(stock: keras.layers.Layer, cap: float, name: str) -> list[keras.layers.Layer]:
    """Return stock layers with a cap: a capped ReLU, or a PReLU and a capped ReLU with slope 1."""
    if isinstance(stock, keras.layers.PReLU):
        return [stock, _capped_relu(cap, slope=1.0, name=name, dtype=stock.dtype_policy)]
    if isinstance(stock, keras.layers.LeakyReLU):
        slope = stock.negative_slope
    else:
        slope = 0.0 if isinstance(stock, keras.layers.ReLU) else 1.0
    return [_capped_relu(cap, slope=slope, name=stock.name, dtype=stock.dtype_policy)]


def _capped_relu(cap: float, *, slope: float, name: str, dtype: Any) -> keras.layers.ReLU:
    return keras.layers.ReLU(max_value=cap, negative_slope=slope, name=name, dtype=dtype)


def compile_with_stock_optimizer(model: keras.Model, baked: keras.Model) -> None:
    """Compile a baked model like its model, without the `SlopeOptimizer` around an optimizer."""
    copy_compile_settings(model, baked)
    outer: Any = baked.optimizer if baked.compiled else None
    scales_loss = isinstance(outer, keras.optimizers.LossScaleOptimizer)
    optimizer: Any = outer.inner_optimizer if scales_loss else outer
    if optimizer is None or not type(optimizer).__module__.startswith(_OWN_MODULES):
        return
    stock = optimizer.inner_optimizer
    if scales_loss:
        outer.inner_optimizer = stock
        stock = outer
    stock = copy_optimizer(stock, match_variables(baked, baked))
    baked.compile(**settings_without_optimizer(baked), optimizer=stock)
    baked.optimizer.build(baked.trainable_variables)
