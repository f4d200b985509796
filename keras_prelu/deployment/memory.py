"""Refusing exports for which this machine has too little memory."""

from __future__ import annotations

import keras

from keras_prelu.errors import ExportError
from keras_prelu.utils.machine import physical_memory

__all__ = ["check_memory"]


def check_memory(model: keras.Model, bytes_per_byte: float, taker: str, advice: str) -> None:
    """Raise an ExportError for a model for whose export this process would be killed.

    Args:
        model: `keras.Model`.
        bytes_per_byte: Float. The memory that the export takes for a byte of the model's weights.
        taker: String. The start of the message: what takes so much memory, and its verb.
        advice: String. The sentences at its end: what to do instead.
    """
    weights, memory = 4 * model.count_params(), physical_memory()
    needed = bytes_per_byte * weights
    if memory and needed > memory:
        raise ExportError(
            f"{taker} about {needed / 1e9:,.0f} GB of memory for {weights / 1e9:,.2f} GB of"
            f" weights, more than the {memory / 1e9:,.0f} GB of this machine. {advice}"
        )
