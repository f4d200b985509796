"""Computing without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import keras

__all__ = ["differentiating_on_torch", "without_gradients"]

_DIFFERENTIATES: ContextVar[bool] = ContextVar("differentiates", default=False)


def without_gradients() -> AbstractContextManager[Any]:
    """Return a context in which results don't hold what a backward pass would need.

    PyTorch attaches the graph of its computation to every tensor that depends on a weight. While
    such a tensor is stored, so are all tensors that it was computed from, and NumPy can't read it.
    TensorFlow and JAX record only what they are asked to, and so does PyTorch here: within
    `differentiating_on_torch` the context has no effect.
    """
    if keras.backend.backend() != "torch" or _DIFFERENTIATES.get():
        return nullcontext()
    import torch

    return torch.no_grad()


@contextmanager
def differentiating_on_torch() -> Iterator[None]:
    """Record what a backward pass on PyTorch needs, which belongs into the context too.

    A layer may assign to a tensor that the backward pass reads, as stateful recurrent layers do to
    their state: the backward pass gets a copy from before.
    """
    import torch

    token = _DIFFERENTIATES.set(True)
    try:
        with torch.enable_grad(), torch.autograd.graph.allow_mutation_on_saved_tensors():
            yield
    finally:
        _DIFFERENTIATES.reset(token)
