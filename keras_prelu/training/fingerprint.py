"""Fingerprint of a fine-tuning: whether checkpoints belong to it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import compile_arguments, sublayers
from keras_prelu.conversion.optimizer_copies import described_exclusions, resolved_optimizer
from keras_prelu.data.lazy import as_lazy, is_lazy
from keras_prelu.data.samples import CheckedSamples, Samples
from keras_prelu.data.streams import batch_count, batches_of
from keras_prelu.graph.held_functions import held_functions
from keras_prelu.training.config import FitConfig
from keras_prelu.training.digest import object_digest, without_automatic_names
from keras_prelu.training.repeated_reading import first_batches_digest
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.stream_batches import StreamBatches
from keras_prelu.version import __version__

__all__ = ["fingerprint"]

_ROWS_ON_DISK = 64
_SHUFFLED = "shuffled"
_MOST_SAMPLES = 100_000
"""The largest number of samples of a shuffled stream that are read for its digest."""
_CHANGES_TRAINING = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
)


def fingerprint(
    models: Sequence[keras.Model],
    setup: TrainingSetup,
    validation: CheckedSamples,
    others: Sequence[Any] = (),
) -> str:
    """Return a digest of what the trained weights of a fine-tuning depend on.

    It covers the models (configuration, weights, `trainable` flags, compile settings, the code of
    the user's layers and functions), the settings of the training, the samples, and the versions of
    this package, Keras and the backend. Samples on disk are represented by some of their rows, a
    stream by its first batches where two readings of it agree. Of the callbacks, Keras's that
    change a training count; the user's own do not, nor do those that a function makes.

    Args:
        models: Sequence of Keras models.
        setup: `TrainingSetup`.
        validation: `CheckedSamples`, which choose the best epoch if the setup has no others.
        others: Sequence of further objects that count. Defaults to none.
    """
    watched = validation if setup.selection is None else setup.selection
    return object_digest(
        {
            "versions": (__version__, keras.__version__, keras.backend.backend(), np.__version__),
            "models": [_model_parts(model) for model in models],
            "fit": _fit_parts(setup.fit),
            "exclusions": (
                None
                if setup.fit.optimizer is None
                else described_exclusions(setup.fit.optimizer, models)
            ),
            "slopes": vars(setup.slopes),
            "train": _data_parts(setup.train),
            "watched": _data_parts(watched),
            "others": list(others),
        }
    )


def _model_parts(model: keras.Model) -> dict[str, Any]:
    layers = [model, *sublayers(model)]
    return {
        "model": model,
        "layers": [type(layer) for layer in layers],
        # A configuration may describe a function by its name alone.
        "functions": [
            (target.attribute, target.keys, function) for target, function in held_functions(model)
        ],
        "objects": [
            value
            for layer in layers
            for value in vars(layer).values()
            if isinstance(value, (keras.Regularizer, keras.constraints.Constraint))
        ],
        "trainable": [variable.trainable for variable in model.weights],
        "policies": [layer.dtype_policy.name for layer in layers],
        "compile": _compile_parts(model),
    }


def _compile_parts(model: keras.Model) -> Any:
    if not model.compiled:
        return None
    with warnings.catch_warnings():
        # Keras warns of lambdas in a configuration; here nothing is loaded from it.
        warnings.simplefilter("ignore")
        try:
            config = model.get_compile_config() or {}
        except Exception:  # A schedule or loss of the user may have no configuration.
            config = dict(compile_arguments(model))
    return without_automatic_names(config), model.loss


def _fit_parts(fit: FitConfig) -> dict[str, Any]:
    callbacks = () if callable(fit.callbacks) else fit.callbacks or ()
    return {
        **{
            name: value
            for name, value in vars(fit).items()
            if name not in ("callbacks", "metric", "verbose")
        },
        "optimizer": None if fit.optimizer is None else resolved_optimizer(fit.optimizer),
        "callbacks": [
            (type(callback), _plain_attributes(callback))
            for callback in callbacks
            if isinstance(callback, _CHANGES_TRAINING)
            or getattr(callback, "changes_training", False)
        ],
    }


def _plain_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    plain = (bool, int, float, str)
    return {
        name: value
        for name, value in sorted(vars(callback).items())
        if isinstance(value, plain) or name == "schedule"
    }


def _data_parts(data: Any) -> Any:
    if isinstance(data, (Samples, CheckedSamples)):
        return [_array_parts(array) for array in keras.tree.flatten(data.labelled)]
    return _stream_parts(data)


def _array_parts(array: Any) -> Any:
    if is_lazy(array):
        rows = np.linspace(0, len(array) - 1, _ROWS_ON_DISK, dtype=int)
        return np.shape(array), as_lazy(array)[rows]
    return np.asarray(array)


def _stream_parts(stream: Any) -> Any:
    source = stream.source if isinstance(stream, StreamBatches) else stream
    first, second = (first_batches_digest(source) for _ in range(2))
    count = batch_count(stream)
    if first != second:
        first = _digest_in_any_order(source) if count else _SHUFFLED
    return type(source).__name__, count, first


def _digest_in_any_order(stream: Any) -> str:
    """Return a digest of the samples of a stream that ends, whatever their order.

    It says nothing of streams with more samples than can be read quickly, or whose samples differ
    each time, such as by augmentation.
    """
    sums = [_sum_of_digests(stream) for _ in range(2)]
    return _SHUFFLED if sums[0] is None or sums[0] != sums[1] else f"{sums[0]:x}"


def _sum_of_digests(stream: Any) -> int | None:
    """Return the sum of the digests of all samples, or None if there are too many."""
    total = samples = 0
    for batch in batches_of(stream):
        arrays = [
            np.ascontiguousarray(keras.ops.convert_to_numpy(array))
            for array in keras.tree.flatten(batch)
            if array is not None
        ]
        samples += len(arrays[0])
        if samples > _MOST_SAMPLES:
            return None
        for rows in zip(*arrays, strict=True):
            content = b"".join(np.asarray(row).tobytes() for row in rows)
            total += int.from_bytes(hashlib.sha256(content).digest())
    return total
