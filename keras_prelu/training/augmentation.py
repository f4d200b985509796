"""Augmentation of training batches, the same for every model of a comparison."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import seed_states
from keras_prelu.errors import DataError, InvalidArgumentError, reason_of
from keras_prelu.utils.signatures import required_arguments

__all__ = ["Augmentation", "check_augment"]


def check_augment(augment: Any) -> None:
    """Check that an argument augments samples.

    Raises:
        InvalidArgumentError: A ValueError; it can't be called.
    """
    if augment is not None and (not callable(augment) or inspect.isclass(augment)):
        raise InvalidArgumentError(
            "`augment` must be a Keras layer, or a function of a batch of samples. Received:"
            f" augment={augment!r}"
        )


class Augmentation:
    """Function of a training batch whose random draws depend on seed, epoch and batch alone.

    So every model sees the same samples, and a training that continues from a checkpoint does too.

    Args:
        augment: Keras layer or model, such as `keras.layers.RandomFlip`, called with
            `training=True`; or a function of a batch, which gets a `numpy.random.Generator` as its
            second argument if it requires one.
        seed: Int. Seed of the draws.
    """

    def __init__(self, augment: Callable[..., Any], seed: int) -> None:
        self._augment = augment
        self._seed = seed
        self._takes_generator = (
            not isinstance(augment, keras.layers.Layer) and required_arguments(augment) == 2
        )

    def __call__(self, x: Any, epoch: int, index: int) -> Any:
        """Return the augmented samples of a batch, in the structure and shapes of the batch."""
        rng = np.random.default_rng([self._seed, epoch, index])
        try:
            result = self._augmented(x, rng)
        except Exception as error:  # The user's function may raise anything.
            raise DataError(
                f"`augment` {_name(self._augment)} failed: {reason_of(error)}."
            ) from error
        arrays = keras.tree.map_structure(keras.ops.convert_to_numpy, result)
        before, after = ([np.shape(part) for part in keras.tree.flatten(v)] for v in (x, arrays))
        if before != after:
            raise DataError(
                f"`augment` {_name(self._augment)} must keep the shapes of a batch. It made"
                f" {after} of {before}."
            )
        return keras.tree.map_structure(
            lambda new, old: new.astype(np.asarray(old).dtype, copy=False), arrays, x
        )

    def _augmented(self, x: Any, rng: np.random.Generator) -> Any:
        if not isinstance(self._augment, keras.layers.Layer):
            return self._augment(x, rng) if self._takes_generator else self._augment(x)
        for state in seed_states(self._augment):
            state.assign(rng.integers(2**31, size=state.shape).astype("uint32"))
        return self._augment(x, training=True)


def _name(augment: Any) -> str:
    return str(getattr(augment, "name", None) or getattr(augment, "__name__", type(augment)))
