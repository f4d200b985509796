"""The rules of sums of products, as of `matmul` and `einsum`.

Where both factors depend on the inputs, one may give the weights of a sum over values of the other:
attention that is written by hand. An index of a factor is known by a label, and those that are
multiplied with each other have the same one. A factor gives weights if the other one has an index
that it lacks, so that each of its numbers multiplies a whole row; unless its last index, that of
its channels, is the last one of the result as well: then it is what is added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_prelu.graph.backend_functions import BackendFunction
from keras_prelu.graph.functional import Call
from keras_prelu.graph.range_application import Application
from keras_prelu.graph.range_rules import folded, multiplied
from keras_prelu.graph.value_ranges import ANY, Interval, ValueRange, fixed

__all__ = ["products_summed"]

_Labels = tuple[Any, ...]
_SUMMED = "summed"


class _Contraction(NamedTuple):
    """The labels of the indices of factors, and of the result."""

    factors: Sequence[_Labels]
    result: _Labels

    @property
    def sums_over_nothing(self) -> bool:
        return all(set(labels) <= set(self.result) for labels in self.factors)


def products_summed(application: Application) -> ValueRange:
    """Return the range of sums of products."""
    operands = application.operands()
    tensors = [item for item in operands if keras.utils.is_keras_tensor(item[0])]
    contraction = _contraction(application.call, [leaf for leaf, _ in operands])
    if contraction is not None and _multiplies_elements(contraction):
        product = multiplied(application)
        return product if contraction.sums_over_nothing else product.mapped(Interval.sums)
    if contraction is not None and len(tensors) == len(operands) == len(contraction.factors):
        _object_to_weights(application, tensors, contraction)
    fixed_kernels = [
        values.before for leaf, values in operands if not keras.utils.is_keras_tensor(leaf)
    ]
    if any(kernel.low < 0 for kernel in fixed_kernels):
        return fixed(ANY)  # A linear map.
    return folded(Interval.times, operands).mapped(Interval.sums)


def _object_to_weights(
    application: Application,
    tensors: Sequence[tuple[Any, ValueRange]],
    contraction: _Contraction,
) -> None:
    every_label = set().union(*contraction.factors)
    for (_, values), labels in zip(tensors, contraction.factors, strict=True):
        is_added_up = labels[-1:] == contraction.result[-1:]
        if not is_added_up and every_label - set(labels) and values.loses_range:
            application.object_to(
                values.sites,
                f"its output gives the weights of sums over another tensor ({application.name})",
            )


def _multiplies_elements(contraction: _Contraction) -> bool:
    """Return whether each number of a factor is multiplied by one of each other factor."""
    return len({frozenset(labels) for labels in contraction.factors}) == 1


def _contraction(call: Call, tensors: Sequence[Any]) -> _Contraction | None:
    """Return which indices of which factors are multiplied, or None if it is not known."""
    operation = call.operation
    equation = _equation(call)
    if equation:
        return _of_equation(equation)
    if len(tensors) != 2:
        return None
    first, second = (tuple(tensor.shape) for tensor in tensors)
    name = operation.keras_name if isinstance(operation, BackendFunction) else ""
    name = name or type(operation).__name__
    if name == "Matmul":
        return _of_matmul(first, second)
    if isinstance(operation, keras.layers.Dot):
        axes = operation.axes
        both = (axes, axes) if isinstance(axes, int) else tuple(axes)
        return _along((both[0],), (both[1],), len(first), len(second), has_batch=True)
    if name == "Inner":
        return _along((-1,), (-1,), len(first), len(second))
    if name == "Dot":
        return _along((-1,), (-2 if len(second) > 1 else -1,), len(first), len(second))
    axes = getattr(operation, "axes", None)
    if name == "Tensordot" and axes is not None:
        if isinstance(axes, int):
            axes = (range(-axes, 0), range(axes))
        return _along(_as_axes(axes[0]), _as_axes(axes[1]), len(first), len(second))
    return None


def _as_axes(axes: Any) -> tuple[int, ...]:
    return (axes,) if isinstance(axes, int) else tuple(axes)


def _equation(call: Call) -> str:
    """Return the equation of an einsum without spaces, or ""."""
    leaves = keras.tree.flatten((call.args, call.kwargs))
    given = next((leaf for leaf in leaves if isinstance(leaf, str) and "," in leaf), "")
    return str(getattr(call.operation, "subscripts", given)).replace(" ", "")


def _of_equation(equation: str) -> _Contraction:
    inputs, arrow, result = equation.replace("...", ".").partition("->")
    if not arrow:
        once = sorted(label for label in set(inputs) - {",", "."} if inputs.count(label) == 1)
        result = ("." if "." in inputs else "") + "".join(once)
    return _Contraction([tuple(labels) for labels in inputs.split(",")], tuple(result))


def _of_matmul(first: Sequence[Any], second: Sequence[Any]) -> _Contraction:
    """Return the contraction of matrices, before which there are batch axes that are broadcast."""
    rows = [("row", _SUMMED)[-min(len(first), 2) :], (_SUMMED, "column")[: min(len(second), 2)]]
    batches = []
    for shape, other in ((first, second), (second, first)):
        sizes, other_sizes = shape[:-2][::-1], other[:-2][::-1]
        batches.append(
            tuple(
                index
                for index, size in enumerate(sizes)
                if size != 1 or index >= len(other_sizes) or other_sizes[index] == 1
            )[::-1]
        )
    factors = [(*batch, *labels) for batch, labels in zip(batches, rows, strict=True)]
    batch = sorted({*batches[0], *batches[1]}, reverse=True)
    kept = [label for labels in rows for label in labels if label != _SUMMED]
    return _Contraction(factors, (*batch, *kept))


def _along(
    first_axes: Sequence[int],
    second_axes: Sequence[int],
    first_rank: int,
    second_rank: int,
    *,
    has_batch: bool = False,
) -> _Contraction:
    """Return the contraction of two tensors along some axes of each."""
    first: list[Any] = [("first", axis) for axis in range(first_rank)]
    second: list[Any] = [("second", axis) for axis in range(second_rank)]
    for number, (axis, other) in enumerate(zip(first_axes, second_axes, strict=True)):
        first[axis] = second[other] = (_SUMMED, number)
    if has_batch:
        first[0] = second[0] = "batch"
    kept = [label for label in (*first, *second) if label[0] != _SUMMED]
    return _Contraction([tuple(first), tuple(second)], tuple(dict.fromkeys(kept)))
