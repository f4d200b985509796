"""What the caps of rectifiers cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.layers import PReLU
from keras_prelu.sites.rectifier_calls import RectifierRun
from keras_prelu.sites.site import LocatedSite
from keras_prelu.typing import Array, Tensor

__all__ = ["clipped_shares"]


def clipped_shares(
    model: keras.Model, structure: Any, inputs: Sequence[Array], batch_size: int = 128
) -> dict[str, float]:
    """Return which share of the outputs of each capped rectifier is at the cap.

    Args:
        model: `keras.Model`, converted or not.
        structure: Array, or structure of arrays. Samples as the model takes them.
        inputs: Sequence of arrays, the same samples for each of the model's inputs.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.

    Returns:
        A dict of floats by the paths of sites, without those that can't be seen in Python code.
    """
    run = RectifierRun(model, structure)

    def measure(tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        shares: dict[str, list[Tensor]] = {}
        for call in run.calls(tensors):
            cap = _cap(call.located)
            if cap is not None:
                at_cap = keras.ops.cast(call.outputs >= cap, "float32")
                shares.setdefault(call.located.site.path, []).append(keras.ops.mean(at_cap))
        return shares

    if all(_cap(located) is None for located in run.sites.values()):
        return {}
    batches = list(BatchProbe(run.graph, measure).batches(inputs, batch_size))
    weights = np.array([batch.samples for batch in batches])
    return {
        path: float(np.average([np.mean(batch.values[path]) for batch in batches], weights=weights))
        for path in batches[0].values
    }


def _cap(located: LocatedSite) -> float | None:
    is_converted = isinstance(located.owner, PReLU)
    return located.owner.max_value if is_converted else located.site.max_value
