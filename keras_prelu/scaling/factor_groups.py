"""Groups of tensors with one positive factor, which the layers around them take up (claim 6).

All that steps between linear layers and BatchNormalization compute is positively homogeneous:
rectifiers, sums, poolings, reshapes. If what a group holds is multiplied by a factor s where it is
written and divided by s where it is read, the function is unchanged. Groups of `channel_groups`
have a factor for each channel and therefore end where channels are mixed or moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.graph.channel_scaling import is_batch_normalization
from keras_prelu.graph.layer_kinds import (
    is_homogeneous_function,
    is_homogeneous_op,
    is_plain_call,
    keeps_common_factor,
)
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.scaling.connected_slots import ConnectedSlots
from keras_prelu.scaling.decision_outputs import kind_of_probabilities
from keras_prelu.scaling.group_obstacles import (
    GroupRules,
    compute_dtype,
    is_homogeneous,
    obstacle,
)

__all__ = ["FactorGroup", "FactorGroups", "factor_groups"]

_FULL_PRECISION = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class FactorGroup:
    """Tensors that are multiplied by one factor.

    Attributes:
        outputs: Tuple of integers. Numbers of the model's outputs that the factor multiplies, or
            whose logits it multiplies.
        is_normalized: Boolean. Whether only BatchNormalization reads the tensors, so that it undoes
            the factor in training too.
        rounds: Boolean. Whether something around computes in a low precision, in which only powers
            of 2 multiply exactly.
        reason: String. Why the tensors can't be multiplied by a factor, or "".
    """

    outputs: tuple[int, ...]
    is_normalized: bool
    rounds: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class FactorGroups:
    """The groups of a plan, by the steps around them.

    Attributes:
        groups: Tuple of `FactorGroup`.
        read: Dict. The number of the group that a linear layer or BatchNormalization reads, by the
            id of its step.
        written: Dict. The number of the group that it writes, before its activation if that ends
            the group.
        steps: Tuple of `Step`. These steps, in execution order.
    """

    groups: tuple[FactorGroup, ...]
    read: dict[int, int]
    written: dict[int, int]
    steps: tuple[Step, ...]


def factor_groups(plan: ExecutionPlan, exact: Sequence[bool]) -> FactorGroups:
    """Return the groups of a plan.

    Args:
        plan: `ExecutionPlan`.
        exact: Sequence of booleans. For each output of the model whether it has to stay as it is;
            otherwise a positive factor may multiply it, or the logits that it is computed from.
    """
    connected = ConnectedSlots(plan, _RULES.connects)
    finder = _Finder(plan, connected, SharedVariables(plan), exact)
    steps = tuple(step for step in plan.steps if _takes_factors(step.operation))
    slots = (*plan.inputs, *(slot for step in plan.steps for slot in step.outputs))
    roots = list(dict.fromkeys(map(connected.root, slots)))
    numbers = {root: number for number, root in enumerate(roots)}
    groups = [finder.group(root) for root in roots]
    read, written = {}, {}
    for step in steps:
        read[id(step)] = numbers[connected.root(step.inputs[0])]
        written[id(step)] = numbers[connected.root(step.outputs[0])]
        if finder.is_final(step) and linear_view(step.operation) is not None:
            written[id(step)] = len(groups)
            groups.append(finder.logits_of(step))
    return FactorGroups(groups=tuple(groups), read=read, written=written, steps=steps)


@dataclass(frozen=True)
class _Finder:
    plan: ExecutionPlan
    connected: ConnectedSlots
    shared: SharedVariables
    exact: Sequence[bool]

    def group(self, root: Slot) -> FactorGroup:
        """Return the group of a set of connected slots."""
        steps = self.connected.steps.get(root, [])
        ends = [step for step in steps if not _connects(step)]
        connecting = [step for step in steps if _connects(step)]
        producers = [step for step in ends if self.connected.contains(root, step.outputs)]
        readers = [step for step in ends if self.connected.contains(root, step.inputs)]
        final = [step for step in readers if self.is_final(step) and not _uses(step)]
        consumers = [step for step in readers if not any(step is other for other in final)]
        outputs = [
            number
            for number, slot in enumerate(self.plan.outputs)
            if self.connected.root(slot) is root or any(slot in step.outputs for step in final)
        ]
        if self.connected.contains(root, self.plan.inputs):
            reason = "it is an input of the model"
        else:
            reason = self._reason(producers, connecting, consumers, outputs, _RULES)
        return FactorGroup(
            outputs=tuple(outputs),
            is_normalized=bool(consumers)
            and not outputs
            and all(is_batch_normalization(step.operation) for step in consumers),
            rounds=any(map(_rounds, (*producers, *connecting, *consumers))),
            reason=reason,
        )

    def logits_of(self, step: Step) -> FactorGroup:
        """Return the group of what a layer computes before its softmax or sigmoid."""
        outputs = [n for n, slot in enumerate(self.plan.outputs) if slot is step.outputs[0]]
        return FactorGroup(
            outputs=tuple(outputs),
            is_normalized=False,
            rounds=_rounds(step),
            reason=self._reason([step], [], [], outputs, _RULES_OF_LOGITS),
        )

    def is_final(self, step: Step) -> bool:
        """Return whether a step computes probabilities that are an output and nothing else."""
        slot = step.outputs[0]
        return (
            bool(kind_of_probabilities(step))
            and self.plan.is_output(slot)
            and not self.plan.readers(slot)
        )

    def _reason(
        self,
        producers: Sequence[Step],
        connecting: Sequence[Step],
        consumers: Sequence[Step],
        outputs: Sequence[int],
        rules: GroupRules,
    ) -> str:
        if any(self.exact[number] for number in outputs):
            return "it is an output of the model"
        return obstacle(
            self.plan,
            self.shared,
            rules,
            producers=producers,
            connecting=connecting,
            consumers=consumers,
        )


def _takes_factors(operation: Any) -> bool:
    return is_batch_normalization(operation) or linear_view(operation) is not None


def _connects(step: Step) -> bool:
    """Return whether a factor of all inputs of a step is a factor of its outputs, a cap apart."""
    layer = step.operation
    if not isinstance(layer, keras.layers.Layer):
        return is_homogeneous_op(step)
    return is_plain_call(step) and (keeps_common_factor(layer) or is_homogeneous(layer))


def _makes(step: Step) -> bool:
    """Return whether the weights of a step's layer can multiply its outputs by a factor."""
    return _has_scale(step) or (
        _has_weights(step) and is_homogeneous_function(step.operation.activation)
    )


def _has_scale(step: Step) -> bool:
    """Return whether a step is a BatchNormalization with γ.

    As a consumer, γ takes up what ε, which no factor multiplies, would change.
    """
    layer = step.operation
    return is_plain_call(step) and is_batch_normalization(layer) and bool(layer.scale)


def _has_weights(step: Step) -> bool:
    """Return whether the weights of a layer can multiply what it computes before its activation."""
    return is_plain_call(step) and linear_view(step.operation) is not None


def _uses(step: Step) -> bool:
    """Return whether the weights of a step's layer can undo a factor of its inputs."""
    return _has_scale(step) or _has_weights(step)


def _variables(layer: Any) -> list[Any]:
    """Return the variables of a layer that take up factors."""
    if is_batch_normalization(layer):
        found = [layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance]
    else:
        view = linear_view(layer)
        assert view is not None
        found = [view.kernel, view.bias]
    return [variable for variable in found if variable is not None]


def _rounds(step: Step) -> bool:
    dtypes = [compute_dtype(step)]
    if _takes_factors(step.operation):
        dtypes += [variable.dtype for variable in _variables(step.operation)]
    return not all(dtype in _FULL_PRECISION for dtype in dtypes)


_RULES = GroupRules(
    connects=_connects, makes=_makes, uses=_uses, written=_variables, read=_variables
)
_RULES_OF_LOGITS = replace(_RULES, makes=_has_weights)
