"""Hosts: on JAX, the processes that run the same program together, one for each host.

On the other backends, and on JAX in one process, there is one host. TensorFlow's strategy for
several hosts and the processes of `torch.distributed` are only recognized, since Keras can't train
under them.

What happens on several hosts: `calibration.samples` and `data.batches` divide samples among them,
`calibration.host_exchange` adds up what the fits of layers need, `graph.batch_probe` measures
without compiling, and `calibration.verification` checks no steps. One host writes checkpoints and
logs for all (`training.checkpoints`, `callbacks`), and each reads model files by itself
(`io.model_files`). `training.arguments` and `calibration.distillation` refuse what does not work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

__all__ = [
    "gather",
    "gather_rows",
    "host",
    "hosts",
    "torch_processes",
    "trains_on_several_tensorflow_hosts",
    "wait_for_all",
    "without_distribution",
]


def hosts() -> int:
    """Return how many processes compute together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return int(jax.process_count())


def host() -> int:
    """Return the index of this process among the hosts, from 0."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return int(jax.process_index())


def gather(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all hosts along a new first axis, bit for bit the same on each host.

    Args:
        array: Array. It has the same shape and dtype on all hosts.
    """
    if hosts() == 1:
        return array[None]
    from jax.experimental import multihost_utils

    # Sent as bytes, since JAX would round float64.
    raw = multihost_utils.process_allgather(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return np.ascontiguousarray(raw).view(array.dtype).reshape(-1, *array.shape)


def gather_rows(array: np.ndarray) -> np.ndarray:
    """Return the rows of all hosts' arrays, one host after the other.

    Args:
        array: Array. Its number of rows may differ between hosts.
    """
    counts = gather(np.array(len(array)))
    padded = np.zeros((counts.max(), *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return np.concatenate(
        [rows[:count] for rows, count in zip(gather(padded), counts, strict=True)]
    )


def wait_for_all(name: str) -> None:
    """Wait until all hosts have called this function with the same name."""
    if hosts() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


@contextmanager
def without_distribution() -> Iterator[None]:
    """Return a context in which `keras.distribution` divides no batches and no new variables.

    One host can create variables there that the others don't create: under a distribution, creating
    a variable waits for all hosts. Variables stay where they are. The distribution is a setting of
    the whole process: another thread that calls a model meanwhile computes its batches undivided.
    """
    distribution = keras.distribution.distribution()
    if distribution is not None:
        keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        if distribution is not None:
            keras.distribution.set_distribution(distribution)


def torch_processes() -> int:
    """Return how many processes of `torch.distributed` this one belongs to, on the PyTorch backend.

    Keras does not train together on them: each would train by itself.
    """
    if keras.backend.backend() != "torch":
        return 1
    import torch

    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 1
    return int(torch.distributed.get_world_size())


def trains_on_several_tensorflow_hosts() -> bool:
    """Return whether the current TensorFlow strategy is the one for several hosts."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)
