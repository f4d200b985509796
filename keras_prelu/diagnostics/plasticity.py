"""What tells of a network's ability to go on learning, measured again and again in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import direct_sublayers
from keras_prelu.data.samples import CheckedSamples, model_inputs
from keras_prelu.diagnostics.ranks import SiteRanks, output_rows, positions_for, site_ranks
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.model_state import state_kept
from keras_prelu.sites.dead_units import NEARLY_DEAD, active_units, active_within
from keras_prelu.sites.rectifier_calls import RectifierRun
from keras_prelu.typing import Array, Tensor

__all__ = ["PlasticityProbe", "SitePlasticity", "WeightNorm", "weight_norms"]

_ACTIVE, _ROWS = "active", "rows"


@dataclass(frozen=True)
class SitePlasticity:
    """The units of one rectifier and the ranks of its outputs.

    Attributes:
        path: String. The site's path, as in `find_sites`.
        units: Integer. The number of units (channels).
        dead: Integer. The number of units that are active on no sample.
        nearly_dead: Integer. The number of other units that are active on at most 1 % of the
            samples.
        ranks: `SiteRanks`. The ranks of the outputs.
    """

    path: str
    units: int
    dead: int
    nearly_dead: int
    ranks: SiteRanks


@dataclass(frozen=True)
class WeightNorm:
    """The size of the weights of one linear layer.

    Attributes:
        path: String. The names of the enclosing models and layers and of the layer, joined by "/".
        norm: Float. The Frobenius norm of the kernel.
    """

    path: str
    norm: float


class PlasticityProbe:
    """Measures dead units and ranks at each rectifier that is seen, in one pass over samples.

    It is compiled once; the weights of the model may change between the calls.

    Args:
        model: Keras model.
        samples: `CheckedSamples`, all of which are used.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.
    """

    def __init__(
        self, model: keras.Model, samples: CheckedSamples, *, batch_size: int = 128
    ) -> None:
        self._model, self._batch_size = model, batch_size
        self._inputs = model_inputs(model, samples)
        self._positions = positions_for(len(samples))
        self._run = RectifierRun(model, samples.x)
        self._probe = BatchProbe(self._run.graph, self._measure)

    def __call__(self) -> list[SitePlasticity]:
        counts: dict[str, _ActiveCounts] = {}
        rows: dict[str, list[Array]] = {}
        with state_kept(self._model):
            batches = self._probe.batches(self._inputs, self._batch_size)
            for batch in batches if self._run.sites else ():
                for name, arrays in batch.values.items():
                    quantity, _, path = name.partition(":")
                    if quantity == _ROWS:
                        rows.setdefault(path, []).extend(arrays)
                    else:
                        counts.setdefault(path, _ActiveCounts()).add(arrays)
        return [
            SitePlasticity(
                path=path,
                units=len(count.active),
                dead=int(count.within(0.0).sum()),
                nearly_dead=int(count.within(NEARLY_DEAD).sum() - count.within(0.0).sum()),
                ranks=site_ranks(path, rows[path]),
            )
            for path, count in counts.items()
        ]

    def _measure(self, tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        measured: dict[str, list[Tensor]] = {}
        for call in self._run.calls(tensors):
            path = call.located.site.path
            measured.setdefault(f"{_ACTIVE}:{path}", []).append(active_units(call))
            measured.setdefault(f"{_ROWS}:{path}", []).append(output_rows(call, self._positions))
        return measured


class _ActiveCounts:
    """The number of samples on which each unit of a rectifier is active."""

    def __init__(self) -> None:
        self.active: Array = np.zeros(0, dtype=int)
        self._samples = 0

    def add(self, calls: Sequence[Array]) -> None:
        """Add a batch: for each call, for each sample and unit, whether the unit is active.

        Calls on equally many rows are taken as calls on the same samples.
        """
        by_rows: dict[int, Array] = {}
        for call in calls:
            known = by_rows.get(len(call))
            by_rows[len(call)] = call if known is None else np.logical_or(known, call)
        batch = sum(active.sum(axis=0) for active in by_rows.values())
        self.active = batch + self.active if self._samples else np.asarray(batch)
        self._samples += sum(by_rows)

    def within(self, threshold: float) -> Array:
        return active_within(self.active, self._samples, threshold)


def weight_norms(model: keras.Model) -> list[WeightNorm]:
    """Return the norms of the kernels of all linear layers, in the order of the model's layers."""
    return [
        WeightNorm(path=path, norm=_norm(view.kernel))
        for path, layer in _layers(model, "", set())
        if (view := linear_view(layer)) is not None
    ]


def _norm(kernel: Any) -> float:
    values = keras.ops.convert_to_numpy(keras.ops.cast(kernel, "float32"))
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))


def _layers(layer: Any, scope: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield each layer inside a layer once, with its path."""
    for each in layer.layers if isinstance(layer, keras.Model) else direct_sublayers(layer):
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield f"{scope}{each.name}", each
        yield from _layers(each, f"{scope}{each.name}/", seen)
