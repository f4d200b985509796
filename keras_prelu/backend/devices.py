"""The devices that the active backend computes on, and how many parts they divide a batch into.

`backend.hosts` covers several hosts.
"""

from __future__ import annotations

import keras

__all__ = ["gpu", "replicas", "tensorflow_replicas"]


def replicas() -> int:
    """Return the number of equal parts into which `keras.distribution` divides a batch.

    All devices of all hosts count.
    """
    distribution = keras.distribution.distribution() if keras.backend.backend() == "jax" else None
    if distribution is None or distribution.batch_dim_name is None:
        return 1
    mesh = distribution.device_mesh
    return int(mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)])


def gpu() -> str | None:
    """Return the name of the GPU that the active backend computes on, or None."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return str(jax.devices()[0].device_kind) if jax.default_backend() == "gpu" else None
    if backend == "torch":
        import torch

        return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
        if devices:
            details = tf.config.experimental.get_device_details(devices[0])
            return str(details.get("device_name", "GPU"))
    return None


def tensorflow_replicas() -> int:
    """Return the number of parts into which the current TensorFlow strategy divides a batch."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)
