"""Whether a stream yields the same batches each time it is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import CheckedSamples
from keras_prelu.data.streams import batch_count, batches_of
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.training.arguments import FineTuningData
from keras_prelu.training.augmentation import Augmentation
from keras_prelu.training.config import FitConfig
from keras_prelu.training.digest import object_digest
from keras_prelu.training.stream_batches import StreamBatches

__all__ = ["first_batches_digest", "with_repeated_reading"]

_BATCHES = 2
_AUGMENTED = 8


def with_repeated_reading(data: FineTuningData, fit: FitConfig) -> FineTuningData:
    """Return data from which a training can continue in the middle of an epoch.

    Samples have an index, by which their augmentation must draw. A stream is read again up to where
    the training was, so that it must yield the same batches again.

    Args:
        data: `FineTuningData`.
        fit: `FitConfig`. Settings of the training.

    Raises:
        InvalidArgumentError: A ValueError; it does not.
    """
    train, seed = data.train, fit.seed
    if isinstance(train, CheckedSamples):
        _check_augmentation(train, fit)
        return data
    in_epochs = isinstance(train, StreamBatches)
    source = train.source if in_epochs else train
    if not in_epochs and _changes_by_epoch(source):
        raise InvalidArgumentError(
            f"With `save_freq`, `train` ({type(source).__name__}) must yield the same batches in a"
            " training that continues, and it changes at the start or end of each epoch. Leave"
            " `save_freq` out: a training then continues from the last whole epoch."
        )
    # A shuffled DataLoader of PyTorch draws its order from the seed that each epoch begins with,
    # where each epoch reads it once.
    reads_once_an_epoch = not in_epochs or len(train) == batch_count(source)
    if _seeded_digest(source, seed) != _seeded_digest(source, seed + 1 - reads_once_an_epoch):
        raise InvalidArgumentError(
            f"With `save_freq`, `train` ({type(source).__name__}) must yield the same batches each"
            " time it is read, and two readings differ. Shuffle it by a fixed seed, such as"
            " dataset.shuffle(size, seed=0, reshuffle_each_iteration=False), give samples, or leave"
            " `save_freq` out: a training then continues from the last whole epoch."
        )
    if not in_epochs:
        return data
    return replace(data, train=StreamBatches(source, len(train), repeats=True))


def first_batches_digest(source: Any) -> str:
    """Return a digest of the first batches of a stream."""
    return object_digest(list(_first_batches(source)))


def _check_augmentation(samples: CheckedSamples, fit: FitConfig) -> None:
    """Check that an augmentation draws from no global generators.

    Batches are read ahead, so that the state of those does not tell what a batch would draw.
    """
    if fit.augment is None:
        return
    x = samples.take(slice(0, _AUGMENTED)).in_memory().x
    augmentation = Augmentation(fit.augment, fit.seed)
    digests = set()
    for seed in (fit.seed, fit.seed + 1):
        keras.utils.set_random_seed(seed)
        digests.add(object_digest(augmentation(x, 0, 0)))
    if len(digests) > 1:
        raise InvalidArgumentError(
            "With `save_freq`, `augment` must not draw from global random generators, whose draws"
            " can't be repeated within an epoch. Let it take a second argument, a"
            " numpy.random.Generator, and draw from that."
        )


def _seeded_digest(source: Any, seed: int) -> str:
    keras.utils.set_random_seed(seed)
    return first_batches_digest(source)


def _changes_by_epoch(source: Any) -> bool:
    base = keras.utils.PyDataset
    return isinstance(source, base) and any(
        getattr(type(source), name) is not getattr(base, name)
        for name in ("on_epoch_begin", "on_epoch_end")
    )


def _first_batches(stream: Any) -> Iterator[list[np.ndarray]]:
    for batch in itertools.islice(batches_of(stream), _BATCHES):
        yield [
            keras.ops.convert_to_numpy(array)
            for array in keras.tree.flatten(batch)
            if array is not None
        ]
