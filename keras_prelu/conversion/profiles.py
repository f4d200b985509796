"""Profiles: conversions for a purpose, as settings of what `convert` takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from keras_prelu.constraints import Between
from keras_prelu.conversion.arguments import NewSlopes
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.parameterizations import POSITIVE

__all__ = ["PROFILES", "ConversionProfile", "get_profile"]

_CHANNEL_WISE = "channel_wise"
"""The default of `convert`."""


@dataclass(frozen=True, kw_only=True)
class ConversionProfile:
    """Settings of a conversion for a purpose.

    Attributes:
        name: String. Name by which users select the profile.
        shared_axes: Axes that share one slope, as in `PReLU`.
        bounds: `Between`. The constraint of slopes under "identity".
        largest_clipped_share: Float. Caps that cut off at most this share of a site's outputs are
            removed.
    """

    name: str
    shared_axes: str
    bounds: Between
    largest_clipped_share: float

    def axes(self, shared_axes: Any) -> Any:
        """Return the axes that share one slope, given the argument of `convert`."""
        if shared_axes not in (_CHANNEL_WISE, self.shared_axes):
            raise InvalidArgumentError(
                f"profile={self.name!r} sets shared_axes={self.shared_axes!r}: leave it out."
                f" Received: shared_axes={shared_axes!r}"
            )
        return self.shared_axes

    def parameterization(self, parameterization: Any) -> Any:
        """Return the map of slopes, given the argument of `convert`."""
        return POSITIVE if parameterization is None else parameterization

    def bounded(self, slopes: NewSlopes) -> NewSlopes:
        """Return new slopes within the bounds.

        Raises:
            InvalidArgumentError: The map has no such bounds, or the slope is out of them.
        """
        if slopes.constraint is not None:
            self.bounds.check(slopes.slope)
            return replace(slopes, constraint=self.bounds)
        if slopes.parameterization.at_most_one:
            return slopes
        raise InvalidArgumentError(
            f"profile={self.name!r} needs slopes of at most {self.bounds.maximum:g}:"
            " parameterization 'positive', its default, or 'sigmoid'. Received:"
            f" {slopes.parameterization.name!r}"
        )


PROFILES = {
    "deployment": ConversionProfile(
        name="deployment",
        shared_axes="channel_shared",
        bounds=Between(),
        # Caps that clip at most this much add 0.002 to the error of the outputs once the layers are
        # refitted; one that clips 2 to 9 % nearly doubles it.
        largest_clipped_share=0.002,
    )
}
"""The profiles by name."""


def get_profile(name: str | None) -> ConversionProfile | None:
    """Return the profile of a name, and None for None.

    Raises:
        InvalidArgumentError: There is no such profile.
    """
    if name is None:
        return None
    if name not in PROFILES:
        raise InvalidArgumentError(
            f"`profile` must be one of {', '.join(map(repr, PROFILES))}, or None. Received:"
            f" {name!r}"
        )
    return PROFILES[name]
