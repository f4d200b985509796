"""Recipes: ways to prepare a trained ReLU model for fine-tuning, by name."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.convert import convert
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.data.samples import CheckedSamples
from keras_prelu.diagnostics.dead_units import dead_units
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.revival import Revival, revive

__all__ = [
    "AUTO",
    "CONTROL",
    "RECIPES",
    "REVIVED_CONTROL",
    "ModelPreparer",
    "PreparedModel",
    "Recipe",
    "candidates",
    "get_recipe",
]

AUTO = "auto"
CALIBRATION_SAMPLES = 512


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to prepare a trained ReLU model for fine-tuning, and the learning rate of its slopes.

    Attributes:
        name: Str. Name by which users select the recipe.
        summary: Str. Description for people.
        converts: Bool. Whether the recipe makes a PReLU model; False for the controls, which stay
            ReLU.
        parameterization: Str. Name of the slopes' map.
        alpha: Float. The initial slope.
        calibrates: Bool. Whether the linear layers are refitted to keep the model's function.
        slope_multiplier: Float. Ratio of the slopes' learning rate to that of the weights.
        revives: Bool. Whether dead units get fresh weights first.
        with_normalization: Bool. Whether the recipe is worth trying in a network with
            BatchNormalization.
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


CONTROL = Recipe(name="relu", summary="the ReLU model as it is: the control", converts=False)
REVIVED_CONTROL = Recipe(
    name="relu-revived",
    summary="the ReLU model with its dead units revived: the other control",
    converts=False,
    revives=True,
)

RECIPES = (
    CONTROL,
    Recipe(
        name="identity",
        summary="slopes that start at 0 and learn ten times as fast: exact from the start",
        parameterization="identity",
        alpha=0.0,
        calibrates=False,
        slope_multiplier=10.0,
    ),
    Recipe(name="exp", summary="slopes 0.25 under exp, calibrated"),
    Recipe(
        name="exp-revived",
        summary="dead units revived, then slopes 0.25 under exp, calibrated",
        revives=True,
    ),
    REVIVED_CONTROL,
    Recipe(
        name="exp-fast",
        summary="slopes 0.25 under exp, calibrated, learning four times as fast",
        slope_multiplier=4.0,
    ),
    Recipe(
        name="exp-fast-revived",
        summary="the same with dead units revived first",
        slope_multiplier=4.0,
        revives=True,
    ),
    Recipe(
        name="exp-half",
        summary=(
            "slopes 0.5 under exp, calibrated, learning ten times as fast; not with"
            " BatchNormalization"
        ),
        alpha=0.5,
        slope_multiplier=10.0,
        with_normalization=False,
    ),
)
"""The recipes, the most promising first.

In `tools/study/RESULTS.md` no single recipe is best. "identity" is on none of fourteen tasks worse
than the control with an interval that excludes zero. A high slope rate from 0.5 is far off with
shortcuts or twenty layers, and harmful with BatchNormalization (docs/explanation/results.md).
Revival helps most if units are dead, with PReLU and without.

Two other methods were tried on the same tasks and left out. Distillation from the original's
outputs was worse than the same recipe without it on most tasks. Shrinking the weights before
fine-tuning helped one network of twenty layers, with ReLU as much as with PReLU.
"""


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """A model that is ready for fine-tuning.

    Attributes:
        recipe: `Recipe` by which the model was prepared.
        model: Keras model. The prepared model.
        revival: `Revival`. The result of the recipe's revival, or None.
    """

    recipe: Recipe
    model: keras.Model
    revival: Revival | None


class ModelPreparer:
    """Preparer of clones of one trained ReLU model for fine-tuning, by any recipe.

    Args:
        original: Keras model. The trained ReLU model. Not changed.
        samples: `CheckedSamples`. All of them are used to find dead units, and some of them to
            calibrate the converted model.
        seed: Int. Seed of fresh weights and of the choice of calibration samples.
    """

    def __init__(self, original: keras.Model, samples: CheckedSamples, seed: int) -> None:
        self._original = original
        self._samples = samples
        self._seed = seed
        self._calibration_samples = samples.take(
            np.random.default_rng(seed).permutation(len(samples))[:CALIBRATION_SAMPLES]
        )

    def has_dead_units(self) -> bool:
        """Return whether any unit of the original is dead on the samples."""
        return any(site.dead for site in dead_units(self._original, self._samples))

    def prepare(self, recipe: Recipe) -> PreparedModel:
        """Prepare a clone of the original for fine-tuning by a recipe.

        Raises:
            ConversionError, CalibrationError, DataError: As in `revive` and `convert`.
        """
        revival = None
        relu_model = self._original
        if recipe.revives:
            relu_model = rewrite(self._original)
            revival = revive(relu_model, self._samples, seed=self._seed)
        model = self._converted(relu_model, recipe) if recipe.converts else relu_model
        return PreparedModel(recipe=recipe, model=model, revival=revival)

    def _converted(self, relu_model: keras.Model, recipe: Recipe) -> keras.Model:
        return convert(
            relu_model,
            alpha=recipe.alpha,
            parameterization=recipe.parameterization,
            rescale="calibrated" if recipe.calibrates else "none",
            calibration_data=self._calibration_samples if recipe.calibrates else None,
        )


def get_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        InvalidArgumentError: A ValueError; there is no such recipe.
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise InvalidArgumentError(
        f"`recipe` must be {AUTO!r} or one of"
        f" {', '.join(repr(recipe.name) for recipe in RECIPES)}. Received: {name!r}"
    )


def candidates(original: keras.Model, has_dead_units: bool) -> tuple[Recipe, ...]:
    """Return the recipes that are worth trying for a model."""
    has_normalization = any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in sublayers(original)
    )
    return tuple(
        recipe
        for recipe in RECIPES
        if (recipe.with_normalization or not has_normalization)
        and (has_dead_units or not recipe.revives)
    )
