"""The fine-tuning of the job: the one place that calls `keras_prelu.finetune`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import keras_prelu as kp
from keras_prelu.training.finetune import FineTuning
from tools.bench.gpu.effort import Effort

Samples = tuple[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is fine-tuned.

    Attributes:
        converted: The PReLU network.
        original: The ReLU network that it was made from.
        train: Images and their classes.
        validation: The same for the scores.
    """

    converted: keras.Model
    original: keras.Model
    train: Samples
    validation: Samples


def finetuned(
    job: Job,
    effort: Effort,
    *,
    checkpoints: Path,
    control: bool = True,
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]] | None = None,
) -> FineTuning:
    """Fine-tune a converted model beside its ReLU control, with checkpoints."""
    return kp.finetune(
        job.converted,
        job.train,
        job.validation,
        original=job.original if control else None,
        control=control,
        epochs=effort.epochs,
        batch_size=effort.job_batch,
        learning_rate=1e-3,
        checkpoints=checkpoints,
        callbacks=callbacks,
    )
