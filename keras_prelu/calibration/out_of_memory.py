"""Errors of a calibration that runs out of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from keras_prelu.errors import CalibrationError

__all__ = ["naming_layer"]


@contextlib.contextmanager
def naming_layer(path: str) -> Iterator[None]:
    """Turn the errors of NumPy and the backends that memory is used up into one that names a layer.

    Args:
        path: String. Path of the layer that is computed or refitted in the context.

    Raises:
        CalibrationError: Memory is used up.
    """
    try:
        yield
    except Exception as error:
        if not _says_out_of_memory(error):
            raise
        detail = str(error).strip().split("\n")[0].rstrip(".")
        raise CalibrationError(
            f"Out of memory at layer '{path}'{f': {detail}' if detail else ''}. Calibrate with a"
            " lower memory limit (memory_limit, --memory-limit) or fewer samples (--samples)."
        ) from error


def _says_out_of_memory(error: Exception) -> bool:
    """Return whether an exception of NumPy, TensorFlow, JAX or PyTorch says that memory is full."""
    if isinstance(error, MemoryError):
        return True
    name, text = type(error).__name__, str(error)
    return (
        name in ("ResourceExhaustedError", "OutOfMemoryError")
        or "RESOURCE_EXHAUSTED" in text
        or "can't allocate memory" in text
    )
