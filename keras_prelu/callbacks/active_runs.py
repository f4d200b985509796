"""The active runs of Weights & Biases and MLflow, and what monitors log to them.

A run can be active only in a tracker that the program has imported, so none is imported here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

__all__ = ["ActiveRun", "active_runs"]

_STEP = "monitor/epoch"
_MOST_METRICS = 1000
"""The number of metrics that MLflow takes at once."""
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")
"""What MLflow does not allow in the names of metrics."""


class ActiveRun(Protocol):
    """A run of a tracker."""

    def log(
        self, step: int, scalars: Mapping[str, float], histograms: Mapping[str, np.ndarray]
    ) -> None:
        """Log scalars and histograms, by their tags, at a step."""


def active_runs() -> list[ActiveRun]:
    """Return the runs that are active now, one for each tracker at most."""
    runs: list[ActiveRun] = []
    # The modules may lack these names: a folder `wandb`, where W&B writes, can be imported too.
    wandb: Any = sys.modules.get("wandb")
    mlflow: Any = sys.modules.get("mlflow")
    if getattr(wandb, "run", None) is not None:
        runs.append(_WandbRun(wandb))
    if hasattr(mlflow, "active_run") and mlflow.active_run() is not None:
        runs.append(_MlflowRun(mlflow))
    return runs


class _WandbRun:
    def __init__(self, wandb: Any) -> None:
        self._wandb = wandb

    def log(
        self, step: int, scalars: Mapping[str, float], histograms: Mapping[str, np.ndarray]
    ) -> None:
        run = self._wandb.run
        # W&B counts calls of `log` as steps, its Keras callback's among them, so charts get an axis
        # of their own.
        run.define_metric(_STEP, hidden=True)
        for kind in {tag.split("/")[0] for tag in (*scalars, *histograms)}:
            run.define_metric(f"{kind}/*", step_metric=_STEP)
        values = {tag: finite for tag, each in histograms.items() if (finite := _finite(each)).size}
        run.log(
            {
                _STEP: step,
                **scalars,
                **{tag: self._wandb.Histogram(each) for tag, each in values.items()},
            }
        )


class _MlflowRun:
    def __init__(self, mlflow: Any) -> None:
        self._mlflow = mlflow

    def log(
        self, step: int, scalars: Mapping[str, float], histograms: Mapping[str, np.ndarray]
    ) -> None:
        """Log scalars; MLflow has no histograms."""
        metrics = [(_NOT_IN_NAMES.sub("_", tag), value) for tag, value in scalars.items()]
        for first in range(0, len(metrics), _MOST_METRICS):
            # A server that does not answer holds up no training, as with MLflow's Keras callback.
            self._mlflow.log_metrics(
                dict(metrics[first : first + _MOST_METRICS]), step=step, synchronous=False
            )


def _finite(values: np.ndarray) -> np.ndarray:
    """Return the finite ones of some values, in one dimension."""
    flat = np.ravel(values)
    return flat[np.isfinite(flat)]
