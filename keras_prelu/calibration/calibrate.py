"""Calibration: refitting the linear layers of a converted model to the original's function.

The method is layerwise least squares. For every linear layer in execution order, let z be its
output in the original model and u its input in the converted one, in which earlier layers are
already refitted. The new W', b' minimize Σ‖W'u + b' − z‖² + λ‖[W', b'] − [W, b]‖². One sweep
propagates the activations of all samples through both models, so each layer is evaluated a fixed
number of times.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator, Progress
from keras_prelu.calibration.model_pair import ModelPair, check_models
from keras_prelu.calibration.records import Calibration
from keras_prelu.calibration.samples import check_samples
from keras_prelu.calibration.verification import check_steps, warn_of_large_error
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name

__all__ = ["calibrate"]


@models_by_name("original")
@keeps_state("original")
def calibrate(
    converted: keras.Model,
    original: ModelLike,
    samples: Any,
    *,
    ridge: float | None = None,
    rows_per_unknown: int = 16,
    refit_frozen: bool = False,
    batch_size: int | None = None,
    memory_limit: float = 4e9,
    seed: int = 0,
    on_step: Progress | None = None,
) -> Calibration:
    """Refit the linear layers of a converted model to the original's function, in place.

    A fifth of the samples is held out. The refit of a layer is accepted if it lowers the error on
    the held-out samples. At the end the model gets its old weights back unless the error of its
    output on these samples has fallen by more than one standard error, or to less than half: a
    small gain on a few samples could be a loss on others. If the error is more than a fifth of the
    outputs' variance, a warning names the layers to blame. Several hosts
    (`keras.distribution.initialize` on JAX) that get the same samples divide the batches and sum
    their Gram matrices.

    Args:
        converted: `keras.Model`. The result of `convert(original, ...)`, possibly saved and loaded
            since. Dense, EinsumDense, convolution, transposed, depthwise and separable layers are
            refitted, also inside other layers and subclassed models, and within the constraints
            of their weights; other layers keep their weights.
        original: `keras.Model`. The ReLU model that `converted` was made from. It is not changed.
        samples: Unlabeled samples, at least 5: an array, or a list or dict of arrays for several
            inputs; or a `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator of batches,
            from which at most 4,096 samples are taken. A few hundred suffice.
        ridge: Float or None. λ relative to the mean diagonal of the Gram matrix. Defaults to None:
            for each layer the best of several values from 1e-6 to 0.1 on held-out samples.
        rows_per_unknown: Integer. Rows to use for each unknown weight of a channel or group, at
            least 2,048 in total; spatial positions are sampled accordingly. Defaults to 16.
        refit_frozen: Boolean. Whether layers with `trainable=False` are refitted too. Defaults to
            False.
        batch_size: Integer or None. Samples that pass through a layer at once. Defaults to None: as
            many as the memory limit allows, at most 128.
        memory_limit: Float. Bytes to take in addition to the models and the samples. Activations
            that don't fit are computed again or written to temporary files, and layers whose
            equations don't fit are refitted by conjugate gradients. Some 0.3 GB, one batch, and
            eight arrays of the size of the largest kernel in float64 are needed under any limit.
            Defaults to 4e9.
        seed: Integer. Seed of the held-out samples and of the sampled positions. The same seed
            gives the same weights. Defaults to 0.
        on_step: Function called with (steps done, steps in total). Defaults to None.

    Returns:
        A `Calibration`, the record of the calibration.

    Raises:
        CalibrationError: The models do not belong together or have no graph, there are too few
            samples, or memory is used up; or the layers of a model, called one by one, compute
            something else than `predict`, or the outputs are not finite.
        DataError: The samples do not fit the model, or hold NaN.
        InvalidArgumentError: A ValueError; an option is out of range.

    Example:

    >>> converted = keras_prelu.convert(model, alpha=0.25, rescale="none")
    >>> calibration = keras_prelu.calibrate(converted, model, x_train[:512])
    >>> calibration.error_after < calibration.error_before

    References:
        docs/explanation/calibration.md.
    """
    config = CalibrationConfig(
        ridge=ridge,
        rows_per_unknown=rows_per_unknown,
        refit_frozen=refit_frozen,
        batch_size=batch_size,
        memory_limit=memory_limit,
        seed=seed,
    )
    check_models(converted, original)
    checked = check_samples(original, samples)
    pair = ModelPair(original, converted, checked)
    check_steps(pair, checked)
    calibration = LayerwiseCalibrator(pair, checked, config).run(on_step)
    warn_of_large_error(calibration)
    return calibration
