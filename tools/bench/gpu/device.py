"""What a backend reports about its device: whether it is a GPU, when its work is done, and how much
memory it took."""

from __future__ import annotations

from keras import ops

from keras_prelu.backend.devices import gpu
from tools.common.machine import backend


def check_device(trial: bool) -> None:
    """Raise unless Keras puts its tensors on a GPU; a trial may run without one."""
    place = str(getattr(ops.zeros(1), "device", "unknown"))
    if not trial and (gpu() is None or "cpu" in place.lower()):
        raise RuntimeError(
            f"Keras on {backend()} puts its tensors on {place}, and this measures GPUs. --trial"
            " runs without one."
        )


def wait() -> None:
    """Return when the device has done all its work."""
    if backend() == "torch" and gpu():
        import torch

        torch.cuda.synchronize()


def used_bytes() -> int:
    """Return the device memory in use; 0 where the backend does not report it."""
    if backend() == "torch" and gpu():
        import torch

        return int(torch.cuda.memory_allocated())
    return 0


def forget_peak() -> None:
    """Restart `peak_bytes`, where the backend can."""
    if backend() == "torch" and gpu():
        import torch

        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """Return the most device memory since this process began, or since `forget_peak`; None where
    the backend does not report it."""
    if backend() == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if backend() == "torch" and gpu():
        import torch

        return int(torch.cuda.max_memory_allocated())
    return None
