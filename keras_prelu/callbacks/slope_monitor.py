"""Keras callbacks that record slopes, dead units and the signal during training.

The recordings go to TensorBoard and to a CSV file.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.hosts import host
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.diagnostics.signal import MomentsProbe
from keras_prelu.diagnostics.slopes import LayerSlopes, layer_slopes
from keras_prelu.errors import FileError, InvalidArgumentError
from keras_prelu.graph.model_state import state_kept
from keras_prelu.sites.activity import ActivityProbe
from keras_prelu.sites.prelu_layers import prelu_layers

__all__ = ["SlopeMonitor"]

_COLUMNS = ("epoch", "layer", "slopes", "mean", "minimum", "maximum", "units", "dead", "moment")


class SlopeMonitor(keras.callbacks.Callback):
    """Callback that records the slopes of a model's PReLU layers, epoch by epoch.

    For TensorBoard each layer gets a histogram of its slopes and scalars of their mean, minimum and
    maximum; the losses and metrics of `model.fit` become scalars too. This needs `tensorboardX`,
    but not TensorFlow. Existing files are extended, so a training that continues from a checkpoint
    continues them. Nothing is written for a model without PReLU layers: if the callback is passed
    to `finetune`, it records the PReLU model and not its control. With several hosts, the first one
    writes.

    Args:
        log_dir: Str or path. Folder of TensorBoard's event files. Defaults to None.
        csv_file: Str or path. File with a line for each epoch and layer. Defaults to None.
        samples: Unlabeled samples, a few hundred, on which dead units are counted and the signal is
            measured: the second moment of the outputs of each linear layer and rectifier (in the
            CSV file only of the PReLU layer). This costs two passes over the samples each time.
            Defaults to None.
        frequency: Int. Epochs from one recording to the next. Defaults to 1.

    Raises:
        InvalidArgumentError: A ValueError; neither `log_dir` nor `csv_file` is given, `frequency`
            is not a positive integer, or tensorboardX is not installed.
        FileError: Raised at the start of training; an output can't be written.

    Example:

    >>> monitor = keras_prelu.callbacks.SlopeMonitor(csv_file="slopes.csv", samples=x_test)
    >>> model.fit(x_train, y_train, epochs=5, callbacks=[monitor])
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        csv_file: str | os.PathLike[str] | None = None,
        *,
        samples: Any = None,
        frequency: int = 1,
    ) -> None:
        super().__init__()
        if log_dir is None and csv_file is None:
            raise InvalidArgumentError(
                "SlopeMonitor has no output. Give `log_dir`, `csv_file` or both."
            )
        if isinstance(frequency, bool) or not isinstance(frequency, int) or frequency < 1:
            raise InvalidArgumentError(
                f"`frequency` must be a number of epochs, at least 1. Received: {frequency!r}"
            )
        if log_dir is not None:
            _summary_writer()
        self._log_dir, self._csv_file = log_dir, csv_file
        self._samples, self._frequency = samples, frequency
        self._writer: Any = None
        self._measure: _Measure | None = None

    def __deepcopy__(self, memo: Any) -> SlopeMonitor:
        return SlopeMonitor(
            self._log_dir, self._csv_file, samples=self._samples, frequency=self._frequency
        )

    def on_train_begin(self, logs: Any = None) -> None:
        if host() or not layer_slopes(self.model):
            return
        try:
            if self._log_dir is not None:
                # tensorboardX names files by the second, so it could overwrite an existing file.
                self._writer = _summary_writer()(
                    str(self._log_dir), filename_suffix=f".{time.time_ns()}"
                )
            if self._csv_file is not None:
                _begin(Path(self._csv_file))
        except OSError as error:
            path = self._csv_file if error.filename is None else error.filename
            raise FileError(
                f"The slopes can't be written to '{path}': {os.strerror(error.errno or 0)}."
            ) from error
        self._measure = None if self._samples is None else _Measure(self.model, self._samples)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        layers = () if host() else layer_slopes(self.model)
        if not layers or (epoch + 1) % self._frequency:
            return
        measures = _Measures({}, {}) if self._measure is None else self._measure()
        if self._csv_file is not None:
            rows = [_row(epoch, layer, measures) for layer in layers]
            with open(self._csv_file, "a", newline="") as file:
                csv.writer(file).writerows(rows)
        if self._writer is not None:
            self._write_summaries(epoch, layers, measures, logs or {})

    def _write_summaries(
        self,
        epoch: int,
        layers: Sequence[LayerSlopes],
        measures: _Measures,
        logs: Mapping[str, float],
    ) -> None:
        scalars = {f"epoch/{name}": value for name, value in logs.items()}
        for layer in layers:
            scalars |= {
                f"slopes/{layer.path}/{name}": getattr(layer, name)
                for name in ("mean", "minimum", "maximum")
            }
        scalars |= {f"dead_units/{path}": units.sum() for path, units in measures.dead.items()}
        scalars |= {f"signal/{path}": moment for path, moment in measures.moments.items()}
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, float(value), epoch)
        for path, prelu in prelu_layers(self.model):
            slope_array = keras.ops.convert_to_numpy(keras.ops.cast(prelu.alpha, "float32"))
            self._writer.add_histogram(f"slopes/{path}", np.ravel(slope_array), epoch)
        self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._measure = None


@dataclass(frozen=True)
class _Measures:
    """The dead units of each rectifier and the second moments of outputs, by path.

    Second moments are those of the outputs of each linear layer and rectifier.
    """

    dead: dict[str, np.ndarray]
    moments: dict[str, float]


class _Measure:
    """A measurement of a model on samples, repeated after each epoch."""

    def __init__(self, model: keras.Model, samples: Any) -> None:
        self._model = model
        data = as_samples(samples, model=model, labels="ignored")
        self._samples = model_inputs(model, data)
        self._activity, self._moments = ActivityProbe(model, data.x), MomentsProbe(model, data.x)

    def __call__(self) -> _Measures:
        with state_kept(self._model):
            return _Measures(
                dead={_layer(site.site.path): site.dead for site in self._activity(self._samples)},
                moments={
                    path: moments.outputs for path, moments in self._moments(self._samples).items()
                },
            )


def _row(epoch: int, layer: LayerSlopes, measures: _Measures) -> list[Any]:
    """Return a layer's line of the CSV file."""
    row = [epoch, layer.path, layer.count, layer.mean, layer.minimum, layer.maximum]
    if layer.path not in measures.dead:
        return [*row, "", "", ""]
    dead = measures.dead[layer.path]
    return [*row, dead.size, int(dead.sum()), measures.moments.get(layer.path, "")]


def _layer(path: str) -> str:
    """Return a site's path without the call number that sites of a shared layer have."""
    return path.split("#")[0]


def _begin(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        with open(path, "a"):
            return
    with open(path, "w", newline="") as file:
        csv.writer(file).writerow(_COLUMNS)


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InvalidArgumentError(
            "`log_dir` needs tensorboardX: pip install 'keras-prelu[tensorboard]'."
        ) from error
    return SummaryWriter
