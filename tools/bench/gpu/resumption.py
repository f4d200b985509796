"""A fine-tuning that is killed and resumed: `python -m tools.bench.gpu.resumption kill|resume
FOLDER`, each in a process of its own.

`kill` fine-tunes with checkpoints and is killed in the middle of its second epoch. `resume` makes
the same call, which resumes, then an uninterrupted one, and compares their results. Both use
deterministic algorithms, without which two runs differ anyway.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np

from tools.bench.gpu.effort import FULL, TRIAL, Effort
from tools.bench.gpu.finetuning import Job, finetuned
from tools.common.machine import backend

DETERMINISTIC = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Environment variables of both processes; JAX gets a flag too, see `environment`."""


def environment() -> dict[str, str]:
    """Return the environment of both processes."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    return {**os.environ, **DETERMINISTIC, **({"XLA_FLAGS": flags} if backend() == "jax" else {})}


class _Kill(keras.callbacks.Callback):
    """Ends this process as `kill -9` does, in the middle of the second epoch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._epoch == 1 and batch >= self.params["steps"] // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch


@click.command()
@click.argument("action", type=click.Choice(["kill", "resume"]))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--trial", is_flag=True)
def main(action: str, folder: Path, trial: bool) -> None:
    """Fine-tune the models in FOLDER; `resume` prints a JSON object of the two results'
    differences."""
    effort = TRIAL if trial else FULL
    _deterministic()
    if action == "kill":
        _run(folder, effort, folder / "killed", [_Kill])
        raise click.ClickException("The fine-tuning ended before it was killed.")
    went_on, whole = (
        _run(folder, effort, folder / "killed", []),
        _run(folder, effort, folder / "whole", []),
    )
    print(json.dumps(_difference(went_on, whole)))


def _deterministic() -> None:
    if backend() == "torch":
        import torch

        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def _run(folder: Path, effort: Effort, checkpoints: Path, callbacks: list[type]) -> Any:
    converted, original = (
        keras.saving.load_model(folder / name) for name in ("converted.keras", "original.keras")
    )
    with np.load(folder / "samples.npz") as samples:
        train, validation = (
            (samples["x"], samples["y"]),
            (samples["x_validation"], samples["y_validation"]),
        )
    return finetuned(
        Job(converted=converted, original=original, train=train, validation=validation),
        effort,
        checkpoints=checkpoints,
        control=False,
        callbacks=lambda: [c() for c in callbacks],
    )


def _difference(first: Any, second: Any) -> dict[str, Any]:
    """Return how far two results are apart: weights relative to their array's largest, and the
    fraction of validation samples with equal scores."""
    pairs = list(zip(first.model.get_weights(), second.model.get_weights(), strict=True))
    furthest = max(
        float(np.max(np.abs(a.astype("float64") - b)) / max(float(np.max(np.abs(b))), 1e-12))
        for a, b in pairs
    )
    return {
        "equal_bit_for_bit": all(np.array_equal(a, b) for a, b in pairs),
        "largest_relative_difference": furthest,
        "epochs": [len(found.prelu.history["loss"]) for found in (first, second)],
        "losses": [found.prelu.history["loss"][-1] for found in (first, second)],
        "scores_alike": float(np.mean(first.scores == second.scores)),
    }


if __name__ == "__main__":
    main()
