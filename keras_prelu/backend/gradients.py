"""Computing without gradients."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras

__all__ = ["without_gradients"]


def without_gradients() -> AbstractContextManager[Any]:
    """Return a context in which results don't hold what a backward pass would need.

    PyTorch attaches the graph of its computation to every tensor that depends on a weight. While
    such a tensor is stored, so are all tensors that it was computed from. TensorFlow and JAX record
    only what they are asked to.
    """
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
