"""Calibration: refitting the linear layers of a converted model so that it computes what the
original computes.

Layerwise least squares: for every linear layer in execution order, let z be its output in the
original model and u its input in the converted one, earlier layers already refitted. The new W', b'
minimize Σ‖W'u + b' − z‖² + λ‖[W', b'] − [W, b]‖². One sweep carries the activations of all samples
through both models, so each layer is evaluated a fixed number of times.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.backend import devices
from keras_prelu.calibration.layer_fit import FitOptions
from keras_prelu.calibration.layerwise import Progress, Sweep
from keras_prelu.calibration.records import Calibration
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.errors import CalibrationError, InvalidArgumentError, reason_of
from keras_prelu.graph.leaves import is_taken_apart

__all__ = ["calibrate", "hold_out", "with_graph"]

MINIMUM_SAMPLES = 5


def calibrate(
    converted: keras.Model,
    original: keras.Model,
    samples: Any,
    *,
    ridge: float | None = None,
    rows_per_unknown: int = 16,
    refit_frozen: bool = False,
    batch_size: int = 128,
    memory_limit: float = 4e9,
    seed: int = 0,
    on_step: Progress | None = None,
) -> Calibration:
    """Refit the linear layers of a converted model, in place, so that it computes what the original
    computes.

    A fifth of the samples is held out. A layer's refit is taken if it lowers the error there, and
    in the end the model gets its old weights back if the output's error there has not become
    smaller: the result is never worse than none on held-out samples. Several hosts
    (`keras.distribution.initialize` on JAX), all given the same samples, divide the batches and sum
    their Gram matrices.

    Args:
        converted: What `convert(original, ...)` returned, perhaps saved and loaded since. Dense,
            EinsumDense, convolution, transposed, depthwise and separable layers are refitted, also
            inside other layers and subclassed models; the others are kept.
        original: The ReLU model it was made from. Not changed.
        samples: Unlabeled samples, at least 5: an array, or a list or dict of arrays for several
            inputs; or a `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator of batches, of
            which at most 4,096 samples are taken. A few hundred do.
        ridge: λ relative to the mean diagonal of the Gram matrix. Defaults to None: for each layer
            the best of a few, 1e-6 to 0.1, on held-out samples.
        rows_per_unknown: How many rows to use for each unknown weight; spatial positions are
            sampled accordingly. Defaults to 16.
        refit_frozen: Whether layers with `trainable=False` are refitted too. Defaults to False.
        batch_size: Samples that go through a layer at once. Defaults to 128.
        memory_limit: How many bytes of activations are held in memory; the others go to files in
            the temporary folder, with the same result. Defaults to 4 GB.
        seed: Seed of the held-out choice and of the sampled positions. The same seed gives the same
            weights.
        on_step: Called with (steps done, steps in all).

    Returns:
        The record, see `Calibration`.

    Raises:
        CalibrationError: The models do not belong together, have no graph, or there are too few
            samples.
        DataError: The samples do not fit the model, or hold NaN.
        InvalidArgumentError: A ValueError; an option is out of range.

    Example:

    >>> converted = keras_prelu.convert(model, rescale="none")
    >>> calibration = keras_prelu.calibrate(converted, model, x_train[:512])
    >>> calibration.error_after < calibration.error_before

    References:
        docs/explanation/calibration.md.
    """
    if (
        (ridge is not None and not ridge > 0)
        or rows_per_unknown < 1
        or batch_size < 1
        or not memory_limit >= 0
    ):
        raise InvalidArgumentError(
            "`ridge` must be positive, `rows_per_unknown` and `batch_size` at least 1,"
            f" `memory_limit` at least 0. Received: ridge={ridge},"
            f" rows_per_unknown={rows_per_unknown}, batch_size={batch_size},"
            f" memory_limit={memory_limit}"
        )
    samples = as_samples(samples, role="calibration samples", labels="ignored").in_memory()
    original, converted = with_graph(original, samples.x), with_graph(converted, samples.x)
    inputs = model_inputs(original, samples, "calibration samples")
    count = len(inputs[0])
    if count < MINIMUM_SAMPLES:
        raise CalibrationError(
            f"Calibration needs at least {MINIMUM_SAMPLES} samples, better some hundreds. Received:"
            f" {count}"
        )
    held_out = hold_out(count, np.random.default_rng(seed))
    batch_size = converted.inputs[0].shape[0] or batch_size
    numbers, divided = _share(held_out, batch_size)
    share = np.isin(np.arange(count) // batch_size, numbers)
    options = FitOptions(
        ridge, rows_per_unknown, held_out[share], count, numbers, seed, devices if divided else None
    )
    sweep = Sweep(
        converted,
        original,
        options,
        refit_frozen=refit_frozen,
        batch_size=batch_size,
        memory_limit=memory_limit,
    )
    try:
        return sweep.run([array[share] for array in inputs], on_step or (lambda done, total: None))
    except BaseException:  # an interrupt too: half of a calibration is worse than none
        sweep.undo()
        raise


def _share(held_out: np.ndarray, batch_size: int) -> tuple[np.ndarray, bool]:
    """The numbers of the batches that this host works on, and whether others work on the rest: not
    where there are too few."""
    numbers, hosts = np.arange(-(-len(held_out) // batch_size)), devices.hosts()
    shares = [numbers[first::hosts] for first in range(hosts)]
    parts = [held_out[np.isin(np.arange(len(held_out)) // batch_size, share)] for share in shares]
    if hosts > 1 and all(part.any() and not part.all() for part in parts):
        return shares[devices.host()], True
    return numbers, False


def hold_out(count: int, rng: np.random.Generator) -> np.ndarray:
    """For each of `count` samples whether it is one of the fifth that is held out."""
    held_out = np.zeros(count, dtype=bool)
    held_out[rng.permutation(count)[: max(1, count // 5)]] = True
    return held_out


def with_graph(model: keras.Model, samples: Any) -> keras.Model:
    """A model of one step around a model that is written in Python, which is then refitted inside;
    any other model itself."""
    if (
        is_taken_apart(model)
        or isinstance(model, keras.Sequential)
        or not isinstance(model, keras.Model)
    ):
        return model
    try:
        inputs = keras.tree.map_structure(
            lambda array: keras.Input(np.shape(array)[1:], dtype=np.asarray(array).dtype.name),
            samples,
        )
        return keras.Model(inputs, model(inputs), name=model.name)
    except Exception as error:  # whatever the user's code raises
        raise CalibrationError(
            f"Model '{model.name}' ({type(model).__name__}) can't be called with these samples on"
            f" symbolic tensors: {reason_of(error)}."
        ) from error
