"""The scale symmetry: networks that differ by moved scales and compute the same (claim 6)."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.surgery.channel_groups import channel_groups
from keras_prelu.surgery.program import compile_program
from keras_prelu.surgery.rewrite import rewrite

__all__ = ["GroupScale", "rescaled", "scales"]


@dataclass(frozen=True)
class GroupScale:
    """Channels that are made together and used together, and whose scale can be moved between the layers that do.

    Attributes:
        producers: Paths of the layers that make them.
        consumers: Paths of the layers that use them.
        channels: How many there are.
        balance: For each channel the largest weight that makes it over the largest that uses it, which the symmetry leaves open: `equalize`
            makes them 1.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    balance: np.ndarray


def scales(model: keras.Model) -> tuple[GroupScale, ...]:
    """Where the scales of a model's channels are, for each group that can be scaled without changing the function.

    Args:
        model: Sequential or Functional, nested models included.

    Returns:
        A record for each group; groups that can't be scaled (through a cap, into the outputs) are left out.

    Raises:
        ConversionError: The model has no graph.

    Example:

    >>> [group.balance.max() / group.balance.min() for group in keras_prelu.diagnostics.scales(model)]

    References:
        Claim 6.
    """
    found = []
    for group in channel_groups(compile_program(model)):
        if not group.reason:
            made, used = group.made(), group.used()
            balance = np.divide(made, used, out=np.full(made.shape, np.inf), where=used > 0)
            producers, consumers = (tuple(step.path for step in steps) for steps in (group.producers, group.consumers))
            found.append(GroupScale(producers, consumers, group.channels, balance))
    return tuple(found)


def rescaled(model: keras.Model, *, factor: float = 10.0, seed: int = 0) -> keras.Model:
    """Another network of the same function: each channel's scale moved at random between the layers that make it and those that use it.

    Args:
        model: Sequential or Functional, nested models included. It is not changed.
        factor: Channels are multiplied by 1/factor to factor, log-uniformly. Defaults to 10.
        seed: Of the factors.

    Returns:
        A new model with the outputs of the given one, but for rounding.

    Raises:
        ConversionError: The model has no graph.

    Example:

    >>> keras_prelu.diagnostics.rescaled(model, seed=1).predict(x)

    References:
        Claim 6.
    """
    copy, rng = rewrite(model), np.random.default_rng(seed)
    for group in channel_groups(compile_program(copy)):
        if not group.reason:
            group.scale(factor ** rng.uniform(-1.0, 1.0, group.channels))
    return copy
