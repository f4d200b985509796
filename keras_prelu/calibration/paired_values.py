"""The activations of all samples in two models, step by step."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.activation_store import (
    Activations,
    ActivationStore,
    Recipe,
    size_in_bytes,
)
from keras_prelu.calibration.inner_layers import inputs_during
from keras_prelu.calibration.layer_rows import InputPair
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.data.samples import batches
from keras_prelu.graph.interpreter import Liveness
from keras_prelu.graph.model_state import state_kept, state_of, states_equal
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.layers import PReLU
from keras_prelu.typing import Tensor

__all__ = ["PairedValues", "has_weight_matrix", "run_to_outputs", "stacked"]


_MOST_STEPS = 8
"""The largest number of steps to repeat whenever a tensor is read that is not stored."""


class _Values:
    """The activations of one model, by slot of the plan.

    Args:
        store: `ActivationStore` that holds the activations.
        inputs: Dict from `Slot` to `Activations`. The samples.
    """

    def __init__(self, store: ActivationStore, inputs: dict[Slot, Activations]) -> None:
        self._store = store
        self._activations = dict(inputs)

    def __contains__(self, slot: Slot) -> bool:
        return slot in self._activations

    def of(self, slot: Slot) -> Activations:
        return self._activations[slot]

    def set_outputs(self, step: Step, outputs: Sequence[Activations]) -> None:
        self._activations.update(zip(step.outputs, outputs, strict=True))

    def execute(self, step: Step, operation: Any) -> list[Activations]:
        """Return the outputs of a step, computed by an operation batch by batch.

        Every pass starts from the state that the operation has outside of it.
        """
        with state_kept(operation):
            state = state_of(operation)
            first = step.execute(self.batch(step, 0), operation)
            if not self._have_room(first, step) and states_equal(state, state_of(operation)):
                recipe = self._recipe(step, operation)
                if _is_cheap(recipe) and len(first) == 1:
                    return [self._store.computed(recipe)]
            others = (
                step.execute(self.batch(step, index), operation)
                for index in range(1, self._batch_count(step))
            )
            return self._collect(itertools.chain([first], others))

    def _have_room(self, tensors: Sequence[Tensor], step: Step) -> bool:
        """Return whether there is room for a step's outputs, given those for its first batch."""
        return self._store.has_room(self._batch_count(step) * sum(map(size_in_bytes, tensors)))

    def _recipe(self, step: Step, operation: Any) -> Recipe:
        sources = {slot: self._activations[slot] for slot in step.inputs}
        recipes = [source.recipe for source in sources.values() if source.recipe is not None]

        def compute(index: int) -> Tensor:
            values = {slot: source[index] for slot, source in sources.items()}
            with state_kept(operation):
                (output,) = step.execute(values, operation)
            return output

        return Recipe(
            compute=compute,
            sources=tuple(sources.values()),
            steps=1 + sum(recipe.steps for recipe in recipes),
            heavy_steps=has_weight_matrix(step) + sum(recipe.heavy_steps for recipe in recipes),
        )

    def inner_inputs(self, calls: Sequence[Step], outer: Any, inner: Any) -> list[Activations]:
        """Return the inputs of each call of an inner layer while the outer layer is called.

        Args:
            calls: Sequence of `Step`. The calls of the outer layer.
            outer: Layer that is called.
            inner: Layer inside `outer`.
        """
        return [
            activations for call in calls for activations in self._inner_inputs(call, outer, inner)
        ]

    def _inner_inputs(self, call: Step, outer: Any, inner: Any) -> list[Activations]:
        collected: list[Activations] = []
        with state_kept(outer):
            for index in range(self._batch_count(call)):
                batch = self.batch(call, index)
                tensors = inputs_during(functools.partial(call.execute, batch, outer), inner)
                # Code may call a layer more often on some batches than on others.
                collected += [Activations() for _ in tensors[len(collected) :]]
                for activations, tensor in zip(collected, tensors, strict=False):
                    self._store.add(activations, tensor)
        return collected

    def batch(self, step: Step, index: int) -> dict[Slot, Tensor]:
        """Return the tensors that a step reads for one batch."""
        return {slot: self._activations[slot][index] for slot in step.inputs}

    def discard(self, slots: Iterable[Slot]) -> None:
        """Free the activations of some slots."""
        for slot in slots:
            if slot in self._activations:
                self._store.discard(self._activations.pop(slot))

    def _batch_count(self, step: Step) -> int:
        return len(self._activations[step.inputs[0]])

    def _collect(self, batches_of_tensors: Iterable[Sequence[Tensor]]) -> list[Activations]:
        """Store tensors that arrive batch by batch, and return the activations of each tensor."""
        collected: list[Activations] = []
        for tensors in batches_of_tensors:
            collected = collected or [Activations() for _ in tensors]
            for activations, tensor in zip(collected, tensors, strict=True):
                self._store.add(activations, tensor)
        return collected


class PairedValues:
    """The activations of both models; where they can't differ, both share the same `Activations`.

    Attributes:
        original: `_Values` of the original model.
        converted: `_Values` of the converted model.
        store: `ActivationStore` that holds the activations.
    """

    def __init__(
        self,
        plan: ExecutionPlan,
        inputs: Sequence[np.ndarray],
        batch_size: int,
        store: ActivationStore,
    ) -> None:
        samples = _input_activations(plan, inputs, batch_size, store)
        self.store = store
        self.original, self.converted = _Values(store, samples), _Values(store, samples)
        self._liveness = Liveness(plan)

    def are_known(self, step: Step) -> bool:
        """Return whether all inputs of a step are computed."""
        return all(slot in self.converted for slot in step.inputs)

    def differ(self, step: Step) -> bool:
        """Return whether the inputs of a step differ between the two models."""
        return any(self.original.of(slot) is not self.converted.of(slot) for slot in step.inputs)

    def inputs_of(self, step: Step) -> InputPair:
        """Return the inputs of a step with one input, in both models."""
        slot = step.inputs[0]
        return InputPair(original=self.original.of(slot), converted=self.converted.of(slot))

    def advance(self, step: Step, pair: ModelPair) -> None:
        """Compute the outputs of a step in both models, only once if they can't differ."""
        outputs = self.converted.execute(step, step.operation)
        if not self.differ(step) and pair.computes_the_same(step):
            original_outputs = outputs
        else:
            original_outputs = self.original.execute(step, pair.counterpart(step))
        self.converted.set_outputs(step, outputs)
        self.original.set_outputs(step, original_outputs)
        released = self._liveness.release(step)
        self.converted.discard(released)
        self.original.discard(released)


def _input_activations(
    plan: ExecutionPlan, inputs: Sequence[np.ndarray], batch_size: int, store: ActivationStore
) -> dict[Slot, Activations]:
    columns = zip(*batches(inputs, batch_size), strict=True)
    return {slot: store.wrap(arrays) for slot, arrays in zip(plan.inputs, columns, strict=True)}


def run_to_outputs(
    plan: ExecutionPlan, inputs: Sequence[np.ndarray], batch_size: int, store: ActivationStore
) -> list[np.ndarray]:
    """Return the outputs of a model, computed step by step and not batch by batch.

    This makes them comparable bit for bit with the outputs of a sweep.
    """
    values = _Values(store, _input_activations(plan, inputs, batch_size, store))
    liveness = Liveness(plan)
    for step in plan.steps:
        values.set_outputs(step, values.execute(step, step.operation))
        values.discard(liveness.release(step))
    outputs = [stacked(values.of(slot)) for slot in plan.outputs]
    values.discard(plan.outputs)
    return outputs


def _is_cheap(recipe: Recipe) -> bool:
    """Return whether computing a tensor for each reader costs less than writing it to a file."""
    return recipe.heavy_steps <= 1 and recipe.steps <= _MOST_STEPS


def has_weight_matrix(step: Step) -> bool:
    """Return whether the layer of a step has weights that a refit might change."""
    if isinstance(step.operation, PReLU):
        return False
    return any(len(variable.shape) > 1 for variable in getattr(step.operation, "weights", []))


def stacked(activations: Activations) -> np.ndarray:
    """Return the activations of all samples in float64."""
    return np.concatenate(
        [keras.ops.convert_to_numpy(keras.ops.cast(batch, "float32")) for batch in activations]
    ).astype(np.float64)
