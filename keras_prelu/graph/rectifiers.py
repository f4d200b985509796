"""Classification of rectifiers by class name and configuration alone, in backend-free Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["RECURRENT", "Rectifier", "classify", "may_rectify", "named"]

_RELU6_CAP = 6.0
_LEAKY_SLOPE = 0.2  # the default of keras.activations.leaky_relu

_INLINE = frozenset(
    {
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
_ACTIVATION_LAYERS = frozenset({"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU"})
_OPS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyRelu": "leaky_relu",
    "ReLU": "relu",
    "Elu": "elu",
    "Selu": "selu",
    "Celu": "celu",
    "Gelu": "gelu",
    "Silu": "silu",
    "HardSilu": "hard_silu",
    "Mish": "mish",
    "Softplus": "softplus",
}
_SMOOTH = {
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


def may_rectify(class_name: str) -> bool:
    """Return whether `classify` needs the configuration of a layer class.

    This cheap test saves reading the configuration of all other layers.
    """
    return class_name in _ACTIVATION_LAYERS or class_name in _INLINE or class_name in RECURRENT


def classify(class_name: str, config: Mapping[str, Any]) -> Rectifier | None:
    """Return the rectifier that an operation of Keras's own applies, or None.

    Only the class name and the configuration are used.

    Args:
        class_name: String. Name of a class of Keras's, such as "ReLU", "Conv2D" or "Relu" (the op
            of `keras.ops.relu`).
        config: Mapping. The operation's `get_config()`; for an op, its attributes, since the
            configuration of an op holds less, and under "constant" the number that it combines
            with a tensor.

    Returns:
        A `Rectifier`, or None for an operation that is not a rectifier.
    """
    if class_name == "ReLU":
        return _relu(config)
    if class_name == "LeakyReLU":
        return Rectifier("leaky_relu", float(config.get("negative_slope", 0.3)))
    if class_name == "PReLU":
        is_ours = "parameterization" in config
        reason = "it is a keras_prelu.PReLU already" if is_ours else ""
        return Rectifier("prelu", negative_slope=None, reason=reason)
    if class_name == "ELU":
        return Rectifier("elu", smooth="elu")
    if class_name == "Activation":
        return _applied(config.get("activation"), "activation")
    if class_name in _INLINE:
        return _applied(config.get("activation"), "inline")
    if class_name in RECURRENT:
        rectifier = _applied(config.get("activation"), "inline")
        return rectifier and replace(
            rectifier, reason="a recurrent cell applies it in a loop", smooth=""
        )
    return _op(class_name, config)


def named(function: str, kind: str, slope: float | None = None) -> Rectifier | None:
    """Return the rectifier that a function of Keras's applies.

    Args:
        function: String. Name of the function, such as "relu6".
        kind: String. See `Rectifier`.
        slope: Float. The negative slope that the function is called with. Defaults to None: the
            function's own.
    """
    if function == "relu":
        return Rectifier(kind, float(slope or 0.0))
    if function == "relu6":
        return Rectifier(kind, max_value=_RELU6_CAP)
    if function == "leaky_relu":
        return Rectifier(kind, _LEAKY_SLOPE if slope is None else float(slope))
    if function in _SMOOTH:
        return Rectifier(kind, smooth=_SMOOTH[function])
    return None


def _op(class_name: str, config: Mapping[str, Any]) -> Rectifier | None:
    if class_name == "Clip":
        low, high = config.get("x_min"), config.get("x_max")
        if low == 0 and isinstance(high, (int, float)) and high > 0:
            return Rectifier("op", max_value=float(high))
    if class_name == "Maximum" and config.get("constant") == 0:
        return Rectifier("op")
    if class_name in _OPS:
        slope = config.get("negative_slope") if class_name == "LeakyRelu" else None
        return named(_OPS[class_name], "op", slope=slope)
    return None


def _relu(config: Mapping[str, Any]) -> Rectifier:
    threshold = float(config.get("threshold") or 0.0)
    cap = config.get("max_value")
    reason = ""
    if threshold != 0.0:
        reason = f"it has a threshold of {threshold:g}, which PReLU does not have"
    elif cap is not None and cap <= 0:
        reason = f"its output is capped at {cap:g}"
    return Rectifier(
        "relu",
        negative_slope=float(config.get("negative_slope") or 0.0),
        max_value=None if cap is None else float(cap),
        reason=reason,
    )


def _applied(activation: Any, kind: str) -> Rectifier | None:
    """Return the rectifier that the `activation` of a layer applies.

    The activation is a name, or the serialized form of a function or of a layer object.
    """
    if isinstance(activation, str):
        return named(activation, kind)
    if not isinstance(activation, Mapping):
        return None
    library = str(activation.get("module") or "").split(".")[0]
    if activation.get("class_name") == "function" and library in ("builtins", "keras"):
        return named(str(activation.get("config")), kind)
    rectifier = classify(str(activation.get("class_name")), activation.get("config") or {})
    if rectifier is None or rectifier.kind not in ("relu", "leaky_relu", "prelu", "elu"):
        return None
    reason = rectifier.reason
    if rectifier.kind == "prelu" and not reason:
        reason = "a PReLU layer given as an activation keeps its slopes inside"
    return replace(rectifier, kind=kind, reason=reason)
