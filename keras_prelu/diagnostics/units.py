"""Dead units: those whose pre-activation is never positive (claim 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import batches, model_inputs
from keras_prelu.surgery.program import Step, compile_program, run
from keras_prelu.surgery.sites import LocatedSite, locate_sites

__all__ = ["SiteUnits", "dead_units"]


@dataclass(frozen=True)
class SiteUnits:
    """The units (channels) of one rectifier.

    Attributes:
        path: The site's path, as in `find_sites`.
        units: Their number.
        dead: How many of them have a pre-activation ≤ 0 on every sample and position. Under ReLU their gradient is exactly 0; under
            PReLU with α > 0 it is α times the upstream one.
    """

    path: str
    units: int
    dead: int


def dead_units(model: keras.Model, samples: Any, *, batch_size: int = 128) -> tuple[SiteUnits, ...]:
    """Count the dead units at every rectifier of a model (ReLU, LeakyReLU, PReLU; inline ones too), exactly, over all samples.

    Args:
        model: Sequential or Functional, nested models included.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Samples that go through the model at once.

    Returns:
        A record for each site, in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.

    Example:

    >>> sum(site.dead for site in keras_prelu.diagnostics.dead_units(model, x_test))

    References:
        Claim 2.
    """
    inputs = model_inputs(model, samples)
    sites = {(id(item.operation), item.index): item for item in locate_sites(model)}
    program = compile_program(model)
    highest: dict[str, np.ndarray] = {}
    for batch in batches(inputs, model.inputs[0].shape[0] or batch_size):
        for step, read, written in run(program, [keras.ops.convert_to_tensor(array) for array in batch]):
            item = _site(sites, step)
            if item is not None:
                # An inline activation's input is no tensor of the graph; its output is ≤ 0 exactly where the input is.
                tensor = written[0] if item.site.kind == "inline" else read[0]
                largest = _largest_by_channel(tensor, item.data_format)
                path = item.site.path
                highest[path] = np.maximum(highest[path], largest) if path in highest else largest
    return tuple(SiteUnits(path, values.size, int(np.sum(values <= 0))) for path, values in highest.items())


def _site(sites: dict[tuple[int, int], LocatedSite], step: Step) -> LocatedSite | None:
    item = sites.get((id(step.operation), step.index)) or sites.get((id(step.operation), 0))
    return item if item is not None and (item.index == step.index or item.site.kind == "inline") else None


def _largest_by_channel(tensor: Any, data_format: str) -> np.ndarray:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    channel = 1 if data_format == "channels_first" else values.ndim - 1
    return values.max(axis=tuple(axis for axis in range(values.ndim) if axis != channel))
