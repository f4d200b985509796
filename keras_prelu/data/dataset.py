"""A data set: samples for training, samples held out, and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError

__all__ = ["Dataset", "split"]

SomeSamples = TypeVar("SomeSamples", bound=Samples)


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: Str. Name that the user passed.
        train: `Samples` for calibration and training.
        test: `Samples` held out from `train`, or None if the source has none.
        classes: Tuple of str. The names of the classes, in the order of their numbers; empty if
            they are not known.
        columns: Tuple of str. The names of the columns or arrays that the source has; empty if they
            have no names.
        labels: Tuple of str. Those of them that hold the labels.
        weights: Str. The one that holds the weights of the samples, or "".
    """

    name: str
    train: Samples
    test: Samples | None = None
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    weights: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the columns that hold neither labels nor weights."""
        return tuple(name for name in self.columns if name not in (*self.labels, self.weights))


def split(samples: SomeSamples, fraction: float, seed: int) -> tuple[SomeSamples, SomeSamples]:
    """Split off a random `fraction` of the samples; return the others first."""
    count = len(samples)
    held_out = round(count * fraction)
    if not 0 < held_out < count:
        raise DataError(
            f"{count} samples can't be split into two parts, one of them {fraction:.0%}."
        )
    order = np.random.default_rng(seed).permutation(count)
    return samples.take(np.sort(order[held_out:])), samples.take(np.sort(order[:held_out]))
