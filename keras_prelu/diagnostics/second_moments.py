"""Second moments at the calls of linear layers and rectifiers, in one compiled pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu.custom_layers.stand_in import StandIn
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.layer_calls import LayerCall, run_with_hook
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import compile_plan
from keras_prelu.graph.rectifier_recognition import recognize
from keras_prelu.layers import PReLU
from keras_prelu.typing import Tensor

__all__ = ["MomentsProbe", "SecondMoments", "applied_rectifier"]


StepHook = Callable[[LayerCall], Tensor | None]
"""Called after each call; returns the outputs for the steps that follow, or None to keep them."""


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


def applied_rectifier(layer: Any) -> Any:
    """Return the PReLU layer or the `Rectifier` that a layer applies; None if it has neither."""
    if isinstance(layer, PReLU):
        return layer
    activation = vars(layer).get("activation") if isinstance(layer, keras.layers.Layer) else None
    return activation.layers[0] if isinstance(activation, StandIn) else recognize(layer)


def _carries_signal(layer: Any) -> bool:
    return linear_view(layer) is not None or applied_rectifier(layer) is not None
