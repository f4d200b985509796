"""Gradients at the calls of linear layers and rectifiers, of a random projection of the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.autodiff import gradients
from keras_prelu.data.samples import batches
from keras_prelu.diagnostics.second_moments import MomentsProbe, SecondMoments
from keras_prelu.graph.layer_calls import LayerCall
from keras_prelu.graph.model_state import state_kept
from keras_prelu.typing import Tensor
from keras_prelu.utils.checks import check_integer

__all__ = ["CallGradient", "check_probes", "gradients_by_call"]

_VALUES_PER_BATCH = 2**25
"""The number of output values of all layers together that one batch of gradients may have."""


def check_probes(probes: int) -> None:
    """Raise an `InvalidArgumentError` unless at least one sample is used for gradients."""
    check_integer("probes", probes, minimum=1)


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
