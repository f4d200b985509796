"""How strong the signal is by depth: second moments forward, and of gradients backward (claims 3 and 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu._backends import gradients
from keras_prelu.data.samples import batches, model_inputs
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.surgery.linear import linear_view
from keras_prelu.surgery.probing import probe
from keras_prelu.surgery.program import Program, Step, compile_program, execute, run
from keras_prelu.surgery.recognition import recognize

__all__ = ["LayerSignal", "signal"]

Tensor = Any

_AT_ONCE = 2**25
"""How many numbers of all layers' outputs gradients are taken by at once."""


@dataclass(frozen=True)
class LayerSignal:
    """One call of a linear layer or of a rectifier.

    Attributes:
        path: Names of the enclosing models and of the layer, joined by "/"; `#2`, … for its later calls.
        kind: "linear", "rectifier", or "linear, rectified" for a linear layer with its activation inside.
        moment: Mean square of what it puts out.
        gain: That over the mean square of what it gets.
        predicted: What claim 4 says of that gain, for inputs without correlations and of mean 0: the fan-in times the mean square of the
            weights for a linear layer (biases left out), (1 + α²)/2 for a rectifier, their product for both. None where neither is known.
        gradient: Mean square of the derivative of a random projection of the model's outputs (normal, of variance 1) by what it puts out.
    """

    path: str
    kind: str
    moment: float
    gain: float
    predicted: float | None
    gradient: float


def signal(model: keras.Model, samples: Any, *, probes: int = 32, batch_size: int = 128, seed: int = 0) -> tuple[LayerSignal, ...]:
    """Measure the signal at each linear layer and rectifier of a model.

    Args:
        model: Sequential or Functional, nested models included; layers inside layers with Python code of their own are not seen.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs. All go forward, in batches.
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

    >>> [(layer.path, layer.gain, layer.predicted) for layer in keras_prelu.diagnostics.signal(model, x)]

    References:
        Claims 3 and 4. He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.2.
    """
    if probes < 1:
        raise InvalidArgumentError(f"`probes` must be at least 1. Received: probes={probes}")
    inputs, program = model_inputs(model, samples), compile_program(model)
    watched = [step for step in program.steps if _kind(step.operation)]
    moments, numbers = np.zeros((len(watched), 2)), 0.0
    for count, found in probe(model, program, inputs, watched, _mean_squares, batch_size):
        moments += np.array([values[:2] for values in found]) * count / len(inputs[0])
        numbers = float(sum(values[2] for values in found))
    probed = [array[:probes] for array in inputs]
    at_once = max(1, int(_AT_ONCE // max(1.0, numbers)))
    backward = np.zeros(len(watched))
    for number, batch in enumerate(batches(probed, model.inputs[0].shape[0] or at_once)):
        backward += np.array(_gradient_moments(program, watched, batch, [seed, number])) * len(batch[0]) / len(probed[0])
    gains = np.divide(moments[:, 1], moments[:, 0], out=np.full(len(watched), np.nan), where=moments[:, 0] > 0)
    return tuple(
        LayerSignal(
            path,
            _kind(step.operation),
            float(moments[index, 1]),
            float(gains[index]),
            _predicted(step.operation),
            float(backward[index]),
        )
        for index, (path, step) in enumerate(zip(_names(watched), watched, strict=True))
    )


def _names(steps: Sequence[Step]) -> Iterator[str]:
    """Paths, numbered where a layer is called again, or the model that it is in."""
    calls: Counter[str] = Counter()
    for step in steps:
        calls[step.path] += 1
        yield step.path if calls[step.path] == 1 else f"{step.path}#{calls[step.path]}"


def _kind(layer: Any) -> str:
    linear, rectifies = linear_view(layer) is not None, isinstance(layer, PReLU) or recognize(layer) is not None
    return ("linear, rectified" if rectifies else "linear") if linear else "rectifier" if rectifies else ""


def _predicted(layer: Any) -> float | None:
    """The gain of claim 4."""
    view, gain = linear_view(layer), 1.0
    if view is not None:
        matrix = view.to_matrix(np.asarray(keras.ops.convert_to_numpy(view.kernel), dtype=np.float64))
        gain = matrix.shape[1] * float(np.mean(np.square(matrix)))
    if isinstance(layer, PReLU):
        slopes = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)), dtype=np.float64)
        return gain * float(np.mean((1.0 + np.square(slopes)) / 2.0))
    rectifier = recognize(layer)
    if rectifier is None:
        return gain
    if rectifier.negative_slope is None or rectifier.smooth:
        return None
    return gain * float(theory.second_moment_gain(rectifier.negative_slope, 1.0, 1))


def _gradient_moments(program: Program, watched: Sequence[Step], inputs: Sequence[Any], seed: Sequence[int]) -> list[float]:
    """By what each step puts out: the derivatives by zeros that are added to it."""
    tensors = [keras.ops.convert_to_tensor(np.asarray(array)) for array in inputs]
    places = {id(step): index for index, step in enumerate(watched)}
    outputs = {id(step): written[0] for step, _, written in run(program, tensors) if id(step) in places}
    rng = np.random.default_rng(seed)

    def projection(*added: Tensor) -> Tensor:
        values = dict(zip(program.inputs, tensors, strict=True))
        for step in program.steps:
            written = execute(step, values)
            if id(step) in places:
                written = [written[0] + added[places[id(step)]], *written[1:]]
            values.update(zip(step.outputs, written, strict=True))
        results = [values[slot] for slot in program.outputs]
        drawn = [keras.ops.convert_to_tensor(rng.normal(size=result.shape), dtype=result.dtype) for result in results]
        return sum(keras.ops.sum(result * weights) for result, weights in zip(results, drawn, strict=True))

    found = gradients(projection, [keras.ops.zeros_like(outputs[id(step)]) for step in watched])
    return [_sum_of_squares(gradient) / int(np.prod(gradient.shape)) for gradient in found]


def _mean_squares(_step: Step, read: list[Tensor], written: list[Tensor]) -> list[Tensor]:
    """Of what a step reads and of what it writes, and how many numbers it writes for a sample."""
    squares = [keras.ops.mean(keras.ops.square(keras.ops.cast(tensor, "float32"))) for tensor in (read[0], written[0])]
    return [*squares, keras.ops.sum(keras.ops.ones_like(written[0][:1], dtype="float32"))]


def _sum_of_squares(tensor: Tensor) -> float:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return float(np.sum(np.square(values, dtype=np.float64)))
