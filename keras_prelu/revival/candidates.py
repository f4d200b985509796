"""Rectifiers whose dead units can be revived, or the reason why they can't."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_prelu.graph.plan import ExecutionPlan
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.revival.records import ChangedEntries, DeadUnits, SiteRevival
from keras_prelu.scaling.unit_surroundings import Surroundings, surroundings_of
from keras_prelu.sites.activity import SiteActivity
from keras_prelu.typing import Array

__all__ = ["Candidate", "changed_entries", "variables_around"]


@dataclass(frozen=True)
class Candidate:
    """A rectifier whose dead units are to be revived.

    Attributes:
        path: String. Path of the site.
        dead: Boolean array. For each unit, whether it is dead.
        surroundings: `Surroundings` of the rectifier; or the reason why its units can't be
            revived; or None if no unit is dead.
        keeps_function: Boolean. Whether the dead units output 0 on all samples, so that reviving
            them leaves the outputs unchanged.
    """

    path: str
    dead: Array
    surroundings: Surroundings | str | None
    keeps_function: bool

    @classmethod
    def examine(
        cls,
        plan: ExecutionPlan,
        shared: SharedVariables,
        measured: SiteActivity,
        threshold: float,
    ) -> Candidate:
        dead = measured.dead_within(threshold)
        return cls(
            path=measured.site.path,
            dead=dead,
            surroundings=surroundings_of(plan, shared, measured) if dead.any() else None,
            keeps_function=bool(measured.dead[dead].all()) and measured.site.negative_slope == 0,
        )

    @property
    def is_revivable(self) -> bool:
        return isinstance(self.surroundings, Surroundings)

    def without_breaking(self, variables: Set[int]) -> Candidate:
        """Return the candidate, not to be revived if it would change any of some variables.

        Args:
            variables: Set of ids of variables whose constraints would be violated.
        """
        around = self.surroundings
        if not isinstance(around, Surroundings):
            return self
        broken = [each for each in around.variables if id(each) in variables]
        if not broken:
            return self
        return replace(self, surroundings=f"the constraint of '{broken[0].path}' would be violated")

    def found(self) -> DeadUnits:
        """Return how many units are dead, and why they can't be revived."""
        reason = self.surroundings if isinstance(self.surroundings, str) else ""
        return DeadUnits(path=self.path, dead=int(self.dead.sum()), reason=reason)

    def record(self, dead_after: Array) -> SiteRevival:
        if self.surroundings is None:
            action = "none dead"
        elif isinstance(self.surroundings, str):
            action = f"kept: {self.surroundings}"
        else:
            action = "revived"
        return SiteRevival(
            path=self.path,
            units=self.dead.size,
            dead_before=int(self.dead.sum()),
            revived=int(self.dead.sum()) if self.is_revivable else 0,
            dead_after=int(dead_after.sum()),
            action=action,
        )


def variables_around(candidates: Sequence[Candidate]) -> list[Any]:
    """Return the variables that reviving all candidates changes."""
    return [
        variable
        for candidate in candidates
        if isinstance(candidate.surroundings, Surroundings)
        for variable in candidate.surroundings.variables
    ]


def changed_entries(candidates: Sequence[Candidate]) -> tuple[ChangedEntries, ...]:
    """Return the entries that reviving all candidates changes, each variable once."""
    changed: dict[int, ChangedEntries] = {}
    for candidate in candidates:
        if not isinstance(candidate.surroundings, Surroundings):
            continue
        for variable, mask in candidate.surroundings.entries(candidate.dead):
            # A layer between two rectifiers makes the units of one and reads those of the other.
            known = changed.get(id(variable))
            both = mask if known is None else np.logical_or(known.mask, mask)
            changed[id(variable)] = ChangedEntries(variable=variable, mask=both)
    return tuple(changed.values())
