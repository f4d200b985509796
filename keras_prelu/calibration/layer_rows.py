"""The rows of the least-squares problem of a layer, made from its inputs in both models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keras_prelu.calibration.activation_store import Activations
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.design import Design, Positions, channels_last_shape
from keras_prelu.calibration.ridge import RowBlock
from keras_prelu.calibration.samples import SampleSplit
from keras_prelu.typing import Array, Tensor

__all__ = ["CHUNK_BYTES", "InputPair", "LayerRows"]


CHUNK_BYTES = 32e6
"""The size of the design rows that are made at once.

It does not depend on the memory limit, so that the same sums are computed under each limit.
"""
_FEWEST_ROWS = 2048
"""The number of rows that a small problem gets even if fewer are asked for."""
_MOST_ENTRIES = 2**30
"""The largest number of entries of all rows, to which the cost of a wide layer is proportional."""


@dataclass(frozen=True)
class InputPair:
    """The inputs of one call of a layer, in both models.

    Attributes:
        original: `Activations` in the original model.
        converted: `Activations` in the converted model.
    """

    original: Activations
    converted: Activations


class LayerRows:
    """The rows of a layer, in blocks; each iteration makes the same rows anew.

    Output positions of the samples become rows. Of many positions some are drawn, so that there are
    `rows_per_unknown` rows for each unknown weight of one group.

    Args:
        design: `Design` of the layer.
        calls: Sequence with an `InputPair` for each call of the layer.
        current: Array (groups, unknowns, outputs). The weights of the layer in the converted model.
        target: Array (groups, unknowns, outputs). The weights of the layer in the original.
        config: `CalibrationConfig`. Settings of the fit.
        split: `SampleSplit`. The division into samples that fit and samples that judge.
    """

    def __init__(
        self,
        design: Design,
        calls: Sequence[InputPair],
        current: Array,
        target: Array,
        config: CalibrationConfig,
        split: SampleSplit,
    ) -> None:
        self._design = design
        self._current = current.astype(np.float32)
        self._target = target.astype(np.float32)
        self._config = config
        self._split = split
        self._calls = [(call, self._draw(call.converted[0])) for call in calls]

    @property
    def count(self) -> int:
        """The number of rows of all hosts."""
        return self._split.total * sum(drawn.shape[1] for _, drawn in self._calls)

    def are_as_expected(self) -> bool:
        """Return whether the layer computes what its `LinearView` predicts, in the first rows."""
        call, drawn = self._calls[0]
        inputs = call.converted[0]
        positions = next(self._parts(drawn[: len(inputs)]))
        outputs = self._design.rows(inputs, positions) @ self._current
        return self._design.predicts(outputs, inputs, positions)

    def __iter__(self) -> Iterator[RowBlock]:
        for call, drawn in self._calls:
            start = 0
            for original, converted in zip(call.original, call.converted, strict=True):
                held_out = self._split.local_held_out[start:]
                for positions in self._parts(drawn[start : start + len(converted)]):
                    rows = self._design.rows(converted, positions)
                    targets = self._design.rows(original, positions) @ self._target
                    yield RowBlock(
                        rows=rows,
                        residuals=targets - rows @ self._current,
                        targets=targets,
                        held_out=held_out[positions.sample],
                    )
                start += len(converted)

    def designs(self) -> Iterator[Array]:
        """Yield the design rows of each block alone."""
        for call, drawn in self._calls:
            start = 0
            for converted in call.converted:
                for positions in self._parts(drawn[start : start + len(converted)]):
                    yield self._design.rows(converted, positions)
                start += len(converted)

    def _parts(self, drawn: npt.NDArray[np.int64]) -> Iterator[Positions]:
        """Yield the positions of a batch in parts that give a block of rows each."""
        groups, unknowns, _ = self._target.shape
        samples, rows_per_sample = drawn.shape
        size = max(1, int(CHUNK_BYTES // (4.0 * groups * unknowns * rows_per_sample)))
        for start in range(0, samples, size):
            part = drawn[start : start + size]
            yield Positions(
                sample=np.repeat(np.arange(start, start + len(part)), rows_per_sample),
                position=part.reshape(-1),
            )

    def _draw(self, inputs: Tensor) -> npt.NDArray[np.int64]:
        """Return random output positions for each sample of this host, in ascending order.

        One position is drawn from each of equally long ranges. They do not depend on the division
        into batches.

        Args:
            inputs: Tensor. A batch of the layer's inputs.
        """
        view = self._design.view
        available, total = view.positions(channels_last_shape(view, inputs)), self._split.total
        groups, unknowns, _ = self._target.shape
        wanted = max(self._config.rows_per_unknown * unknowns, _FEWEST_ROWS)
        wanted = min(wanted, max(_MOST_ENTRIES // (groups * unknowns), total))
        count = min(available, -(-wanted // total))
        bounds = np.arange(count + 1) * available // count
        rng = np.random.default_rng([self._config.seed, unknowns])
        drawn = rng.random((total, count))[self._split.is_local]
        return bounds[:-1] + (drawn * np.diff(bounds)).astype(np.int64)
