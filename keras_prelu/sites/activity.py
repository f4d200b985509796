"""Activity of the units of a network.

Measured are the number of samples on which a unit is active, and the strength of each side of its
rectifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.plan import Step
from keras_prelu.sites.dead_units import active_within
from keras_prelu.sites.rectifier_calls import RectifierRun
from keras_prelu.sites.site import Site
from keras_prelu.sites.unit_sums import UnitSums, call_sums, counted_sums
from keras_prelu.typing import Tensor

__all__ = ["ActivityProbe", "SiteActivity"]


@dataclass(frozen=True)
class SiteActivity:
    """The units (channels) of one rectifier.

    Attributes:
        site: `Site`.
        layer: Layer, op or object. The object that applies the rectifier.
        step: `Step`. The call, in the model, of the rectifier or of the layer with Python code of
            its own that holds the rectifier.
        inside: Boolean. Whether a layer with Python code of its own holds the rectifier.
        active: Array of integers. For each unit, the number of samples on which its pre-activation
            is positive somewhere.
        samples: Integer. Number of samples. If the code of a layer divides each of them, such as
            into the windows of an image, it is the number of the parts.
        positive: Array of floats. For each unit, the sum of squares of its positive
            pre-activations.
        negative: Array of floats. For each unit, the sum of squares of its negative
            pre-activations; zeros for an inline rectifier of the graph, whose pre-activations are
            not a tensor of the graph.
        share: Float. The share of pre-activations that are 0 or less, over all units, samples and
            positions.
    """

    site: Site
    layer: Any
    step: Step
    inside: bool
    active: np.ndarray
    samples: int
    positive: np.ndarray
    negative: np.ndarray
    share: float

    @property
    def dead(self) -> np.ndarray:
        """For each unit, whether it is active on no sample."""
        return self.dead_within(0.0)

    def dead_within(self, threshold: float) -> np.ndarray:
        """Return for each unit whether it counts as dead.

        Args:
            threshold: Float in [0, 1). 0 for units that are active on no sample.

        Returns:
            Array of booleans.
        """
        return active_within(self.active, self.samples, threshold)


class ActivityProbe:
    """Counts of the samples on which each unit is active, exactly, in one pass over all samples.

    It is compiled once; the weights of the model may change between the calls.

    Args:
        model: `keras.Model`, as in `RectifierRun`.
        x: Array, or structure of arrays, as in `RectifierRun`.

    Attributes:
        paths: Tuple of strings. The paths of all sites of the model, seen or not.
    """

    def __init__(self, model: keras.Model, x: Any) -> None:
        self._run = RectifierRun(model, x)
        self.paths = self._run.paths
        self._probe = BatchProbe(self._run.graph, self._measure)

    def __call__(self, inputs: Sequence[Any], batch_size: int = 128) -> list[SiteActivity]:
        """Measure the activity on `inputs`, one array for each of the model's inputs."""
        totals: dict[str, UnitSums] = {}
        for batch in self._probe.batches(inputs, batch_size) if self._run.sites else ():
            for path, arrays in batch.values.items():
                sums = UnitSums(*(array.astype(np.float64) for array in arrays))
                totals[path] = totals[path] + sums if path in totals else sums
        return [
            SiteActivity(
                site=self._run.sites[path].site,
                layer=self._run.sites[path].owner,
                step=self._run.steps[path],
                inside=self._run.sites[path].inner_target is not None,
                active=sums.active.astype(int),
                samples=int(sums.rows),
                positive=sums.positive,
                negative=sums.negative,
                share=float(sums.not_positive.sum() / max(sums.elements.sum(), 1.0)),
            )
            for path, sums in totals.items()
        ]

    def _measure(self, tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        """Measure one batch, for `BatchProbe`."""
        by_path: dict[str, list[UnitSums]] = {}
        for call in self._run.calls(tensors):
            by_path.setdefault(call.located.site.path, []).append(call_sums(call))
        return {path: counted_sums(calls).as_list() for path, calls in by_path.items()}
