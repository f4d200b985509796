"""Baking: a copy of a converted model with stock Keras layers, whose weights are the slopes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
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
from keras_prelu.conversion.opening import open_converted
from keras_prelu.conversion.optimizer_copies import copy_optimizer
from keras_prelu.conversion.replacements import (
    ActivationFactory,
    BuiltLayerFactory,
    Replacements,
    StandInFactories,
)
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.conversion.variable_matching import match_variables
from keras_prelu.custom_layers.as_written import addresses_as_written
from keras_prelu.custom_layers.converted_layer import ConvertedLayer, is_converted, prelus
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
        model: `keras.Model`. Sequential, functional or subclassed, with nested models; converted or
            not. It is not changed. Custom layers are kept, except those whose Python code applies
            PReLUs: the graph of what the code computes for inference takes their place, so that a
            subclassed model becomes a functional one.
        fold_batch_normalization: Boolean. Whether each BatchNormalization is folded into the linear
            layer before it. This is exact at inference, but the model can no longer be trained as
            before, and kernel and bias regularizers of the folded layers are dropped. Kept are
            pairs of layers that compute in different dtypes, or whose folded weights their dtype
            can't hold, that have constraints, or that are called with `training=True`. Defaults to
            False.
        prune: Float. A layer whose slopes are all at most this far from 0 becomes a ReLU, which
            changes the function. Defaults to 0.0, only slopes of exactly 0.

    Returns:
        A new model of the same kind (a Sequential stays one), apart from Python code that applies
        PReLUs. If these compute what the code's own rectifiers did (all slopes 0, or pruned), the
        layer or model of the user's own class is restored instead.

    Raises:
        ConversionError: The copy predicts something else; or Python code that applies PReLUs
            creates no graph that a file can hold, since it takes no symbolic tensors, or computes
            with weights of its own. The message names the layer and the ways out.
        InvalidArgumentError: A ValueError; `prune` is negative.

    Example:

    >>> keras_prelu.bake(converted).save("stock.keras")

    References:
        Folding: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """
    check_prune(prune)
    _refuse_sequence_without_graph(model)
    _refuse_inner_prelus(model)
    with _pruned(model, float(prune)):
        check = FunctionCheck(model)
    stock = _StockLayers(float(prune))
    baked, lacks_losses = open_converted(
        with_activations(model, float(prune), stock.make), stock.make
    )
    stock.assign_slopes()
    if lacks_losses:
        check = check.without_losses()
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


def _refuse_sequence_without_graph(model: keras.Model) -> None:
    """Check that a Sequential is built, and that what is to be baked is a model.

    Raises:
        ConversionError: It is not built.
    """
    if functional.is_sequence(model) or not isinstance(model, keras.Model):
        functional.functional_view(model)


def _refuse_inner_prelus(model: keras.Model) -> None:
    """Check that each PReLU is one that replaced a rectifier, or a layer of the graph.

    Raises:
        ConversionError: A layer with Python code of its own was written with a PReLU.
    """
    known = {id(layer) for each in (model, *sublayers(model)) for layer in prelus(each)}
    known |= {id(operation) for operation in _operations(model)}
    for path, layer in prelu_layers(model):
        if id(layer) not in known:
            raise ConversionError(
                f"'{path}' is a PReLU layer that Python code calls, where no stock layer can take"
                f" its place. {_ADVICE}, or export the model."
            )


def with_stock_activations(
    model: keras.Model, prune: float, chosen: Collection[int] | None = None
) -> keras.Model:
    """Return a copy of a model with stock layers in place of the `PReLU` layers of its graph.

    Args:
        model: `keras.Model`. It is not changed.
        prune: Float. As in `bake`.
        chosen: Collection of integers or None. As in `with_activations`.
    """
    stock = _StockLayers(prune)
    copy = with_activations(model, prune, stock.make, chosen)
    stock.assign_slopes()
    return copy


class _StockLayers:
    """Makes stock layers that compute what PReLU layers do.

    Args:
        prune: Float. As in `bake`.
    """

    def __init__(self, prune: float) -> None:
        self._prune = prune
        self._slopes: list[tuple[keras.layers.PReLU, np.ndarray]] = []

    def make(self, layer: PReLU, name: str, cap_name: str) -> list[keras.layers.Layer]:
        """Return the layers, as an `ActivationFactory` does."""
        slopes = to_float64(slopes_in_effect(layer))
        stock = _simplest_stock_layer(layer, slopes, self._prune, name)
        if isinstance(stock, keras.layers.PReLU):
            self._slopes.append((stock, slopes))
        return [stock] if layer.max_value is None else _capped(stock, layer.max_value, cap_name)

    def assign_slopes(self) -> None:
        """Assign the slopes, once the layers are built."""
        for stock, slopes in self._slopes:
            stock.alpha.assign(slopes.reshape(stock.alpha.shape))


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
    for operation in (*_operations(model), *([] if is_taken_apart(model) else [model])):
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
