"""What a rectifier guarantees of its output, and how one is told from the others."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras

from keras_prelu.graph import functional
from keras_prelu.graph.functional import Call
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.layer_code import AppliedFunction
from keras_prelu.graph.rectifier_recognition import recognize_call
from keras_prelu.graph.rectifiers import SMOOTH_LOWER_BOUNDS, Rectifier
from keras_prelu.graph.value_ranges import Interval, ValueRange, fixed

__all__ = ["RectifierKey", "range_of_rectifier", "rectifier_of", "takes_floats"]


class RectifierKey(NamedTuple):
    """What identifies a rectifier.

    Attributes:
        owner: Integer. Id of the operation, or of the object whose attribute is the rectifier.
        use: Integer or tuple. Which call of the operation, or the name of the attribute and, if it
            is a list or dict, the keys that lead to the rectifier.
    """

    owner: int
    use: int | tuple[Any, ...]

    @classmethod
    def of_target(cls, target: HookTarget) -> RectifierKey:
        return cls(id(target.owner), (target.attribute, *target.keys))

    @classmethod
    def of_call(cls, call: Call, rectifier: Rectifier) -> RectifierKey:
        if isinstance(call.operation, AppliedFunction):
            return cls.of_target(call.operation.target)
        return cls(id(call.operation), 0 if rectifier.shared else call.index)


def takes_floats(call: Call) -> bool:
    """Return whether a call computes floating-point numbers, as a PReLU does."""
    return bool(keras.backend.is_float_dtype(call.outputs[0].dtype))


def rectifier_of(call: Call) -> Rectifier | None:
    """Return the rectifier that a call in a graph applies, or None."""
    if isinstance(call.operation, AppliedFunction):
        return call.operation.rectifier
    return None if functional.has_graph(call.operation) else recognize_call(call)


def range_of_rectifier(rectifier: Rectifier, key: RectifierKey) -> ValueRange:
    """Return the range of a rectifier's output, which a conversion takes away from it."""
    high = math.inf if rectifier.max_value is None else rectifier.max_value
    before = Interval(_lower_bound(rectifier), high)
    if rectifier.reason or before.low == -math.inf:
        return fixed(before)
    return ValueRange(before=before, after=Interval(-math.inf, high), sites=frozenset({key}))


def _lower_bound(rectifier: Rectifier) -> float:
    if rectifier.smooth:
        return SMOOTH_LOWER_BOUNDS.get(rectifier.smooth, -math.inf)
    return 0.0 if rectifier.negative_slope == 0 else -math.inf
