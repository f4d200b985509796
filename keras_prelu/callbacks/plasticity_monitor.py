"""A callback that records a network's ability to go on learning."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.hosts import host
from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.callbacks.outputs import MonitorOutputs
from keras_prelu.callbacks.time_budget import TimeBudget
from keras_prelu.data.samples import CheckedSamples, as_samples
from keras_prelu.data.streams import gather_batches
from keras_prelu.diagnostics.plasticity import PlasticityProbe, weight_norms
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.utils.checks import check_integer

__all__ = ["LayerPlasticity", "PlasticityMonitor"]

SHARE = 0.03
"""The largest share of the time of training that recordings take by default."""


@dataclass(frozen=True, kw_only=True)
class LayerPlasticity:
    """One layer at the end of one epoch.

    Attributes:
        training: Int. The training, counted from 1 for each call of `fit`.
        epoch: Int. The epoch, counted from 0.
        layer: Str. Path of the rectifier or linear layer; a linear layer with a rectifier as its
            activation is both.
        units: Int. Number of units (channels) of the rectifier. This and what follows is None for a
            layer that is none.
        dead: Int. Number of units that are active on no sample.
        nearly_dead: Int. Number of other units that are active on at most 1 % of the samples.
        effective_rank: Float. Effective rank of the rectifier's outputs, as in
            `diagnostics.representation_ranks`.
        stable_rank: Float. Stable rank of these outputs.
        mean_slope: Float. Mean slope of a PReLU layer; None for other layers.
        weight_norm: Float. Frobenius norm of a linear layer's kernel; None for other layers.
    """

    training: int
    epoch: int
    layer: str
    units: int | None = None
    dead: int | None = None
    nearly_dead: int | None = None
    effective_rank: float | None = None
    stable_rank: float | None = None
    mean_slope: float | None = None
    weight_norm: float | None = None


_COLUMNS = tuple(field.name for field in fields(LayerPlasticity))
_TAGS = {
    "dead": "dead_units",
    "nearly_dead": "nearly_dead_units",
    "effective_rank": "effective_rank",
    "stable_rank": "stable_rank",
    "mean_slope": "mean_slope",
    "weight_norm": "weight_norm",
}


class PlasticityMonitor(keras.callbacks.Callback):
    """Callback that records what tells of a network's ability to go on learning, by epoch.

    For each rectifier: dead and nearly dead units, the effective and the stable rank of its outputs
    and, of PReLU layers, the mean slope; for each linear layer the norm of its kernel. It works for
    ReLU and PReLU networks. None of this forecasts what a conversion or a revival gains; it shows
    what a training does to a network. The records go to `history`, to a CSV file and, with
    `tensorboardX`, to TensorBoard, where each training has a folder of its own. Existing files are
    extended. While a run of Weights & Biases or MLflow is active, the records go there too, with
    the epochs of all trainings on one axis. With several hosts, the first one records.

    A recording costs a pass over at most `max_samples` samples and the ranks of at most 1,024 rows
    at each rectifier: about as long as a few training steps. By default, it takes place after the
    first epoch, and then as often as it takes at most 3 % of the time of training.

    Args:
        log_dir: Str or path. Folder of TensorBoard's event files. Defaults to None.
        csv_file: Str or path. File with a line for each epoch and layer, and the fields of
            `LayerPlasticity` as columns. Defaults to None.
        samples: Samples to measure on: an array, or a list or dict of arrays; a pair (x, y); or a
            data set of batches, as `fit` takes it. Labels are not used.
        frequency: Int. Epochs from one recording to the next, however long they take. Defaults to
            None: as often as 3 % of the time allows.
        max_samples: Int. Largest number of samples that are used, drawn at random; of a data set of
            batches the first ones. Defaults to 256.

    Attributes:
        history: List of `LayerPlasticity`. The copies that `finetune` makes of a callback add to
            the same list, the model's training first and then those of its controls.

    Raises:
        InvalidArgumentError: A ValueError; a number is out of range, or tensorboardX is not
            installed.
        DataError: Raised at the start of training; the samples do not fit the model.
        FileError: Raised at the start of training; an output can't be written.

    Example:

    >>> monitor = keras_prelu.callbacks.PlasticityMonitor(samples=x_test)
    >>> history = model.fit(x_train, y_train, epochs=2, verbose=0, callbacks=[monitor])
    >>> [(record.layer, record.dead, record.effective_rank) for record in monitor.history]

    References:
        Dohare et al. 2024, https://doi.org/10.1038/s41586-024-07711-7. Roy and Vetterli 2007, "The
        effective rank: a measure of effective dimensionality".
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        csv_file: str | os.PathLike[str] | None = None,
        *,
        samples: Any,
        frequency: int | None = None,
        max_samples: int = 256,
    ) -> None:
        super().__init__()
        if frequency is not None:
            check_integer("frequency", frequency, minimum=1)
        check_integer("max_samples", max_samples, minimum=2)
        self._outputs = MonitorOutputs(log_dir, csv_file, _COLUMNS)
        self._samples, self._frequency = samples, frequency
        self._max_samples = max_samples
        self._probe: PlasticityProbe | None = None
        self._watched: list[Any] = []
        self._training = 0
        self._budget = TimeBudget(SHARE)
        self.history: list[LayerPlasticity] = []

    def __deepcopy__(self, memo: Any) -> PlasticityMonitor:
        copy = PlasticityMonitor(
            self._outputs.log_dir,
            self._outputs.csv_file,
            samples=self._samples,
            frequency=self._frequency,
            max_samples=self._max_samples,
        )
        copy.history = self.history
        return copy

    def on_train_begin(self, logs: Any = None) -> None:
        if host():
            return
        self._training = 1 + max(self._training, *self._earlier_trainings())
        self._outputs.open(f"training_{self._training}")
        watched = [self.model, self.model.optimizer, *sublayers(self.model)]
        if not _same(watched, self._watched):  # or the compiled probe serves this training too
            self._watched = watched
            samples = _drawn(self.model, self._samples, self._max_samples)
            self._probe = PlasticityProbe(self.model, samples)
            self._budget = TimeBudget(SHARE)

    def _earlier_trainings(self) -> Iterator[int]:
        """Yield numbers of trainings that are in the history or in existing files."""
        yield self.history[-1].training if self.history else 0
        yield from (int(row["training"]) for row in self._outputs.rows()[-1:])
        if self._outputs.log_dir is not None:
            for folder in Path(self._outputs.log_dir).glob("training_*"):
                number = folder.name.removeprefix("training_")
                yield int(number) if number.isdecimal() else 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._budget.begin_epoch()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._budget.end_epoch()
        self._outputs.count_epoch(epoch)
        if self._probe is None or not self._is_due(epoch):
            return
        with self._budget.work():
            self._record(epoch, self._probe, logs or {})

    def _is_due(self, epoch: int) -> bool:
        if self._frequency is None:
            return self._budget.allows_work()
        return (epoch + 1) % self._frequency == 0

    def _record(self, epoch: int, probe: PlasticityProbe, logs: Mapping[str, Any]) -> None:
        records = self._records(epoch, probe)
        self.history += records
        self._outputs.add_rows(astuple(record) for record in records)
        scalars: dict[str, Any] = {}
        for record in records:
            scalars |= {
                f"{tag}/{record.layer}": getattr(record, name)
                for name, tag in _TAGS.items()
                if getattr(record, name) is not None
            }
        self._outputs.add_summaries(epoch, scalars, logs=logs)

    def _records(self, epoch: int, probe: PlasticityProbe) -> list[LayerPlasticity]:
        measured: dict[str, dict[str, Any]] = {}
        for site in probe():
            measured[site.path] = {
                "units": site.units,
                "dead": site.dead,
                "nearly_dead": site.nearly_dead,
                "effective_rank": site.ranks.effective,
                "stable_rank": site.ranks.stable,
            }
        for layer in layer_slopes(self.model):
            measured.setdefault(layer.path, {})["mean_slope"] = layer.mean
        for weights in weight_norms(self.model):
            measured.setdefault(weights.path, {})["weight_norm"] = weights.norm
        return [
            LayerPlasticity(training=self._training, epoch=epoch, layer=path, **values)
            for path, values in measured.items()
        ]

    def on_train_end(self, logs: Any = None) -> None:
        self._outputs.close()


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two lists hold the same objects."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _drawn(model: keras.Model, samples: Any, most: int) -> CheckedSamples:
    """Return at most so many of the samples, without labels."""
    if isinstance(samples, tuple) and len(samples) in (2, 3):  # (x, y) or (x, y, weights)
        samples = samples[0]
    data = as_samples(gather_batches(samples, most, model), model=model, labels="ignored")
    order = np.random.default_rng(0).permutation(len(data))[:most]
    return data.take(np.sort(order)).in_memory()
