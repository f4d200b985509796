"""One call of an operation with the ranges of its inputs, and objections to what it does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.backend_functions import BackendFunction
from keras_prelu.graph.functional import Call
from keras_prelu.graph.value_ranges import ANY, NON_NEGATIVE, UNIT, Interval, ValueRange, fixed
from keras_prelu.graph.weight_constraints import is_kept_non_negative

__all__ = [
    "HARD_SIGMOID",
    "Application",
    "constant_of",
    "growth",
    "interval_of_constant",
    "object_to_division",
    "object_to_domain",
    "object_to_gating",
    "object_to_growth",
    "object_to_masks",
    "object_to_scaling",
    "object_to_telling_apart",
    "object_to_unknown",
]

HARD_SIGMOID = "it is a hard-sigmoid gate, whose range matters"
_GATE_OF_CHANNELS = "it is a gate: whole channels or positions are multiplied by its output"
_DIVISOR = "something is divided by its output, which must not change its sign"
_MOST_CONSTANTS = 1_000_000

Objection = Callable[[frozenset[Any], str], None]
"""Takes the keys of rectifiers and the reason why they have to stay as they are."""


@dataclass(frozen=True)
class Application:
    """One call of an operation, with what is known of its inputs.

    Attributes:
        call: `Call`.
        inputs: Tuple of `ValueRange`, one for each of the call's tensors.
        object_to: Callable. Records that rectifiers have to stay as they are.
    """

    call: Call
    inputs: tuple[ValueRange, ...]
    object_to: Objection

    @property
    def name(self) -> str:
        """Name of the operation for messages, such as "log1p()" or "layer 'mask' (Masking)"."""
        operation = self.call.operation
        if isinstance(operation, keras.layers.Layer):
            return f"layer '{operation.name}' ({type(operation).__name__})"
        if isinstance(operation, BackendFunction):
            return f"{operation.function_name}()"
        return f"{type(operation).__name__.lower()}()"

    @property
    def first(self) -> ValueRange:
        return self.inputs[0] if self.inputs else fixed(ANY)

    def operands(self) -> list[tuple[Any, ValueRange]]:
        """Return the tensors and numbers among the arguments in order, each with its range."""
        ranges = iter(self.inputs)
        operands = []
        for leaf in keras.tree.flatten((self.call.args, self.call.kwargs)):
            if keras.utils.is_keras_tensor(leaf):
                operands.append((leaf, next(ranges)))
            else:
                interval = interval_of_constant(leaf)
                if interval is not None:
                    operands.append((leaf, fixed(interval)))
        return operands


def constant_of(call: Call) -> float | None:
    """Return the one number that an operation combines with its one tensor, or None."""
    if len(call.inputs) != 1:
        return None
    leaves = keras.tree.flatten((call.args, call.kwargs))
    numbers = [
        interval.low
        for interval in map(interval_of_constant, leaves)
        if interval is not None and interval.width == 0
    ]
    return numbers[0] if len(numbers) == 1 else None


def interval_of_constant(leaf: Any) -> Interval | None:
    """Return the interval of a number, an array or a variable; None for anything else."""
    if isinstance(leaf, (bool, str)) or leaf is None or keras.utils.is_keras_tensor(leaf):
        return None
    if isinstance(leaf, (int, float)):
        return Interval(float(leaf), float(leaf))
    if isinstance(leaf, keras.Variable):
        if leaf.trainable:
            return NON_NEGATIVE if is_kept_non_negative(leaf) else ANY
        return _interval_of_array(keras.ops.convert_to_numpy(leaf))
    if isinstance(leaf, (np.ndarray, np.generic)):
        return _interval_of_array(np.asarray(leaf))
    if keras.ops.is_tensor(leaf):
        return _interval_of_array(keras.ops.convert_to_numpy(leaf))
    return None


def _interval_of_array(array: np.ndarray) -> Interval | None:
    if array.dtype == bool or array.size == 0 or array.size > _MOST_CONSTANTS:
        return ANY
    try:
        numbers = array.astype("float64")
    except (TypeError, ValueError):  # Strings and objects.
        return None
    low, high = float(numbers.min()), float(numbers.max())
    return ANY if math.isnan(low) else Interval(low, high)


def object_to_unknown(application: Application, values: ValueRange) -> None:
    """Object to an operation of which nothing is known, unless a clip or the like keeps a range."""
    if not values.is_kept:
        application.object_to(
            values.sites, f"its output goes into {application.name}, which may rely on its range"
        )


def object_to_telling_apart(application: Application, values: ValueRange) -> None:
    """Object to an operation that tells zeros from other numbers."""
    application.object_to(
        values.sites,
        f"its output goes into {application.name}, which tells zeros from other numbers",
    )


def object_to_masks(application: Application) -> None:
    """Object to masks, which layers take to be 0 or not."""
    call = application.call
    if not any(values.sites for values in application.inputs):
        return
    try:
        arguments = inspect.signature(call.operation.call).bind(*call.args, **call.kwargs).arguments
    except (AttributeError, TypeError, ValueError):
        arguments = call.kwargs
    named = {**arguments, **arguments.get("kwargs", {})}
    masks = [value for name, value in named.items() if name.endswith("mask")]
    ids = {id(leaf) for leaf in keras.tree.flatten(masks)}
    for tensor, values in application.operands():
        if id(tensor) in ids:
            object_to_telling_apart(application, values)


def growth(application: Application) -> str:
    """Return the objection to an operation whose results no bound keeps small any more."""
    return f"its output goes into {application.name}, which would grow without bound"


def object_to_growth(application: Application, exponent: ValueRange) -> None:
    """Object to an exponential of what was bounded above."""
    if math.isfinite(exponent.before.high) and math.isinf(exponent.after.high):
        application.object_to(exponent.sites, growth(application))


def object_to_domain(application: Application, values: ValueRange, low: float, high: float) -> None:
    """Object to a function that is defined from `low` to `high` only."""
    if values.after.low >= low and values.after.high <= high:
        return
    if low == 0:
        takes = "takes no negative numbers"
    elif math.isinf(high):
        takes = f"takes no numbers below {low:g}"
    else:
        takes = f"takes numbers from {low:g} to {high:g} only"
    application.object_to(values.sites, f"its output goes into {application.name}, which {takes}")


def object_to_division(application: Application, divisor: ValueRange) -> None:
    """Object to a division by what may change its sign, or become 0."""
    reaches_zero = divisor.before.low > 0 == divisor.after.low
    if divisor.clamped or reaches_zero or divisor.after.low < 0 < divisor.after.high:
        application.object_to(divisor.sites, _DIVISOR)


def object_to_scaling(application: Application, values: ValueRange, scaled: ValueRange) -> None:
    """Object to a scaling of [0, c] to [0, 1], which is the second half of a hard sigmoid."""
    is_scaled = values.before != scaled.before and all(
        abs(bound - unit) < 1e-3 for bound, unit in zip(scaled.before, UNIT, strict=True)
    )
    if values.is_gate_of_sites and values.before.low == 0 and is_scaled:
        application.object_to(values.sites, HARD_SIGMOID)


def object_to_gating(
    application: Application, gate: tuple[Any, ValueRange], other: tuple[Any, ValueRange]
) -> None:
    """Object to the rectifiers that make one factor of a product a gate for the other."""
    (tensor, values), (other_tensor, other_values) = gate, other
    if not (values.is_gate_of_sites or (values.sites and values.loses_sign)):
        return
    if _is_broadcast(tensor, other_tensor):
        application.object_to(values.sites, _GATE_OF_CHANNELS)
        return
    # Of two factors that are bounded, the one with the narrower range is the gate.
    is_gated = _is_broadcast(other_tensor, tensor) or (
        other_values.before.is_bounded and other_values.before.width < values.before.width
    )
    if values.is_gate_of_sites and not is_gated:
        low, high = values.before
        application.object_to(
            values.sites,
            "it is a gate: another tensor is multiplied by its output, which lies between"
            f" {low:g} and {high:g}",
        )


def _is_broadcast(tensor: Any, other: Any) -> bool:
    """Return whether a tensor is broadcast to another one."""
    return len(tensor.shape) < len(other.shape) or any(
        size == 1 and other_size != 1
        for size, other_size in zip(tensor.shape[1:], other.shape[1:], strict=False)
    )
