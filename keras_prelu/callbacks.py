"""Keras callbacks that follow slopes, dead units and the signal through a training, for TensorBoard
and as a CSV file."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import host
from keras_prelu.data.samples import model_inputs
from keras_prelu.diagnostics.signal import MomentsProbe
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.errors import FileError, InvalidArgumentError
from keras_prelu.sites.activity import ActivityProbe
from keras_prelu.sites.prelu_layers import prelu_layers

__all__ = ["SlopeMonitor"]

_COLUMNS = ("epoch", "layer", "slopes", "mean", "minimum", "maximum", "units", "dead", "moment")


class SlopeMonitor(keras.callbacks.Callback):
    """Follows the slopes of a model's PReLU layers, epoch by epoch.

    For TensorBoard each layer gets a histogram of its slopes and scalars of their mean, minimum and
    maximum, and what `model.fit` records (losses, metrics) becomes scalars too; this needs
    `tensorboardX`, and no TensorFlow. Files that exist are added to, so a training that goes on
    after it was stopped goes on in them. A model without PReLU layers writes nothing: given to
    `finetune`, the callback follows the PReLU model and leaves its control alone. Of several hosts
    the first writes.

    Args:
        log_dir: Folder of TensorBoard's event files.
        csv_file: A file with a line for each epoch and layer.
        samples: Unlabeled samples, some hundred, on which dead units are counted too and the signal
            is measured: the second moment of what each linear layer and rectifier puts out; in the
            CSV file that of the layer's own. It costs two passes over them each time.
        frequency: Epochs from one record to the next. Defaults to 1.

    Raises:
        InvalidArgumentError: A ValueError; neither output is given, `frequency` is no positive
            integer, or tensorboardX is not installed.
        FileError: When training begins: an output can't be written.

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
                "SlopeMonitor writes nothing: give `log_dir`, `csv_file` or both."
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
                # Its own file names are by the second, and a file that exists would be overwritten.
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
        found = () if host() else layer_slopes(self.model)
        if not found or (epoch + 1) % self._frequency:
            return
        dead, moments = self._measure() if self._measure is not None else ({}, {})
        if self._csv_file is not None:
            rows = [
                (epoch, item.path, item.count, item.mean, item.minimum, item.maximum)
                + (
                    (dead[item.path].size, int(dead[item.path].sum()), moments.get(item.path, ""))
                    if item.path in dead
                    else ("", "", "")
                )
                for item in found
            ]
            with open(self._csv_file, "a", newline="") as file:
                csv.writer(file).writerows(rows)
        if self._writer is not None:
            scalars = {f"epoch/{name}": value for name, value in (logs or {}).items()}
            for item in found:
                scalars |= {
                    f"slopes/{item.path}/{name}": getattr(item, name)
                    for name in ("mean", "minimum", "maximum")
                }
            scalars |= {f"dead_units/{path}": units.sum() for path, units in dead.items()}
            scalars |= {f"signal/{path}": moment for path, moment in moments.items()}
            for tag, value in scalars.items():
                self._writer.add_scalar(tag, float(value), epoch)
            for path, layer in prelu_layers(self.model):
                values = keras.ops.convert_to_numpy(keras.ops.cast(layer.alpha, "float32"))
                self._writer.add_histogram(f"slopes/{path}", np.ravel(values), epoch)
            self._writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._measure = None


class _Measure:
    """What is measured of a model on samples, after each epoch anew."""

    def __init__(self, model: keras.Model, samples: Any) -> None:
        self._samples = model_inputs(model, samples)
        self._activity, self._moments = ActivityProbe(model), MomentsProbe(model)

    def __call__(self) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """For each rectifier which of its units are dead, and for each linear layer and rectifier
        the second moment of what it puts out."""
        dead = {_layer(item.site.path): item.dead for item in self._activity(self._samples)}
        return dead, {
            path: moments.outputs for path, moments in self._moments(self._samples).items()
        }


def _layer(path: str) -> str:
    """A site's path without the number of the call that one layer has it for."""
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
