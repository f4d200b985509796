"""The trainings of a fine-tuning as runs of Weights & Biases or MLflow."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any

import keras

from keras_prelu.backend.hosts import host
from keras_prelu.errors import InvalidArgumentError, KerasPReLUError, reason_of

__all__ = ["TRACKERS", "TrackedRuns"]


class TrackedRuns:
    """Callbacks for `finetune` that log each of its trainings as a run of a tracker.

    Pass it as `callbacks`, or call it in your own function with the name of the training. Each
    training, such as "model" and "control", becomes a run of this name, with the losses and metrics
    that the tracker's own Keras callback logs. A `SlopeMonitor` or `PlasticityMonitor` beside it
    logs to the same run. The run ends with the training.

    Where runs are stored is what the tracker is set to: `WANDB_PROJECT` and `WANDB_MODE=offline`
    for Weights & Biases; `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME`, or
    `mlflow.set_experiment`, for MLflow. With several hosts, the first one logs.

    Args:
        tracker: Str. "wandb" or "mlflow".
        group: Str. Name that the runs share: W&B's group, the tag "group" of MLflow. Defaults to
            None.
        **options: Any. Further arguments of `wandb.init` or `mlflow.start_run`, such as `project`
            or `tags`.

    Raises:
        InvalidArgumentError: A ValueError; there is no such tracker, or it is not installed.
        KerasPReLUError: The tracker can't start runs: nobody is logged in, its server does not
            answer, or a run of W&B is active, which another one would end. An active run of MLflow
            becomes the parent of the new ones.

    Example:

    >>> runs = keras_prelu.callbacks.TrackedRuns("mlflow", group="digits")
    >>> result = keras_prelu.finetune(model, (x_train, y_train), (x_val, y_val), epochs=5,
    ...     callbacks=lambda training: [*runs(training), keras_prelu.callbacks.SlopeMonitor()])
    """

    def __init__(self, tracker: str, *, group: str | None = None, **options: Any) -> None:
        if tracker not in TRACKERS:
            raise InvalidArgumentError(
                f"`tracker` must be among {', '.join(map(repr, TRACKERS))}. Received: {tracker!r}"
            )
        self._tracker = None if host() else TRACKERS[tracker](group, options)
        if self._tracker is not None:
            self._tracker.check()

    def __call__(self, training: str) -> list[Any]:
        """Start the run of a training, and return the callbacks that log to it.

        Args:
            training: Str. Name of the training.
        """
        if self._tracker is None:
            return []
        self._tracker.start(training)
        return [self._tracker.losses(), _EndRun(self._tracker)]


class _Tracker(ABC):
    """A tracker, with the settings of its runs."""

    name: str

    def __init__(self, group: str | None, options: dict[str, Any]) -> None:
        self._group, self._options = group, options
        try:
            self._module = importlib.import_module(self.name)
        except ImportError as error:
            raise self._missing(error) from error

    def check(self) -> None:
        """Raise a KerasPReLUError if no run can be started."""
        try:
            self._check()
        except KerasPReLUError:
            raise
        except ImportError as error:  # MLflow is also distributed without what its database needs.
            raise self._missing(error) from error
        except Exception as error:  # Whatever a server or its client says.
            raise self._failure(error) from error

    def start(self, training: str) -> None:
        """Start the run of a training."""
        try:
            self._start(training)
        except Exception as error:
            raise self._failure(error) from error

    def _missing(self, error: ImportError) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"Runs of {self.name} need a package that is missing ({reason_of(error)}): pip install"
            f" 'keras-prelu[{self.name}]'."
        )

    def _failure(self, error: Exception) -> KerasPReLUError:
        return KerasPReLUError(f"{self.name} can't start a run: {reason_of(error)}.")

    @abstractmethod
    def losses(self) -> Any:
        """Return the tracker's own Keras callback."""

    @abstractmethod
    def end(self) -> None:
        """End the run."""

    @abstractmethod
    def _check(self) -> None: ...

    @abstractmethod
    def _start(self, training: str) -> None: ...


class _Wandb(_Tracker):
    name = "wandb"

    def losses(self) -> Any:
        from wandb.integration.keras import WandbMetricsLogger

        class MetricsLogger(WandbMetricsLogger):
            # Version 0.31 of W&B reads a rate that has a schedule from tensors of TensorFlow and
            # PyTorch, but not from JAX's arrays.
            def _get_lr(self) -> float:
                return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

        return MetricsLogger()

    def end(self) -> None:
        self._module.finish()

    def _check(self) -> None:
        if self._module.run is not None:
            raise KerasPReLUError(
                "A run of wandb is active, and each training gets a run of its own. End it by"
                " wandb.finish() before."
            )
        if self._module.setup().settings.mode not in ("offline", "disabled", "dryrun"):
            self._module.login()

    def _start(self, training: str) -> None:
        name = training if self._group is None else f"{self._group} {training}"
        settings = {"name": name, "group": self._group, "job_type": training, **self._options}
        self._module.init(**settings)


class _Mlflow(_Tracker):
    name = "mlflow"

    def losses(self) -> Any:
        from mlflow.keras import MlflowCallback

        return MlflowCallback()

    def end(self) -> None:
        self._module.flush_async_logging()
        self._module.end_run()

    def _check(self) -> None:
        self._module.MlflowClient().search_experiments(max_results=1)

    def _start(self, training: str) -> None:
        group = {} if self._group is None else {"group": self._group}
        tags = {"training": training, **group, **self._options.get("tags", {})}
        settings = {"run_name": training, "nested": True, **self._options, "tags": tags}
        self._module.start_run(**settings)


TRACKERS: dict[str, type[_Tracker]] = {tracker.name: tracker for tracker in (_Wandb, _Mlflow)}
"""The trackers by name."""


class _EndRun(keras.callbacks.Callback):
    """Callback that ends the run of a tracker with the training."""

    def __init__(self, tracker: _Tracker) -> None:
        super().__init__()
        self._tracker = tracker

    def on_train_end(self, logs: Any = None) -> None:
        self._tracker.end()
