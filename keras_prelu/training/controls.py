"""Further controls of a fine-tuning, by name.

Each tests one more cause that a gain might have, other than longer training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.fresh_copies import redraw
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.diagnostics.comparison import Comparison
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.initial_values import InitializedWeight
from keras_prelu.initializers import PReLUHeNormal
from keras_prelu.sites.prelu_layers import freeze_slopes
from keras_prelu.training.fit import TrainedModel

__all__ = ["CONTROLS", "TrainedControl", "check_controls", "control_model"]

CONTROLS = {
    "fixed-slopes": "the same with slopes that do not learn",
    "from-scratch": "the same trained from fresh weights",
}
"""The description of each control in a verdict."""

_LINEAR = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_KERNELS = ("kernel", "depthwise", "pointwise")


@dataclass(frozen=True, kw_only=True)
class TrainedControl:
    """A further control.

    Attributes:
        name: Str. A name in `CONTROLS`.
        trained: `TrainedModel`. The control, trained with the same setup as the model.
        comparison: `Comparison` of the model with the control.
    """

    name: str
    trained: TrainedModel
    comparison: Comparison


def check_controls(names: Any) -> tuple[str, ...]:
    """Return the names of further controls, each once.

    Args:
        names: Str or sequence of str. A name in `CONTROLS`, or several.

    Raises:
        InvalidArgumentError: A ValueError; there is no such control.
    """
    unique = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    for name in unique:
        if name not in CONTROLS:
            raise InvalidArgumentError(
                f"`controls` must be among {', '.join(map(repr, CONTROLS))}. Received: {name!r}"
            )
    return unique


def control_model(name: str, prelu_model: keras.Model, seed: int) -> keras.Model:
    """Return the model that a control trains.

    Args:
        name: Str. A name in `CONTROLS`. "fixed-slopes" is the PReLU model with frozen slopes.
            "from-scratch" is the PReLU model with its initial slopes and fresh weights: kernels of
            Dense and convolutional layers are drawn by `PReLUHeNormal` for the mean of the slopes
            (claim 4), all other weights by their layer's own initializers.
        prelu_model: Keras model. The PReLU model before fine-tuning. Not changed.
        seed: Int. Seed of fresh weights.

    Raises:
        InvalidArgumentError: A ValueError; the control is "from-scratch", and a trained weight has
            no known initializer.
    """
    model = rewrite(prelu_model)
    if name == "fixed-slopes":
        freeze_slopes(model)
    else:
        mean_slope = float(np.mean([layer.mean for layer in layer_slopes(prelu_model)]))
        _redraw(model, mean_slope, seed)
    return model


def _redraw(model: keras.Model, mean_slope: float, seed: int) -> None:
    """Assign fresh initial values to all variables except slopes."""

    def draw(weight: InitializedWeight, own_seed: int) -> Any:
        is_kernel = isinstance(weight.layer, _LINEAR) and weight.role in _KERNELS
        if is_kernel and weight.is_random:
            return _fresh_kernel(weight, mean_slope, own_seed)
        return weight.draw(own_seed)

    left = redraw(model, sublayers(model), seed, draw)
    if left is not None:
        raise InvalidArgumentError(
            f"The control 'from-scratch' can't redraw '{left.path}': its layer has no initializer"
            " for it that is known."
        )


def _fresh_kernel(weight: InitializedWeight, mean_slope: float, seed: int) -> Any:
    shape = weight.variable.shape
    # A unit of a depthwise kernel reads one channel, so the channel axis is not part of its fan-in.
    fan_in_axes = len(shape) - (2 if weight.role == "depthwise" else 1)
    matrix_shape = (int(np.prod(shape[:fan_in_axes])), int(np.prod(shape[fan_in_axes:])))
    values = PReLUHeNormal(mean_slope, seed=seed)(matrix_shape, dtype=weight.variable.dtype)
    return keras.ops.reshape(values, shape)
