"""How strong the signal is by depth: second moments forward, and of gradients backward (claims 3
and 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.backend.autodiff import gradients
from keras_prelu.custom_layers.converted_layer import StandIn
from keras_prelu.data.samples import batches, model_inputs
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.batch_probe import Probe
from keras_prelu.graph.detection import recognize
from keras_prelu.graph.layer_calls import LayerCall, run_with_hook
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, compile_plan
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = ["LayerSignal", "MomentsProbe", "backward", "batch_for_gradients", "signal_by_depth"]

Tensor = Any

_AT_ONCE = 2**25
"""How many numbers of all layers' outputs gradients are taken by at once."""


@dataclass(frozen=True)
class LayerSignal:
    """One call of a linear layer or of a rectifier.

    Attributes:
        path: Names of the enclosing models, or of the layer with Python code of its own, and of the
            layer, joined by "/"; `#2`, … for its later calls.
        kind: "linear", "rectifier", or "linear, rectified" for a linear layer with its activation
            inside.
        moment: Mean square of what it puts out.
        gain: That over the mean square of what it gets.
        predicted: What claim 4 says of that gain, for inputs without correlations and of mean 0:
            the fan-in times the mean square of the weights for a linear layer (biases left out), (1
            + α²)/2 for a rectifier, their product for both. None where neither is known.
        gradient: Mean square of the derivative of a random projection of the model's outputs
            (normal, of variance 1) by what it puts out.
    """

    path: str
    kind: str
    moment: float
    gain: float
    predicted: float | None
    gradient: float


def signal_by_depth(
    model: keras.Model, samples: Any, *, probes: int = 32, batch_size: int = 128, seed: int = 0
) -> tuple[LayerSignal, ...]:
    """Measure the signal at each linear layer and rectifier of a model.

    Args:
        model: Sequential or Functional, nested models included, and layers inside layers with
            Python code of their own. What that code computes itself is not seen, and neither are
            the functions that it calls.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs. All go
            forward, in batches.
        probes: How many of them gradients are measured on. Defaults to 32.
        batch_size: Samples that go through the model at once. Defaults to 128.
        seed: Of the random projection.

    Returns:
        A record for each call, in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
        InvalidArgumentError: A ValueError; `probes` is less than 1.

    Example:

    >>> [(layer.path, layer.gain, layer.predicted)
    ...     for layer in keras_prelu.diagnostics.signal_by_depth(model, x)]

    References:
        Claims 3 and 4. He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.2.
    """
    if probes < 1:
        raise InvalidArgumentError(f"`probes` must be at least 1. Received: probes={probes}")
    inputs, probe = model_inputs(model, samples), MomentsProbe(model)
    moments = probe(inputs, batch_size)
    probed = [array[:probes] for array in inputs]
    at_once = batch_for_gradients(model, moments)
    squares = np.zeros(len(moments))
    for number, batch in enumerate(batches(probed, at_once)):
        found = backward(probe.plan, batch, [seed, number])
        squares += (
            np.array([_mean_square(call.gradient) for call in found])
            * len(batch[0])
            / len(probed[0])
        )
    return tuple(
        LayerSignal(
            path,
            _kind(probe.layers[path]),
            float(written),
            float(written / read) if read > 0 else float("nan"),
            _predicted(probe.layers[path]),
            float(gradient),
        )
        for (path, (read, written, _)), gradient in zip(moments.items(), squares, strict=True)
    )


class MomentsProbe:
    """Second moments forward of a model whose weights change meanwhile, compiled once.

    Attributes:
        plan: The model's execution plan.
        layers: Of each path the layer.
    """

    def __init__(self, model: keras.Model) -> None:
        self.plan, self.layers = compile_plan(model), dict[str, Any]()
        self._probe = Probe(model, self._look)

    def __call__(self, inputs: Sequence[Any], batch_size: int = 128) -> dict[str, np.ndarray]:
        """For each call the mean squares of what it gets and of what it puts out, and how many
        numbers that are for a sample."""
        moments: dict[str, np.ndarray] = {}
        for count, seen in self._probe.on(inputs, batch_size):
            moments = {
                path: moments.get(path, 0.0) + np.array(values) * count / len(inputs[0])
                for path, values in seen.items()
            }
        return moments

    def _look(self, tensors: list[Tensor]) -> list[tuple[str, list[Tensor]]]:
        found: list[tuple[str, list[Tensor]]] = []

        def measure(call: LayerCall) -> None:
            self.layers[call.path] = call.layer
            found.append((call.path, _mean_squares(call.inputs, call.outputs)))

        run_with_hook(self.plan, tensors, _is_watched, measure)
        return found


def _is_watched(layer: Any) -> bool:
    return linear_view(layer) is not None or _rectifier(layer) is not None


def _rectifier(layer: Any) -> Any:
    """What a layer rectifies with: a PReLU layer, or a `Rectifier`; None for no rectifier."""
    if isinstance(layer, PReLU):
        return layer
    within = vars(layer).get("activation") if isinstance(layer, keras.layers.Layer) else None
    return within.layers[0] if isinstance(within, StandIn) else recognize(layer)


def _kind(layer: Any) -> str:
    linear, rectifies = linear_view(layer) is not None, _rectifier(layer) is not None
    return ("linear, rectified" if rectifies else "linear") if linear else "rectifier"


def _predicted(layer: Any) -> float | None:
    """The gain of claim 4."""
    view, gain, rectifier = linear_view(layer), 1.0, _rectifier(layer)
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


@dataclass(frozen=True)
class Backward:
    """One call on one batch: what it puts out, and the derivative of a random projection of the
    model's outputs by that."""

    path: str
    layer: Any
    written: Tensor
    gradient: Tensor


def backward(plan: ExecutionPlan, inputs: Sequence[Any], seed: Sequence[int]) -> list[Backward]:
    """Each linear layer and rectifier on one batch, with gradients of a projection that the seed
    and the outputs' shapes choose."""
    tensors = [keras.ops.convert_to_tensor(np.asarray(array)) for array in inputs]
    calls: list[LayerCall] = []
    run_with_hook(plan, tensors, _is_watched, calls.append)
    rng = np.random.default_rng(seed)

    def projection(*added: Tensor) -> Tensor:
        left = iter(added)
        results = run_with_hook(plan, tensors, _is_watched, lambda call: call.outputs + next(left))
        drawn = [
            keras.ops.convert_to_tensor(rng.normal(size=result.shape), dtype=result.dtype)
            for result in results
        ]
        return sum(
            keras.ops.sum(result * weights) for result, weights in zip(results, drawn, strict=True)
        )

    found = gradients(projection, [keras.ops.zeros_like(call.outputs) for call in calls])
    return [
        Backward(path=call.path, layer=call.layer, written=call.outputs, gradient=gradient)
        for call, gradient in zip(calls, found, strict=True)
    ]


def _mean_squares(read: Tensor, written: Tensor) -> list[Tensor]:
    """Of what a layer reads and of what it writes, and how many numbers it writes for a sample."""
    squares = [
        keras.ops.mean(keras.ops.square(keras.ops.cast(tensor, "float32")))
        for tensor in (read, written)
    ]
    return [*squares, keras.ops.sum(keras.ops.ones_like(written[:1], dtype="float32"))]


def batch_for_gradients(model: keras.Model, moments: Mapping[str, np.ndarray]) -> int:
    """How many samples' gradients are taken at once: as many as the model says, or as all layers'
    outputs allow."""
    numbers = sum(values[2] for values in moments.values())
    return int(model.inputs[0].shape[0] or max(1, _AT_ONCE // max(1, int(numbers))))


def _mean_square(tensor: Tensor) -> float:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return float(np.mean(np.square(values, dtype=np.float64)))
