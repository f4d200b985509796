"""Candidates: the recipes, and the rates of their slopes, that are worth a trial for a model.

Nothing that was measured before training predicts how much a recipe gains. But some of it predicts
which ones are worth a trial: dead units whether to revive, BatchNormalization whether to reset
norms, and the optimizer how fast slopes may learn (docs/explanation/results.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.training.recipes import FAST, RECIPES, RESET_NORMS, REVIVE, Recipe
from keras_prelu.training.slope_rates import (
    EQUAL,
    FAST_WITH_NORMALIZATION,
    fast_multiplier,
    has_batch_normalization,
)
from keras_prelu.training.slope_rates import FAST as FAST_MULTIPLIER

__all__ = ["Candidate", "candidate_of", "candidates"]

_ON_REQUEST = ("exp", "exp-revived", "shrink-perturb")
"""Recipes that are not tried: another one was at least as good wherever the first two were better
than ReLU, and the last one forgets what the network knew."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe, and how fast its slopes learn.

    Attributes:
        recipe: `Recipe`.
        multiplier: Float. Ratio of the slopes' learning rate to that of the weights; 1 without
            slopes that learn.
    """

    recipe: Recipe
    multiplier: float = EQUAL


def candidate_of(recipe: Recipe, model: keras.Model, optimizer: Any) -> Candidate:
    """Return a recipe with the rate of slopes that suits the optimizer and the network.

    Args:
        recipe: `Recipe`.
        model: Keras model. The ReLU model.
        optimizer: Keras optimizer or its name.
    """
    if recipe.slopes is None or recipe.slopes.learn != FAST:
        return Candidate(recipe=recipe)
    normalized = has_batch_normalization(model)
    return Candidate(recipe=recipe, multiplier=fast_multiplier(optimizer, normalized=normalized))


def candidates(
    model: keras.Model, optimizer: Any, *, has_dead_units: bool, tries_rates: bool = True
) -> tuple[Candidate, ...]:
    """Return what is worth a trial for a model, the most promising first.

    The ReLU model is always among them, the one with revived units if there are dead ones, and the
    one with reset norms if there is a BatchNormalization.

    Args:
        model: Keras model. The ReLU model.
        optimizer: Keras optimizer or its name.
        has_dead_units: Bool. Whether any unit of the model is dead on the new data.
        tries_rates: Bool. Whether the leading recipe is tried at two rates of slopes: the one that
            `fast_multiplier` returns, and 10, or 3 if it is 10. Under plain SGD too ten times the
            rate is best where it does not diverge. Defaults to True.
    """
    normalized = has_batch_normalization(model)
    tried = [
        candidate_of(recipe, model, optimizer)
        for recipe in RECIPES
        if _is_promising(recipe, has_dead_units=has_dead_units, normalized=normalized)
    ]
    first, *controls = [candidate for candidate in tried if not candidate.recipe.converts]
    leading = _leading(tried)
    others = [each for each in tried if each.recipe.converts and each != leading]
    if tries_rates:
        fast, slower = FAST_MULTIPLIER, FAST_WITH_NORMALIZATION
        other = replace(leading, multiplier=slower if leading.multiplier == fast else fast)
        others.insert(0, other)
    # A budget that is too small for all leaves out the last ones, which must not be the controls.
    return (first, leading, *controls, *others)


def _leading(tried: Sequence[Candidate]) -> Candidate:
    """Return the recipe to try at two rates: one that resets norms, or else the first with slopes.

    A reset recipe is among the candidates only where it is of use.
    """
    converting = [candidate for candidate in tried if candidate.recipe.converts]
    resets = [each for each in converting if RESET_NORMS in each.recipe.preparations]
    return (resets or converting)[0]


def _is_promising(recipe: Recipe, *, has_dead_units: bool, normalized: bool) -> bool:
    if recipe.name in _ON_REQUEST:
        return False
    if REVIVE in recipe.preparations and not has_dead_units:
        return False
    if RESET_NORMS in recipe.preparations and not normalized:
        return False
    # Constrained slopes were far off in networks with BatchNormalization.
    is_constrained = recipe.slopes is not None and recipe.slopes.learn != FAST
    return not (is_constrained and normalized)
