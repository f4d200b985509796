"""How active the units of a network are: on how many samples, and how strong each side of the rectifier is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import batches, model_inputs
from keras_prelu.surgery.program import Step, compile_program, run
from keras_prelu.surgery.sites import LocatedSite, Site, locate_sites

__all__ = ["SiteActivity", "activity"]


@dataclass(frozen=True)
class SiteActivity:
    """The units (channels) of one rectifier.

    Attributes:
        site: It.
        step: Where the model calls it.
        active: For each unit, on how many of the samples its pre-activation is positive somewhere.
        samples: How many samples there were.
        positive: For each unit the sum of squares of its positive pre-activations.
        negative: Of its negative ones; zeros for an inline rectifier, whose pre-activations are no tensor of the graph.
        share: The share of pre-activations that are 0 or less, over all units, samples and positions.
    """

    site: Site
    step: Step
    active: np.ndarray
    samples: int
    positive: np.ndarray
    negative: np.ndarray
    share: float

    @property
    def dead(self) -> np.ndarray:
        """For each unit whether it is active on no sample."""
        return self.active == 0


def activity(model: keras.Model, samples: Any, *, batch_size: int = 128) -> list[SiteActivity]:
    """Count the samples on which each unit is active, exactly, in one pass over all of them.

    Args:
        model: Sequential or Functional, nested models included; rectifiers inside layers with Python code of their own are not seen.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Samples that go through the model at once.

    Returns:
        A record for each rectifier (ReLU, LeakyReLU, PReLU; inline ones too), in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
    """
    inputs = model_inputs(model, samples)
    sites = {(id(item.operation), item.index): item for item in locate_sites(model)}
    program = compile_program(model)
    steps: dict[str, tuple[Site, Step]] = {}
    sums: dict[str, np.ndarray] = {}
    for batch in batches(inputs, model.inputs[0].shape[0] or batch_size):
        for step, read, written in run(program, [keras.ops.convert_to_tensor(array) for array in batch]):
            item = _site(sites, step)
            if item is not None:
                # An inline activation's input is no tensor of the graph; its output is positive exactly where the input is.
                found = _sums(written[0] if item.site.kind == "inline" else read[0], item.data_format)
                steps.setdefault(item.site.path, (item.site, step))
                sums[item.site.path] = sums.get(item.site.path, 0.0) + found
    return [_record(*steps[path], *rows, samples=len(inputs[0])) for path, rows in sums.items()]


def _site(sites: dict[tuple[int, int], LocatedSite], step: Step) -> LocatedSite | None:
    item = sites.get((id(step.operation), step.index)) or sites.get((id(step.operation), 0))
    return item if item is not None and (item.index == step.index or item.site.kind == "inline") else None


def _sums(tensor: Any, data_format: str) -> np.ndarray:
    """For each channel: samples with a positive value, squares of positive values and of negative ones, values of 0 or less, values."""
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    channel = 1 if data_format == "channels_first" else values.ndim - 1
    values = np.moveaxis(values, channel, -1).reshape(len(values), -1, values.shape[channel])
    positive, squares = values > 0, np.square(values, dtype=np.float64)
    over = (0, 1)
    return np.stack(
        [
            positive.any(axis=1).sum(axis=0),
            np.sum(squares, axis=over, where=positive),
            np.sum(squares, axis=over, where=~positive),
            np.sum(~positive, axis=over),
            np.full(values.shape[2], values.shape[0] * values.shape[1]),
        ]
    )


def _record(site: Site, step: Step, active: Any, positive: Any, negative: Any, below: Any, values: Any, *, samples: int) -> SiteActivity:
    return SiteActivity(site, step, active.astype(int), samples, positive, negative, float(below.sum() / values.sum()))
