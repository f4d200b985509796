"""Scaling the layers of a trained network back to the norms that they had at first (claim 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.graph.saved_weights import restored_on_failure
from keras_prelu.scaling.common_factors import WantedFactor, log_factors, take_factors
from keras_prelu.scaling.decision_outputs import decision_outputs, output_probabilities
from keras_prelu.scaling.factor_groups import FactorGroups, factor_groups
from keras_prelu.scaling.layer_norms import initial_norms, kernel_norms, reference_norms
from keras_prelu.typing import Array
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS
from keras_prelu.verification.same_decisions import DecisionCheck
from keras_prelu.verification.same_function import FunctionCheck

__all__ = ["LayerReset", "NormReset", "reset_norms"]

_REACHED = 1e-3
"""A norm is at its target if it differs by this share at most, as in bfloat16."""


@dataclass(frozen=True, kw_only=True)
class LayerReset:
    """The reset of one linear layer.

    Attributes:
        path: String. Path of the layer.
        norm_before: Float. Frobenius norm of its kernel (of the pointwise kernel of a separable
            convolution).
        target: Float. The norm at initialization; NaN if it is not known.
        norm_after: Float. The norm afterwards.
        action: String. "reset" if the norm is at its target; "scaled" or "kept" with the reason why
            it is not.
    """

    path: str
    norm_before: float
    target: float
    norm_after: float
    action: str


@dataclass(frozen=True, kw_only=True)
class NormReset:
    """The record of a reset of norms.

    Attributes:
        layers: Tuple of `LayerReset`, one for each linear layer, in execution order.
        output_factors: Tuple of floats. For each output of the model the positive factor that now
            multiplies it (or the logits that its probabilities come from); 1 if it is unchanged.
    """

    layers: tuple[LayerReset, ...]
    output_factors: tuple[float, ...]

    @property
    def output_factor(self) -> float:
        """The factor of all outputs; NaN if they have different factors."""
        first = self.output_factors[0]
        return first if len(set(self.output_factors)) == 1 else float("nan")

    @property
    def has_effect(self) -> bool:
        """Whether any weight was changed."""
        norms = [(layer.norm_before, layer.norm_after) for layer in self.layers]
        return any(before != after for before, after in norms) or set(self.output_factors) > {1.0}

    @property
    def note(self) -> str:
        """Why no norm was reset, in one sentence; "" if any was."""
        if self.has_effect:
            return ""
        if not self.layers:
            return "No norm was reset: the graph has no linear layers."
        kept = [layer for layer in self.layers if layer.action != "reset"]
        if not kept:
            return "No norm was reset: all are those at initialization."
        which = "" if len(kept) == 1 else f"all {len(kept)} linear layers were kept, such as "
        was = " was kept" if len(kept) == 1 else ""
        reason = kept[0].action.partition(": ")[2]
        return f"No norm was reset: {which}'{kept[0].path}'{was} ({reason})."


@on_large_graphs
def reset_norms(
    model: keras.Model,
    *,
    reference: keras.Model | None = None,
    outputs: Literal["exact", "decisions"] | None = None,
    seed: int = 0,
) -> NormReset:
    """Scale linear layers back to the norms that they had at initialization, in place.

    The weights of a network grow while it is trained, and steps of the same size then change it
    less and less. The scale symmetry allows to undo that without a change of what it computes.

    A layer before a BatchNormalization gets its norm exactly: kernel, bias and moving mean are
    multiplied by c and the moving variance by c²; γ takes up what ε changes. Between other layers,
    rectifiers, sums, poolings and reshapes are positively homogeneous, so that a factor is passed
    on from layer to layer. The factors are those of least squares: they minimize the sum over
    layers of the square of log(norm / target).

    Inference is unchanged up to rounding. In training mode, so is the loss, apart from penalties on
    weights. Create a new optimizer for the training that follows: the averages that the old one has
    of gradients are those of the old weights.

    Args:
        model: `keras.Model`. Sequential or Functional; ReLU or PReLU. It is changed.
        reference: `keras.Model` or None. The model before its training, the source of the target
            norms; that of a converted model may be the ReLU model. Defaults to None: weights are
            drawn from the layers' own initializers.
        outputs: String or None. What is kept of the model's outputs. "exact": all of it; the layers
            that compute the outputs take the rest of the factors. "decisions": the outputs (before
            a softmax or sigmoid) may be multiplied by one positive factor each, which keeps the
            most probable class and the threshold of 1/2, so that these layers get their norms too.
            Defaults to None: "decisions" for outputs whose compiled loss is a cross-entropy of
            logits, or of a softmax or sigmoid that the model ends with; "exact" for others.
        seed: Integer. Seed of the weights that are drawn without a reference. Defaults to 0.

    Returns:
        A `NormReset`. Where the symmetry does not hold (a capped activation, a layer that is called
        several times or shares its weights, one with a constraint other than `NonNeg`, one that
        computes in float16), weights are kept, and the record has the reason. Factors around layers
        that compute in bfloat16 are powers of 2.

    Raises:
        ConversionError: The model has no graph; or its predictions change otherwise than stated, so
            that it got its old weights back.
        InvalidArgumentError: A ValueError; `outputs` is none of the above, or `reference` has other
            linear layers.

    Example:

    >>> record = keras_prelu.reset_norms(model)
    >>> [layer.path for layer in record.layers if layer.action == "reset"]
    >>> converted = keras_prelu.convert(model, parameterization="identity")

    References:
        Claim 6; Lyle et al. 2024, https://arxiv.org/abs/2407.01800.
    """
    if outputs not in (None, "exact", "decisions"):
        raise InvalidArgumentError(
            f"`outputs` must be 'exact', 'decisions' or None. Received: outputs={outputs!r}"
        )
    plan = compile_plan(model)
    targets = (
        initial_norms(model, plan, seed) if reference is None else reference_norms(plan, reference)
    )
    found = factor_groups(plan, _kept_outputs(model, plan, outputs))
    before = kernel_norms(plan)
    factors = _factors(found, before, targets)
    _scale_verified(model, plan, found, factors)
    return NormReset(
        layers=tuple(_records(found, factors, before, targets, kernel_norms(plan))),
        output_factors=_output_factors(plan, found, factors),
    )


def _kept_outputs(model: keras.Model, plan: ExecutionPlan, outputs: str | None) -> tuple[bool, ...]:
    """Return for each output whether it has to stay exactly as it is."""
    if outputs is not None:
        return (outputs == "exact",) * len(plan.outputs)
    return tuple(not decision for decision in decision_outputs(model, plan))


def _factors(
    found: FactorGroups, norms: Mapping[int, float], targets: Mapping[int, float]
) -> Array:
    """Return the logarithms of the factors of groups.

    Layers that write outputs which have to stay take what the factors of other layers leave.
    """
    wanted = [
        WantedFactor(
            read=found.read[id(step)],
            written=found.written[id(step)],
            logarithm=float(np.log(targets[layer] / norms[layer])),
        )
        for step in found.steps
        if (layer := id(step.operation)) in norms
        and norms[layer] > 0
        and targets.get(layer, 0.0) > 0
        and not _takes_rest(found, step)
    ]
    groups = found.groups
    factors = log_factors(
        wanted,
        free=[not group.reason for group in groups],
        preferred=[group.is_normalized or bool(group.outputs) for group in groups],
    )
    rounded = np.log(2.0) * np.round(factors / np.log(2.0))
    result: Array = np.where([group.rounds for group in groups], rounded, factors)
    return result


def _takes_rest(found: FactorGroups, step: Step) -> bool:
    group = found.groups[found.written[id(step)]]
    return bool(group.outputs) and bool(group.reason)


def _scale_verified(
    model: keras.Model, plan: ExecutionPlan, found: FactorGroups, factors: Array
) -> None:
    """Scale layers, and check that outputs change by their factors alone.

    The outputs are first kept, which can be checked to the last digit that rounding leaves, and
    then multiplied by their factors.

    Raises:
        ConversionError: They change otherwise; the weights are restored.
    """
    of_outputs = np.array([bool(group.outputs) for group in found.groups])
    check, decisions = FunctionCheck(model), DecisionCheck(model)
    with restored_on_failure(_weights(found)):
        _take(found, np.where(of_outputs, 0.0, factors))
        reason = check.difference(model, OTHER_WEIGHTS)
        if not reason and factors[of_outputs].any():
            _take(found, np.where(of_outputs, factors, 0.0))
            reason = decisions.difference(
                model, _output_factors(plan, found, factors), output_probabilities(plan)
            )
        if reason:
            raise ConversionError(
                f"Resetting the norms of '{model.name}' changes what it computes: {reason}. The"
                " model has its old weights."
            )


def _weights(found: FactorGroups) -> list[Any]:
    return [variable for step in found.steps for variable in step.operation.variables]


def _take(found: FactorGroups, factors: Array) -> None:
    for step in found.steps:
        read, written = factors[found.read[id(step)]], factors[found.written[id(step)]]
        if read or written:
            take_factors(step.operation, float(read), float(written))


def _output_factors(plan: ExecutionPlan, found: FactorGroups, factors: Array) -> tuple[float, ...]:
    return tuple(
        float(np.exp(sum(s for s, g in zip(factors, found.groups, strict=True) if n in g.outputs)))
        for n in range(len(plan.outputs))
    )


def _records(
    found: FactorGroups,
    factors: Array,
    before: Mapping[int, float],
    targets: Mapping[int, float],
    after: Mapping[int, float],
) -> Iterator[LayerReset]:
    seen = set()
    for step in found.steps:
        layer = id(step.operation)
        if layer not in before or layer in seen:
            continue
        seen.add(layer)
        target = targets.get(layer, float("nan"))
        if abs(after[layer] - target) <= _REACHED * target:
            action = "reset"
        else:
            moved = factors[found.written[id(step)]] != factors[found.read[id(step)]]
            reason = _obstacle(found, step, before[layer], target)
            action = f"{'scaled' if moved else 'kept'}: {reason}"
        yield LayerReset(
            path=step.path,
            norm_before=before[layer],
            target=target,
            norm_after=after[layer],
            action=action,
        )


def _obstacle(found: FactorGroups, step: Step, before: float, target: float) -> str:
    """Return why a layer is not at its target."""
    read, written = (found.groups[numbers[id(step)]] for numbers in (found.read, found.written))
    if np.isnan(target):
        return "its norm at initialization is not known"
    if before == 0 or target == 0:
        return f"its kernel {'is' if before == 0 else 'was'} 0"
    if read.reason and written.reason:
        return written.reason
    if _takes_rest(found, step):
        return "it takes what other factors leave, so that the output is kept"
    if read.rounds or written.rounds:
        return "its factor is a power of 2, for the sake of a low precision"
    return "other layers share its factors, which are those of least squares"
