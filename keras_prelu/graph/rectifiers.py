"""Classification of rectifiers by class name and attributes alone, in backend-free Python.

Rectifiers are ReLU and its kind, and on request their smooth relatives. What a function computes
that has no known name is measured, see `measurement` and `rectifier_recognition`. `objections`
knows the range of a rectifier's output, and `custom_layers.rectifier_functions` the functions that
Python code calls. Smooth rectifiers have no cap; one with a cap would be recognized in
`rectifier_recognition`, and fitted in `calibration.smooth_slopes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

__all__ = [
    "APPLYING",
    "RECTIFYING",
    "RECURRENT",
    "SMOOTH_LOWER_BOUNDS",
    "SMOOTH_NAMES",
    "Rectifier",
    "applied",
    "classify",
    "named",
    "number_of_constant",
]

RECURRENT = frozenset(
    {
        "ConvLSTM1D",
        "ConvLSTM2D",
        "ConvLSTM3D",
        "GRU",
        "GRUCell",
        "LSTM",
        "LSTMCell",
        "RNN",
        "SimpleRNN",
        "SimpleRNNCell",
        "StackedRNNCells",
    }
)
"""Class names of layers that apply the activation of their cell in a loop over time."""
APPLYING = frozenset(
    {
        "Activation",
        "Conv1D",
        "Conv1DTranspose",
        "Conv2D",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "EinsumDense",
        "SeparableConv1D",
        "SeparableConv2D",
    }
)
"""Class names of layers that apply their `activation` to what they compute."""
RECTIFYING = frozenset({"ELU", "LeakyReLU", "PReLU", "ReLU"})
"""Class names of layers that are rectifiers."""
SMOOTH_NAMES: Final = {
    "celu": "celu",
    "elu": "elu",
    "gelu": "gelu",
    "hard_silu": "hard_silu",
    "hard_swish": "hard_silu",
    "mish": "mish",
    "selu": "selu",
    "silu": "silu",
    "softplus": "softplus",
    "swish": "silu",
}
"""The name of a smooth rectifier by the names of the functions that compute it. None has a cap."""
SMOOTH_LOWER_BOUNDS: Final = {
    "celu": -1.0,
    "elu": -1.0,
    "gelu": -0.17,
    "hard_silu": -0.375,
    "mish": -0.309,
    "selu": -1.759,
    "silu": -0.279,
    "softplus": 0.0,
}
"""Lower bounds of smooth rectifiers, with the default arguments of their functions."""
_OPS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "Celu": "celu",
    "Gelu": "gelu",
    "Silu": "silu",
    "HardSilu": "hard_silu",
    "Mish": "mish",
    "Softplus": "softplus",
}


@dataclass(frozen=True)
class Rectifier:
    """A rectifier as it occurs in a model.

    Attributes:
        kind: String. How it is applied: "relu", "leaky_relu", "prelu" or "elu" (layers of that
            name), "activation" (an Activation layer), "inline" (the `activation` of another layer),
            "op" (an operation of a graph), "function" (an attribute that a layer calls) or "code"
            (a function that Python code calls).
        negative_slope: Float. Its slope for x < 0; None for the learned slopes of a PReLU.
        max_value: Float. The cap on its output, or None.
        reason: String. Why it can't be converted; empty if it can.
        smooth: String. Name of the function if it is not a ReLU but a smooth relative, which PReLU
            replaces on request; empty otherwise.
    """

    kind: str
    negative_slope: float | None = 0.0
    max_value: float | None = None
    reason: str = ""
    smooth: str = ""

    @property
    def shared(self) -> bool:
        """Whether all calls of the layer are one site.

        Calls that already share weights also share slopes.
        """
        return self.kind in ("inline", "prelu")


_FUNCTIONS = {
    "relu": Rectifier("function"),
    "relu6": Rectifier("function", max_value=6.0),
    "leaky_relu": Rectifier("function", 0.2),
}


def classify(class_name: str, attributes: Mapping[str, Any]) -> Rectifier | None:
    """Return the rectifier that an operation of Keras's own is, or None.

    Only the class name and the attributes are used.

    Args:
        class_name: String. Name of a class of Keras's, such as "ReLU" or "Relu" (the op of
            `keras.ops.relu`).
        attributes: Mapping. The operation's attributes, and for an op under "constant" the number
            that it combines with a tensor.

    Returns:
        A `Rectifier`, or None for an operation that is not a rectifier.
    """
    if class_name == "ReLU":
        return _relu(attributes)
    if class_name == "LeakyReLU":
        return Rectifier("leaky_relu", float(attributes.get("negative_slope", 0.3)))
    if class_name == "PReLU":
        is_ours = "parameterization" in attributes
        reason = "it is a keras_prelu.PReLU already" if is_ours else ""
        return Rectifier("prelu", negative_slope=None, reason=reason)
    if class_name == "ELU":
        return Rectifier("elu", smooth="elu")
    return _op(class_name, attributes)


def applied(rectifier: Rectifier | None, class_name: str) -> Rectifier | None:
    """Return a rectifier as a layer applies it that has it as its `activation`, or None.

    Args:
        rectifier: `Rectifier` or None. What the activation computes.
        class_name: String. Name of the layer's class, in `APPLYING` or `RECURRENT`.
    """
    if rectifier is None:
        return None
    kind = "activation" if class_name == "Activation" else "inline"
    if class_name in RECURRENT:
        return replace(
            rectifier, kind=kind, reason="a recurrent cell applies it in a loop", smooth=""
        )
    reason = rectifier.reason
    if rectifier.kind == "prelu" and not reason:
        reason = "a PReLU layer given as an activation keeps its slopes inside"
    return replace(rectifier, kind=kind, reason=reason)


def named(function: str, kind: str) -> Rectifier | None:
    """Return the rectifier that a function of `keras.activations` applies.

    Args:
        function: String. Name of the function, such as "relu6".
        kind: String. See `Rectifier`.
    """
    if function in _FUNCTIONS:
        return replace(_FUNCTIONS[function], kind=kind)
    smooth = SMOOTH_NAMES.get(function)
    return Rectifier(kind, smooth=smooth) if smooth else None


def _op(class_name: str, attributes: Mapping[str, Any]) -> Rectifier | None:
    if class_name == "Clip":
        low, high = number_of_constant(attributes.get("x_min")), attributes.get("x_max")
        cap = math.inf if high is None else number_of_constant(high)
        if low == 0 and cap is not None and cap > 0:
            return Rectifier("op", max_value=None if cap == math.inf else cap)
    if class_name == "Maximum" and number_of_constant(attributes.get("constant")) == 0:
        return Rectifier("op")
    if class_name == "Threshold":
        # keras.ops.threshold(x, t, v) is x above t, and v below.
        threshold, below = (
            number_of_constant(attributes.get(name)) for name in ("threshold", "default_value")
        )
        return Rectifier("op") if threshold == 0 and below == 0 else None
    if class_name == "LeakyRelu":
        slope = number_of_constant(attributes.get("negative_slope"))
        return None if slope is None else Rectifier("op", slope)
    return named(_OPS[class_name], "op") if class_name in _OPS else None


def number_of_constant(value: Any) -> float | None:
    """Return the number that a constant is: a number, or an array that holds only one."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        numbers = np.unique(np.asarray(value, dtype=np.float64))
    except (RuntimeError, TypeError, ValueError):
        return None
    return float(numbers[0]) if numbers.size == 1 else None


def _relu(attributes: Mapping[str, Any]) -> Rectifier | None:
    given = {
        name: attributes[name]
        for name in ("negative_slope", "max_value", "threshold")
        if attributes.get(name) is not None
    }
    numbers = {name: number_of_constant(value) for name, value in given.items()}
    if None in numbers.values():  # Arrays, with a number for each channel.
        return None
    threshold, cap = numbers.get("threshold") or 0.0, numbers.get("max_value")
    reason = ""
    if threshold != 0.0:
        reason = f"it has a threshold of {threshold:g}, which PReLU does not have"
    elif cap is not None and cap <= 0:
        reason = f"its output is capped at {cap:g}"
    return Rectifier(
        "relu",
        negative_slope=numbers.get("negative_slope") or 0.0,
        max_value=cap,
        reason=reason,
    )
