"""Dead units: those whose pre-activation is never positive, and others that do little (claim 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.sites.activity import SiteActivity, activity

__all__ = ["SiteUnits", "dead_units"]

NEARLY_DEAD = 0.01
"""Of the samples: what a unit is active on at most to be called nearly dead."""
ONE_SIDED = 0.001
"""Of a unit's second moment: what its negative side carries at most to be called nothing."""


@dataclass(frozen=True)
class SiteUnits:
    """The units (channels) of one rectifier.

    Attributes:
        path: The site's path, as in `find_sites`.
        units: Their number.
        dead: How many of them have a pre-activation ≤ 0 on every sample and position. Under ReLU
            their gradient is exactly 0; under PReLU with α > 0 it is α times the upstream one.
        nearly_dead: How many others are active on at most 1 % of the samples.
        negative: The share of pre-activations that are 0 or less; the sparsity of a ReLU's outputs.
        one_sided: For a PReLU layer, how many units have a negative side that carries less than a
            thousandth of the second moment of what they put out, as under ReLU; None for other
            rectifiers.
    """

    path: str
    units: int
    dead: int
    nearly_dead: int
    negative: float
    one_sided: int | None


def dead_units(model: keras.Model, samples: Any, *, batch_size: int = 128) -> tuple[SiteUnits, ...]:
    """Count the dead units at every rectifier of a model (ReLU, LeakyReLU, PReLU; inline ones too),
    exactly, in one pass over all samples.

    Args:
        model: Sequential or Functional, nested models included, and layers with Python code of
            their own (but for functions that their code calls, as `keras.ops.relu`).
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Samples that go through the model at once.

    Returns:
        A record for each site, in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.

    Example:

    >>> sum(site.dead for site in keras_prelu.diagnostics.dead_units(model, x_test))

    References:
        Claim 2.
    """
    return tuple(map(_units, activity(model, samples, batch_size=batch_size)))


def _units(item: SiteActivity) -> SiteUnits:
    nearly = (item.active <= NEARLY_DEAD * item.samples) & ~item.dead
    return SiteUnits(
        item.site.path,
        item.active.size,
        int(item.dead.sum()),
        int(nearly.sum()),
        item.share,
        _one_sided(item),
    )


def _one_sided(item: SiteActivity) -> int | None:
    layer = item.layer
    if not isinstance(layer, PReLU):
        return None
    slopes = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)), dtype=np.float64)
    channel = 0 if layer.data_format == "channels_first" else slopes.ndim - 1
    # Where each element has a slope of its own, their mean square stands for the channel's.
    squares = np.square(slopes).mean(
        axis=tuple(axis for axis in range(slopes.ndim) if axis != channel)
    )
    negative = squares * item.negative
    return int(np.sum(negative <= ONE_SIDED * (negative + item.positive)))
