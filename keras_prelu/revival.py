"""Reviving dead units so that training can use them, with the function kept (claim 2).

A ReLU unit that is positive on no sample outputs 0 and gets no gradient, so training can't
reactivate it. Its incoming weights are redrawn, its bias is set so that its pre-activation is
centred on the samples, and the weights that read it become 0. The outputs of the network do not
change, and in the first training step the outgoing weights get a gradient again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.calibration.layer_fit import linear_output
from keras_prelu.data.samples import as_samples, batches, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.channel_scaling import reads_channels
from keras_prelu.graph.interpreter import ExecutedStep, iterate_steps, run_plan
from keras_prelu.graph.layer_kinds import CHANNELWISE, built_input_shape, has_linear_activation
from keras_prelu.graph.linear_layers import LinearView, linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.initializers import PReLUHeNormal
from keras_prelu.layers import PReLU
from keras_prelu.sites.activity import SiteActivity, activity
from keras_prelu.typing import Array
from keras_prelu.utils.checks import check_number
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["Revival", "SiteRevival", "revive"]


@dataclass(frozen=True)
class SiteRevival:
    """The revival at one rectifier.

    Attributes:
        path: String. Path of the site.
        units: Integer. Number of units (channels) at the site.
        dead_before: Integer. Number of dead units: those active on at most the threshold's share of
            the samples.
        revived: Integer. Number of dead units that got fresh weights.
        dead_after: Integer. Number of dead units afterwards.
        action: String. "revived", "none dead", or "kept" with the reason.
    """

    path: str
    units: int
    dead_before: int
    revived: int
    dead_after: int
    action: str


@dataclass(frozen=True)
class Revival:
    """The record of a revival.

    Attributes:
        samples: Integer. Number of samples on which dead units were found.
        threshold: Float. A unit that was active on at most this share of the samples was dead.
        loss: Float. Mean squared change of the model's outputs on the samples, divided by their
            variance and averaged over outputs. 0 for ReLU units that were active on no sample.
        sites: Tuple of `SiteRevival`, one for each rectifier.
    """

    samples: int
    threshold: float
    loss: float
    sites: tuple[SiteRevival, ...]

    @property
    def revived(self) -> int:
        """Number of units that got fresh weights."""
        return sum(site.revived for site in self.sites)


@on_large_graphs
def revive(
    model: keras.Model,
    samples: Any,
    *,
    threshold: float = 0.01,
    batch_size: int = 128,
    seed: int = 0,
) -> Revival:
    """Assign fresh weights to dead and nearly dead units, in place, with the function kept.

    Incoming weights are drawn as by `PReLUHeNormal`. The bias (or the statistics of a
    BatchNormalization between) centres the unit's pre-activation on the samples, and outgoing
    weights become 0. The contribution of a nearly dead unit to the outputs is lost. Under PReLU,
    so is the signal that a dead unit passed on through its slope. To convert a network with dead
    units, revive it first, and calibrate the conversion against the revived network: calibration
    against the old network would restore the weights of the dead units.

    Args:
        model: `keras.Model`. Sequential or Functional; ReLU or PReLU. It is changed. A unit is
            revived if a linear layer of its own writes it (a BatchNormalization may follow) and
            only linear layers read it, through poolings and the like; other units are kept, with
            the reason.
        samples: Unlabeled samples, as many as are available: an array, or a list or dict of arrays
            for several inputs.
        threshold: Float. A unit that is active on at most this share of the samples is dead. With
            0, only units that are active on no sample are. Defaults to 0.01.
        batch_size: Integer. Samples that pass through the model at once. Defaults to 128.
        seed: Integer. Seed of the fresh weights. Defaults to 0.

    Returns:
        A `Revival`.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
        InvalidArgumentError: A ValueError; the threshold is not in [0, 1).

    Example:

    >>> record = keras_prelu.revive(model, x_train)
    >>> record.revived
    >>> converted = keras_prelu.convert(model, calibration_data=x_train[:512])

    References:
        Claims 2 and 4; docs/explanation/results.md.
    """
    check_number("threshold", threshold, minimum=0.0)
    if threshold >= 1:
        raise InvalidArgumentError(
            "`threshold` must be in [0, 1), a share of the samples. Received:"
            f" threshold={threshold}"
        )
    samples = as_samples(samples, model=model, labels="ignored")
    inputs = model_inputs(model, samples)
    graph = with_declared_inputs(model, samples.x)
    size = graph.inputs[0].shape[0] or batch_size
    plan = compile_plan(graph)
    candidates = [
        _Candidate.examine(plan, measured, threshold)
        for measured in activity(model, samples, batch_size=size)
    ]
    revivable = [candidate for candidate in candidates if candidate.is_revivable]
    loss, dead_after = 0.0, {candidate.path: candidate.dead for candidate in candidates}
    if revivable:
        outputs = _outputs(plan, inputs, size)
        _refresh(plan, inputs, size, revivable, seed)
        changed = zip(_outputs(plan, inputs, size), outputs, strict=True)
        loss = float(np.mean([theory.relative_error(after, before) for after, before in changed]))
        dead_after = {
            measured.site.path: measured.dead_within(threshold)
            for measured in activity(model, samples, batch_size=size)
        }
    return Revival(
        samples=len(inputs[0]),
        threshold=threshold,
        loss=loss,
        sites=tuple(candidate.record(dead_after[candidate.path]) for candidate in candidates),
    )


@dataclass(frozen=True)
class _Candidate:
    """A rectifier whose dead units are to be revived.

    Attributes:
        path: String. Path of the site.
        dead: Boolean array. For each unit, whether it is dead.
        surroundings: `_Surroundings` of the rectifier; or the reason why its units can't be
            revived; or None if no unit is dead.
    """

    path: str
    dead: Array
    surroundings: _Surroundings | str | None

    @classmethod
    def examine(cls, plan: ExecutionPlan, measured: SiteActivity, threshold: float) -> _Candidate:
        dead = measured.dead_within(threshold)
        return cls(
            path=measured.site.path,
            dead=dead,
            surroundings=_surroundings(plan, measured) if dead.any() else None,
        )

    @property
    def is_revivable(self) -> bool:
        return isinstance(self.surroundings, _Surroundings)

    def record(self, dead_after: Array) -> SiteRevival:
        if self.surroundings is None:
            action = "none dead"
        elif isinstance(self.surroundings, str):
            action = f"kept: {self.surroundings}"
        else:
            action = "revived"
        return SiteRevival(
            path=self.path,
            units=self.dead.size,
            dead_before=int(self.dead.sum()),
            revived=int(self.dead.sum()) if self.is_revivable else 0,
            dead_after=int(dead_after.sum()),
            action=action,
        )


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
        kernel[..., np.tile(units, self.positions), :] = 0.0
        self.layer.kernel.assign(kernel)


@dataclass(frozen=True)
class _Surroundings:
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

    def refresh(self, units: Array, seed: int) -> None:
        """Draw new incoming weights for some units."""
        view = self.view
        matrix = view.to_matrix(to_float64(view.kernel))
        groups, unknowns, outputs = matrix.shape
        drawn = to_float64(PReLUHeNormal(self.slope, seed=seed)((unknowns, groups * outputs)))
        drawn = np.moveaxis(drawn.reshape(unknowns, groups, outputs), 1, 0)
        refreshed = np.where(units.reshape(groups, 1, outputs), drawn, matrix)
        view.kernel.assign(view.from_matrix(refreshed))

    def centre(self, units: Array, mean: Array, variance: Array) -> None:
        """Shift the pre-activations of some units to mean 0.

        If there is a BatchNormalization, it gets their mean and variance, and a fresh γ and β
        instead.
        """
        if self.normalization is None:
            view = self.view
            bias = view.bias_to_matrix(to_float64(view.bias))
            bias[..., 0, :] -= np.where(units, mean, 0.0).reshape(bias.shape[0], -1)
            view.bias.assign(view.bias_from_matrix(bias))
            return
        layer = self.normalization
        for variable, values in [
            (layer.moving_mean, mean),
            (layer.moving_variance, variance),
            (layer.gamma, np.ones_like(mean)),
            (layer.beta, np.zeros_like(mean)),
        ]:
            if variable is not None:
                variable.assign(np.where(units, values, to_float64(variable)))


def _surroundings(plan: ExecutionPlan, measured: SiteActivity) -> _Surroundings | str:
    """Return the layers around a rectifier, or the reason why its units can't be revived."""
    if measured.inside:
        return "it is inside a layer with Python code of its own"
    step, normalization = measured.step, None
    producer = step if measured.site.kind == "inline" else plan.writer(step.inputs[0])
    if producer is not step and (producer is None or plan.sole_reader(step.inputs[0]) is None):
        return "what feeds it is an input of the model or feeds other layers too"
    if producer is not step and isinstance(producer.operation, keras.layers.BatchNormalization):
        normalization, slot = producer.operation, producer.inputs[0]
        producer = plan.writer(slot)
        if producer is None or plan.sole_reader(slot) is None:
            return (
                "what its BatchNormalization reads is an input of the model or feeds other"
                " layers too"
            )
    view = linear_view(producer.operation)
    if view is None or type(producer.operation).__name__.startswith("Separable"):
        return (
            f"'{producer.path}' ({type(producer.operation).__name__}) is no linear layer that makes"
            " its units"
        )
    if producer is not step and not has_linear_activation(producer.operation):
        return f"'{producer.path}' has an activation of its own"
    if normalization is None and view.bias is None:
        return f"'{producer.path}' has no bias"
    if any(plan.call_count(layer) > 1 for layer in (producer.operation, normalization)):
        return f"'{producer.path}' is called at several places"
    readers = _readers(plan, step.outputs[0], measured.active.size, 1)
    if isinstance(readers, str):
        return readers
    is_prelu = isinstance(step.operation, PReLU)
    return _Surroundings(
        producer=producer,
        normalization=normalization,
        readers=tuple(readers),
        slope=float(np.mean(to_float64(step.operation.alpha))) if is_prelu else 0.0,
    )


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
        elif type(layer).__name__ in CHANNELWISE or _is_linear_activation_layer(layer):
            further = _readers(plan, step.outputs[0], channels, positions)
        elif reads_channels(layer, channels * positions):
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
    if not isinstance(layer, keras.layers.Flatten) or layer.data_format != "channels_last":
        return None
    sizes = (built_input_shape(layer) or (None, None))[1:]
    return None if None in sizes else math.prod(size or 0 for size in sizes[:-1])


def _is_linear_activation_layer(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation) and has_linear_activation(layer)


def _refresh(
    plan: ExecutionPlan,
    inputs: list[Array],
    size: int,
    candidates: Sequence[_Candidate],
    seed: int,
) -> None:
    """Assign fresh weights to the dead units of some rectifiers, and centre the units."""
    rng = np.random.default_rng(seed)
    chosen = [
        (candidate.surroundings, candidate.dead)
        for candidate in candidates
        if isinstance(candidate.surroundings, _Surroundings)
    ]
    for surroundings, units in chosen:
        surroundings.refresh(units, int(rng.integers(2**31)))
    # Readers are silenced after all fresh weights are drawn, since fresh weights may read another
    # unit that is revived.
    for surroundings, units in chosen:
        for reader in surroundings.readers:
            reader.silence(units)
    # No fresh unit reads another fresh unit now, so one pass measures them all.
    statistics = _output_statistics(plan, inputs, size, [around for around, _ in chosen])
    for surroundings, units in chosen:
        sums = statistics[id(surroundings.producer.operation)]
        mean = sums.total / sums.count
        surroundings.centre(
            units, mean, np.maximum(sums.squares / sums.count - np.square(mean), 0.0)
        )


@dataclass
class _OutputSums:
    """Sums over samples and positions of the outputs of a linear layer, for each output."""

    count: int
    total: Array
    squares: Array


def _output_statistics(
    plan: ExecutionPlan, inputs: list[Array], size: int, surroundings: Sequence[_Surroundings]
) -> dict[int, _OutputSums]:
    """Measure the outputs of the producers on the samples, by the id of the layer."""
    views = {id(around.producer.operation): around.view for around in surroundings}
    statistics: dict[int, _OutputSums] = {}
    for executed in _executed_steps(plan, inputs, size):
        layer = executed.step.operation
        view = views.get(id(layer))
        if view is None:
            continue
        outputs = to_float64(linear_output(layer, executed.inputs[0]))
        flat = view.flat_outputs(view.channels_last(outputs))
        flat = flat.reshape(-1, flat.shape[-1])
        zeros = np.zeros(flat.shape[1])
        sums = statistics.setdefault(id(layer), _OutputSums(0, zeros, zeros))
        sums.count += len(flat)
        sums.total = sums.total + flat.sum(axis=0)
        sums.squares = sums.squares + np.square(flat).sum(axis=0)
    return statistics


def _executed_steps(plan: ExecutionPlan, inputs: list[Array], size: int) -> Iterator[ExecutedStep]:
    for batch in batches(inputs, size):
        yield from iterate_steps(plan, [keras.ops.convert_to_tensor(array) for array in batch])


def _outputs(plan: ExecutionPlan, inputs: list[Array], size: int) -> list[Array]:
    """Return the outputs of a model on all samples, with one array for each output."""
    columns = zip(
        *(
            map(to_float64, run_plan(plan, [keras.ops.convert_to_tensor(array) for array in batch]))
            for batch in batches(inputs, size)
        ),
        strict=True,
    )
    return [np.concatenate(column) for column in columns]
