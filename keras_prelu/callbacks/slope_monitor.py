"""A callback that records slopes, dead units and the signal during training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.hosts import host
from keras_prelu.callbacks.active_runs import active_runs
from keras_prelu.callbacks.outputs import MonitorOutputs
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.diagnostics.second_moments import MomentsProbe
from keras_prelu.diagnostics.slopes import LayerSlopes, layer_slopes
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.model_state import state_kept
from keras_prelu.sites.activity import ActivityProbe
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.utils.checks import check_integer

__all__ = ["SlopeMonitor"]

_COLUMNS = ("epoch", "layer", "slopes", "mean", "minimum", "maximum", "units", "dead", "moment")


class SlopeMonitor(keras.callbacks.Callback):
    """Callback that records the slopes of a model's PReLU layers, epoch by epoch.

    For TensorBoard each layer gets a histogram of its slopes and scalars of their mean, minimum and
    maximum; the losses and metrics of `model.fit` become scalars too. This needs `tensorboardX`,
    but not TensorFlow. While a run of Weights & Biases or MLflow is active (`wandb.init()`,
    `mlflow.start_run()`), it gets the same but for the losses, which the Keras callbacks of these
    trackers log; MLflow takes no histograms.

    Existing files are extended, so a training that continues from a checkpoint continues them.
    Nothing is written for a model without PReLU layers: if the callback is passed to `finetune`, it
    records the PReLU model and not its control. With several hosts, the first one writes.

    Args:
        log_dir: Str or path. Folder of TensorBoard's event files. Defaults to None.
        csv_file: Str or path. File with a line for each epoch and layer. Defaults to None.
        samples: Unlabeled samples, a few hundred, on which dead units are counted and the signal is
            measured: the second moment of the outputs of each linear layer and rectifier (in the
            CSV file only of the PReLU layer). This costs two passes over the samples each time.
            Defaults to None.
        frequency: Int. Epochs from one recording to the next. Defaults to 1.

    Raises:
        InvalidArgumentError: A ValueError; neither `log_dir` nor `csv_file` is given and no run of
            a tracker is active, `frequency` is not a positive integer, or tensorboardX is not
            installed.
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
        if log_dir is None and csv_file is None and not (active_runs() or host()):
            raise InvalidArgumentError(
                "SlopeMonitor has no output. Give `log_dir`, `csv_file` or both, or start a run of"
                " Weights & Biases or MLflow before."
            )
        check_integer("frequency", frequency, minimum=1)
        self._outputs = MonitorOutputs(log_dir, csv_file, _COLUMNS)
        self._samples, self._frequency = samples, frequency
        self._measure: _Measure | None = None

    def __deepcopy__(self, memo: Any) -> SlopeMonitor:
        return SlopeMonitor(
            self._outputs.log_dir,
            self._outputs.csv_file,
            samples=self._samples,
            frequency=self._frequency,
        )

    def on_train_begin(self, logs: Any = None) -> None:
        if host() or not layer_slopes(self.model):
            return
        self._outputs.open()
        self._measure = None if self._samples is None else _Measure(self.model, self._samples)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._outputs.count_epoch(epoch)
        layers = () if host() else layer_slopes(self.model)
        if not layers or (epoch + 1) % self._frequency:
            return
        measures = _Measures({}, {}) if self._measure is None else self._measure()
        self._outputs.add_rows(_row(epoch, layer, measures) for layer in layers)
        if self._outputs.takes_summaries():
            self._write_summaries(epoch, layers, measures, logs or {})

    def _write_summaries(
        self,
        epoch: int,
        layers: Sequence[LayerSlopes],
        measures: _Measures,
        logs: Mapping[str, float],
    ) -> None:
        scalars: dict[str, Any] = {}
        for layer in layers:
            scalars |= {
                f"slopes/{layer.path}/{name}": getattr(layer, name)
                for name in ("mean", "minimum", "maximum")
            }
        scalars |= {f"dead_units/{path}": units.sum() for path, units in measures.dead.items()}
        scalars |= {f"signal/{path}": moment for path, moment in measures.moments.items()}
        histograms = {
            f"slopes/{path}": keras.ops.convert_to_numpy(keras.ops.cast(prelu.alpha, "float32"))
            for path, prelu in prelu_layers(self.model)
        }
        self._outputs.add_summaries(epoch, scalars, histograms, logs=logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._outputs.close()
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
