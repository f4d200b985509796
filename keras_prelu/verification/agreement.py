"""When two computations are the same: equal up to rounding.

The rule: shapes, dtypes, masks and the positions of NaN and infinite values are equal, and values
differ by at most `units · ε · m`. ε is the distance from 1 to the next number in the coarsest
floating dtype that the model computes in (for float32 on a GPU, that of TF32, in which matrices are
multiplied there). m is the largest magnitude among the values, and where these arise from larger
intermediate values that cancel, the largest magnitude among those. The same operations on the same
tensors, as in a conversion at slope 0, may differ by `SAME_OPERATIONS` units, since libraries
choose algorithms by circumstances; a function that is computed with other weights, as after
folding, by `OTHER_WEIGHTS` units, and never by more than a tenth of m.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import gpu
from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.utils.rounding import EPSILONS
from keras_prelu.verification.prediction import Prediction, Value

__all__ = [
    "OTHER_WEIGHTS",
    "SAME_OPERATIONS",
    "coarsest_epsilon",
    "difference",
    "largest_difference",
    "magnitude",
    "prediction_difference",
]

SAME_OPERATIONS = 32.0
OTHER_WEIGHTS = 2.0**13
_LARGEST_SHARE = 0.1
"""The largest share of m that counts as rounding, whatever the dtype."""

_TF32 = 2.0**-10


def coarsest_epsilon(operation: Any) -> float:
    """Return ε of the coarsest floating dtype that a model, layer or op computes in."""
    layers = [operation, *sublayers(operation)]
    dtypes = {str(getattr(layer, "compute_dtype", "float32")) for layer in layers}
    epsilon = max(EPSILONS.get(dtype, 0.0) for dtype in (*dtypes, keras.config.floatx()))
    return max(epsilon, _TF32) if gpu() else epsilon


def magnitude(values: Iterable[Value]) -> float:
    """Return the largest magnitude of the finite numbers among some values."""
    largest = 0.0
    for value in values:
        array = value.array
        if array.dtype.kind in "fiu" and array.size:
            finite = np.abs(array[np.isfinite(array)].astype(np.float64))
            largest = max(largest, float(finite.max()) if finite.size else 0.0)
    return largest


def largest_difference(references: Sequence[Value], others: Sequence[Value]) -> float:
    """Return the largest difference between finite numbers of values of equal shapes."""
    return max(
        (
            _largest(reference.array, other.array)
            for reference, other in zip(references, others, strict=True)
        ),
        default=0.0,
    )


def difference(reference: Value, other: Value, tolerance: float) -> str:
    """Return how a value differs from its reference, or "" if it does not.

    Args:
        reference: `Value`.
        other: `Value`.
        tolerance: Float. The largest difference of two numbers that counts as rounding.
    """
    if reference.array.shape != other.array.shape:
        return f"its shape is {other.array.shape} instead of {reference.array.shape}"
    if reference.dtype != other.dtype:
        return f"its dtype is {other.dtype} instead of {reference.dtype}"
    masks = _mask_difference(reference.mask, other.mask)
    if masks:
        return masks
    if reference.array.dtype.kind not in "fiu":
        return "" if np.array_equal(reference.array, other.array) else "its values differ"
    if not np.array_equal(np.isnan(reference.array), np.isnan(other.array)):
        return "NaN is at other positions"
    if not np.array_equal(_infinities(reference.array), _infinities(other.array)):
        return "infinite values are at other positions"
    largest = _largest(reference.array, other.array)
    return f"its values differ by up to {largest:.2g}" if largest > tolerance else ""


def prediction_difference(
    reference: Prediction,
    other: Prediction,
    *,
    epsilon: float,
    units: float,
    intermediate: float = 0.0,
) -> str:
    """Return how a prediction differs from its reference, or "" if it does not.

    Args:
        reference: `Prediction`.
        other: `Prediction`.
        epsilon: Float. As in the rule of this module.
        units: Float. As in the rule of this module.
        intermediate: Float. The largest magnitude of intermediate values. Defaults to 0.0, not
            known.
    """
    if not _same_structure(reference.structure, other.structure):
        return f"the structure of the outputs is {other.structure} instead of {reference.structure}"
    share = min(units * epsilon, _LARGEST_SHARE)
    for number, pair in enumerate(zip(reference.outputs, other.outputs, strict=True)):
        scale = max(magnitude([pair[0]]), intermediate)
        reason = difference(*pair, tolerance=share * scale)
        if reason:
            return reason if len(reference.outputs) == 1 else f"output {number}: {reason}"
    if reference.losses is None or other.losses is None:
        return ""
    scale = max(abs(reference.losses), intermediate)
    if abs(reference.losses - other.losses) > share * scale:
        return (
            f"its layers add losses of {other.losses:g} instead of {reference.losses:g} to what is"
            " trained"
        )
    return ""


def _same_structure(first: Any, second: Any) -> bool:
    try:
        keras.tree.assert_same_structure(first, second)
    except (TypeError, ValueError):
        return False
    return type(first) is type(second)


def _mask_difference(reference: np.ndarray | None, other: np.ndarray | None) -> str:
    if reference is None and other is None:
        return ""
    if other is None:
        return "its mask is lost"
    if reference is None:
        return "it has a mask that was not there"
    return "" if np.array_equal(reference, other) else "its mask differs"


def _infinities(array: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(array), np.sign(array), 0) if array.dtype.kind == "f" else np.zeros(1)


def _largest(reference: np.ndarray, other: np.ndarray) -> float:
    if reference.dtype.kind not in "fiu" or not reference.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        differences = np.abs(reference.astype(np.float64) - other.astype(np.float64))
    finite = differences[np.isfinite(differences)]
    return float(finite.max()) if finite.size else 0.0
