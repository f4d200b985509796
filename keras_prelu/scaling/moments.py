"""Rescaling a converted model without samples, from BatchNormalization statistics (claims 7, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import channel_axis
from keras_prelu.graph.channel_scaling import (
    input_variables,
    is_batch_normalization,
    output_channels,
    output_variables,
    reads_channels,
    scale_inputs,
    scale_outputs,
)
from keras_prelu.graph.interpreter import Liveness
from keras_prelu.graph.layer_kinds import (
    built_input_shape,
    has_linear_activation,
    is_channels_last,
    is_plain_call,
    is_sum,
    keras_class,
)
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.graph.weight_constraints import has_constraint, may_be_scaled
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.layers import PReLU
from keras_prelu.scaling.analytic import Rescaling
from keras_prelu.scaling.tensor_moments import (
    ARRANGING,
    IDENTITY,
    Moments,
    as_sample,
    mapped_moments,
    mean_slopes,
    restoring_factor,
)
from keras_prelu.typing import Array
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["UNKNOWN", "rescale_moments"]


UNKNOWN = "kept: nothing tells its input's statistics"
"""The action of a site that `rescale_moments` left unchanged for lack of statistics."""


@dataclass(frozen=True)
class _FoldedFactor:
    """The parts of a site's factor that were folded before and after the site.

    Attributes:
        before: Array. The factor of the site's input, for each channel.
        after: Array. The factor of the weights that read the site's output, for each channel.
    """

    before: Array
    after: Array


@on_large_graphs
def rescale_moments(converted: keras.Model, targets: Sequence[str]) -> list[Rescaling]:
    """Restore the outputs of each ReLU in least squares, in place and without samples.

    The fit uses the mean and variance of each ReLU's inputs. After a BatchNormalization a channel x
    is taken as normal with mean β and variance γ²·v/(v + ε), where v is the moving variance. The
    affine map a·φ(x) + c that best restores ReLU(x) from φ(x) has a = Cov(ReLU(x), φ(x))/Var(φ(x))
    and c = E[ReLU(x)] − a·E[φ(x)], both in closed form (claim 7). The factor is folded into the
    BatchNormalization, since φ(a·x) = a·φ(x) (claim 6). The offset is folded into what follows: the
    next bias, the moving mean of the next BatchNormalization, or the β of one whose output is
    added. Means are carried through the layers between, paddings included.

    Args:
        converted: `keras.Model`. A converted model. It is changed.
        targets: Sequence of strings. Paths of the PReLU layers whose outputs are restored.

    Returns:
        A list of `Rescaling`, one for each target whose slopes are not 0. A target without known
        statistics of its input is left unchanged.
    """
    return _MomentPropagation(compile_plan(converted), targets).run()


class _MomentPropagation:
    """One pass over a plan that propagates the moments of tensors and rescales the targets."""

    def __init__(self, plan: ExecutionPlan, targets: Sequence[str]) -> None:
        self._plan = plan
        self._shared = SharedVariables(plan)
        self._targets = set(targets)
        self._moments: dict[Slot, Moments] = {}
        self._rescalings: list[Rescaling] = []

    def run(self) -> list[Rescaling]:
        statistics, liveness = self._training_statistics(), Liveness(self._plan)
        for step in self._plan.steps:
            carried = dict(zip(step.outputs, self._moments_after(step), strict=False))
            for slot in step.outputs:
                moments = carried.get(slot)
                if slot in statistics:
                    # Statistics of training data are better than propagated moments.
                    seen, shift = statistics[slot], moments.shift if moments else 0.0
                    moments = Moments(
                        original=seen.original,
                        converted=seen.original + shift,
                        variance=seen.variance,
                    )
                if moments is not None:
                    self._moments[slot] = moments
            for slot in liveness.release(step):
                self._moments.pop(slot, None)
        return self._rescalings

    def _training_statistics(self) -> dict[Slot, Moments]:
        """Return the moments that BatchNormalization layers estimated in training, by slot read."""
        statistics = {}
        for step in self._plan.steps:
            layer = step.operation
            if (
                is_batch_normalization(layer)
                and is_plain_call(step)
                and self._plan.call_count(layer) == 1
                and built_input_shape(layer)
            ):
                mean = as_sample(layer, to_float64(layer.moving_mean))
                variance = as_sample(layer, to_float64(layer.moving_variance))
                statistics[step.inputs[0]] = Moments(
                    original=mean, converted=mean, variance=variance
                )
        return statistics

    def _moments_after(self, step: Step) -> list[Moments]:
        """Return the moments of a step's outputs; an empty list if they can't be computed."""
        layer = step.operation
        if is_sum(step):
            return self._after_add(step)
        if isinstance(layer, PReLU):
            return self._after_prelu(step)
        cls = keras_class(layer)
        if cls is None or not is_plain_call(step):
            return []
        if cls is keras.layers.BatchNormalization:
            return self._after_normalization(step)
        known = [self._moments[slot] for slot in step.inputs if slot in self._moments]
        if len(known) != len(step.inputs) or not known:
            return []
        if cls.__name__ in IDENTITY and has_linear_activation(layer):
            return known
        if cls.__name__ in ARRANGING:
            return self._mapped(step, variance=True)
        if linear_view(layer) is not None and has_linear_activation(layer):
            return self._after_linear(step)
        return []

    def _after_normalization(self, step: Step) -> list[Moments]:
        layer = step.operation
        if not built_input_shape(layer):
            return []
        size = int(layer.moving_mean.shape[0])
        beta = to_float64(layer.beta) if layer.center else np.zeros(size)
        gamma = to_float64(layer.gamma) if layer.scale else np.ones(size)
        read = self._moments.get(step.inputs[0])
        if read is not None and self._may_write(step, [layer.moving_mean]):
            axes = tuple(axis for axis in range(read.shift.ndim) if axis != channel_axis(layer))
            layer.moving_mean.assign(to_float64(layer.moving_mean) + read.shift.mean(axis=axes))
        mean = as_sample(layer, beta)
        # ε keeps channels of little variance, such as dead ones, from being normalized to 1.
        seen = to_float64(layer.moving_variance)
        variance = as_sample(layer, np.square(gamma) * seen / (seen + layer.epsilon))
        return [Moments(original=mean, converted=mean, variance=variance)]

    def _after_prelu(self, step: Step) -> list[Moments]:
        layer, read = step.operation, self._moments.get(step.inputs[0])
        if read is None or read.variance is None or layer.data_format == "channels_first":
            self._record(step, "", UNKNOWN)
            return []
        axes = tuple(range(read.original.ndim - 1))
        mu = read.original.mean(axis=axes)
        sigma = np.sqrt(read.variance.mean(axis=axes)) + 1e-12
        alpha = mean_slopes(layer, mu.size)
        folded = _FoldedFactor(before=np.ones_like(mu), after=np.ones_like(mu))
        if step.path in self._targets and np.any(alpha):
            folded = self._fold(step, restoring_factor(alpha, mu, sigma))
        shift = read.shift.mean(axis=axes) * theory.derivative_mean(alpha, mu, sigma)
        converted = folded.before * theory.output_mean(alpha, mu, sigma) + shift
        # A reader whose weights were multiplied by `after` computes from ReLU's output divided by
        # `after` what it computed from ReLU's output before.
        original = theory.output_mean(0.0, mu, sigma) / folded.after
        # Where σ is negligible beside μ, rounding can make the variance negative.
        variance = np.maximum(theory.output_variance(0.0, mu, sigma), 0.0)
        variance = variance / np.square(folded.after)
        shape = read.original.shape
        return [
            Moments(
                original=np.broadcast_to(original, shape),
                converted=np.broadcast_to(converted, shape),
                variance=np.broadcast_to(variance, shape),
            )
        ]

    def _fold(self, step: Step, factor: Array) -> _FoldedFactor:
        """Fold a factor into the layer before or after a site.

        The layer is the BatchNormalization that alone feeds the site, or else the linear layer that
        alone reads it.
        """
        ones = np.ones_like(factor)
        producer = self._plan.writer(step.inputs[0])
        if (
            producer is not None
            and self._feeds_alone(producer, step.inputs[0])
            and step.operation.max_value is None
            and is_batch_normalization(producer.operation)
            and is_plain_call(producer)
            and output_channels(producer.operation) == factor.size
            and self._may_scale(producer, output_variables(producer.operation))
        ):
            scale_outputs(producer.operation, factor)
            self._record(step, producer.path, "scaled, offset restored")
            return _FoldedFactor(before=factor, after=ones)
        readers = self._plan.readers(step.outputs[0])
        if (
            len(readers) == 1
            and not self._plan.is_output(step.outputs[0])
            and is_plain_call(readers[0])
            and reads_channels(readers[0].operation, factor.size)
            and self._may_scale(readers[0], input_variables(readers[0].operation))
        ):
            scale_inputs(readers[0].operation, factor)
            self._record(step, readers[0].path, "scaled, offset restored")
            return _FoldedFactor(before=ones, after=factor)
        self._record(step, "", "offset restored")
        return _FoldedFactor(before=ones, after=ones)

    def _feeds_alone(self, producer: Step, slot: Slot) -> bool:
        """Return whether a layer is called once and a single step reads its output.

        The output must not be an output of the model.
        """
        return (
            self._plan.sole_reader(slot) is not None
            and self._plan.call_count(producer.operation) == 1
        )

    def _may_scale(self, step: Step, variables: Sequence[Any]) -> bool:
        """Return whether positive factors of some weights of a step's layer are allowed.

        The weights must belong to this one call, and their constraints must allow any factors.
        """
        return (
            self._plan.call_count(step.operation) == 1
            and not self._shared.contains_any(variables)
            and all(map(may_be_scaled, variables))
        )

    def _may_write(self, step: Step, variables: Sequence[Any]) -> bool:
        """Return whether other values of some weights of a step's layer are allowed."""
        return self._may_scale(step, variables) and not has_constraint(variables)

    def _after_add(self, step: Step) -> list[Moments]:
        known = [self._moments[slot] for slot in step.inputs if slot in self._moments]
        if len(known) != len(step.inputs):
            return []
        original: Array = np.sum([moments.original for moments in known], axis=0)
        converted: Array = np.sum([moments.converted for moments in known], axis=0)
        variances = [moments.variance for moments in known if moments.variance is not None]
        variance: Array | None = np.sum(variances, axis=0) if len(variances) == len(known) else None
        for slot in step.inputs:
            producer = self._plan.writer(slot)
            if producer is not None and self._takes_offset(producer, slot):
                shift = (converted - original).mean(axis=tuple(range(original.ndim - 1)))
                producer.operation.beta.assign(to_float64(producer.operation.beta) - shift)
                converted = converted - shift
                break
        return [Moments(original=original, converted=converted, variance=variance)]

    def _takes_offset(self, producer: Step, slot: Slot) -> bool:
        layer = producer.operation
        return (
            is_batch_normalization(layer)
            and is_plain_call(producer)
            and layer.center
            and self._feeds_alone(producer, slot)
            and self._may_write(producer, [layer.beta])
        )

    def _after_linear(self, step: Step) -> list[Moments]:
        (moments,) = self._mapped(step, variance=False)
        variance = self._output_variance(step, moments.original.shape)
        converted = moments.converted
        bias = getattr(step.operation, "bias", None)
        if (
            bias is not None
            and self._may_write(step, [bias])
            and is_channels_last(step.operation)
            and tuple(bias.shape) == moments.shift.shape[-1:]
        ):
            shift = moments.shift.mean(axis=tuple(range(moments.shift.ndim - 1)))
            bias.assign(to_float64(bias) - shift)
            converted = converted - shift
        return [Moments(original=moments.original, converted=converted, variance=variance)]

    def _output_variance(self, step: Step, shape: tuple[int, ...]) -> Array | None:
        """Return the variance of a linear layer's outputs for independent inputs.

        Return None if the variance of the inputs or the layer is not known.
        """
        variance = self._moments[step.inputs[0]].variance
        if variance is None or not reads_channels(step.operation, variance.shape[-1]):
            return None
        squares = np.square(to_float64(step.operation.kernel))
        squares = squares.reshape(-1, *squares.shape[-2:]).sum(axis=0)
        inputs = variance.mean(axis=tuple(range(variance.ndim - 1)))
        if "Depthwise" in type(step.operation).__name__:
            return np.broadcast_to((inputs[:, None] * squares).reshape(-1), shape)
        return np.broadcast_to(inputs @ squares, shape)

    def _mapped(self, step: Step, *, variance: bool) -> list[Moments]:
        return mapped_moments(step, [self._moments[slot] for slot in step.inputs], variance)

    def _record(self, step: Step, producer: str, action: str) -> None:
        if step.path in self._targets:
            self._rescalings.append(Rescaling(path=step.path, producer=producer, action=action))
