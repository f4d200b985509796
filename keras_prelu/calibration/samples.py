"""The samples of a calibration: coerced and checked once, and split for fitting and judging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend import hosts
from keras_prelu.calibration.host_exchange import Exchange, HostExchange
from keras_prelu.data.declarations import declares_inputs
from keras_prelu.data.samples import CheckedSamples, as_samples, model_inputs
from keras_prelu.data.signature import called_on_symbols
from keras_prelu.data.streams import gather_batches
from keras_prelu.data.value_range import warn_of_range
from keras_prelu.errors import CalibrationError, DataError
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.utils.checks import check_integer
from keras_prelu.verification.prediction import predict_once

__all__ = [
    "CalibrationSamples",
    "SampleSplit",
    "check_samples",
    "fixed_batch_size",
    "hold_out",
    "split_samples",
    "with_graph",
]

MINIMUM_SAMPLES = 5


@dataclass(frozen=True)
class CalibrationSamples:
    """Unlabeled samples that fit a model, in memory.

    Attributes:
        structure: Array, or list or dict of arrays. The samples in the structure that the model is
            called with.
        arrays: List with an array for each input of the model, in the order of the inputs.
    """

    structure: Any
    arrays: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays[0])


def check_samples(
    original: keras.Model, samples: Any, *, max_samples: int | None = None, seed: int = 0
) -> CalibrationSamples:
    """Coerce samples to arrays, and check that they fit a model.

    Args:
        original: `keras.Model`. The original model.
        samples: Samples as in `calibrate`.
        max_samples: Integer or None. Largest number of samples, drawn at random; None for all in
            their order. Defaults to None.
        seed: Integer. Seed of the draw. Defaults to 0.

    Returns:
        `CalibrationSamples`.

    Raises:
        CalibrationError: There are too few samples, or the model can't be called with them.
        DataError: The samples do not fit the model, or hold NaN.
        InvalidArgumentError: `max_samples` is not positive.
    """
    role = "calibration samples"
    read_for = original if isinstance(original, keras.Model) else None
    checked = as_samples(
        gather_batches(samples, model=read_for), read_for=read_for, role=role, labels="ignored"
    )
    if max_samples is not None:
        checked = _draw(checked, max_samples, seed)
    checked = _whole_batches(original, checked.in_memory(role))
    arrays = model_inputs(with_graph(original, checked.x), checked, role)
    warn_of_range(original, checked.x)
    if len(arrays[0]) < MINIMUM_SAMPLES:
        raise CalibrationError(
            f"Calibration needs at least {MINIMUM_SAMPLES} samples, better some hundreds. Received:"
            f" {len(arrays[0])}"
        )
    _check_batches(original, checked)
    return CalibrationSamples(structure=checked.x, arrays=arrays)


def _whole_batches(model: keras.Model, samples: CheckedSamples) -> CheckedSamples:
    """Return samples without an incomplete last batch of a model with a fixed batch size."""
    size = fixed_batch_size(model)
    count = len(samples) - len(samples) % size
    return samples.take(slice(count)) if 0 < count < len(samples) else samples


def _check_batches(model: keras.Model, samples: CheckedSamples) -> None:
    """Check that a model with a fixed batch size has batches to fit and to judge."""
    size = fixed_batch_size(model)
    if len(samples) >= 2 * size or size == 1:
        return
    try:
        predict_once(model, samples.take(slice(1)).x)
    except Exception as error:  # Whatever the model raises.
        raise CalibrationError(
            f"Model '{model.name}' takes exactly {size} samples at once, so its calibration needs"
            f" at least {2 * size}, better some hundreds. Received: {len(samples)}"
        ) from error


def fixed_batch_size(model: keras.Model) -> int:
    """Return the number of samples that a model takes at once, or 1 if it takes any number."""
    inputs = getattr(model, "inputs", None)
    return int(inputs[0].shape[0] or 1) if inputs else 1


def _draw(samples: CheckedSamples, max_samples: int, seed: int) -> CheckedSamples:
    check_integer("max_samples", max_samples, minimum=1)
    order = np.random.default_rng(seed).permutation(len(samples))
    return samples.take(order[:max_samples])


def with_graph(model: keras.Model, samples: Any) -> keras.Model:
    """Return a model with a graph that computes what a model does.

    Args:
        model: `keras.Model`. A model with or without a graph.
        samples: Array, or list or dict of arrays. Samples that the model can be called with.

    Returns:
        For a model with Python code of its own, a functional model whose only layer is that model;
        otherwise the model itself.

    Raises:
        CalibrationError: The model can't be called with symbolic tensors.
    """
    if (
        is_taken_apart(model)
        or (isinstance(model, keras.Sequential) and declares_inputs(model))
        or not isinstance(model, keras.Model)
    ):
        return model
    try:
        return called_on_symbols(model, samples, "calibration samples")
    except DataError as error:
        raise CalibrationError(str(error)) from error


@dataclass(frozen=True)
class SampleSplit:
    """The division of samples into fitting and held-out ones, and among hosts.

    Attributes:
        held_out: Boolean array. For each sample, whether it is used to judge instead of to fit.
        is_local: Boolean array. For each sample, whether this host has it.
        exchange: `Exchange` with the hosts that have the other samples, or None if this host has
            all samples.
    """

    held_out: np.ndarray
    is_local: np.ndarray
    exchange: Exchange | None

    @property
    def total(self) -> int:
        """The number of samples on all hosts."""
        return len(self.held_out)

    @property
    def local_held_out(self) -> np.ndarray:
        """A boolean array that marks the samples of this host that are held out."""
        return self.held_out[self.is_local]


def hold_out(count: int, rng: np.random.Generator, block: int = 1) -> np.ndarray:
    """Return a boolean array that marks a random fifth of `count` samples, at least one.

    Args:
        count: Integer. Number of samples.
        rng: `numpy.random.Generator`.
        block: Integer. Number of consecutive samples that are marked together, if there are several
            such blocks. Defaults to 1.
    """
    if count < 2 * block:
        block = 1
    blocks = -(-count // block)
    held_out = np.zeros(blocks, dtype=bool)
    held_out[rng.permutation(blocks)[: max(1, blocks // 5)]] = True
    return np.repeat(held_out, block)[:count]


def split_samples(count: int, batch_size: int, seed: int, block: int = 1) -> SampleSplit:
    """Hold out a fifth of the samples, and divide their batches among the hosts.

    Args:
        count: Integer. Number of samples.
        batch_size: Integer. Samples in a batch.
        seed: Integer. Seed of the held-out samples.
        block: Integer. As in `hold_out`. Defaults to 1.

    Returns:
        A `SampleSplit`. Every host has all samples if dividing them would leave a host without
        samples to fit or to judge.
    """
    return _divide(hold_out(count, np.random.default_rng(seed), block), batch_size)


def _divide(held_out: np.ndarray, batch_size: int) -> SampleSplit:
    batch_of_sample, host_count = np.arange(len(held_out)) // batch_size, hosts.hosts()
    shares = [batch_of_sample % host_count == host for host in range(host_count)]
    parts = [held_out[share] for share in shares]
    if host_count > 1 and all(part.any() and not part.all() for part in parts):
        return SampleSplit(
            held_out=held_out, is_local=shares[hosts.host()], exchange=HostExchange()
        )
    return SampleSplit(held_out=held_out, is_local=np.ones_like(held_out), exchange=None)
