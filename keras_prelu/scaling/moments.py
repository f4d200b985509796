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
    output_channels,
    reads_channels,
    scale_inputs,
    scale_outputs,
)
from keras_prelu.graph.interpreter import Liveness
from keras_prelu.graph.layer_kinds import (
    built_input_shape,
    has_linear_activation,
    is_channels_last,
)
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.layers import PReLU
from keras_prelu.scaling.analytic import Rescaling
from keras_prelu.typing import Array
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["UNKNOWN", "rescale_moments"]


UNKNOWN = "kept: nothing tells its input's statistics"
"""The action of a site that `rescale_moments` left unchanged for lack of statistics."""

_OPEN_SIZE = 8
"""The size used for an unknown height or width, since results are averaged over positions."""

_SMALLEST_VARIATION = 1e-6
"""The standard deviation, relative to the mean, below which a channel counts as constant."""

_SMALLEST_FACTOR = 1e-3

# Class names of layers that select, arrange or average the elements of a tensor. Applied to the
# variances of the elements, they return the variances of the outputs, for averages approximately.
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
# Class names of layers that compute the identity at inference.
_IDENTITY = frozenset(
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
class _Moments:
    """The known moments of a tensor, as arrays with the shape of one sample.

    Attributes:
        original: Array. The mean in the original model.
        converted: Array. The mean in the converted model.
        variance: Array or None. The variance in the original model; None if it is not known.
    """

    original: Array
    converted: Array
    variance: Array | None

    @property
    def shift(self) -> Array:
        """The shift of the mean by the conversion."""
        return self.converted - self.original


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
    is taken as normal with mean β and variance γ². The
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
        self._targets = set(targets)
        self._moments: dict[Slot, _Moments] = {}
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
                    moments = _Moments(
                        original=seen.original,
                        converted=seen.original + shift,
                        variance=seen.variance,
                    )
                if moments is not None:
                    self._moments[slot] = moments
            for slot in liveness.release(step):
                self._moments.pop(slot, None)
        return self._rescalings

    def _training_statistics(self) -> dict[Slot, _Moments]:
        """Return the moments that BatchNormalization layers estimated in training, by slot read."""
        statistics = {}
        for step in self._plan.steps:
            layer = step.operation
            if (
                isinstance(layer, keras.layers.BatchNormalization)
                and self._plan.call_count(layer) == 1
                and built_input_shape(layer)
            ):
                mean = _as_sample(layer, to_float64(layer.moving_mean))
                variance = _as_sample(layer, to_float64(layer.moving_variance))
                statistics[step.inputs[0]] = _Moments(
                    original=mean, converted=mean, variance=variance
                )
        return statistics

    def _moments_after(self, step: Step) -> list[_Moments]:
        """Return the moments of a step's outputs; an empty list if they can't be computed."""
        layer = step.operation
        if isinstance(layer, keras.layers.BatchNormalization):
            return self._after_normalization(step)
        if isinstance(layer, PReLU):
            return self._after_prelu(step)
        known = [self._moments[slot] for slot in step.inputs if slot in self._moments]
        if len(known) != len(step.inputs) or not known:
            return []
        name = type(layer).__name__
        if name in _IDENTITY and has_linear_activation(layer):
            return known
        if name == "Add":
            return self._after_add(step, known)
        if name in _ARRANGING:
            return self._mapped(step, variance=True)
        if linear_view(layer) is not None and has_linear_activation(layer):
            return self._after_linear(step)
        return []

    def _after_normalization(self, step: Step) -> list[_Moments]:
        layer = step.operation
        if not built_input_shape(layer):
            return []
        size = int(layer.moving_mean.shape[0])
        beta = to_float64(layer.beta) if layer.center else np.zeros(size)
        gamma = to_float64(layer.gamma) if layer.scale else np.ones(size)
        read = self._moments.get(step.inputs[0])
        if read is not None and self._plan.call_count(layer) == 1:
            axes = tuple(axis for axis in range(read.shift.ndim) if axis != channel_axis(layer))
            layer.moving_mean.assign(to_float64(layer.moving_mean) + read.shift.mean(axis=axes))
        mean = _as_sample(layer, beta)
        variance = _as_sample(layer, np.square(gamma))
        return [_Moments(original=mean, converted=mean, variance=variance)]

    def _after_prelu(self, step: Step) -> list[_Moments]:
        layer, read = step.operation, self._moments.get(step.inputs[0])
        if read is None or read.variance is None or layer.data_format == "channels_first":
            self._record(step, "", UNKNOWN)
            return []
        axes = tuple(range(read.original.ndim - 1))
        mu = read.original.mean(axis=axes)
        sigma = np.sqrt(read.variance.mean(axis=axes)) + 1e-12
        alpha = _mean_slopes(layer, mu.size)
        folded = _FoldedFactor(before=np.ones_like(mu), after=np.ones_like(mu))
        if step.path in self._targets and np.any(alpha):
            folded = self._fold(step, _restoring_factor(alpha, mu, sigma))
        shift = read.shift.mean(axis=axes) * theory.derivative_mean(alpha, mu, sigma)
        converted = folded.before * theory.output_mean(alpha, mu, sigma) + shift
        # A reader whose weights were multiplied by `after` computes from ReLU's output divided by
        # `after` what it computed from ReLU's output before.
        original = theory.output_mean(0.0, mu, sigma) / folded.after
        variance = theory.output_variance(0.0, mu, sigma) / np.square(folded.after)
        shape = read.original.shape
        return [
            _Moments(
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
            and isinstance(producer.operation, keras.layers.BatchNormalization)
            and output_channels(producer.operation) == factor.size
        ):
            scale_outputs(producer.operation, factor)
            self._record(step, producer.path, "scaled, offset restored")
            return _FoldedFactor(before=factor, after=ones)
        readers = self._plan.readers(step.outputs[0])
        if (
            len(readers) == 1
            and self._plan.call_count(readers[0].operation) == 1
            and reads_channels(readers[0].operation, factor.size)
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

    def _after_add(self, step: Step, known: list[_Moments]) -> list[_Moments]:
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
        return [_Moments(original=original, converted=converted, variance=variance)]

    def _takes_offset(self, producer: Step, slot: Slot) -> bool:
        layer = producer.operation
        return (
            isinstance(layer, keras.layers.BatchNormalization)
            and layer.center
            and self._feeds_alone(producer, slot)
        )

    def _after_linear(self, step: Step) -> list[_Moments]:
        (moments,) = self._mapped(step, variance=False)
        variance = self._output_variance(step, moments.original.shape)
        converted = moments.converted
        bias = getattr(step.operation, "bias", None)
        if (
            bias is not None
            and self._plan.call_count(step.operation) == 1
            and is_channels_last(step.operation)
            and tuple(bias.shape) == moments.shift.shape[-1:]
        ):
            shift = moments.shift.mean(axis=tuple(range(moments.shift.ndim - 1)))
            bias.assign(to_float64(bias) - shift)
            converted = converted - shift
        return [_Moments(original=moments.original, converted=converted, variance=variance)]

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

    def _mapped(self, step: Step, *, variance: bool) -> list[_Moments]:
        """Apply a step to the means of its inputs and, if asked to, to their variances.

        The result is exact for a linear operation and approximate for a maximum.
        """
        read = [self._moments[slot] for slot in step.inputs]
        original = _execute(step, [moments.original for moments in read])
        converted = _execute(step, [moments.converted for moments in read])
        variances = [moments.variance for moments in read if moments.variance is not None]
        mapped: Sequence[Array | None] = [None] * len(original)
        if variance and len(variances) == len(read):
            mapped = _execute(step, variances)
        return [
            _Moments(original=a, converted=b, variance=c)
            for a, b, c in zip(original, converted, mapped, strict=True)
        ]

    def _record(self, step: Step, producer: str, action: str) -> None:
        if step.path in self._targets:
            self._rescalings.append(Rescaling(path=step.path, producer=producer, action=action))


def _restoring_factor(alpha: Array, mu: Array, sigma: Array) -> Array:
    """Return the factor of each channel that restores ReLU's output best, as far as it is known.

    A channel that hardly varies needs no factor, since its offset is restored. One that is hardly
    ever positive would get a factor of almost 0, by which its statistics could not be divided.
    """
    varies = sigma > _SMALLEST_VARIATION * np.abs(mu)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = theory.restoring_factor(alpha, mu, np.where(varies, sigma, 1.0))
    known = varies & np.isfinite(factor)
    return np.where(known, np.maximum(factor, _SMALLEST_FACTOR), 1.0)


def _execute(step: Step, arrays: Sequence[Array]) -> list[Array]:
    values = {
        slot: keras.ops.convert_to_tensor(array.astype("float32"))
        for slot, array in zip(step.inputs, arrays, strict=True)
    }
    return [to_float64(output) for output in step.execute(values)]


def _mean_slopes(layer: PReLU, channels: int) -> Array:
    """Return the mean slope of each channel over its positions."""
    slopes = to_float64(layer.alpha)
    by_channel = np.broadcast_to(slopes, (*slopes.shape[:-1], channels))
    return by_channel.reshape(-1, channels).mean(axis=0)


def _as_sample(layer: Any, values: Array) -> Array:
    """Broadcast values, one for each channel, to one sample that a BatchNormalization reads."""
    shape = [1, *(size or _OPEN_SIZE for size in (built_input_shape(layer) or ())[1:])]
    along_axis = [1] * len(shape)
    along_axis[channel_axis(layer) or 0] = values.size
    return np.broadcast_to(values.reshape(along_axis), shape)
