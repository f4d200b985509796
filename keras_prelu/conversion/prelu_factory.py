"""The PReLU layer for a site of the original model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.arguments import NewSlopes
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.layers import PReLU
from keras_prelu.parameterizations import Identity, Parameterization
from keras_prelu.sites.prelu_layers import layers_at
from keras_prelu.sites.site import LocatedSite, Site

__all__ = ["PReLUFactory", "copy_slopes", "has_own_slope", "keeps_slopes"]


@dataclass(frozen=True)
class PReLUFactory:
    """Factory for the PReLU layers of a conversion.

    Attributes:
        new_slopes: `NewSlopes`. Those of sites without slopes of their own.
        shared_axes: Axes that share one slope, as in `PReLU`.
        alpha_regularizer: Regularizer of the slopes, as in `PReLU`.
        beta_regularizer: Regularizer of their raw parameters, as in `PReLU`.
        keep_slopes: Boolean. Whether a site with a slope of its own keeps it.
        uncapped: Frozen set of strings. Paths of sites whose caps are left out.
    """

    new_slopes: NewSlopes
    shared_axes: Any
    alpha_regularizer: Any
    beta_regularizer: Any
    keep_slopes: bool
    uncapped: frozenset[str] = frozenset()

    def keeps_slopes_of(self, site: Site) -> bool:
        """Return whether a site keeps slopes of its own."""
        return self.keep_slopes and has_own_slope(site)

    def slope_change(self, site: Site) -> float:
        """Return by how much the slope of a site changes.

        It is infinite for a smooth site, which no PReLU equals, and for learned slopes that are
        overwritten.
        """
        if site.is_smooth:
            return math.inf
        if self.keeps_slopes_of(site):
            return 0.0
        if site.negative_slope is None:
            return math.inf
        return abs(self.new_slopes.slope - site.negative_slope)

    def make(self, located: LocatedSite) -> PReLU:
        """Return the layer for a site, which is not built.

        If the slopes of a `keras.layers.PReLU` are kept, they are not assigned yet, since that
        needs a built layer: see `copy_slopes`.
        """
        site, settings = located.site, self._slope_settings(located)
        return PReLU(
            settings.slope,
            parameterization=settings.parameterization,
            alpha_constraint=settings.constraint,
            alpha_regularizer=settings.regularizer,
            beta_regularizer=self.beta_regularizer,
            shared_axes=settings.shared_axes,
            max_value=None if site.path in self.uncapped else site.max_value,
            data_format=located.data_format,
            drop_mask=_drops_mask(located),
            name=site.target.rsplit("/", 1)[-1],
            dtype=_dtype_policy(located),
            activity_regularizer=_activity_regularizer(located),
        )

    def make_built(self, located: LocatedSite) -> PReLU:
        """Return the built layer for a site inside a layer with Python code of its own.

        No graph would build this layer, since only that Python code calls it.

        Raises:
            ConversionError: The layer can't be built for all tensors that the site is applied to.
        """
        layer = self.make(located)
        try:
            layer.build(located.shapes[0])
        except InvalidArgumentError as error:
            raise ConversionError(f"Site '{located.site.path}': {error}") from error
        for shape in located.shapes[1:]:
            if any(shape[axis] != size for axis, size in layer.input_spec.axes.items()):
                raise ConversionError(
                    f"Site '{located.site.path}' is applied to tensors of shapes"
                    f" {located.shapes[0]} and {shape}: they can't have the same slopes. Share"
                    ' slopes along the axes that differ (shared_axes="channel_wise"), or exclude'
                    " it."
                )
        return layer

    def _slope_settings(self, located: LocatedSite) -> _SlopeSettings:
        new, site = self.new_slopes, located.site
        if not self.keeps_slopes_of(site):
            return _SlopeSettings(
                slope=new.slope,
                parameterization=new.parameterization,
                constraint=new.constraint,
                regularizer=self.alpha_regularizer,
                shared_axes=self.shared_axes,
            )
        if site.negative_slope is None:
            return self._settings_of_stock(located.owner)
        slopes = np.asarray(site.negative_slope)
        is_able = _can_represent(new, slopes)
        return _SlopeSettings(
            slope=float(slopes.flat[0]),
            parameterization=new.parameterization if is_able else Identity(),
            constraint=new.constraint if is_able else None,
            regularizer=self.alpha_regularizer,
            shared_axes=self.shared_axes,
        )

    def _settings_of_stock(self, stock: keras.layers.PReLU) -> _SlopeSettings:
        """Return the settings of a `keras.layers.PReLU`, whose constraint and regularizer count.

        Only slopes under "identity" have a constraint of Keras.
        """
        new, slopes = self.new_slopes, keras.ops.convert_to_numpy(stock.alpha)
        is_able = stock.alpha_constraint is None and _can_represent(new, slopes)
        return _SlopeSettings(
            slope=float(slopes.flat[0]),
            parameterization=new.parameterization if is_able else Identity(),
            constraint=new.constraint if is_able else stock.alpha_constraint,
            regularizer=self.alpha_regularizer or stock.alpha_regularizer,
            shared_axes=stock.shared_axes,
        )


@dataclass(frozen=True)
class _SlopeSettings:
    slope: float
    parameterization: Parameterization
    constraint: Any
    regularizer: Any
    shared_axes: Any


def _drops_mask(located: LocatedSite) -> bool:
    """Return whether the rectifier at a site drops the mask of its input.

    Functions do; layers pass it on. A layer that applies its `activation` passes its own mask on.
    """
    if located.held is None:
        return located.site.kind == "op"
    return not isinstance(located.held.owner, keras.layers.Layer) or (
        located.site.kind == "function"
    )


def has_own_slope(site: Site) -> bool:
    """Return whether the original has a slope at a site.

    It has one if it applies LeakyReLU, ReLU(negative_slope) or a `keras.layers.PReLU`.
    """
    return site.negative_slope is None or site.negative_slope != 0.0


def copy_slopes(layer: PReLU, stock: keras.layers.PReLU) -> None:
    """Assign to a built layer the slopes of the `keras.layers.PReLU` that it replaces."""
    raw_parameters = layer.parameterization.beta(keras.ops.convert_to_numpy(stock.alpha))
    layer.beta.assign(raw_parameters.reshape(layer.beta.shape))


def keeps_slopes(converted: keras.Model, sites: Sequence[LocatedSite]) -> bool:
    """Return whether the layer at each site has the slopes of the rectifier that it replaces.

    Args:
        converted: `keras.Model`.
        sites: Sequence of `LocatedSite`. The sites of the original that were converted.
    """
    layers = layers_at(converted, (each.site.target for each in sites))
    return all(_has_slopes_of(layers[each.site.target], each) for each in sites)


def _has_slopes_of(layer: PReLU, located: LocatedSite) -> bool:
    if located.site.is_smooth:
        return False
    slopes = keras.ops.convert_to_numpy(layer.alpha)
    slope = located.site.negative_slope
    original = keras.ops.convert_to_numpy(located.owner.alpha if slope is None else slope)
    return bool((slopes == original.astype(slopes.dtype)).all())


def _can_represent(new: NewSlopes, slopes: np.ndarray) -> bool:
    """Return whether slopes are possible under the map and the constraint of the new ones."""
    try:
        new.parameterization.check(slopes)
        if new.constraint is not None:
            new.constraint.check(slopes)
    except InvalidArgumentError:
        return False
    return True


def _dtype_policy(located: LocatedSite) -> Any:
    """Return the dtype policy of the layer at a site.

    An op has no policy: its half-precision tensors come from a mixed-precision model.
    """
    if isinstance(located.owner, keras.layers.Layer):
        return located.owner.dtype_policy
    half_precision = located.dtype in ("float16", "bfloat16")
    return f"mixed_{located.dtype}" if half_precision else located.dtype


def _activity_regularizer(located: LocatedSite) -> Any:
    """Return the regularizer of the output of a site in a graph.

    It is that of the layer that is replaced, or of the layer whose inline activation becomes a
    layer. A layer with Python code that holds a rectifier keeps its own regularizer.
    """
    if located.held is not None:
        return None
    return getattr(located.operation, "activity_regularizer", None)
