"""Execution plans: the flat list of the steps that a model runs, with nested models expanded.

Calibration, rescaling and diagnostics walk this list; `graph.interpreter` runs it on tensors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras

from keras_prelu.backend.traces import code_as_written
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.masks import AttachMasks, PassMasksOn, creates_masks
from keras_prelu.typing import Tensor
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["ExecutionPlan", "Slot", "Step", "compile_plan"]


@dataclass(frozen=True)
class Slot:
    """A place for one tensor, which one step writes and others read.

    Attributes:
        index: Integer. Number of the slot in its plan.
    """

    index: int


@dataclass(frozen=True)
class Step:
    """One call of a layer or op.

    Attributes:
        path: String. Names of the enclosing models and of the operation, joined by "/".
        index: Integer. How often the operation was called earlier in its model.
        operation: Layer or op. The live object that is called.
        args: Tuple. Positional arguments, with a `Slot` in place of each tensor.
        kwargs: Dict. Keyword arguments, with a `Slot` in place of each tensor.
        inputs: Tuple of `Slot`. What the step reads; a slot that it reads twice is listed twice.
        outputs: Tuple of `Slot`. What the step writes.
    """

    path: str
    index: int
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]

    def execute(self, values: Mapping[Slot, Tensor], operation: Any = None) -> list[Tensor]:
        """Compute the step's outputs as `predict` does, with training off.

        A graph may hold calls with `training=True`, which `predict` overrides.

        Args:
            values: Mapping from `Slot` to tensor. Has a value for each slot in `inputs`.
            operation: Callable. What is called instead of `self.operation`, such as its
                counterpart in another model. Defaults to None: `self.operation`.

        Returns:
            A list of tensors, one for each slot in `outputs`.
        """
        args, kwargs = self.arguments(values)
        called = self.operation if operation is None else operation
        if isinstance(called, keras.layers.Layer):
            kwargs["training"] = False
        with code_as_written():
            return keras.tree.flatten(called(*args, **kwargs))

    def arguments(self, values: Mapping[Slot, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments of the call, with tensors in place."""
        args, kwargs = keras.tree.map_structure(
            lambda leaf: values[leaf] if isinstance(leaf, Slot) else leaf,
            (self.args, self.kwargs),
        )
        return tuple(args), dict(kwargs)


@dataclass(frozen=True, eq=False)
class ExecutionPlan:
    """The steps of a model in execution order.

    Attributes:
        inputs: Tuple of `Slot`. The model's inputs.
        steps: Tuple of `Step`.
        outputs: Tuple of `Slot`. The model's outputs.
        masked: Frozen set of `Slot`. Those whose tensors may have a mask.

    The methods take constant time: they use indexes that are built once, on first use.
    """

    inputs: tuple[Slot, ...]
    steps: tuple[Step, ...]
    outputs: tuple[Slot, ...]
    masked: frozenset[Slot] = frozenset()

    def readers(self, slot: Slot) -> tuple[Step, ...]:
        """Return the steps that read a slot, in execution order, each once."""
        return self._readers.get(slot, ())

    def sole_reader(self, slot: Slot) -> Step | None:
        """Return the only step that reads a slot, or None.

        Returns None if no step or several steps read the slot, or if it is an output of the model.
        """
        readers = self.readers(slot)
        return readers[0] if len(readers) == 1 and slot not in self._output_set else None

    def writer(self, slot: Slot) -> Step | None:
        """Return the step that writes a slot, or None for an input of the model."""
        return self._writers.get(slot)

    def is_output(self, slot: Slot) -> bool:
        """Return whether a slot is an output of the model."""
        return slot in self._output_set

    def reader_counts(self) -> dict[Slot, int]:
        """Return the number of readers of each slot that is read.

        Readers are steps and, for an output of the model, the model's caller. The caller of this
        method may change the dict.
        """
        counts = {slot: len(steps) for slot, steps in self._readers.items()}
        for slot in self._output_set:
            counts[slot] = counts.get(slot, 0) + 1
        return counts

    def call_count(self, operation: Any) -> int:
        """Return how many steps call an operation."""
        return self._call_counts[id(operation)]

    @cached_property
    def _readers(self) -> dict[Slot, tuple[Step, ...]]:
        readers: dict[Slot, list[Step]] = {}
        for step in self.steps:
            for slot in dict.fromkeys(step.inputs):
                readers.setdefault(slot, []).append(step)
        return {slot: tuple(steps) for slot, steps in readers.items()}

    @cached_property
    def _writers(self) -> dict[Slot, Step]:
        return {slot: step for step in self.steps for slot in step.outputs}

    @cached_property
    def _call_counts(self) -> Counter[int]:
        return Counter(id(step.operation) for step in self.steps)

    @cached_property
    def _output_set(self) -> frozenset[Slot]:
        return frozenset(self.outputs)


@on_large_graphs
def compile_plan(model: keras.Model) -> ExecutionPlan:
    """Return the execution plan of a Sequential or Functional model.

    Raises:
        ConversionError: The model has no graph.
    """
    compiler = _Compiler()
    view = functional.functional_view(model)
    inputs = tuple(compiler.new_slot() for _ in view.inputs)
    outputs = compiler.emit(view, inputs, scope="")
    return ExecutionPlan(
        inputs=inputs,
        steps=tuple(compiler.steps),
        outputs=outputs,
        masked=frozenset(compiler.masked),
    )


class _Compiler:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.masked: set[Slot] = set()
        self._slot_count = 0

    def new_slot(self) -> Slot:
        self._slot_count += 1
        return Slot(self._slot_count - 1)

    def emit(self, model: keras.Model, inputs: tuple[Slot, ...], scope: str) -> tuple[Slot, ...]:
        """Append the steps of a model, and return the slots of its outputs."""
        slots: dict[int, Slot] = {
            id(tensor): slot for tensor, slot in zip(model.inputs, inputs, strict=True)
        }
        for call in functional.calls(model):
            if is_taken_apart(call.operation):
                outputs = self._emit_model(call, slots, scope)
            else:
                outputs = self._emit_step(call, slots, scope)
            slots.update(
                {id(tensor): slot for tensor, slot in zip(call.outputs, outputs, strict=True)}
            )
        return tuple(slots[id(tensor)] for tensor in model.outputs)

    def _emit_model(
        self, call: functional.Call, slots: Mapping[int, Slot], scope: str
    ) -> tuple[Slot, ...]:
        """Append the steps of a nested model, with what its call does with masks."""
        path = f"{scope}{call.operation.name}"
        masks = [slots[id(mask)] for mask in _explicit_masks(call)]
        inputs = [slots[id(tensor)] for tensor in call.inputs[: len(call.inputs) - len(masks)]]
        if masks:
            inputs = self._append(AttachMasks(name="masks"), f"{path}/masks", (inputs, masks))
            self.masked.update(inputs)
        outputs = self.emit(functional.functional_view(call.operation), tuple(inputs), f"{path}/")
        if self.masked.isdisjoint(inputs) or not call.operation.supports_masking:
            return outputs
        passing_on = PassMasksOn(call.operation, name="output_masks")
        masked = self._append(passing_on, f"{path}/output_masks", (list(outputs), inputs))
        self.masked.update(masked)
        return tuple(masked)

    def _append(
        self, operation: Any, path: str, arguments: tuple[list[Slot], list[Slot]]
    ) -> list[Slot]:
        """Append a step that attaches masks to the tensors in its first argument."""
        returned = arguments[0]
        outputs = [self.new_slot() for _ in returned]
        self.steps.append(
            Step(
                path=path,
                index=0,
                operation=operation,
                args=arguments,
                kwargs={},
                inputs=(*arguments[0], *arguments[1]),
                outputs=tuple(outputs),
            )
        )
        return outputs

    def _emit_step(
        self, call: functional.Call, slots: Mapping[int, Slot], scope: str
    ) -> tuple[Slot, ...]:
        args, kwargs = keras.tree.map_structure(
            lambda leaf: slots[id(leaf)] if keras.utils.is_keras_tensor(leaf) else leaf,
            (call.args, call.kwargs),
        )
        step = Step(
            path=f"{scope}{call.operation.name}",
            index=call.index,
            operation=call.operation,
            args=args,
            kwargs=kwargs,
            inputs=tuple(slots[id(tensor)] for tensor in call.inputs),
            outputs=tuple(self.new_slot() for _ in call.outputs),
        )
        self.steps.append(step)
        # Some ops return the tensor that they get, so an op may pass a mask on too.
        if (
            not self.masked.isdisjoint(step.inputs)
            or _explicit_masks(call)
            or creates_masks(step.operation)
        ):
            self.masked.update(step.outputs)
        return step.outputs


def _explicit_masks(call: functional.Call) -> list[keras.KerasTensor]:
    """Return the masks that a call has as an argument of its own."""
    return [
        leaf
        for leaf in keras.tree.flatten(call.kwargs.get("mask"))
        if keras.utils.is_keras_tensor(leaf)
    ]
