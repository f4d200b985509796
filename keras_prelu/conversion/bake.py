"""Baking: a converted model as stock Keras layers, with the slopes as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.batch_norm_folding import fold_batch_normalization as fold
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.custom_layers.converted_layer import is_as_written, is_converted
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.plan import compile_plan
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.sites.site import unique_name
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["bake", "check_prune", "with_stock_activations"]

_OURS = "keras_prelu>"  # what the names of this package's registered classes begin with


@on_large_graphs
def bake(
    model: keras.Model, *, fold_batch_normalization: bool = False, prune: float = 0.0
) -> keras.Model:
    """A copy of a model in which Keras's own layers do what `keras_prelu.PReLU` does: it loads
    where this package is not installed.

    A PReLU becomes a `keras.layers.PReLU` with the slopes as its weights; a ReLU where all slopes
    are 0, a LeakyReLU where they are equal, an Identity where they are 1. A cap becomes a
    `keras.layers.ReLU(max_value, negative_slope)`: the same layer where slopes are equal, one more
    (`<name>_cap`, of negative slope 1) where they are not. Names, weights, `trainable` flags and
    dtype policies are kept; so are compile settings, with the weights' optimizer instead of
    `SlopeOptimizer`. Regularizers and constraints of slopes are not.

    Args:
        model: Sequential or functional, with nested models; converted or not. It is not changed.
            Layers of your own stay what they are.
        fold_batch_normalization: Whether each BatchNormalization is folded into the linear layer
            before it: exact at inference, while the model can no longer be trained as it was.
            Defaults to False.
        prune: A layer whose slopes are all at most this far from 0 becomes a ReLU, which changes
            the function. Defaults to 0.0: exactly 0 alone.

    Returns:
        A new model of the same kind (a Sequential stays one).

    Raises:
        ConversionError: The model has no graph, or a layer with Python code of its own applies
            PReLUs, which no stock layer can do. Where those do what the layer's own rectifiers did
            (all slopes 0, or pruned), the layer is of your class again instead.
        InvalidArgumentError: A ValueError; `prune` is negative.

    Example:

    >>> keras_prelu.bake(converted).save("stock.keras")

    References:
        Folding: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """
    check_prune(prune)
    _refuse_python_code(model, float(prune))
    baked = with_stock_activations(model, float(prune), _capped)
    _recompile(baked)
    return fold(baked) if fold_batch_normalization else baked


def check_prune(prune: Any) -> None:
    """Raise what `bake` would raise."""
    if isinstance(prune, bool) or not isinstance(prune, (int, float)) or not prune >= 0:
        raise InvalidArgumentError(
            f"`prune` must be a number, 0 or more. Received: prune={prune!r}"
        )


def _refuse_python_code(model: keras.Model, prune: float) -> None:
    """Raise where PReLUs are applied by Python code: of a subclassed model, or of a layer."""
    way_out = "Keep keras_prelu installed where it is loaded"
    if not is_taken_apart(model):
        functional.functional_view(model)  # raises where there is none, and says what it is
        raise ConversionError(
            f"Model '{model.name}' ({type(model).__name__}) is built by its own constructor."
            f" {way_out}."
        )
    for step in compile_plan(model).steps:
        inside = [layer for layer in sublayers(step.operation) if isinstance(layer, PReLU)]
        if inside and not (is_converted(step.operation) and is_as_written(step.operation, prune)):
            raise ConversionError(
                f"Layer '{step.path}' ({type(step.operation).__name__}) applies '{inside[0].name}'"
                f" in its own Python code, where no stock layer can take its place. {way_out}, or"
                " exclude the layer from the conversion."
            )


Capped = Callable[[keras.layers.Layer, float, str], list[keras.layers.Layer]]
"""From a stock activation, the cap on its output and a free name: the layers that do both."""


def with_stock_activations(model: keras.Model, prune: float, capped: Capped) -> keras.Model:
    """A copy of a model that is taken apart, in which stock layers stand where `PReLU` layers stood
    in its graph."""
    taken = {operation.name for operation in _operations(model)}
    slopes: list[tuple[Any, np.ndarray]] = []

    def make(layer: PReLU) -> list[keras.layers.Layer]:
        values = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)), dtype=np.float32)
        stock = _stock(layer, values, prune)
        if isinstance(stock, keras.layers.PReLU):
            slopes.append((stock, values))
        return (
            [stock]
            if layer.max_value is None
            else capped(stock, layer.max_value, unique_name(f"{layer.name}_cap", taken))
        )

    operations = list(_operations(model))
    baked = rewrite(
        model,
        replaced={
            (id(layer), None): partial(make, layer)
            for layer in operations
            if isinstance(layer, PReLU)
        },
        restored={
            id(layer) for layer in operations if is_converted(layer) and is_as_written(layer, prune)
        },
    )
    for layer, values in slopes:
        layer.alpha.assign(values.reshape(layer.alpha.shape))
    return baked


def _operations(model: keras.Model) -> Iterator[Any]:
    """Each layer and op of a model and of the models in it."""
    for operation in functional.operations(model):
        yield operation
        if is_taken_apart(operation):
            yield from _operations(operation)


def _stock(layer: PReLU, values: np.ndarray, prune: float) -> keras.layers.Layer:
    """The simplest layer of Keras's own with these slopes. A PReLU gets them once it is built."""
    first = float(values.flat[0])
    same: dict[str, Any] = {"name": layer.name, "dtype": layer.dtype_policy}
    if np.abs(values).max() <= prune:
        return keras.layers.ReLU(**same)
    if np.all(values == first) and first > 0:
        return (
            keras.layers.Identity(**same)
            if first == 1.0
            else keras.layers.LeakyReLU(negative_slope=first, **same)
        )
    return keras.layers.PReLU(
        shared_axes=[axis for axis, size in enumerate(values.shape, 1) if size == 1], **same
    )


def _capped(stock: keras.layers.Layer, cap: float, name: str) -> list[keras.layers.Layer]:
    """As layers that a file can hold: a ReLU of slope 1 caps what comes before it."""
    if isinstance(stock, keras.layers.PReLU):
        return [
            stock,
            keras.layers.ReLU(
                max_value=cap, negative_slope=1.0, name=name, dtype=stock.dtype_policy
            ),
        ]
    slope = {keras.layers.ReLU: 0.0, keras.layers.Identity: 1.0}.get(type(stock))
    slope = stock.negative_slope if slope is None else slope
    return [
        keras.layers.ReLU(
            max_value=cap, negative_slope=slope, name=stock.name, dtype=stock.dtype_policy
        )
    ]


def _recompile(baked: keras.Model) -> None:
    """Exchange an optimizer of this package for the one that trains the weights in it."""
    config = baked.get_compile_config() if baked.compiled else None
    optimizer = (config or {}).get("optimizer")
    if (
        config
        and isinstance(optimizer, dict)
        and str(optimizer.get("registered_name")).startswith(_OURS)
    ):
        baked.compile_from_config({**config, "optimizer": optimizer["config"]["optimizer"]})
