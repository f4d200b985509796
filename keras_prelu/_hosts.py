"""Computing on several devices and several hosts: JAX's processes, one on each host, that run the same program.

Every other backend, and JAX in one process, is one host.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

__all__ = ["alone", "gather", "gather_rows", "host", "hosts", "replicas", "wait_for_all"]


def hosts() -> int:
    """How many processes compute together."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return int(jax.process_count())


def host() -> int:
    """The number of this process among them, from 0."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return int(jax.process_index())


def replicas() -> int:
    """Into how many equal parts a batch is divided by `keras.distribution`, over all devices of all hosts."""
    distribution = keras.distribution.distribution() if keras.backend.backend() == "jax" else None
    if distribution is None or distribution.batch_dim_name is None:
        return 1
    mesh = distribution.device_mesh
    return int(mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)])


def gather(array: np.ndarray) -> np.ndarray:
    """The arrays of all hosts, of the same shape and dtype, along a new first axis; bit for bit the same on each."""
    if hosts() == 1:
        return array[None]
    from jax.experimental import multihost_utils

    raw = multihost_utils.process_allgather(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # as bytes: JAX would round float64
    return np.ascontiguousarray(raw).view(array.dtype).reshape(-1, *array.shape)


def gather_rows(array: np.ndarray) -> np.ndarray:
    """The rows of all hosts' arrays, which may have different numbers of them, one host after the other."""
    counts = gather(np.array(len(array)))
    padded = np.zeros((counts.max(), *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return np.concatenate([rows[:count] for rows, count in zip(gather(padded), counts, strict=True)])


def wait_for_all(name: str) -> None:
    """Return when all hosts have come here."""
    if hosts() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


@contextmanager
def alone() -> Iterator[None]:
    """What one host does without the others: a variable that is made under a distribution waits for all of them to make it."""
    distribution = keras.distribution.distribution() if hosts() > 1 else None
    if distribution is not None:
        keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        if distribution is not None:
            keras.distribution.set_distribution(distribution)
