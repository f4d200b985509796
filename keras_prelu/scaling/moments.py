"""Rescaling a converted model without samples, from the statistics that BatchNormalization layers
hold (claims 7 and 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.graph.channel_scaling import (
    numbers,
    output_channels,
    reads_channels,
    scale_inputs,
    scale_outputs,
)
from keras_prelu.graph.interpreter import Liveness
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.layers import PReLU
from keras_prelu.scaling.analytic import Rescaling
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["UNKNOWN", "rescale_moments"]

Array = np.ndarray

UNKNOWN = "kept: nothing tells its input's statistics"
"""The action of a site that `rescale_moments` could do nothing for."""

_OPEN_SIZE = (
    8  # of an input whose height or width is open: what is computed is averaged over positions
)

# Operations of which a variance is taken as of its tensor's elements: they choose, arrange or
# average them.
_ARRANGING = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "Concatenate",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "Permute",
        "Reshape",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    }
)
_SAME = frozenset(
    {
        "Activation",
        "ActivityRegularization",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout2D",
    }
)


@dataclass(frozen=True)
class _Belief:
    """What is known of a tensor, as arrays of one sample's shape.

    Attributes:
        original: Its mean in the original model.
        converted: Its mean in the converted model.
        variance: Its variance in the original model; None where it is not known.
    """

    original: Array
    converted: Array
    variance: Array | None

    @property
    def shift(self) -> Array:
        return self.converted - self.original


@on_large_graphs
def rescale_moments(converted: keras.Model, targets: Sequence[str]) -> list[Rescaling]:
    """Restore what each ReLU put out, in least squares, from its input's mean and variance, in
    place and without samples.

    After a BatchNormalization a channel x is taken as normal with mean β and variance γ². The
    affine map a·φ(x) + c that best restores ReLU(x) from φ(x) has a = Cov(ReLU(x), φ(x))/Var(φ(x))
    and c = E[ReLU(x)] − a·E[φ(x)], both in closed form (claim 7). The factor is folded into the
    BatchNormalization, since φ(a·x) = a·φ(x) (claim 6); the offset into what follows: the next
    bias, the moving mean of the next BatchNormalization, or the β of one that is added. Means are
    carried through the layers between, paddings included.

    Args:
        converted: A converted model. It is changed.
        targets: Paths of the PReLU layers to rescale for.

    Returns:
        A record for each target whose slopes are not 0; one whose input has no known statistics is
        kept as it is.
    """
    return _Moments(compile_plan(converted), targets).run()


class _Moments:
    def __init__(self, plan: ExecutionPlan, targets: Sequence[str]) -> None:
        self._plan = plan
        self._targets = set(targets)
        self._beliefs: dict[Slot, _Belief] = {}
        self._records: list[Rescaling] = []

    def run(self) -> list[Rescaling]:
        observed, liveness = self._observed(), Liveness(self._plan)
        for step in self._plan.steps:
            found = self._after(step)
            for index, slot in enumerate(step.outputs):
                seen, believed = observed.get(slot), found[index] if found else None
                if (
                    seen is not None
                ):  # statistics of training data are better than what was carried here
                    shift = believed.shift if believed is not None else 0.0
                    believed = _Belief(seen.original, seen.original + shift, seen.variance)
                if believed is not None:
                    self._beliefs[slot] = believed
            for slot in liveness.release(step):
                self._beliefs.pop(slot, None)
        return self._records

    def _observed(self) -> dict[Slot, _Belief]:
        """The moments of what BatchNormalization layers read, which they have seen in training."""
        observed = {}
        for step in self._plan.steps:
            layer = step.operation
            if (
                isinstance(layer, keras.layers.BatchNormalization)
                and self._plan.call_count(layer) == 1
                and _one_sample(layer)
            ):
                mean, variance = (
                    _along(layer, numbers(layer.moving_mean)),
                    _along(layer, numbers(layer.moving_variance)),
                )
                observed[step.inputs[0]] = _Belief(mean, mean, variance)
        return observed

    def _after(self, step: Step) -> list[_Belief]:
        """The beliefs about a step's outputs; none where nothing can be said."""
        layer, known = (
            step.operation,
            [self._beliefs[slot] for slot in step.inputs if slot in self._beliefs],
        )
        if isinstance(layer, keras.layers.BatchNormalization):
            return self._after_normalization(step)
        if isinstance(layer, PReLU):
            return self._after_prelu(step)
        if len(known) != len(step.inputs) or not known:
            return []
        name = type(layer).__name__
        if name in _SAME and getattr(layer, "activation", None) in (None, keras.activations.linear):
            return known
        if name == "Add":
            return self._after_add(step, known)
        if name in _ARRANGING:
            return self._mapped(step, variance=True)
        if linear_view(layer) is not None and getattr(layer, "activation", None) in (
            None,
            keras.activations.linear,
        ):
            return self._after_linear(step)
        return []

    def _after_normalization(self, step: Step) -> list[_Belief]:
        layer = step.operation
        size = int(layer.moving_mean.shape[0])
        beta = numbers(layer.beta) if layer.center else np.zeros(size)
        gamma = numbers(layer.gamma) if layer.scale else np.ones(size)
        if _one_sample(layer) is None:
            return []
        mean, variance = _along(layer, beta), _along(layer, np.square(gamma))
        before = self._beliefs.get(step.inputs[0])
        if before is not None and self._plan.call_count(layer) == 1:
            shift = before.shift.mean(
                axis=tuple(
                    i for i in range(before.shift.ndim) if i != _axis(layer) % before.shift.ndim
                )
            )
            layer.moving_mean.assign(numbers(layer.moving_mean) + shift)
        return [_Belief(mean, mean, variance)]

    def _after_prelu(self, step: Step) -> list[_Belief]:
        layer, belief = step.operation, self._beliefs.get(step.inputs[0])
        if belief is None or belief.variance is None or layer.data_format == "channels_first":
            self._record(step, "", UNKNOWN)
            return []
        axes = tuple(range(belief.original.ndim - 1))
        mu, sigma = (
            belief.original.mean(axis=axes),
            np.sqrt(belief.variance.mean(axis=axes)) + 1e-12,
        )
        slopes = numbers(layer.alpha)
        alpha = (
            np.broadcast_to(slopes, (*slopes.shape[:-1], mu.size)).reshape(-1, mu.size).mean(axis=0)
        )
        relu, prelu = theory.output_mean(0.0, mu, sigma), theory.output_mean(alpha, mu, sigma)
        before = after = np.ones_like(mu)
        if step.path in self._targets and np.any(alpha):
            before, after = self._fold(step, theory.restoring_factor(alpha, mu, sigma))
        converted = before * prelu + belief.shift.mean(axis=axes) * theory.derivative_mean(
            alpha, mu, sigma
        )
        shape = belief.original.shape
        variance = theory.output_variance(0.0, mu, sigma)
        # A consumer whose weights are multiplied by `after` makes of ReLU's output over `after`
        # what it made of ReLU's output.
        return [
            _Belief(
                *(
                    np.broadcast_to(values, shape)
                    for values in (relu / after, converted, variance / np.square(after))
                )
            )
        ]

    def _fold(self, step: Step, factor: Array) -> tuple[Array, Array]:
        """Fold a factor into the BatchNormalization that alone feeds a site, or into the linear
        layer that alone reads it.

        Returns:
            What its input was multiplied by, and what its reader's weights were.
        """
        none = np.ones_like(factor)
        producer = self._plan.writer(step.inputs[0])
        alone = producer is not None and self._alone(producer, step.inputs[0])
        if (
            producer is not None
            and alone
            and step.operation.max_value is None
            and _takes_scale(producer.operation, factor)
        ):
            scale_outputs(producer.operation, factor)
            self._record(step, producer.path, "scaled, offset restored")
            return factor, none
        readers = self._plan.readers(step.outputs[0])
        if (
            len(readers) == 1
            and self._plan.call_count(readers[0].operation) == 1
            and reads_channels(readers[0].operation, factor.size)
        ):
            scale_inputs(readers[0].operation, factor)
            self._record(step, readers[0].path, "scaled, offset restored")
            return none, factor
        self._record(step, "", "offset restored")
        return none, none

    def _alone(self, producer: Step, slot: Slot) -> bool:
        """Whether a layer is called once, and its output read once."""
        return len(self._plan.readers(slot)) == 1 and self._plan.call_count(producer.operation) == 1

    def _after_add(self, step: Step, known: list[_Belief]) -> list[_Belief]:
        original: Array = np.sum([belief.original for belief in known], axis=0)
        converted: Array = np.sum([belief.converted for belief in known], axis=0)
        variances = [belief.variance for belief in known if belief.variance is not None]
        variance: Array | None = np.sum(variances, axis=0) if len(variances) == len(known) else None
        for slot in step.inputs:
            producer = self._plan.writer(slot)
            if producer is not None and self._takes_offset(producer, slot):
                shift = (converted - original).mean(axis=tuple(range(original.ndim - 1)))
                producer.operation.beta.assign(numbers(producer.operation.beta) - shift)
                converted = converted - shift
                break
        return [_Belief(original, converted, variance)]

    def _takes_offset(self, producer: Step, slot: Slot) -> bool:
        layer = producer.operation
        return (
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.center
            and self._alone(producer, slot)
        )

    def _after_linear(self, step: Step) -> list[_Belief]:
        (after,) = self._mapped(step, variance=False)
        after = _Belief(after.original, after.converted, self._spread(step, after))
        bias = getattr(step.operation, "bias", None)
        channels_last = getattr(step.operation, "data_format", "channels_last") == "channels_last"
        if (
            bias is None
            or self._plan.call_count(step.operation) > 1
            or not channels_last
            or tuple(bias.shape) != after.shift.shape[-1:]
        ):
            return [after]
        shift = after.shift.mean(axis=tuple(range(after.shift.ndim - 1)))
        bias.assign(numbers(bias) - shift)
        return [_Belief(after.original, after.converted - shift, after.variance)]

    def _spread(self, step: Step, after: _Belief) -> Array | None:
        """The variance of a linear layer's outputs, its inputs taken as independent; None where
        they or the layer are not known."""
        variance = self._beliefs[step.inputs[0]].variance
        if variance is None or not reads_channels(step.operation, variance.shape[-1]):
            return None
        squares = np.square(numbers(step.operation.kernel))
        squares = squares.reshape(-1, *squares.shape[-2:]).sum(axis=0)
        inputs = variance.mean(axis=tuple(range(variance.ndim - 1)))
        outputs = (
            (inputs[:, None] * squares).reshape(-1)
            if "Depthwise" in type(step.operation).__name__
            else inputs @ squares
        )
        return np.broadcast_to(outputs, after.original.shape)

    def _mapped(self, step: Step, *, variance: bool) -> list[_Belief]:
        """What a step makes of the means, which is right for a linear operation, and near for a
        maximum."""
        original = self._execute(step, [self._beliefs[slot].original for slot in step.inputs])
        converted = self._execute(step, [self._beliefs[slot].converted for slot in step.inputs])
        spreads = [self._beliefs[slot].variance for slot in step.inputs]
        known = variance and all(spread is not None for spread in spreads)
        varied = self._execute(step, spreads) if known else [None] * len(original)  # type: ignore[arg-type]
        return [_Belief(a, b, c) for a, b, c in zip(original, converted, varied, strict=True)]

    def _execute(self, step: Step, arrays: Sequence[Array]) -> list[Array]:
        values = {
            slot: keras.ops.convert_to_tensor(array.astype("float32"))
            for slot, array in zip(step.inputs, arrays, strict=True)
        }
        return [numbers(output) for output in step.execute(values)]

    def _record(self, step: Step, producer: str, action: str) -> None:
        if step.path in self._targets:
            self._records.append(Rescaling(step.path, producer, action))


def _takes_scale(layer: Any, factor: Array) -> bool:
    return (
        isinstance(layer, keras.layers.BatchNormalization) and output_channels(layer) == factor.size
    )


def _one_sample(layer: Any) -> tuple[int, ...] | None:
    """The shape of a BatchNormalization's input, one sample, open sizes set."""
    shape = (layer.get_build_config() or {}).get("input_shape")
    return (1, *(size or _OPEN_SIZE for size in shape[1:])) if shape else None


def _axis(layer: Any) -> int:
    return int(layer.axis if isinstance(layer.axis, int) else layer.axis[0])


def _along(layer: Any, values: Array) -> Array:
    """A number for each channel of a BatchNormalization, as an array of one sample's shape."""
    shape = _one_sample(layer) or ()
    along = [1] * len(shape)
    along[_axis(layer)] = values.size
    return np.broadcast_to(values.reshape(along), shape)
