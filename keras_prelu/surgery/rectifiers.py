"""Telling rectifiers from other operations by class name and configuration: pure Python that knows no backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Rectifier", "classify", "may_rectify"]

_RELU6_CAP = 6.0

_INLINE = frozenset(
    {
        "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Dense", "DepthwiseConv1D",
        "DepthwiseConv2D", "EinsumDense", "SeparableConv1D", "SeparableConv2D",
    }
)  # fmt: skip
_RECURRENT = frozenset({"SimpleRNN", "LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "SimpleRNNCell", "LSTMCell", "GRUCell"})
_ACTIVATION_LAYERS = frozenset({"ReLU", "LeakyReLU", "PReLU", "Activation"})
_LEAKY_SLOPE = 0.2  # the default of keras.activations.leaky_relu


@dataclass(frozen=True)
class Rectifier:
    """A rectifier as it stands in a model.

    Attributes:
        kind: "relu", "activation", "inline", "op", "leaky_relu" or "prelu": how it is applied.
        negative_slope: Its slope for x < 0; None for the learned slopes of a PReLU.
        max_value: The cap on its output, or None.
        reason: Why it can't be converted; empty where it can.
    """

    kind: str
    negative_slope: float | None = 0.0
    max_value: float | None = None
    reason: str = ""

    @property
    def shared(self) -> bool:
        """Whether all calls of the layer are one site: where they share weights already, they share slopes."""
        return self.kind in ("inline", "prelu")


def may_rectify(class_name: str) -> bool:
    """Whether `classify` needs the configuration of a class: a cheap test that spares reading it for all other layers."""
    return class_name in _ACTIVATION_LAYERS or class_name in _INLINE or class_name in _RECURRENT


def classify(class_name: str, config: Mapping[str, Any]) -> Rectifier | None:
    """Whether an operation of Keras's own is a rectifier, from its class name and configuration alone.

    Args:
        class_name: Name of a class of Keras's, such as "ReLU", "Conv2D" or "Relu" (the op of `keras.ops.relu`).
        config: Its `get_config()`.

    Returns:
        The finding, or None for an operation that applies no rectifier.
    """
    if class_name == "ReLU":
        return _relu(config)
    if class_name == "LeakyReLU":
        return Rectifier("leaky_relu", float(config.get("negative_slope", 0.3)))
    if class_name == "PReLU":
        own = "parameterization" in config
        return Rectifier("prelu", None, reason="it is a keras_prelu.PReLU already" if own else "")
    if class_name == "Activation":
        return _applied(config.get("activation"), "activation")
    if class_name in _INLINE:
        return _applied(config.get("activation"), "inline")
    if class_name in _RECURRENT:
        inner = _applied(config.get("activation"), "inline")
        return inner and Rectifier(inner.kind, inner.negative_slope, inner.max_value, "a recurrent cell applies it in a loop")
    if class_name in ("Relu", "Relu6", "LeakyRelu"):
        slope = float(config.get("negative_slope", _LEAKY_SLOPE)) if class_name == "LeakyRelu" else 0.0
        return Rectifier("op", slope, _RELU6_CAP if class_name == "Relu6" else None)
    return None


def _relu(config: Mapping[str, Any]) -> Rectifier:
    threshold = float(config.get("threshold") or 0.0)
    cap = config.get("max_value")
    reason = ""
    if threshold != 0.0:
        reason = f"it has a threshold of {threshold:g}, which PReLU does not have"
    elif cap is not None and cap <= 0:
        reason = f"its output is capped at {cap:g}"
    return Rectifier("relu", float(config.get("negative_slope") or 0.0), None if cap is None else float(cap), reason)


def _applied(activation: Any, kind: str) -> Rectifier | None:
    """A rectifier applied as the `activation` of a layer: a name, or the serialized form of a layer object."""
    if activation == "relu":
        return Rectifier(kind)
    if activation == "relu6":
        return Rectifier(kind, max_value=_RELU6_CAP)
    if activation == "leaky_relu":
        return Rectifier(kind, negative_slope=_LEAKY_SLOPE)
    if isinstance(activation, Mapping):
        inner = classify(str(activation.get("class_name")), activation.get("config") or {})
        if inner is None or inner.kind not in ("relu", "leaky_relu", "prelu"):
            return None
        reason = inner.reason or ("a PReLU layer given as an activation keeps its slopes inside" if inner.kind == "prelu" else "")
        return Rectifier(kind, inner.negative_slope, inner.max_value, reason)
    return None
