"""Counts of dead units, and of units that do little (claim 2).

`sites.dead_units` defines what counts as dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.sites.activity import ActivityProbe, SiteActivity
from keras_prelu.sites.dead_units import NEARLY_DEAD

__all__ = ["SiteUnits", "dead_units"]

ONE_SIDED = 0.001
"""The share of a unit's second moment that a negligible negative side carries at most."""


@dataclass(frozen=True)
class SiteUnits:
    """The units (channels) of one site.

    Attributes:
        path: String. The site's path, as in `find_sites`.
        seen: Boolean. Whether the site was measured. Not seen are functions that Python code calls,
            and rectifiers that run only in a loop (a recurrent layer's, `keras.ops.map`), or in a
            branch or other code that the backend traces by itself (`keras.ops.cond`, `jax.jit`).
            All counts are then 0.
        units: Integer. The number of units.
        dead: Integer. The number of units whose pre-activation is ≤ 0 on every sample and position.
            Under ReLU their gradient is exactly 0; under PReLU with α > 0 it is α times the
            upstream gradient.
        nearly_dead: Integer. The number of other units that are active on at most 1 % of the
            samples.
        negative: Float, or None for a site that was not seen. The share of pre-activations that are
            ≤ 0. For ReLU this is the sparsity of the outputs.
        one_sided: Integer, or None for rectifiers other than PReLU layers. The number of units
            whose negative side carries less than a thousandth of the second moment of the output,
            which makes them nearly ReLUs.
    """

    path: str
    seen: bool
    units: int
    dead: int
    nearly_dead: int
    negative: float | None
    one_sided: int | None


@keeps_state("model")
def dead_units(model: keras.Model, samples: Any, *, batch_size: int = 128) -> tuple[SiteUnits, ...]:
    """Count the dead units at every site of a model, exactly, in one pass over all samples.

    Sites are ReLU, LeakyReLU and PReLU layers, and inline activations.

    Args:
        model: Keras model. Nested models, and layers and models with Python code of their own, are
            included, but some sites in such code are not seen (`SiteUnits.seen`).
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.

    Returns:
        A tuple of `SiteUnits`, one for each site: those that were seen in execution order, then the
        others.

    Raises:
        DataError: If the samples do not fit the model.

    Example:

    >>> sum(site.dead for site in keras_prelu.diagnostics.dead_units(model, x_test))

    References:
        Claim 2.
    """
    data = as_samples(samples, model=model, labels="ignored")
    probe = ActivityProbe(model, data.x)
    seen = [_count_units(site) for site in probe(model_inputs(model, data), batch_size)]
    paths = {site.path for site in seen}
    return (*seen, *(_not_seen(path) for path in probe.paths if path not in paths))


def _count_units(site_activity: SiteActivity) -> SiteUnits:
    rarely_active = site_activity.dead_within(NEARLY_DEAD)
    return SiteUnits(
        path=site_activity.site.path,
        seen=True,
        units=site_activity.active.size,
        dead=int(site_activity.dead.sum()),
        nearly_dead=int((rarely_active & ~site_activity.dead).sum()),
        negative=site_activity.share,
        one_sided=_count_one_sided(site_activity),
    )


def _not_seen(path: str) -> SiteUnits:
    return SiteUnits(
        path=path, seen=False, units=0, dead=0, nearly_dead=0, negative=None, one_sided=None
    )


def _count_one_sided(site_activity: SiteActivity) -> int | None:
    layer = site_activity.layer
    if not isinstance(layer, PReLU):
        return None
    slopes = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)), dtype=np.float64)
    channel_axis = 0 if layer.data_format == "channels_first" else slopes.ndim - 1
    other_axes = tuple(axis for axis in range(slopes.ndim) if axis != channel_axis)
    # If each element has a slope of its own, their mean square represents the channel's slope.
    negative = np.square(slopes).mean(axis=other_axes) * site_activity.negative
    return int(np.sum(negative <= ONE_SIDED * (negative + site_activity.positive)))
