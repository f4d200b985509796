"""Reviving dead units: fresh weights into them, none out of them, so that training can use them and
the function is kept (claim 2).

A ReLU unit that is positive on no sample puts out 0 and gets no gradient: it is lost for good. Its
incoming weights are drawn anew, its bias is set so that its pre-activation is centred on the
samples, and the weights that read it become 0. What the network computes does not change, and the
first step of training gives the outgoing weights a gradient again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.layer_fit import linear_output
from keras_prelu.data.samples import as_samples, batches, model_inputs
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.channel_scaling import numbers, reads_channels
from keras_prelu.graph.interpreter import ExecutedStep, iterate_steps, run_plan
from keras_prelu.graph.layer_kinds import CHANNELWISE
from keras_prelu.graph.linear_layers import LinearView, linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.initializers import PReLUHeNormal
from keras_prelu.layers import PReLU
from keras_prelu.sites.activity import SiteActivity, activity
from keras_prelu.theory import relative_error
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["Revival", "SiteRevival", "revive"]

Array = np.ndarray


@dataclass(frozen=True)
class SiteRevival:
    """What was done at one rectifier.

    Attributes:
        path: The site's path.
        units: Its units (channels).
        dead_before: How many were active on at most the threshold's share of the samples.
        revived: How many of them got fresh weights.
        dead_after: How many are dead in the same sense now.
        action: "revived", "none dead", or "kept" and why.
    """

    path: str
    units: int
    dead_before: int
    revived: int
    dead_after: int
    action: str


@dataclass(frozen=True)
class Revival:
    """What a revival did.

    Attributes:
        samples: How many samples it looked at.
        threshold: The share of them up to which a unit counted as dead.
        loss: Mean squared change of the model's output on them, over its variance: 0 for ReLU units
            that were active on none.
        sites: A record for each rectifier.
    """

    samples: int
    threshold: float
    loss: float
    sites: tuple[SiteRevival, ...]

    @property
    def revived(self) -> int:
        """Units that got fresh weights."""
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
    """Give dead and nearly dead units fresh weights, in place, and keep what the network computes.

    Incoming weights are drawn as by `PReLUHeNormal`, the bias (or the statistics of a
    BatchNormalization between) centres the unit's pre-activation on the samples, and outgoing
    weights become 0. A nearly dead unit's share in the function is lost, and under PReLU what a
    dead unit's slope handed on. To convert a network with dead units, revive it first, and
    calibrate the conversion against the revived network: against the old one, the dead units'
    weights would be restored.

    Args:
        model: Sequential or Functional; ReLU or PReLU. It is changed. A unit is revived where one
            linear layer alone makes it (a BatchNormalization may follow) and linear layers alone
            read it, through poolings and the like; others are kept, with the reason.
        samples: Unlabeled samples, as many as there are: an array, or a list or dict of arrays for
            several inputs.
        threshold: A unit that is active on at most this share of the samples is dead. Defaults to
            0.01; 0 for those active on none.
        batch_size: Samples that go through the model at once.
        seed: Of the fresh weights.

    Returns:
        The record, see `Revival`.

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
    if not 0 <= threshold < 1:
        raise InvalidArgumentError(
            "`threshold` must be in [0, 1), a share of the samples. Received:"
            f" threshold={threshold}"
        )
    samples = as_samples(samples, model=model, labels="ignored")
    inputs = model_inputs(model, samples)
    size = model.inputs[0].shape[0] or batch_size
    plan = compile_plan(model)
    before = activity(model, samples, batch_size=size)
    dead = {item.site.path: item.active <= threshold * item.samples for item in before}
    found = {
        item.site.path: _surroundings(plan, item) for item in before if dead[item.site.path].any()
    }
    chosen = {
        path: (around, dead[path])
        for path, around in found.items()
        if isinstance(around, _Surroundings)
    }
    if not chosen:
        return Revival(
            len(inputs[0]),
            threshold,
            0.0,
            tuple(_record(item, dead, found, dead) for item in before),
        )
    outputs = _outputs(plan, inputs, size)
    rng = np.random.default_rng(seed)
    for around, units in chosen.values():
        around.refresh(units, int(rng.integers(2**31)))
    for (
        around,
        units,
    ) in chosen.values():  # after all fresh weights, which may read a unit that is revived too
        around.silence(units)
    _centre(plan, inputs, size, list(chosen.values()))
    after = {item.site.path: item for item in activity(model, samples, batch_size=size)}
    dead_after = {path: item.active <= threshold * item.samples for path, item in after.items()}
    loss = _change(outputs, _outputs(plan, inputs, size))
    return Revival(
        len(inputs[0]),
        threshold,
        loss,
        tuple(_record(item, dead, found, dead_after) for item in before),
    )


@dataclass(frozen=True)
class _Surroundings:
    """The layers around a rectifier.

    Attributes:
        producer: The call of the linear layer that makes its units.
        normalization: The BatchNormalization between, or None.
        readers: The linear layers that read them, each with how many places of a flattened tensor a
            unit has (1 where it wasn't).
        slope: The rectifier's mean slope.
    """

    producer: Step
    normalization: Any
    readers: tuple[tuple[Any, int], ...]
    slope: float

    @property
    def view(self) -> LinearView:
        view = linear_view(self.producer.operation)
        assert view is not None
        return view

    def refresh(self, units: Array, seed: int) -> None:
        """Draw the incoming weights anew."""
        view = self.view
        matrix = view.to_matrix(numbers(view.kernel))
        groups, unknowns, outputs = matrix.shape
        fresh = numbers(PReLUHeNormal(self.slope, seed=seed)((unknowns, groups * outputs)))
        fresh = np.moveaxis(fresh.reshape(unknowns, groups, outputs), 1, 0)
        view.kernel.assign(
            view.from_matrix(np.where(units.reshape(groups, 1, outputs), fresh, matrix))
        )

    def silence(self, units: Array) -> None:
        """Set the outgoing weights to 0."""
        for layer, places in self.readers:
            kernel = numbers(layer.kernel)
            kernel[..., np.tile(units, places), :] = 0.0
            layer.kernel.assign(kernel)

    def centre(self, units: Array, mean: Array, variance: Array) -> None:
        """Shift the pre-activations to mean 0; under a BatchNormalization, give it their statistics
        and start its γ and β anew."""
        if self.normalization is None:
            view = self.view
            bias = view.bias_to_matrix(numbers(view.bias))
            bias[..., 0, :] -= np.where(units, mean, 0.0).reshape(bias.shape[0], -1)
            view.bias.assign(view.bias_from_matrix(bias))
            return
        norm = self.normalization
        values = [
            (norm.moving_mean, mean),
            (norm.moving_variance, variance),
            (norm.gamma, np.ones_like(mean)),
            (norm.beta, np.zeros_like(mean)),
        ]
        for variable, fresh in values:
            if variable is not None:
                variable.assign(np.where(units, fresh, numbers(variable)))


def _surroundings(plan: ExecutionPlan, item: SiteActivity) -> _Surroundings | str:
    """What is around a rectifier, or why its units can't be revived."""
    if item.inside:
        return "it is inside a layer with Python code of its own"
    step, normalization = item.step, None
    producer = step if item.site.kind == "inline" else plan.writer(step.inputs[0])
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
    if producer is not step and getattr(producer.operation, "activation", None) not in (
        None,
        keras.activations.linear,
    ):
        return f"'{producer.path}' has an activation of its own"
    if normalization is None and view.bias is None:
        return f"'{producer.path}' has no bias"
    if any(plan.call_count(layer) > 1 for layer in (producer.operation, normalization)):
        return f"'{producer.path}' is called at several places"
    readers = _readers(plan, step.outputs[0], item.active.size, 1)
    if isinstance(readers, str):
        return readers
    slope = (
        float(np.mean(numbers(step.operation.alpha))) if isinstance(step.operation, PReLU) else 0.0
    )
    return _Surroundings(producer, normalization, tuple(readers), slope)


def _readers(
    plan: ExecutionPlan, slot: Slot, channels: int, places: int
) -> list[tuple[Any, int]] | str:
    """The linear layers that read a tensor, or what else does."""
    if plan.is_output(slot):
        return "its units are an output of the model"
    found: list[tuple[Any, int]] = []
    for step in plan.readers(slot):
        layer = step.operation
        shape = _shape(layer)
        if (
            isinstance(layer, keras.layers.Flatten)
            and layer.data_format == "channels_last"
            and shape is not None
        ):
            inner = _readers(plan, step.outputs[0], channels, int(np.prod(shape[1:-1])))
        elif type(layer).__name__ in CHANNELWISE or _is_linear_activation(layer):
            inner = _readers(plan, step.outputs[0], channels, places)
        elif reads_channels(layer, channels * places):
            inner = [(layer, places)]
        else:
            return (
                f"'{step.path}' ({type(layer).__name__}) reads its units, which has no weights for"
                " them alone"
            )
        if isinstance(inner, str):
            return inner
        found += inner
    return found


def _is_linear_activation(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear
    )


def _shape(layer: Any) -> tuple[int, ...] | None:
    """The shape of what a Flatten reads, where it is known."""
    shape = (layer.get_build_config() or {}).get("input_shape") if layer.built else None
    return tuple(shape) if shape is not None and None not in shape[1:] else None


def _centre(
    plan: ExecutionPlan,
    inputs: list[Array],
    size: int,
    chosen: Sequence[tuple[_Surroundings, Array]],
) -> None:
    """Measure what the fresh weights make of the samples and centre it. No fresh unit reads
    another, so that one pass does."""
    sums: dict[int, list[Array]] = {}
    by_step = {id(around.producer.operation): around for around, _ in chosen}
    for executed in _executed_steps(plan, inputs, size):
        step, around = executed.step, by_step.get(id(executed.step.operation))
        if around is not None:
            outputs = around.view.channels_last(
                numbers(linear_output(step.operation, executed.inputs[0]))
            )
            flat = around.view.flat_outputs(outputs)
            flat = flat.reshape(-1, flat.shape[-1])
            parts = sums.setdefault(
                id(step.operation), [np.zeros(1), np.zeros(flat.shape[1]), np.zeros(flat.shape[1])]
            )
            for total, value in zip(
                parts, (len(flat), flat.sum(axis=0), np.square(flat).sum(axis=0)), strict=True
            ):
                total += value
    for around, units in chosen:
        count, total, squares = sums[id(around.producer.operation)]
        mean = total / count
        around.centre(units, mean, np.maximum(squares / count - np.square(mean), 0.0))


def _executed_steps(plan: ExecutionPlan, inputs: list[Array], size: int) -> Iterator[ExecutedStep]:
    for batch in batches(inputs, size):
        yield from iterate_steps(plan, [keras.ops.convert_to_tensor(array) for array in batch])


def _outputs(plan: ExecutionPlan, inputs: list[Array], size: int) -> list[Array]:
    """Return the model's outputs on all samples, one array for each."""
    columns = zip(
        *(
            map(numbers, run_plan(plan, [keras.ops.convert_to_tensor(array) for array in batch]))
            for batch in batches(inputs, size)
        ),
        strict=True,
    )
    return [np.concatenate(column) for column in columns]


def _change(before: list[Array], after: list[Array]) -> float:
    return float(np.mean([relative_error(a, b) for a, b in zip(after, before, strict=True)]))


def _record(
    item: SiteActivity, dead: dict[str, Array], found: dict[str, Any], after: dict[str, Array]
) -> SiteRevival:
    path = item.site.path
    count, left = int(dead[path].sum()), int(after[path].sum())
    around = found.get(path)
    if around is None:
        return SiteRevival(path, item.active.size, count, 0, left, "none dead")
    if isinstance(around, str):
        return SiteRevival(path, item.active.size, count, 0, left, f"kept: {around}")
    return SiteRevival(path, item.active.size, count, count, left, "revived")
