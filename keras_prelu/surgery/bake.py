"""Baking: a converted model as stock Keras layers, with the slopes as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu._large_graphs import on_large_graphs
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.surgery import graph
from keras_prelu.surgery.folding import fold_batch_normalization as fold
from keras_prelu.surgery.program import compile_program
from keras_prelu.surgery.rewrite import rewrite
from keras_prelu.surgery.sites import unique_name
from keras_prelu.surgery.wholes import is_taken_apart

__all__ = ["bake"]

_OURS = "keras_prelu>"  # what the names of this package's registered classes begin with


@on_large_graphs
def bake(model: keras.Model, *, fold_batch_normalization: bool = False, prune: float = 0.0) -> keras.Model:
    """A copy of a model in which Keras's own layers do what `keras_prelu.PReLU` does: it loads where this package is not installed.

    A PReLU becomes a `keras.layers.PReLU` with the slopes as its weights; a ReLU where all slopes are 0, a LeakyReLU where they are equal,
    an Identity where they are 1. A cap becomes a `keras.layers.ReLU(max_value, negative_slope)`: the same layer where slopes are equal, one
    more (`<name>_cap`, of negative slope 1) where they are not. Names, weights, `trainable` flags and dtype policies are kept; so are
    compile settings, with the weights' optimizer instead of `SlopeOptimizer`. Regularizers and constraints of slopes are not.

    Args:
        model: Sequential or functional, with nested models; converted or not. It is not changed. Layers of your own stay what they are.
        fold_batch_normalization: Whether each BatchNormalization is folded into the linear layer before it: exact at inference, while the
            model can no longer be trained as it was. Defaults to False.
        prune: A layer whose slopes are all at most this far from 0 becomes a ReLU, which changes the function. Defaults to 0.0: exactly 0
            alone.

    Returns:
        A new model of the same kind (a Sequential stays one).

    Raises:
        ConversionError: The model has no graph, or a layer with Python code of its own applies PReLUs, which no stock layer can do.
        InvalidArgumentError: A ValueError; `prune` is negative.

    Example:

    >>> keras_prelu.bake(converted).save("stock.keras")

    References:
        Folding: Jacob et al. 2018, https://arxiv.org/abs/1712.05877.
    """
    if isinstance(prune, bool) or not isinstance(prune, (int, float)) or not prune >= 0:
        raise InvalidArgumentError(f"`prune` must be a number, 0 or more. Received: prune={prune!r}")
    _refuse_python_code(model)
    baked = _with_stock_activations(model, float(prune))
    return fold(baked) if fold_batch_normalization else baked


def _refuse_python_code(model: keras.Model) -> None:
    """Raise where PReLUs are applied by Python code: of a subclassed model, or of a layer."""
    way_out = "Keep keras_prelu installed where it is loaded"
    if not is_taken_apart(model):
        graph.functional_view(model)  # raises where there is none, and says what it is
        raise ConversionError(f"Model '{model.name}' ({type(model).__name__}) is built by its own constructor. {way_out}.")
    for step in compile_program(model).steps:
        inside = [layer for layer in graph.sublayers(step.operation) if isinstance(layer, PReLU)]
        if inside:
            raise ConversionError(
                f"Layer '{step.path}' ({type(step.operation).__name__}) applies '{inside[0].name}' in its own Python code, where no stock "
                f"layer can take its place. {way_out}, or exclude the layer from the conversion."
            )


def _with_stock_activations(model: keras.Model, prune: float) -> keras.Model:
    taken = {operation.name for operation in _operations(model)}
    slopes: list[tuple[Any, np.ndarray]] = []
    replaced: dict[tuple[int, int | None], Callable[[], Any]] = {
        (id(layer), None): partial(_stock, layer, prune, taken, slopes) for layer in _operations(model) if isinstance(layer, PReLU)
    }
    baked = rewrite(model, replaced=replaced)
    for layer, values in slopes:
        layer.alpha.assign(values.reshape(layer.alpha.shape))
    _recompile(baked)
    return baked


def _operations(model: keras.Model) -> Iterator[Any]:
    """Each layer and op of a model and of the models in it."""
    for operation in graph.operations(model):
        yield operation
        if is_taken_apart(operation):
            yield from _operations(operation)


def _stock(layer: PReLU, prune: float, taken: set[str], slopes: list[tuple[Any, np.ndarray]]) -> list[keras.layers.Layer]:
    """Keras's own layers that do what a PReLU does, called one after the other; one with weights is added to `slopes` with its values."""
    values = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)), dtype=np.float32)
    first, cap = float(values.flat[0]), layer.max_value
    same: dict[str, Any] = {"name": layer.name, "dtype": layer.dtype_policy}
    if np.abs(values).max() <= prune:
        return [keras.layers.ReLU(max_value=cap, **same)]
    if np.all(values == first) and first > 0:
        if cap is not None:
            return [keras.layers.ReLU(max_value=cap, negative_slope=first, **same)]
        return [keras.layers.Identity(**same) if first == 1.0 else keras.layers.LeakyReLU(negative_slope=first, **same)]
    prelu = keras.layers.PReLU(shared_axes=[axis for axis, size in enumerate(values.shape, 1) if size == 1], **same)
    slopes.append((prelu, values))
    if cap is None:
        return [prelu]
    return [
        prelu,
        keras.layers.ReLU(max_value=cap, negative_slope=1.0, name=unique_name(f"{layer.name}_cap", taken), dtype=layer.dtype_policy),
    ]


def _recompile(baked: keras.Model) -> None:
    """Exchange an optimizer of this package for the one that trains the weights in it."""
    config = baked.get_compile_config() if baked.compiled else None
    optimizer = (config or {}).get("optimizer")
    if config and isinstance(optimizer, dict) and str(optimizer.get("registered_name")).startswith(_OURS):
        baked.compile_from_config({**config, "optimizer": optimizer["config"]["optimizer"]})
