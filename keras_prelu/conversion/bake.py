"""Baking: a copy of a converted model with stock Keras layers, whose weights are the slopes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.activation_exchange import operations_inside, with_activations
from keras_prelu.conversion.batch_norm_folding import fold_batch_normalization as fold
from keras_prelu.conversion.compile_settings import (
    copy_compile_settings,
    settings_without_optimizer,
)
from keras_prelu.conversion.opening import open_converted
from keras_prelu.conversion.optimizer_copies import copy_optimizer
from keras_prelu.conversion.stock_layers import StockLayers
from keras_prelu.conversion.variable_matching import match_variables
from keras_prelu.custom_layers.converted_layer import is_converted, prelus
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph import functional
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.ops import capped
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.typing import Tensor
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS, SAME_OPERATIONS
from keras_prelu.verification.same_function import FunctionCheck

__all__ = [
    "bake",
    "check_prune",
    "compile_with_stock_optimizer",
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
        alone = check.with_one_sample(model) if _holds_code(model) else None
    stock = StockLayers(float(prune))
    baked, lacks_losses = open_converted(
        with_activations(model, float(prune), stock.make), stock.make
    )
    stock.assign_slopes()
    if lacks_losses:
        check = check.without_losses()
    check.refuse(baked, SAME_OPERATIONS, "Baking")
    if alone is not None:
        _refuse_count_of_samples(alone.without_losses(), baked)
    compile_with_stock_optimizer(model, baked)
    if not fold_batch_normalization:
        return baked
    folded = fold(baked)
    check.refuse(folded, OTHER_WEIGHTS, "Folding BatchNormalization")
    return folded


def _holds_code(model: keras.Model) -> bool:
    """Return whether Python code of a model applies PReLUs, of which a graph is made."""
    return any(map(is_converted, (model, *sublayers(model))))


def _refuse_count_of_samples(alone: FunctionCheck, baked: keras.Model) -> None:
    """Check that a graph of Python code computes what the code does for one sample alone.

    Raises:
        ConversionError: It does not.
    """
    reason = alone.difference(baked, SAME_OPERATIONS)
    if reason:
        raise ConversionError(
            f"Baking changes what '{baked.name}' computes for one sample alone: {reason}. Its"
            " Python code asks how many samples there are, and a graph computes the same for any"
            f" number. {_ADVICE}, or exclude the layer from the conversion."
        )


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
    known |= {id(operation) for operation in operations_inside(model)}
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
    stock = StockLayers(prune)
    copy = with_activations(model, prune, stock.make, chosen)
    stock.assign_slopes()
    return copy


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
