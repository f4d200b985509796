"""Sums over samples that tell how active the units of a rectifier are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import keras

from keras_prelu.sites.dead_units import active_units, channel_and_positions
from keras_prelu.sites.rectifier_calls import RectifierCall
from keras_prelu.typing import Tensor

__all__ = ["UnitSums", "call_sums", "counted_sums"]


@dataclass(frozen=True)
class UnitSums:
    """Measurements of the units of one rectifier, on a batch or on all samples.

    Attributes:
        active: Array or tensor. For each unit, the number of samples on which it is active; before
            `counted`, for each sample and unit, whether the unit is active.
        positive: Array or tensor. For each unit, the sum of squares of its positive
            pre-activations.
        negative: Array or tensor. For each unit, the sum of squares of its negative
            pre-activations.
        not_positive: Array or tensor. For each unit, the number of pre-activations that are 0 or
            less.
        elements: Array or tensor. For each unit, the number of pre-activations.
        rows: Array or tensor of shape (). The number of samples.
    """

    active: Any
    positive: Any
    negative: Any
    not_positive: Any
    elements: Any
    rows: Any

    def as_list(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def __add__(self, other: UnitSums) -> UnitSums:
        """Add the measurements of other samples."""
        return UnitSums(
            *(one + two for one, two in zip(self.as_list(), other.as_list(), strict=True))
        )

    def joined(self, other: UnitSums) -> UnitSums:
        """Join two calls on the same samples.

        A layer that is called again, or whose model is called again, is one rectifier, and a unit
        is active if it is active in any call.
        """
        return UnitSums(
            active=keras.ops.logical_or(self.active, other.active),
            positive=self.positive + other.positive,
            negative=self.negative + other.negative,
            not_positive=self.not_positive + other.not_positive,
            elements=self.elements + other.elements,
            rows=self.rows,
        )

    def counted(self) -> UnitSums:
        """Count the samples on which each unit is active."""
        return replace(self, active=keras.ops.sum(keras.ops.cast(self.active, "int32"), axis=0))


def counted_sums(calls: Sequence[UnitSums]) -> UnitSums:
    """Return the counted measurements of all calls of a rectifier on a batch.

    Calls on equally many rows are taken as calls on the same samples.
    """
    joined: dict[int | None, UnitSums] = {}
    for call in calls:
        rows = call.active.shape[0]
        joined[rows] = joined[rows].joined(call) if rows in joined else call
    first, *others = [sums.counted() for sums in joined.values()]
    for other in others:
        first = first + other
    return first


def call_sums(call: RectifierCall) -> UnitSums:
    """Return the measurements of one call of a rectifier, not counted yet."""
    values = keras.ops.cast(call.pre_activations, "float32")
    _, positions = channel_and_positions(call)
    # The count of one sample is exact in float32, and its sum over samples in integers.
    not_positive = keras.ops.cast(values <= 0, "float32")
    if positions:
        not_positive = keras.ops.sum(not_positive, axis=positions)
    not_positive = keras.ops.sum(keras.ops.cast(not_positive, "int32"), axis=0)
    sizes = keras.ops.shape(values)
    elements = math.prod([sizes[axis] for axis in (0, *positions)])
    return UnitSums(
        active=active_units(call),
        positive=_sum_of_squares(keras.ops.maximum(values, 0.0), (0, *positions)),
        negative=_sum_of_squares(keras.ops.minimum(values, 0.0), (0, *positions)),
        not_positive=not_positive,
        elements=keras.ops.ones_like(not_positive) * elements,
        rows=keras.ops.convert_to_tensor(sizes[0], dtype="int32"),
    )


def _sum_of_squares(values: Tensor, axis: tuple[int, ...]) -> Tensor:
    return keras.ops.sum(keras.ops.square(values), axis=axis)
