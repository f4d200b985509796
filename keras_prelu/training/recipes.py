"""Recipes: ways to make a trained ReLU model ready for fine-tuning, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.convert import convert
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.revival import Revival, revive

__all__ = [
    "AUTO",
    "CONTROL",
    "RECIPES",
    "REVIVED_CONTROL",
    "Prepared",
    "Recipe",
    "candidates",
    "get_recipe",
    "prepare",
]

AUTO = "auto"


@dataclass(frozen=True)
class Recipe:
    """What is done with a trained ReLU model before it is fine-tuned, and how fast its slopes
    learn.

    Attributes:
        name: What it is asked for by.
        summary: What it does, for people.
        converts: Whether it makes a PReLU model; False for the controls, which stay ReLU.
        parameterization: The slopes' map.
        alpha: The initial slope.
        calibrates: Whether the linear layers are refitted, so that the model computes what it did.
        slope_multiplier: The slopes' learning rate over the weights'.
        revives: Whether dead units get fresh weights first.
        with_normalization: Whether it is worth trying in a network with BatchNormalization.
    """

    name: str
    summary: str
    converts: bool = True
    parameterization: str = "exp"
    alpha: float = 0.25
    calibrates: bool = True
    slope_multiplier: float = 1.0
    revives: bool = False
    with_normalization: bool = True


CONTROL = Recipe("relu", "the ReLU model as it is: the control", converts=False)
REVIVED_CONTROL = Recipe(
    "relu-revived",
    "the ReLU model with its dead units revived: the other control",
    converts=False,
    revives=True,
)

RECIPES = (
    CONTROL,
    Recipe(
        "identity",
        "slopes that start at 0 and learn ten times as fast: exact from the start",
        True,
        "identity",
        0.0,
        False,
        10.0,
    ),
    Recipe("exp", "slopes 0.25 under exp, calibrated"),
    Recipe(
        "exp-revived", "dead units revived, then slopes 0.25 under exp, calibrated", revives=True
    ),
    REVIVED_CONTROL,
    Recipe(
        "exp-fast",
        "slopes 0.25 under exp, calibrated, learning four times as fast",
        slope_multiplier=4.0,
    ),
    Recipe(
        "exp-fast-revived",
        "the same with dead units revived first",
        slope_multiplier=4.0,
        revives=True,
    ),
    Recipe(
        "exp-half",
        "slopes 0.5 under exp, calibrated, learning ten times as fast; not with BatchNormalization",
        alpha=0.5,
        slope_multiplier=10.0,
        with_normalization=False,
    ),
)
"""In the order in which they are worth a try. In `tools/study/RESULTS.md` no single one is best:
"identity" is worse than the control on none of fourteen tasks with an interval off zero; a high
slope rate from 0.5 is far off with shortcuts or twenty layers, and harmful with BatchNormalization
(docs/explanation/results.md); revival helps most where units are dead, with PReLU and without.
Distillation from the original's outputs and shrinking the weights before fine-tuning were tried on
the same tasks and did not earn a place: the first was worse than the same recipe without it on
most, the second helped one network of twenty layers, with ReLU as much as with PReLU."""


@dataclass(frozen=True)
class Prepared:
    """A model that is ready for fine-tuning by a recipe, and what its revival did, or None."""

    recipe: Recipe
    model: keras.Model
    revival: Revival | None


def get_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        InvalidArgumentError: A ValueError; there is none.
    """
    found = next((recipe for recipe in RECIPES if recipe.name == name), None)
    if found is None:
        raise InvalidArgumentError(
            f"`recipe` must be {AUTO!r} or one of"
            f" {', '.join(repr(recipe.name) for recipe in RECIPES)}. Received: {name!r}"
        )
    return found


def candidates(original: keras.Model, has_dead_units: bool) -> tuple[Recipe, ...]:
    """The recipes that are worth a try for a model."""
    normalized = any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in sublayers(original)
    )
    return tuple(
        recipe
        for recipe in RECIPES
        if (recipe.with_normalization or not normalized) and (has_dead_units or not recipe.revives)
    )


def prepare(
    recipe: Recipe, original: keras.Model, samples: Any, calibration_samples: Any, *, seed: int = 0
) -> Prepared:
    """Make a model ready for fine-tuning.

    Args:
        recipe: How.
        original: The trained ReLU model. Not changed.
        samples: Unlabeled samples on which units are dead, as many as there are.
        calibration_samples: Some hundred unlabeled samples.
        seed: Of fresh weights.

    Raises:
        ConversionError, CalibrationError, DataError: As `revive` and `convert` do.
    """
    relu = rewrite(original) if recipe.revives or not recipe.converts else original
    revival = revive(relu, samples, seed=seed) if recipe.revives else None
    if not recipe.converts:
        return Prepared(recipe, relu, revival)
    converted = convert(
        relu,
        alpha=recipe.alpha,
        parameterization=recipe.parameterization,
        rescale="calibrated" if recipe.calibrates else "none",
        calibration_data=calibration_samples if recipe.calibrates else None,
    )
    return Prepared(recipe, converted, revival)
