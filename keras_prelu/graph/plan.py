"""A model as a flat list of steps that can be run one by one, nested models opened: what
calibration and diagnostics walk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = [
    "Program",
    "Slot",
    "Step",
    "compile_program",
    "count_calls",
    "count_readers",
    "execute",
    "run",
    "writers",
]

Tensor = Any


@dataclass(frozen=True)
class Slot:
    """A place for a tensor: what a step reads or writes."""

    index: int


@dataclass(frozen=True)
class Step:
    """One call of a layer or op.

    Attributes:
        path: Names of the enclosing models and of the operation, joined by "/".
        index: How often the operation was called before in its model.
        operation: The live layer or op.
        args: Positional arguments, with a `Slot` for each tensor.
        kwargs: Keyword arguments, likewise.
        inputs: The slots it reads.
        outputs: The slots it writes.
    """

    path: str
    index: int
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]


@dataclass(frozen=True)
class Program:
    """A model's steps in execution order, the slots of its inputs, and those of its outputs."""

    inputs: tuple[Slot, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Slot, ...]


@on_large_graphs
def compile_program(model: keras.Model) -> Program:
    """The program of a Sequential or Functional model.

    Raises:
        ConversionError: The model has no graph.
    """
    compiler = _Compiler()
    view = functional.functional_view(model)
    inputs = tuple(compiler.new_slot() for _ in view.inputs)
    outputs = compiler.emit(view, inputs, scope="")
    return Program(inputs, tuple(compiler.steps), outputs)


class _Compiler:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._slots = 0

    def new_slot(self) -> Slot:
        self._slots += 1
        return Slot(self._slots - 1)

    def emit(self, model: keras.Model, inputs: tuple[Slot, ...], scope: str) -> tuple[Slot, ...]:
        slots: dict[int, Slot] = {
            id(tensor): slot for tensor, slot in zip(model.inputs, inputs, strict=True)
        }
        for call in functional.calls(model):
            operation = call.operation
            if is_taken_apart(operation):
                inner_inputs = tuple(slots[id(tensor)] for tensor in call.inputs)
                outputs = self.emit(
                    functional.functional_view(operation), inner_inputs, f"{scope}{operation.name}/"
                )
            else:
                outputs = tuple(self.new_slot() for _ in call.outputs)
                args, kwargs = keras.tree.map_structure(
                    lambda leaf: slots[id(leaf)] if keras.utils.is_keras_tensor(leaf) else leaf,
                    (call.args, call.kwargs),
                )
                read = tuple(slots[id(tensor)] for tensor in call.inputs)
                self.steps.append(
                    Step(
                        f"{scope}{operation.name}",
                        call.index,
                        operation,
                        args,
                        kwargs,
                        read,
                        outputs,
                    )
                )
            slots.update(
                {id(tensor): slot for tensor, slot in zip(call.outputs, outputs, strict=True)}
            )
        return tuple(slots[id(tensor)] for tensor in model.outputs)


def execute(step: Step, values: Mapping[Slot, Tensor], operation: Any = None) -> list[Tensor]:
    """The outputs of one step, computed by its operation or by another in its place."""
    args, kwargs = keras.tree.map_structure(
        lambda leaf: values[leaf] if isinstance(leaf, Slot) else leaf, (step.args, step.kwargs)
    )
    return keras.tree.flatten((operation or step.operation)(*args, **kwargs))


def count_readers(program: Program) -> dict[Slot, int]:
    """How many steps read each slot; a slot can be freed after its last reader. The caller, who
    asked for them, reads the outputs."""
    readers: dict[Slot, int] = dict.fromkeys(program.outputs, 1)
    for step in program.steps:
        for slot in set(step.inputs):
            readers[slot] = readers.get(slot, 0) + 1
    return readers


def count_calls(program: Program) -> Counter[int]:
    """How often each operation is called, by its id."""
    return Counter(id(step.operation) for step in program.steps)


def writers(program: Program) -> dict[Slot, Step]:
    """The step that writes each slot, inputs left out."""
    return {slot: step for step in program.steps for slot in step.outputs}


def run(
    program: Program, inputs: list[Tensor]
) -> Iterator[tuple[Step, list[Tensor], list[Tensor]]]:
    """Run a program on one batch and yield each step with its input and output tensors; a tensor is
    freed after its last reader."""
    readers = count_readers(program)
    values: dict[Slot, Tensor] = dict(zip(program.inputs, inputs, strict=True))
    for step in program.steps:
        outputs = execute(step, values)
        yield step, [values[slot] for slot in step.inputs], outputs
        values.update(zip(step.outputs, outputs, strict=True))
        for slot in set(step.inputs):
            readers[slot] -= 1
            if readers[slot] == 0:
                del values[slot]
