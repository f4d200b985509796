"""Slots of a plan that steps connect, so that what they hold has to be scaled together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_prelu.graph.plan import ExecutionPlan, Slot, Step

__all__ = ["ConnectedSlots"]


class ConnectedSlots:
    """The slots of a plan as disjoint sets of connected slots.

    A set is identified by one of its slots, its root.

    Args:
        plan: `ExecutionPlan`.
        connects: Callable. Takes a step, and returns whether it connects the slots that it reads
            and writes.

    Attributes:
        members: Dict. For each root the slots of its set that steps write.
        steps: Dict. For each root the steps that read or write a slot of its set.
    """

    def __init__(self, plan: ExecutionPlan, connects: Callable[[Step], bool]) -> None:
        self._parents: dict[Slot, Slot] = {}
        for step in filter(connects, plan.steps):
            for slot in (*step.inputs[1:], *step.outputs):
                self._parents[self.root(slot)] = self.root(step.inputs[0])
        self.members: dict[Slot, list[Slot]] = {}
        self.steps: dict[Slot, list[Step]] = {}
        for step in plan.steps:
            for slot in step.outputs:
                self.members.setdefault(self.root(slot), []).append(slot)
            for root in dict.fromkeys(map(self.root, (*step.inputs, *step.outputs))):
                self.steps.setdefault(root, []).append(step)

    def root(self, slot: Slot) -> Slot:
        """Return the root of the set of a slot."""
        path = []
        while self._parents.setdefault(slot, slot) is not slot:
            path.append(slot)
            slot = self._parents[slot]
        self._parents.update(dict.fromkeys(path, slot))  # The next search takes one step.
        return slot

    def contains(self, root: Slot, slots: Sequence[Slot]) -> bool:
        """Return whether a set contains any of some slots."""
        return any(self.root(slot) is root for slot in slots)
