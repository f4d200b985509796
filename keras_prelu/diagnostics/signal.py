"""The signal by depth: second moments of outputs, and of gradients, layer by layer (claims 3, 4).

`signal_by_depth` is the public function. `MomentsProbe` and `gradients_by_call` are also used to
measure second moments after each epoch (`callbacks`) and to compute other functions of the same
gradients (`scale_symmetry`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.backend.autodiff import gradients
from keras_prelu.custom_layers.stand_in import StandIn
from keras_prelu.data.samples import as_samples, batches, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.detection import recognize
from keras_prelu.graph.layer_calls import LayerCall, run_with_hook
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.model_state import keeps_state, state_kept
from keras_prelu.graph.plan import compile_plan
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.typing import Tensor
from keras_prelu.utils.checks import check_integer

__all__ = [
    "CallGradient",
    "LayerSignal",
    "MomentsProbe",
    "SecondMoments",
    "check_probes",
    "gradients_by_call",
    "signal_by_depth",
]


StepHook = Callable[[LayerCall], Tensor | None]
"""Called after each call; returns the outputs for the steps that follow, or None to keep them."""

_VALUES_PER_BATCH = 2**25
"""The number of output values of all layers together that one batch of gradients may have."""


@dataclass(frozen=True)
class LayerSignal:
    """The signal at one call of a linear layer or rectifier.

    Attributes:
        path: String. The names of the enclosing models, or of the enclosing layer with Python code
            of its own, and of the layer, joined by "/". `#2`, `#3`, … are appended for later calls.
        kind: String. "linear", "rectifier", or "linear, rectified" for a linear layer with an
            inline activation.
        moment: Float. The mean square of the outputs.
        gain: Float. The mean square of the outputs over the mean square of the inputs.
        predicted: Float, or None if it is not known. The gain by claim 4 for uncorrelated inputs
            of mean 0: the fan-in times the mean square of the weights for a linear layer (biases
            left out), (1 + α²)/2 for a rectifier, and their product for both.
        gradient: Float. The mean square of the derivative of a random projection of the model's
            outputs (normal, of variance 1) with respect to the layer's outputs.
    """

    path: str
    kind: str
    moment: float
    gain: float
    predicted: float | None
    gradient: float


@keeps_state("model")
def signal_by_depth(
    model: keras.Model, samples: Any, *, probes: int = 32, batch_size: int = 128, seed: int = 0
) -> tuple[LayerSignal, ...]:
    """Measure the signal at each linear layer and rectifier of a model, forward and backward.

    Args:
        model: Keras model. Nested models are included, and so are layers inside layers and models
            with Python code of their own. What such code computes itself, through functions that it
            calls, in a loop (as a recurrent layer does), or in a branch or other code that the
            backend traces by itself, is not seen.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs. All
            are used for the second moments of outputs.
        probes: Integer. The number of samples, counted from the first, that are used for the
            gradients. Defaults to 32.
        batch_size: Integer. The number of samples in a batch of the forward pass. Defaults to 128.
        seed: Integer. Seed of the random projection. Defaults to 0.

    Returns:
        A tuple of `LayerSignal`, one for each call that is seen, in execution order.

    Raises:
        DataError: If the samples do not fit the model.
        InvalidArgumentError: If `probes` is less than 1. A `ValueError`.

    Example:

    >>> [(layer.path, layer.gain, layer.predicted)
    ...     for layer in keras_prelu.diagnostics.signal_by_depth(model, x_test)]

    References:
        Claims 3 and 4. He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.2.
    """
    check_probes(probes)
    data = as_samples(samples, model=model, labels="ignored")
    inputs, measure_moments = model_inputs(model, data), MomentsProbe(model, data.x)
    with state_kept(model):  # The gradients are those from the same state.
        moments = measure_moments(inputs, batch_size)
    whole_batches = -(-probes // (measure_moments.batch_size or 1))
    probes = whole_batches * (measure_moments.batch_size or 1)
    inputs = [array[:probes] for array in inputs]
    mean_squares: dict[str, float] = {}
    for calls in gradients_by_call(measure_moments, inputs, moments.values(), seed):
        for call in calls:
            share = call.samples / len(inputs[0])
            seen = mean_squares.get(call.path, 0.0)
            mean_squares[call.path] = seen + _mean_square(call.gradient) * share
    return tuple(
        LayerSignal(
            path=path,
            kind=_kind(measure_moments.layers[path]),
            moment=moment.outputs,
            gain=moment.gain,
            predicted=_predicted_gain(measure_moments.layers[path]),
            gradient=mean_squares[path],
        )
        for path, moment in moments.items()
        if path in mean_squares
    )


def check_probes(probes: int) -> None:
    """Raise an `InvalidArgumentError` unless at least one sample is used for gradients."""
    check_integer("probes", probes, minimum=1)


@dataclass(frozen=True)
class SecondMoments:
    """Second moments at one call of a layer.

    Attributes:
        inputs: Float. The mean square of the layer's inputs.
        outputs: Float. The mean square of its outputs.
        size: Integer. The number of output values per sample.
    """

    inputs: float
    outputs: float
    size: int

    @property
    def gain(self) -> float:
        """The mean square of the outputs over that of the inputs; NaN if all inputs are 0."""
        return self.outputs / self.inputs if self.inputs > 0 else float("nan")


class MomentsProbe:
    """Measures the second moments in a model, which is compiled once; its weights may change.

    Args:
        model: Keras model.
        x: Array, or structure of arrays. Samples that the model can be called with, which are
            needed for one that does not declare its inputs.

    Attributes:
        plan: `ExecutionPlan` of the model.
        layers: Dict from the path of a call to the layer. Filled by the first measurement.
        batch_size: Integer, or None. The number of samples in a batch that the model prescribes.
    """

    def __init__(self, model: keras.Model, x: Any) -> None:
        graph = with_declared_inputs(model, x)
        self.plan, self.layers = compile_plan(graph), dict[str, Any]()
        self.batch_size: int | None = graph.inputs[0].shape[0]
        self._scope = "" if graph is model else f"{model.name}/"
        self._probe = BatchProbe(graph, self._measure)

    def run(self, tensors: Sequence[Tensor], hook: StepHook) -> list[Tensor]:
        """Run the model on a batch, with a hook on the calls of linear layers and rectifiers."""

        def hear(call: LayerCall) -> Tensor | None:
            if 0 in call.outputs.shape[1:]:
                return None  # No channels, no signal.
            return hook(replace(call, path=call.path.removeprefix(self._scope)))

        return run_with_hook(self.plan, tensors, _carries_signal, hear)

    def __call__(self, inputs: Sequence[Any], batch_size: int = 128) -> dict[str, SecondMoments]:
        """Return the `SecondMoments` of each call of a linear layer or rectifier, by its path."""
        sums: dict[str, np.ndarray] = {}
        samples: dict[str, int] = {}  # Python code may call a layer on some batches only.
        for batch in self._probe.batches(inputs, batch_size):
            for path, values in batch.values.items():
                sums[path] = sums.get(path, 0.0) + np.array(values) * batch.samples
                samples[path] = samples.get(path, 0) + batch.samples
        means = {path: total / samples[path] for path, total in sums.items()}
        return {
            path: SecondMoments(inputs=float(read), outputs=float(written), size=round(size))
            for path, (read, written, size) in means.items()
        }

    def _measure(self, tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        measured: dict[str, list[Tensor]] = {}

        def hear(call: LayerCall) -> None:
            self.layers[call.path] = call.layer
            size = keras.ops.sum(keras.ops.ones_like(call.outputs[:1], dtype="float32"))
            squares = [
                keras.ops.mean(keras.ops.square(keras.ops.cast(tensor, "float32")))
                for tensor in (call.inputs, call.outputs)
            ]
            measured[call.path] = [*squares, size]

        self.run(tensors, hear)
        return measured


@dataclass(frozen=True)
class CallGradient:
    """The gradient at one call of a linear layer or rectifier, on one batch.

    Attributes:
        path: String. The path of the call, as in `LayerSignal`.
        layer: Keras layer.
        samples: Integer. The number of samples in the batch.
        outputs: Tensor. The layer's outputs.
        gradient: Tensor. The derivative of a random projection of the model's outputs with respect
            to the layer's outputs.
    """

    path: str
    layer: Any
    samples: int
    outputs: Tensor
    gradient: Tensor


def gradients_by_call(
    probe: MomentsProbe,
    inputs: Sequence[Any],
    moments: Iterable[SecondMoments],
    seed: int,
) -> Iterator[list[CallGradient]]:
    """Compute the gradients at each linear layer and rectifier, batch by batch.

    The batches are as large as the model prescribes, or as the outputs of all layers allow.

    Args:
        probe: `MomentsProbe` of the model.
        inputs: Sequence of arrays, one for each input of the model.
        moments: Iterable of `SecondMoments`. Those of all calls, which give the sizes of outputs.
        seed: Integer. Seed of the projection, which also depends on the shapes of the outputs.

    Yields:
        For each batch, a list of `CallGradient`, one for each call, in execution order.
    """
    values_per_sample = max(1, sum(moment.size for moment in moments))
    batch_size = probe.batch_size or max(1, _VALUES_PER_BATCH // values_per_sample)
    for index, batch in enumerate(batches(inputs, batch_size)):
        yield _batch_gradients(probe, batch, [seed, index])


def _batch_gradients(
    probe: MomentsProbe, inputs: Sequence[Any], seed: Sequence[int]
) -> list[CallGradient]:
    tensors = [keras.ops.convert_to_tensor(np.asarray(array)) for array in inputs]
    calls: dict[str, LayerCall] = {}
    with state_kept(*(step.operation for step in probe.plan.steps)):
        probe.run(tensors, lambda call: calls.update({call.path: call}))
    rng = np.random.default_rng(seed)
    reached: set[str] = set()

    def project(*offsets: Tensor) -> Tensor:
        """Project the model's outputs, with an offset added to the outputs of each layer."""
        offset_by_path = dict(zip(calls, offsets, strict=True))

        def add_offset(call: LayerCall) -> Tensor | None:
            if call.path not in offset_by_path:
                return None
            reached.add(call.path)
            return call.outputs + offset_by_path[call.path]

        results = probe.run(tensors, add_offset)
        drawn = [
            keras.ops.convert_to_tensor(rng.normal(size=result.shape), dtype=result.dtype)
            for result in results
        ]
        return sum(
            keras.ops.sum(result * weights) for result, weights in zip(results, drawn, strict=True)
        )

    offsets = [keras.ops.zeros_like(call.outputs) for call in calls.values()]
    # A call is not seen in the second run if it is in code that the backend differentiates by
    # itself, such as a function that `keras.remat` returned.
    return [
        CallGradient(
            path=call.path,
            layer=call.layer,
            samples=len(inputs[0]),
            outputs=call.outputs,
            gradient=gradient,
        )
        for call, gradient in zip(calls.values(), gradients(project, offsets), strict=True)
        if call.path in reached
    ]


def _carries_signal(layer: Any) -> bool:
    return linear_view(layer) is not None or _rectifier(layer) is not None


def _rectifier(layer: Any) -> Any:
    """Return the PReLU layer or the `Rectifier` that a layer applies; None if it has neither."""
    if isinstance(layer, PReLU):
        return layer
    activation = vars(layer).get("activation") if isinstance(layer, keras.layers.Layer) else None
    return activation.layers[0] if isinstance(activation, StandIn) else recognize(layer)


def _kind(layer: Any) -> str:
    if linear_view(layer) is None:
        return "rectifier"
    return "linear" if _rectifier(layer) is None else "linear, rectified"


def _predicted_gain(layer: Any) -> float | None:
    """Return the gain by claim 4; None for a rectifier without a slope."""
    view, rectifier, gain = linear_view(layer), _rectifier(layer), 1.0
    if view is not None:
        matrix = view.to_matrix(
            np.asarray(keras.ops.convert_to_numpy(view.kernel), dtype=np.float64)
        )
        gain = matrix.shape[1] * float(np.mean(np.square(matrix)))
    if rectifier is None:
        return gain
    if isinstance(rectifier, PReLU):
        slopes = np.asarray(
            keras.ops.convert_to_numpy(slopes_in_effect(rectifier)), dtype=np.float64
        )
        return gain * float(np.mean((1.0 + np.square(slopes)) / 2.0))
    if rectifier.negative_slope is None or rectifier.smooth:
        return None
    return gain * float(theory.second_moment_gain(rectifier.negative_slope, 1.0, 1))


def _mean_square(tensor: Tensor) -> float:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return float(np.mean(np.square(values, dtype=np.float64)))
