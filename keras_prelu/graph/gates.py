"""Recognition of gates: rectifiers whose range matters, and which therefore stay as they are.

A gate is recognized by what the graph computes from the rectifier's output, followed through
operations that keep its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_prelu.graph.functional import Call, Graph
from keras_prelu.graph.rectifiers import Rectifier

__all__ = ["Gates"]

_MEANING_PRESERVING = frozenset(
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
"""Class names of operations whose output is the same quantity as their input."""
_ADDING = frozenset({"Add", "Subtract"})
_SCALING = frozenset({"Divide", "Multiply", "TrueDivide", "Rescaling"})
_UNDEFINED_BELOW_ZERO = frozenset({"Log", "Log10", "Log2", "Rsqrt", "Sqrt"})


class Gates:
    """Tells which rectifiers of a graph have to stay as they are, and why.

    Args:
        graph: `Graph`.
    """

    def __init__(self, graph: Graph) -> None:
        self._writers = {id(tensor): call for call in graph.calls for tensor in call.outputs}
        self._readers: dict[int, list[Call]] = {}
        for call in graph.calls:
            for tensor in call.inputs:
                self._readers.setdefault(id(tensor), []).append(call)

    def reason(self, call: Call, rectifier: Rectifier) -> str:
        """Return why a rectifier has to stay as it is, or "" if it can be converted.

        Args:
            call: `Call`. The call that applies the rectifier.
            rectifier: `Rectifier`.
        """
        if rectifier.kind == "prelu":
            return ""
        if rectifier.max_value is not None and self._is_hard_sigmoid(call, rectifier.max_value):
            return "it is a hard-sigmoid gate, whose range matters"
        for reader, tensor in self._uses(call.outputs[0]):
            name = type(reader.operation).__name__
            if name in _UNDEFINED_BELOW_ZERO:
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

    def _is_hard_sigmoid(self, call: Call, cap: float) -> bool:
        """Return whether a capped rectifier is shifted before it, or scaled to [0, 1] after it.

        This is the hard sigmoid min(max(x + c/2, 0), c)/c.
        """
        writer = self._writers.get(id(call.inputs[0]))
        is_shifted = (
            writer is not None
            and type(writer.operation).__name__ in _ADDING
            and _constant(writer) is not None
        )
        scales = [_scale(reader) for reader, _ in self._uses(call.outputs[0])]
        is_scaled = any(scale is not None and abs(scale * cap - 1.0) < 1e-3 for scale in scales)
        return is_shifted or is_scaled

    def _uses(self, tensor: Any) -> Iterator[tuple[Call, Any]]:
        """Yield the calls that compute something from a tensor.

        Each call comes with the tensor that it reads, which has the same meaning.
        """
        for reader in self._readers.get(id(tensor), []):
            name = type(reader.operation).__name__
            if name in _MEANING_PRESERVING or (name in _ADDING and _constant(reader) is not None):
                yield from self._uses(reader.outputs[0])
            else:
                yield reader, tensor
                if name in _SCALING and _scale(reader) is not None:
                    yield from self._uses(reader.outputs[0])


def _constant(call: Call) -> float | None:
    """Return the number that an operation combines with its one tensor, or None."""
    constants = [
        value
        for value in (*call.args, *call.kwargs.values())
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return float(constants[0]) if len(constants) == 1 and len(call.inputs) == 1 else None


def _scale(call: Call) -> float | None:
    """Return the factor by which an operation scales its one tensor, or None."""
    name = type(call.operation).__name__
    if name == "Rescaling":
        scale = call.operation.scale
        return float(scale) if isinstance(scale, (int, float)) else None
    constant = _constant(call)
    if constant is None or name not in _SCALING:
        return None
    if name == "Multiply":
        return constant
    return 1.0 / constant if constant else None


def _is_broadcast(tensor: Any, reader: Call) -> bool:
    """Return whether a tensor is broadcast to another one that it multiplies, as a gate is."""
    others = [other for other in reader.inputs if other is not tensor]
    return any(
        len(tensor.shape) < len(other.shape)
        or any(
            size == 1 and other_size != 1
            for size, other_size in zip(tensor.shape[1:], other.shape[1:], strict=False)
        )
        for other in others
    )
