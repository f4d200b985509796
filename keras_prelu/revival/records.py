"""What a revival found and changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_prelu.typing import Array

__all__ = ["ChangedEntries", "Revival", "SiteRevival"]


@dataclass(frozen=True)
class SiteRevival:
    """The revival at one rectifier.

    Attributes:
        path: String. Path of the site.
        units: Integer. Number of units (channels) at the site; 0 for a site that is not seen, as in
            `diagnostics.dead_units`.
        dead_before: Integer. Number of dead units: those active on at most the threshold's share of
            the samples.
        revived: Integer. Number of dead units that got fresh weights.
        dead_after: Integer. Number of dead units afterwards.
        action: String. "revived", "none dead", or "kept" with the reason.
    """

    path: str
    units: int
    dead_before: int
    revived: int
    dead_after: int
    action: str


@dataclass(frozen=True)
class Revival:
    """The record of a revival.

    Attributes:
        samples: Integer. Number of samples on which dead units were found.
        threshold: Float. A unit that was active on at most this share of the samples was dead.
        loss: Float. Mean squared change of the model's outputs on the samples, divided by their
            variance and averaged over outputs. 0 for ReLU units that were active on no sample.
        sites: Tuple of `SiteRevival`, one for each rectifier.
    """

    samples: int
    threshold: float
    loss: float
    sites: tuple[SiteRevival, ...]

    @property
    def revived(self) -> int:
        """Number of units that got fresh weights."""
        return sum(site.revived for site in self.sites)


@dataclass(frozen=True)
class ChangedEntries:
    """The entries of one variable that a revival assigned.

    Attributes:
        variable: `keras.Variable`.
        mask: Array of booleans of the variable's shape. True for the weights of revived units: the
            ones that they read with, which were redrawn, and the ones that read them, which are 0.
    """

    variable: Any
    mask: Array
