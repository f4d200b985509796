"""Distillation: training a calibrated model, block by block, on the outputs of its original.

Least squares refits one layer at a time to the original's own activations. It can't move a layer so
that a later one has less to restore, and a depthwise layer, which has a few weights for each
channel, restores little alone. Gradient descent trains the layers of a block together, on unlabeled
samples: the block gets its inputs in the converted model, and its targets are the outputs of the
original's block. Blocks are treated in the order of execution, as in BRECQ.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.hosts import hosts
from keras_prelu.calibration.activation_store import ActivationStore
from keras_prelu.calibration.config import CalibrationConfig, DistillationConfig
from keras_prelu.calibration.distillation_run import DistillationRun
from keras_prelu.calibration.layerwise import Progress
from keras_prelu.calibration.memory_plan import plan_memory
from keras_prelu.calibration.model_pair import ModelPair, check_models
from keras_prelu.calibration.records import Distillation
from keras_prelu.calibration.samples import CalibrationSamples, check_samples
from keras_prelu.calibration.verification import check_steps, warn_of_large_error
from keras_prelu.errors import CalibrationError
from keras_prelu.graph.model_state import keeps_state, state_kept
from keras_prelu.io.loading import ModelLike, models_by_name

__all__ = ["distill", "distill_pair"]


@models_by_name("original")
@keeps_state("original")
def distill(
    converted: keras.Model,
    original: ModelLike,
    samples: Any,
    *,
    epochs: float = 8.0,
    learning_rate: float = 0.05,
    batch_size: int | None = None,
    memory_limit: float = 4e9,
    seed: int = 0,
    on_step: Progress | None = None,
) -> Distillation:
    """Train a calibrated model on the outputs of its original, block by block, in place.

    A block is a part of the model that begins and ends with a single tensor, such as an inverted
    residual with its linear ends; where there is no such tensor, it is the whole model. Blocks are
    trained in execution order by Adam on unlabeled samples, each on the inputs that it gets in the
    model trained so far, towards what the original computes there. BatchNormalization runs as in
    `predict`, and slopes, frozen layers and weights that several blocks share stay as they are.

    A fifth of the samples is held out. A block gets its old weights back if training has not
    lowered its error on them, and so does the whole model.

    Args:
        converted: `keras.Model`. A converted model, best one that is calibrated (`calibrate`).
        original: `keras.Model`. The ReLU model that `converted` was made from. It is not changed.
        samples: Unlabeled samples, as in `calibrate`.
        epochs: Float. How often each sample is drawn to train a block, on average. Eight cost
            several times the time of a calibration. Defaults to 8.
        learning_rate: Float. The largest learning rate, relative to the root mean square of a
            block's weight matrices; it falls to 0 in half a cosine. Defaults to 0.05.
        batch_size: Integer or None. Samples that pass through a block at once when it is not
            trained. Defaults to None: as many as the memory limit allows, at most 128.
        memory_limit: Float. Bytes that the distillation may take, as in `calibrate`; activations
            beyond it are written to temporary files. Defaults to 4e9.
        seed: Integer. Seed of the held-out samples and of the draws. Defaults to 0.
        on_step: Function called with (done, total), in hundredths of a block. Defaults to None.

    Returns:
        A `Distillation`, the record.

    Raises:
        CalibrationError, DataError: As in `calibrate`; or several hosts compute together.
        InvalidArgumentError: A ValueError; an option is out of range.

    Example:

    >>> converted = keras_prelu.convert(model, rescale="none")
    >>> calibration = keras_prelu.calibrate(converted, model, x_train[:512])
    >>> distillation = keras_prelu.distill(converted, model, x_train[:512])
    >>> distillation.error_after <= calibration.error_after

    References:
        Li et al. 2021, https://arxiv.org/abs/2102.05426; Hinton et al. 2015,
        https://arxiv.org/abs/1503.02531. docs/explanation/calibration.md.
    """
    config = DistillationConfig(epochs=epochs, learning_rate=learning_rate)
    calibration_config = CalibrationConfig(
        batch_size=batch_size, memory_limit=memory_limit, seed=seed
    )
    check_models(converted, original)
    checked = check_samples(original, samples)
    pair = ModelPair(original, converted, checked)
    check_steps(pair, checked)
    distillation = distill_pair(pair, checked, calibration_config, config, on_step)
    warn_of_large_error(distillation)
    return distillation


def distill_pair(
    pair: ModelPair,
    samples: CalibrationSamples,
    config: CalibrationConfig,
    distillation: DistillationConfig,
    on_step: Progress | None = None,
) -> Distillation:
    """Train the converted model of a pair in place. See `distill`.

    If an exception or an interrupt occurs, the model gets its old weights back.

    Args:
        pair: `ModelPair`. The models.
        samples: `CalibrationSamples`. The samples.
        config: `CalibrationConfig`. Batch size, memory limit and seed.
        distillation: `DistillationConfig`. The settings of the training.
        on_step: Function or None. As in `distill`.

    Raises:
        CalibrationError: Several hosts compute together.
    """
    if hosts() > 1:
        raise CalibrationError(
            "Distillation runs on one host. Distill on one host and load the file on the others, or"
            ' use rescale="calibrated".'
        )
    memory = plan_memory(pair, samples.arrays, config)
    with ActivationStore(memory.activations) as store, state_kept(pair.converted):
        run = DistillationRun(
            pair, samples, config, distillation, memory.batch_size, store, on_step
        )
        try:
            return run.result()
        except BaseException:
            run.undo()
            raise
