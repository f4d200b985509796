"""What tells of a network's ability to go on learning, measured again and again in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import direct_sublayers
from keras_prelu.data.samples import CheckedSamples, model_inputs
from keras_prelu.diagnostics.dead_units import NEARLY_DEAD
from keras_prelu.diagnostics.ranks import SiteRanks, output_rows, positions_for, site_ranks
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.model_state import state_kept
from keras_prelu.sites.activity import ActivityTotals
from keras_prelu.sites.rectifier_calls import RectifierRun
from keras_prelu.sites.unit_sums import UnitSums, call_sums, counted_sums
from keras_prelu.typing import Array, Tensor

__all__ = ["PlasticityProbe", "SitePlasticity", "WeightNorm", "weight_norms"]


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
        totals = ActivityTotals(self._run)
        rows: dict[str, list[Array]] = {}
        with state_kept(self._model):
            batches = self._probe.batches(self._inputs, self._batch_size)
            for batch in batches if self._run.sites else ():
                for path, (outputs, *sums) in batch.values.items():
                    totals.add(path, sums)
                    rows.setdefault(path, []).append(outputs)
        return [
            SitePlasticity(
                path=measured.site.path,
                units=measured.active.size,
                dead=int(measured.dead.sum()),
                nearly_dead=int((measured.dead_within(NEARLY_DEAD) & ~measured.dead).sum()),
                ranks=site_ranks(measured.site.path, rows[measured.site.path]),
            )
            for measured in totals.activities()
        ]

    def _measure(self, tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        sums: dict[str, list[UnitSums]] = {}
        rows: dict[str, list[Tensor]] = {}
        for call in self._run.calls(tensors):
            path = call.located.site.path
            sums.setdefault(path, []).append(call_sums(call))
            rows.setdefault(path, []).append(output_rows(call, self._positions))
        return {
            path: [_joined(rows[path]), *counted_sums(calls).as_list()]
            for path, calls in sums.items()
        }


def _joined(rows: Sequence[Tensor]) -> Tensor:
    """Return the rows of all calls with as many channels as the first."""
    same = [each for each in rows if each.shape[1] == rows[0].shape[1]]
    return same[0] if len(same) == 1 else keras.ops.concatenate(same)


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
