"""The layers around a rectifier whose units are to get fresh weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import normalizes_last_axis
from keras_prelu.graph.channel_scaling import (
    is_batch_normalization,
    output_channels,
    reads_channels,
)
from keras_prelu.graph.layer_kinds import (
    built_input_shape,
    has_linear_activation,
    is_plain_call,
    keeps_channels,
    keras_class,
)
from keras_prelu.graph.linear_layers import LinearView, linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.graph.weight_constraints import projected
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.initializers import PReLUHeNormal
from keras_prelu.layers import PReLU
from keras_prelu.sites.activity import SiteActivity
from keras_prelu.typing import Array

__all__ = ["Surroundings", "surroundings_of"]


@dataclass(frozen=True)
class _Reader:
    """A linear layer that reads the units of a rectifier.

    Attributes:
        layer: Layer. The linear layer.
        positions: Integer. Number of entries of each unit in a flattened tensor; 1 if the tensor is
            not flattened.
    """

    layer: Any
    positions: int

    def silence(self, units: Array) -> None:
        """Set the weights that read some units to 0."""
        kernel = to_float64(self.layer.kernel)
        self.layer.kernel.assign(np.where(self.mask(units), 0.0, kernel))

    def mask(self, units: Array) -> Array:
        """Return for each entry of the kernel whether it reads one of some units."""
        mask = np.zeros(self.layer.kernel.shape, dtype=bool)
        mask[..., np.tile(units, self.positions), :] = True
        return mask


@dataclass(frozen=True)
class Surroundings:
    """The layers around a rectifier.

    Attributes:
        producer: `Step` of the linear layer that writes the units.
        normalization: `keras.layers.BatchNormalization` between `producer` and the rectifier, or
            None.
        readers: Tuple of `_Reader`. The linear layers that read the units.
        slope: Float. The mean slope of the rectifier.
    """

    producer: Step
    normalization: Any
    readers: tuple[_Reader, ...]
    slope: float

    @property
    def view(self) -> LinearView:
        view = linear_view(self.producer.operation)
        assert view is not None
        return view

    @property
    def variables(self) -> list[Any]:
        """The variables that a revival changes."""
        shifted = [self.view.bias] if self.normalization is None else self._statistics
        return [self.view.kernel, *shifted, *(reader.layer.kernel for reader in self.readers)]

    @property
    def _statistics(self) -> list[Any]:
        """The variables of the BatchNormalization, one entry for each unit."""
        layer = self.normalization
        found = [layer.moving_mean, layer.moving_variance, layer.gamma, layer.beta]
        return [variable for variable in found if variable is not None]

    @property
    def layers(self) -> list[Any]:
        """The layers whose variables a revival changes."""
        around = [self.producer.operation, self.normalization]
        return [layer for layer in around if layer is not None] + [
            reader.layer for reader in self.readers
        ]

    def entries(self, units: Array) -> list[tuple[Any, Array]]:
        """Return the variables that a revival of some units changes, and a mask of the entries."""
        view = self.view
        matrix = view.to_matrix(np.zeros(view.kernel.shape, dtype=bool))
        incoming = np.broadcast_to(units.reshape(len(matrix), 1, -1), matrix.shape)
        entries = [(view.kernel, view.from_matrix(incoming))]
        if self.normalization is None:
            bias = view.bias_to_matrix(np.zeros(view.bias.shape, dtype=bool))
            entries.append((view.bias, view.bias_from_matrix(units.reshape(bias.shape))))
        else:
            entries += [(variable, units) for variable in self._statistics]
        return entries + [(reader.layer.kernel, reader.mask(units)) for reader in self.readers]

    def refresh(self, units: Array, seed: int) -> None:
        """Draw new incoming weights for some units, within the constraint of the kernel."""
        view = self.view
        matrix = view.to_matrix(to_float64(view.kernel))
        groups, unknowns, outputs = matrix.shape
        drawn = to_float64(PReLUHeNormal(self.slope, seed=seed)((unknowns, groups * outputs)))
        drawn = np.moveaxis(drawn.reshape(unknowns, groups, outputs), 1, 0)
        refreshed = np.where(units.reshape(groups, 1, outputs), drawn, matrix)
        _assign_within_constraint(view.kernel, view.from_matrix(refreshed))

    def centre(self, units: Array, mean: Array, variance: Array) -> None:
        """Shift the pre-activations of some units to mean 0.

        If there is a BatchNormalization, it gets their mean and variance, and a fresh γ and β
        instead. Constraints are respected.
        """
        if self.normalization is None:
            view = self.view
            bias = view.bias_to_matrix(to_float64(view.bias))
            bias[..., 0, :] -= np.where(units, mean, 0.0).reshape(bias.shape[0], -1)
            _assign_within_constraint(view.bias, view.bias_from_matrix(bias))
            return
        layer = self.normalization
        for variable, values in [
            (layer.moving_mean, mean),
            (layer.moving_variance, variance),
            (layer.gamma, np.ones_like(mean)),
            (layer.beta, np.zeros_like(mean)),
        ]:
            if variable is not None:
                _assign_within_constraint(variable, np.where(units, values, to_float64(variable)))


def _assign_within_constraint(variable: Any, value: Array) -> None:
    """Assign a value, with the entries that change as the variable's constraint makes them."""
    allowed = projected(variable, value)
    if allowed is not None:
        value = np.where(value == to_float64(variable), value, allowed)
    variable.assign(value)


def surroundings_of(
    plan: ExecutionPlan, shared: SharedVariables, measured: SiteActivity
) -> Surroundings | str:
    """Return the layers around a rectifier, or the reason why its units can't be revived."""
    if measured.inside:
        return "it is inside a layer with Python code of its own"
    step = measured.step
    makers = _makers(plan, step, inline=measured.site.kind == "inline")
    if isinstance(makers, str):
        return makers
    producer, normalization = makers
    if output_channels(producer.operation) != measured.active.size:
        return f"'{producer.path}' has another number of outputs"
    readers = _readers(plan, step.outputs[0], measured.active.size, 1)
    if isinstance(readers, str):
        return readers
    is_prelu = isinstance(step.operation, PReLU)
    around = Surroundings(
        producer=producer,
        normalization=normalization,
        readers=tuple(readers),
        slope=float(np.mean(to_float64(step.operation.alpha))) if is_prelu else 0.0,
    )
    return _obstacle(plan, shared, around) or _penalty(plan, step, around) or around


def _makers(plan: ExecutionPlan, step: Step, *, inline: bool) -> tuple[Step, Any] | str:
    """Return the linear step that writes the units and the BatchNormalization after it, or None.

    Returns the reason if there is no such step.

    Args:
        plan: `ExecutionPlan`.
        step: `Step` that applies the rectifier.
        inline: Boolean. Whether the rectifier is the activation of the linear layer itself.
    """
    producer, normalization = step, None
    if not inline:
        writer = plan.writer(step.inputs[0])
        if writer is None or plan.sole_reader(step.inputs[0]) is None:
            return "what feeds it is an input of the model or feeds other layers too"
        producer = writer
    if not inline and _normalizes(producer):
        normalization, slot = producer.operation, producer.inputs[0]
        writer = plan.writer(slot)
        if writer is None or plan.sole_reader(slot) is None:
            return (
                "what its BatchNormalization reads is an input of the model or feeds other"
                " layers too"
            )
        producer = writer
    cls, view = keras_class(producer.operation), linear_view(producer.operation)
    if cls is None or view is None or cls.__name__.startswith("Separable"):
        return (
            f"'{producer.path}' ({type(producer.operation).__name__}) is no linear layer that makes"
            " its units"
        )
    if not inline and not has_linear_activation(producer.operation):
        return f"'{producer.path}' has an activation of its own"
    if not view.writes_channels_last:
        return f"the units of '{producer.path}' are not on the last axis"
    if normalization is None and view.bias is None:
        return f"'{producer.path}' has no bias"
    return producer, normalization


def _normalizes(step: Step) -> bool:
    """Return whether a step is a BatchNormalization of the last axis as at inference."""
    return (
        is_batch_normalization(step.operation)
        and is_plain_call(step)
        and normalizes_last_axis(step.operation)
    )


def _obstacle(plan: ExecutionPlan, shared: SharedVariables, around: Surroundings) -> str:
    """Return why the weights of layers have to stay as they are, or ""."""
    for layer in around.layers:
        if plan.call_count(layer) > 1:
            return f"'{layer.name}' is called at several places"
        if not layer.trainable:
            return f"'{layer.name}' is frozen, so that fresh weights would not learn"
    if shared.contains_any(around.variables):
        return "one of the layers around it shares its weights with another layer"
    return ""


def _penalty(plan: ExecutionPlan, step: Step, around: Surroundings) -> str:
    """Return which layer penalizes the outputs that a revival changes, or "".

    They are the outputs from the producer to the layers before the readers.
    """
    readers = {id(reader.layer) for reader in around.readers}
    changed, pending = [around.producer.operation, around.normalization, step.operation], [step]
    while pending:
        further = [
            each
            for slot in pending.pop().outputs
            for each in plan.readers(slot)
            if id(each.operation) not in readers
        ]
        changed += [each.operation for each in further]
        pending += further
    for layer in changed:
        if getattr(layer, "activity_regularizer", None) is not None:
            return f"the activity regularizer of '{layer.name}' would add another loss"
    return ""


def _readers(plan: ExecutionPlan, slot: Slot, channels: int, positions: int) -> list[_Reader] | str:
    """Return the linear layers that read a tensor, or the reason if other operations read it."""
    if plan.is_output(slot):
        return "its units are an output of the model"
    readers: list[_Reader] = []
    for step in plan.readers(slot):
        layer = step.operation
        flattened = _flattened_positions(layer)
        further: list[_Reader] | str
        if flattened is not None:
            further = _readers(plan, step.outputs[0], channels, flattened)
        elif is_plain_call(step) and keeps_channels(layer):
            further = _readers(plan, step.outputs[0], channels, positions)
        elif is_plain_call(step) and reads_channels(layer, channels * positions):
            further = [_Reader(layer=layer, positions=positions)]
        else:
            further = (
                f"'{step.path}' ({type(layer).__name__}) reads its units, which has no weights for"
                " them alone"
            )
        if isinstance(further, str):
            return further
        readers += further
    return readers


def _flattened_positions(layer: Any) -> int | None:
    """Return the number of positions that a Flatten layer flattens.

    Return None for other layers, and if the number is not known.
    """
    if keras_class(layer) is not keras.layers.Flatten or layer.data_format != "channels_last":
        return None
    sizes = (built_input_shape(layer) or (None, None))[1:]
    return None if None in sizes else math.prod(size or 0 for size in sizes[:-1])
