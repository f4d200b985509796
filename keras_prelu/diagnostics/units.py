"""Dead units: those whose pre-activation is never positive (claim 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.surgery.activity import activity

__all__ = ["SiteUnits", "dead_units"]


@dataclass(frozen=True)
class SiteUnits:
    """The units (channels) of one rectifier.

    Attributes:
        path: The site's path, as in `find_sites`.
        units: Their number.
        dead: How many of them have a pre-activation ≤ 0 on every sample and position. Under ReLU their gradient is exactly 0; under
            PReLU with α > 0 it is α times the upstream one.
    """

    path: str
    units: int
    dead: int


def dead_units(model: keras.Model, samples: Any, *, batch_size: int = 128) -> tuple[SiteUnits, ...]:
    """Count the dead units at every rectifier of a model (ReLU, LeakyReLU, PReLU; inline ones too), exactly, over all samples.

    Args:
        model: Sequential or Functional, nested models included.
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
    found = activity(model, samples, batch_size=batch_size)
    return tuple(SiteUnits(item.site.path, item.active.size, int(np.sum(item.dead))) for item in found)
