"""What a revival found and changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_prelu.typing import Array

__all__ = ["ChangedEntries", "DeadUnits", "Revival", "SiteRevival"]


@dataclass(frozen=True)
class DeadUnits:
    """The dead units of one rectifier.

    Attributes:
        path: String. Path of the site.
        dead: Integer. Number of dead units.
        reason: String. Why they can't be revived; "" if they can, or none is dead.
    """

    path: str
    dead: int
    reason: str

    @property
    def revivable(self) -> int:
        """Number of dead units that can be revived."""
        return 0 if self.reason else self.dead


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

    @property
    def has_effect(self) -> bool:
        """Whether any weight was changed."""
        return self.revived > 0

    @property
    def note(self) -> str:
        """Which dead units were kept and why, in one sentence; "" if all of them were revived."""
        nothing = "" if self.has_effect else "Nothing was revived: "
        kept = [site for site in self.sites if site.dead_before > site.revived]
        if not kept:
            is_blind = any(site.units == 0 for site in self.sites)
            seen = " of those that are seen" if is_blind else ""
            return nothing and f"{nothing}no unit{seen} is dead."
        worst = max(kept, key=lambda site: site.dead_before)
        count = sum(site.dead_before for site in kept)
        units = "1 dead unit was" if count == 1 else f"{count} dead units were"
        most = ", most" if len(kept) > 1 else ""
        reason = worst.action.removeprefix("kept: ")
        return f"{nothing}{units} kept{most} at '{worst.path}' ({reason})."


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
