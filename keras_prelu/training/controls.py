"""Further controls of a fine-tuning, by name: what else the gain might come from, beside training
longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.diagnostics.comparison import Comparison
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.initializers import PReLUHeNormal
from keras_prelu.layers import PReLU, is_slope
from keras_prelu.training.fit import Run

__all__ = ["CONTROLS", "ControlRun", "check_controls", "control_model"]

CONTROLS = {
    "fixed-slopes": "the same with slopes that do not learn",
    "from-scratch": "the same trained from fresh weights",
}
"""What each is called in a verdict."""

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


@dataclass(frozen=True)
class ControlRun:
    """A further control.

    Attributes:
        name: A name of `CONTROLS`.
        run: Its training, with the budget of the model's.
        comparison: The model against it.
    """

    name: str
    run: Run
    comparison: Comparison


def check_controls(names: Any) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        InvalidArgumentError: A ValueError; there is no such control.
    """
    found = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    for name in found:
        if name not in CONTROLS:
            raise InvalidArgumentError(
                f"`controls` must be among {', '.join(map(repr, CONTROLS))}. Received: {name!r}"
            )
    return found


def control_model(name: str, prelu: keras.Model, seed: int) -> keras.Model:
    """The model that a control trains.

    Args:
        name: A name of `CONTROLS`. "fixed-slopes" is the PReLU model as it is, its slopes frozen.
            "from-scratch" is the PReLU model with its initial slopes and fresh weights: kernels of
            Dense and convolutional layers by `PReLUHeNormal` for the mean of the slopes (claim 4),
            all else by its layer's own initializers.
        prelu: The PReLU model before fine-tuning. Not changed.
        seed: Of fresh weights.

    Raises:
        InvalidArgumentError: A ValueError; "from-scratch", and a trained weight has no initializer
            that is known.
    """
    model = rewrite(prelu)
    if name == "fixed-slopes":
        for layer in sublayers(model):
            if isinstance(layer, PReLU):
                layer.trainable = False
    else:
        _redraw(
            model,
            float(np.mean([layer.mean for layer in layer_slopes(prelu)])),
            np.random.default_rng(seed),
        )
    return model


def _redraw(model: keras.Model, slope: float, rng: np.random.Generator) -> None:
    """Give all variables but slopes what they might have had before any training."""
    drawn = set()
    for layer in sublayers(model):
        for role, variable, initializer in _initialized(layer):
            seed = int(rng.integers(2**31))
            if (
                isinstance(layer, _LINEAR)
                and role in _KERNELS
                and "seed" in initializer.get_config()
            ):
                fan_in_axes = len(variable.shape) - (
                    2 if role == "depthwise" else 1
                )  # a depthwise unit reads one channel
                matrix = (
                    int(np.prod(variable.shape[:fan_in_axes])),
                    int(np.prod(variable.shape[fan_in_axes:])),
                )
                values = keras.ops.reshape(
                    PReLUHeNormal(slope, seed=seed)(matrix, dtype=variable.dtype), variable.shape
                )
            else:
                values = _reseeded(initializer, seed)(variable.shape, dtype=variable.dtype)
            variable.assign(values)
            drawn.add(id(variable))
    left = [
        variable
        for variable in model.trainable_variables
        if id(variable) not in drawn and not is_slope(variable)
    ]
    if left:
        raise InvalidArgumentError(
            f"The control 'from-scratch' can't redraw '{left[0].path}': its layer has no"
            " initializer for it that is known."
        )


def _initialized(layer: Any) -> Iterator[tuple[str, Any, keras.Initializer]]:
    """What an initializer of a layer of Keras's own is for, the variable, and the initializer."""
    for attribute, initializer in list(vars(layer).items()):
        if isinstance(layer, PReLU) or not (
            attribute.endswith("_initializer") and isinstance(initializer, keras.Initializer)
        ):
            continue
        role = attribute.removesuffix("_initializer")
        names = (
            (role, f"{role}_kernel", "kernel")
            if role in ("depthwise", "pointwise", "recurrent")
            else (role,)
        )
        variables = (getattr(layer, name, None) for name in names)
        variable = next((found for found in variables if isinstance(found, keras.Variable)), None)
        if variable is not None:
            yield role, variable, initializer


def _reseeded(initializer: keras.Initializer, seed: int) -> keras.Initializer:
    config = initializer.get_config()
    return type(initializer).from_config({**config, "seed": seed} if "seed" in config else config)
