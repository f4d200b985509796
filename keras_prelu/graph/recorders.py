"""Running a model and looking at the calls of certain layers, those inside layers with Python code
of their own among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.graph.plan import Program, Slot, count_readers, execute
from keras_prelu.graph.replacement import replaced

__all__ = ["listening", "run_in_loops", "run_watched"]

Tensor = Any
Hear = Callable[[Any, Tensor, Tensor], Tensor]
"""Gets a layer, what it reads and what it writes; gives back what its callers get."""


def run_in_loops(layer: Any) -> set[int]:
    """The ids of the recurrent layers inside a layer, and of all layers inside those: what they
    compute can't be seen outside of a loop."""
    inside = sublayers(layer)
    recurrent = [inner for inner in inside if isinstance(inner, keras.layers.RNN)]
    cells = (
        inside
        if isinstance(layer, keras.layers.RNN)
        else [part for inner in recurrent for part in sublayers(inner)]
    )
    return {id(part) for part in (*recurrent, *cells)}


def listening(layers: Sequence[Any], hear: Hear) -> Any:
    """A context in which each call of some layers is heard."""
    return replaced([(layer, "call", _telling(layer, hear)) for layer in layers])


def _telling(layer: Any, hear: Hear) -> Callable[..., Tensor]:
    call = layer.call

    def telling(inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hear(layer, inputs, call(inputs, *args, **kwargs))

    return telling


def run_watched(
    program: Program,
    inputs: Sequence[Tensor],
    wanted: Callable[[Any], bool],
    see: Callable[[str, Any, Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """Run a program on one batch and look at what some layers read and write.

    Args:
        program: It.
        inputs: A tensor for each of its inputs.
        wanted: Whether a layer is looked at. Those that recurrent layers run in a loop are not.
        see: Gets the path of a call, the layer, what it reads and what it writes; gives back what
            goes on in the place of the last.

    Returns:
        The program's outputs.
    """
    calls: Counter[str] = Counter()

    def numbered(path: str) -> str:
        """Paths, numbered where a layer is called again, or the model that it is in."""
        calls[path] += 1
        return path if calls[path] == 1 else f"{path}#{calls[path]}"

    readers = count_readers(program)
    values: dict[Slot, Tensor] = dict(zip(program.inputs, inputs, strict=True))
    for step in program.steps:
        if wanted(step.operation):
            first, *others = execute(step, values)
            outputs = [
                see(numbered(step.path), step.operation, values[step.inputs[0]], first),
                *others,
            ]
        else:
            loops = run_in_loops(step.operation)
            inner = {
                id(layer): layer
                for layer in sublayers(step.operation)
                if wanted(layer) and id(layer) not in loops
            }
            names = dict(zip(inner, _unique([layer.name for layer in inner.values()]), strict=True))

            def hear(
                layer: Any,
                read: Tensor,
                written: Tensor,
                path: str = step.path,
                names: dict[int, str] = names,
            ) -> Tensor:
                return see(numbered(f"{path}/{names[id(layer)]}"), layer, read, written)

            with listening(list(inner.values()), hear):
                outputs = execute(step, values)
        values.update(zip(step.outputs, outputs, strict=True))
        for slot in set(step.inputs):
            readers[slot] -= 1
            if readers[slot] == 0:
                del values[slot]
    return [values[slot] for slot in program.outputs]


def _unique(names: Sequence[str]) -> list[str]:
    """Names of layers, which different ones inside a layer may share."""
    taken: Counter[str] = Counter()
    found = []
    for name in names:
        taken[name] += 1
        found.append(name if taken[name] == 1 else f"{name}.{taken[name]}")
    return found
