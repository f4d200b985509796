"""How the operations of Keras carry ranges of values on, and which of them rely on a range.

A rule takes an `Application` and returns the range of the outputs. `graph.range_table` says which
operation has which rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.graph.range_application import (
    Application,
    interval_of_constant,
    object_to_division,
    object_to_domain,
    object_to_gating,
    object_to_growth,
    object_to_scaling,
    object_to_telling_apart,
    object_to_unknown,
)
from keras_prelu.graph.value_ranges import (
    ANY,
    NON_NEGATIVE,
    UNIT,
    Interval,
    ValueRange,
    combined,
    fixed,
    hull_of,
)

__all__ = [
    "SYMMETRIC_UNIT",
    "Rule",
    "added",
    "averaged",
    "cast",
    "chosen",
    "compared",
    "divided",
    "folded",
    "inverted",
    "joined",
    "kept",
    "kept_or_zero",
    "linear",
    "mixed",
    "multiplied",
    "negated",
    "of_unknown_operation",
    "remainder",
    "rescaled",
    "saturated",
    "subtracted",
    "summed",
    "taken",
    "used_as_index",
    "zeros_told_apart",
]

Rule = Callable[[Application], ValueRange]

SYMMETRIC_UNIT = Interval(-1.0, 1.0)
_CLOSE = 1e-3
"""Thresholds this close to the smallest or largest value tell it from the others."""
_ACTIVATIONS = {
    "exponential": NON_NEGATIVE,
    "hard_sigmoid": UNIT,
    "hard_tanh": SYMMETRIC_UNIT,
    "log_softmax": ANY,
    "sigmoid": UNIT,
    "softmax": UNIT,
    "softsign": SYMMETRIC_UNIT,
    "sparsemax": UNIT,
    "tanh": SYMMETRIC_UNIT,
}
"""Ranges of Keras's activation functions, by name."""


# Operations that keep the values: they move, select, average or repeat them.


def kept(application: Application) -> ValueRange:
    """Return the range of the first tensor; others are indices, masks and the like."""
    for other in application.inputs[1:]:
        object_to_unknown(application, other)
    return application.first


def taken(application: Application) -> ValueRange:
    """Return the range of entries of the first tensor, or of a table of numbers."""
    (table, values), *indices = application.operands()
    if indices and not _is_tensor(table):
        used_as_index(application)
        return values
    return kept(application)


def joined(application: Application) -> ValueRange:
    parts = any(values.loses_range for values in application.inputs)
    return replace(hull_of(application.inputs), joined=parts)


def mixed(application: Application) -> ValueRange:
    """Return the range of means of several tensors."""
    return hull_of(application.inputs)


def kept_or_zero(application: Application) -> ValueRange:
    padding = application.call.kwargs.get("constant_values")
    interval = interval_of_constant(padding) or Interval(0.0, 0.0)
    return hull_of([kept(application), fixed(interval)])


def chosen(application: Application) -> ValueRange:
    """Return the range of `where(condition, a, b)`."""
    for _, condition in application.operands()[:1]:
        object_to_telling_apart(application, condition)
    return hull_of(values for _, values in application.operands()[1:])


def summed(application: Application) -> ValueRange:
    return kept(application).mapped(Interval.sums)


def cast(application: Application) -> ValueRange:
    dtype = str(application.call.outputs[0].dtype)
    if dtype == "bool":
        return zeros_told_apart(application)
    if dtype.startswith("uint"):
        object_to_domain(application, application.first, 0.0, math.inf)
    return application.first


def saturated(application: Application) -> ValueRange:
    """Return the range of a cast that cuts off what a dtype does not hold."""
    is_unsigned = str(application.call.outputs[0].dtype).startswith("uint")
    return (
        application.first.mapped(Interval(0.0, 0.0).largest) if is_unsigned else cast(application)
    )


# Arithmetic.


def added(application: Application) -> ValueRange:
    return folded(Interval.plus, application.operands())


def subtracted(application: Application) -> ValueRange:
    return folded(Interval.minus, application.operands())


def averaged(application: Application) -> ValueRange:
    """Return the range of the mean of several tensors, or of one along an axis."""
    if len(application.inputs) == 1 or not isinstance(
        application.call.operation, keras.layers.Layer
    ):
        return kept(application)
    share = Interval(1.0 / len(application.inputs), 1.0 / len(application.inputs))
    return added(application).mapped(share.times)


def folded(
    function: Callable[[Interval, Interval], Interval], operands: Sequence[tuple[Any, ValueRange]]
) -> ValueRange:
    """Return the range of a function of two numbers that is applied from left to right."""
    result = operands[0][1] if operands else fixed(ANY)
    for _, operand in operands[1:]:
        result = combined(function, result, operand)
    return result


def negated(application: Application) -> ValueRange:
    return application.first.mapped(lambda interval: Interval(0.0, 0.0).minus(interval))


def multiplied(application: Application) -> ValueRange:
    operands = application.operands()
    if len(operands) == 2 and operands[0][0] is operands[1][0]:
        return application.first.absorbed(Interval.squares)
    product = folded(Interval.times, operands)
    tensors = [item for item in operands if keras.utils.is_keras_tensor(item[0])]
    if len(tensors) == 1:
        object_to_scaling(application, tensors[0][1], product)
    for i, (tensor, values) in enumerate(tensors):
        for other, other_values in tensors[:i] + tensors[i + 1 :]:
            object_to_gating(application, (tensor, values), (other, other_values))
    return product


def rescaled(application: Application) -> ValueRange:
    """Return the range of `Rescaling`: x·scale + offset."""
    operation = application.call.operation
    scale = interval_of_constant(operation.scale) or ANY
    offset = interval_of_constant(operation.offset) or ANY
    scaled = application.first.mapped(scale.times).mapped(offset.plus)
    object_to_scaling(application, application.first, scaled)
    return scaled


def divided(application: Application) -> ValueRange:
    operands = application.operands()
    if len(operands) != 2:
        return of_unknown_operation(application)
    (_, numerator), (_, divisor) = operands
    object_to_division(application, divisor)
    quotient = combined(Interval.over, numerator, divisor)
    if not divisor.sites:
        object_to_scaling(application, numerator, quotient)
    return quotient


def remainder(application: Application) -> ValueRange:
    """Return the range of a remainder, which jumps where the dividend changes its sign."""
    dividend, *divisors = [values for _, values in application.operands()]
    object_to_unknown(application, dividend)
    for divisor in divisors:
        object_to_division(application, divisor)
    return fixed(ANY)


def inverted(application: Application) -> ValueRange:
    object_to_division(application, application.first)
    return application.first.mapped(Interval(1.0, 1.0).over)


def linear(application: Application) -> ValueRange:
    """Return the range of a linear layer with its activation, which is no rectifier."""
    sums = _weighted_sums(application)
    activation = getattr(application.call.operation, "activation", None)
    if activation in (None, keras.activations.linear):
        return sums
    is_known = str(getattr(activation, "__module__", "")).startswith("keras.")
    interval = _ACTIVATIONS.get(getattr(activation, "__name__", "")) if is_known else None
    if interval is None:
        object_to_unknown(application, sums)
    if interval == NON_NEGATIVE:
        object_to_growth(application, sums)
    return fixed(interval or ANY)


def _weighted_sums(application: Application) -> ValueRange:
    """Return the range of a linear map, which keeps signs only if no weight is negative."""
    values = application.first
    if not values.sites:
        return fixed(ANY)
    operation = application.call.operation
    if isinstance(operation, keras.layers.Layer):
        biases = [getattr(operation, "bias", None)]
        kernels = [weight for weight in operation.weights if weight is not biases[0]]
    else:
        biases = []
        kernels = [leaf for leaf, _ in application.operands() if not _is_tensor(leaf)]
    if not kernels or any(_may_be_negative(kernel) for kernel in kernels):
        return fixed(ANY)
    if any(bias is not None and _may_be_negative(bias) for bias in biases):
        return values.mapped(lambda interval: ANY)
    return values.mapped(Interval.sums)


def _may_be_negative(weight: Any) -> bool:
    interval = interval_of_constant(weight)
    return interval is None or interval.low < 0


# Operations that rely on a range, or of which that is not known.


def zeros_told_apart(application: Application) -> ValueRange:
    for values in application.inputs:
        object_to_telling_apart(application, values)
    return fixed(UNIT)


def compared(application: Application) -> ValueRange:
    """Return the range of a comparison, which may tell the outermost values from the others."""
    operands = application.operands()
    for values, other in zip(operands, reversed(operands), strict=True):
        if not other[1].sites and _parts_nothing_else(values[1], other[1].before):
            object_to_telling_apart(application, values[1])
    return fixed(ANY)


def _parts_nothing_else(values: ValueRange, threshold: Interval) -> bool:
    """Return whether all values lie on one side of a threshold, except what sites bring about."""
    before, after = values.before, values.after
    is_below = after.low < before.low and threshold.high <= before.low + _CLOSE
    is_above = after.high > before.high and threshold.low >= before.high - _CLOSE
    return is_below or is_above


def used_as_index(application: Application) -> ValueRange:
    for values in application.inputs:
        if values.after.low < 0:
            application.object_to(
                values.sites,
                f"its output goes into {application.name}, which takes indices from 0 on",
            )
    return fixed(ANY)


def of_unknown_operation(application: Application) -> ValueRange:
    """Return the range of an operation without a rule, after objections to all that it reads."""
    for values in application.inputs:
        object_to_unknown(application, values)
    return fixed(ANY)


def _is_tensor(leaf: Any) -> bool:
    return bool(keras.utils.is_keras_tensor(leaf))
