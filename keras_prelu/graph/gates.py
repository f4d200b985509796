"""Rectifiers whose range matters: gates and what must not become negative. They stay as they are.

Recognised in the graph around a rectifier: what is computed from its output, through operations
that keep its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_prelu.graph.functional import Graph
from keras_prelu.graph.rectifiers import Rectifier

__all__ = ["Gates"]

# Operations through which an output is still the same quantity, by class name.
_KEEPING = frozenset(
    {
        "BroadcastTo",
        "Cast",
        "Dropout",
        "ExpandDims",
        "Flatten",
        "Identity",
        "Permute",
        "RepeatVector",
        "Reshape",
        "Squeeze",
        "Transpose",
    }
)
_ADDING = frozenset({"Add", "Subtract"})
_SCALING = frozenset({"Divide", "Multiply", "TrueDivide", "Rescaling"})
_NEEDS_NO_SIGN = frozenset({"Log", "Log10", "Log2", "Rsqrt", "Sqrt"})


class Gates:
    """Why rectifiers of a graph have to stay as they are."""

    def __init__(self, graph: Graph) -> None:
        self._producer = {id(tensor): call for call in graph.calls for tensor in call.outputs}
        self._readers: dict[int, list[Any]] = {}
        for call in graph.calls:
            for tensor in call.inputs:
                self._readers.setdefault(id(tensor), []).append(call)

    def reason(self, call: Any, rectifier: Rectifier) -> str:
        """Why the rectifier that `call` applies is left alone, or "" where nothing speaks against a
        conversion."""
        if rectifier.kind == "prelu":
            return ""
        if rectifier.max_value is not None and self._is_hard_sigmoid(call, rectifier.max_value):
            return "it is a hard-sigmoid gate, whose range matters"
        for reader, tensor in self._uses(call.outputs[0]):
            name = type(reader.operation).__name__
            if name in _NEEDS_NO_SIGN:
                return f"its output goes into {name.lower()}(), which takes no negative numbers"
            if (
                name in ("Divide", "TrueDivide")
                and len(reader.inputs) == 2
                and reader.inputs[1] is tensor
            ):
                return "something is divided by its output, which must not change its sign"
            if name == "Multiply" and _is_broadcast(tensor, reader):
                return "it is a gate: whole channels or positions are multiplied by its output"
        return ""

    def _is_hard_sigmoid(self, call: Any, cap: float) -> bool:
        """Shifted before, or scaled to [0, 1] after: min(max(x + c/2, 0), c)/c."""
        before = self._producer.get(id(call.inputs[0]))
        shifted = (
            before is not None
            and type(before.operation).__name__ in _ADDING
            and _number(before) is not None
        )
        after = [_scale(reader) for reader, _ in self._uses(call.outputs[0])]
        scaled = any(scale is not None and abs(scale * cap - 1.0) < 1e-3 for scale in after)
        return shifted or scaled

    def _uses(self, tensor: Any) -> Iterator[tuple[Any, Any]]:
        """The calls that do something with a tensor, with the form of it that they read."""
        for reader in self._readers.get(id(tensor), []):
            name = type(reader.operation).__name__
            if name in _KEEPING or (name in _ADDING and _number(reader) is not None):
                yield from self._uses(reader.outputs[0])
            else:
                yield reader, tensor
                if name in _SCALING and _scale(reader) is not None:
                    yield from self._uses(reader.outputs[0])


def _number(call: Any) -> float | None:
    """The number that an operation combines its one tensor with."""
    numbers = [
        value
        for value in (*call.args, *call.kwargs.values())
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return float(numbers[0]) if len(numbers) == 1 and len(call.inputs) == 1 else None


def _scale(call: Any) -> float | None:
    """The factor by which an operation scales its one tensor."""
    name = type(call.operation).__name__
    if name == "Rescaling":
        scale = call.operation.scale
        return float(scale) if isinstance(scale, (int, float)) else None
    number = _number(call)
    if number is None or name not in _SCALING:
        return None
    return number if name == "Multiply" else 1.0 / number if number else None


def _is_broadcast(tensor: Any, reader: Any) -> bool:
    """Whether a tensor is spread over another that it multiplies, as a gate is."""
    others = [other for other in reader.inputs if other is not tensor]
    return any(
        len(tensor.shape) < len(other.shape)
        or any(
            size == 1 and wide != 1
            for size, wide in zip(tensor.shape[1:], other.shape[1:], strict=False)
        )
        for other in others
    )
