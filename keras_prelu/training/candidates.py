"""Candidates: the recipes, and the rates of their slopes, that are worth a trial for a model.

Nothing that was measured before training predicts how much a recipe gains. But some of it predicts
which ones are worth a trial: dead units whether to revive, BatchNormalization whether to reset
norms, and the optimizer how fast slopes may learn (docs/explanation/results.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.training.recipes import (
    FAST,
    RECIPES,
    RESET_NORMS,
    SHRINK_AND_PERTURB,
    Recipe,
)
from keras_prelu.training.slope_multipliers import (
    EQUAL,
    fast_multiplier,
    has_batch_normalization,
    tried_multipliers,
)

__all__ = ["Candidate", "candidate_of", "candidates"]

_ON_REQUEST = ("exp", "exp-revived", "exp-decay", "leaky-revived", "shrink-perturb")
"""Recipes that are not tried, since another one was at least as good.

Positive slopes from the start often win a short trial. On the tasks after it free slopes were
better in most streams, and under SGD networks with positive slopes diverged some tasks later
(docs/explanation/results.md).
"""


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
    model: keras.Model, optimizer: Any, *, effective: Collection[str], tries_rates: bool = True
) -> tuple[Candidate, ...]:
    """Return what is worth a trial for a model, the most promising first.

    The ReLU model is always among them, the one with revived units if there are dead ones that can
    be revived, and the one with reset norms if there is a BatchNormalization.

    Args:
        model: Keras model. The ReLU model.
        optimizer: Keras optimizer or its name.
        effective: Collection of str. Names of the preparations that change the model on the new
            data (`ModelPreparer.effective_preparations`). Recipes with others are left out.
        tries_rates: Bool. Whether the leading recipe is tried at all `tried_multipliers`. Defaults
            to True.
    """
    normalized = has_batch_normalization(model)
    tried = [
        candidate_of(recipe, model, optimizer)
        for recipe in RECIPES
        if _is_promising(recipe, effective, normalized=normalized)
    ]
    first, *controls = [candidate for candidate in tried if not candidate.recipe.converts]
    leading = _leading(tried, normalized=normalized)
    others = [each for each in tried if each.recipe.converts and each != leading]
    if tries_rates:
        higher = tried_multipliers(optimizer, normalized=normalized)[1:]
        others = [*(replace(leading, multiplier=each) for each in higher), *others]
    # A budget that is too small for all leaves out the last ones, which must not be the controls.
    return (first, leading, *controls, *others)


def _leading(tried: Sequence[Candidate], *, normalized: bool) -> Candidate:
    """Return the recipe to try at two rates: the first with slopes, and with BatchNormalization the
    one that resets norms, if any can be."""
    converting = [candidate for candidate in tried if candidate.recipe.converts]
    resets = [each for each in converting if RESET_NORMS in each.recipe.preparations]
    return (resets if normalized and resets else converting)[0]


def _is_promising(recipe: Recipe, effective: Collection[str], *, normalized: bool) -> bool:
    if recipe.name in _ON_REQUEST:
        return False
    if not set(recipe.preparations) <= set(effective):
        return False
    if normalized:
        # Shrinking was behind a reset of norms.
        return SHRINK_AND_PERTURB not in recipe.preparations
    # Without BatchNormalization a reset of norms alone did not help.
    return recipe.converts or RESET_NORMS not in recipe.preparations
