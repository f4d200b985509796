"""Samples that stand in two sets, so that a score on one says little about new samples."""

from __future__ import annotations

import keras
import numpy as np

from keras_prelu.data.digests import sample_digests
from keras_prelu.data.samples import Samples
from keras_prelu.utils.user_warnings import warn

__all__ = ["warn_of_overlap"]

_TOLERATED_SHARE = 0.01
_MOST_BYTES = 1 << 30


def warn_of_overlap(validation: Samples, others: Samples, role: str, purpose: str) -> None:
    """Warn if more than 1 % of the validation samples have the inputs of other samples.

    At most about 1 GB of the other samples is read, drawn evenly, so that large arrays on disk are
    not read once more.

    Args:
        validation: `Samples` that a verdict comes from.
        others: `Samples` that were used otherwise.
        role: Str. What the others are called, such as "training".
        purpose: Str. What the validation samples should not have been used for, such as "training".
    """
    overlap = np.isin(sample_digests(validation), sample_digests(_part(others))).sum()
    if overlap > _TOLERATED_SHARE * len(validation):
        warn(
            f"{overlap:,} of the {len(validation):,} validation samples are among the {role}"
            " samples: the scores and the verdict do not show how the models do on new samples."
            f" Give samples that were not used for {purpose}.",
        )


def _part(samples: Samples) -> Samples:
    """Return the samples, or as many of them as have about 1 GB."""
    bytes_of_one = sum(
        int(np.prod(array.shape[1:])) * np.dtype(array.dtype).itemsize
        for array in keras.tree.flatten(samples.x)
    )
    count = max(1, _MOST_BYTES // max(1, bytes_of_one))
    if count >= len(samples):
        return samples
    return samples.take(np.linspace(0, len(samples) - 1, count).astype(int))
