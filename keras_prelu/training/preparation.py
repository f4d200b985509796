"""Preparation of a trained ReLU model for fine-tuning, by a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.convert import convert
from keras_prelu.conversion.fresh_copies import fresh_copy
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.data.samples import CheckedSamples
from keras_prelu.errors import ConversionError
from keras_prelu.graph.functional import has_graph
from keras_prelu.revival import Revival, find_dead_units, revive
from keras_prelu.scaling.norm_reset import NormReset, reset_norms
from keras_prelu.sites.prelu_layers import freeze_slopes
from keras_prelu.training.chosen_sites import ChosenSites
from keras_prelu.training.recipes import (
    FIXED,
    RESET_NORMS,
    REVIVE,
    SHRINK_AND_PERTURB,
    Recipe,
    RecipeSlopes,
)

__all__ = ["PREPARATIONS", "ModelPreparer", "PreparedModel"]

_CALIBRATION_SAMPLES = 512
_KEPT_SHARE = 0.5

Preparation = Callable[[keras.Model, CheckedSamples, int], Any]
"""A function of a ReLU model, samples and a seed. It changes the model, and returns its record."""


def _shrink_and_perturb(model: keras.Model, samples: CheckedSamples, seed: int) -> None:
    """Move each trainable weight halfway to one that its layer's initializer draws.

    That is shrink and perturb (Ash and Adams 2020, https://arxiv.org/abs/1910.08475) with the
    initializer's noise.
    """
    fresh = fresh_copy(model, seed)
    for variable, drawn in zip(model.trainable_variables, fresh.trainable_variables, strict=True):
        variable.assign(_KEPT_SHARE * variable + (1.0 - _KEPT_SHARE) * drawn)


def _reset_norms(model: keras.Model, samples: CheckedSamples, seed: int) -> NormReset:
    if not has_graph(model):
        raise ConversionError(
            f"The norms of model '{model.name}' ({type(model).__name__}) can't be reset, since its"
            " graph is written in Python. Choose a recipe that resets none, such as 'identity' or"
            " 'shrink-identity' (recipe, --recipe)."
        )
    return reset_norms(model, seed=seed)


PREPARATIONS: dict[str, Preparation] = {
    REVIVE: lambda model, samples, seed: revive(model, samples, seed=seed),
    RESET_NORMS: _reset_norms,
    SHRINK_AND_PERTURB: _shrink_and_perturb,
}
"""What may be done to a ReLU model before its conversion, by name."""


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """A model that is ready for fine-tuning.

    Attributes:
        recipe: `Recipe` by which the model was prepared.
        model: Keras model. The prepared model.
        records: Tuple. What the recipe's preparations returned, in their order.
    """

    recipe: Recipe
    model: keras.Model
    records: tuple[Any, ...] = ()

    @property
    def revival(self) -> Revival | None:
        """The result of the recipe's revival, or None."""
        return next((each for each in self.records if isinstance(each, Revival)), None)

    @property
    def norm_reset(self) -> NormReset | None:
        """The result of the recipe's reset of norms, or None."""
        return next((each for each in self.records if isinstance(each, NormReset)), None)

    @property
    def effective(self) -> tuple[str, ...]:
        """The recipe's preparations that changed a weight."""
        return tuple(
            name
            for name, record in zip(self.recipe.preparations, self.records, strict=True)
            if record is None or record.has_effect
        )


class ModelPreparer:
    """Preparer of clones of one trained ReLU model for fine-tuning, by any recipe.

    Args:
        original: Keras model. The trained ReLU model. Not changed.
        samples: `CheckedSamples`. All of them are used to find dead units, and some of them to
            calibrate the converted model.
        seed: Int. Seed of fresh weights and of the choice of calibration samples.
        sites: `ChosenSites`. The sites to convert. Defaults to all that `convert` converts.
    """

    def __init__(
        self,
        original: keras.Model,
        samples: CheckedSamples,
        seed: int,
        sites: ChosenSites | None = None,
    ) -> None:
        self._sites = ChosenSites() if sites is None else sites
        self._original = original
        self._samples = samples
        self._seed = seed
        self._calibration_samples = samples.take(
            np.random.default_rng(seed).permutation(len(samples))[:_CALIBRATION_SAMPLES]
        )

    def effective_preparations(self) -> frozenset[str]:
        """Return the names of the preparations that would change the original.

        Units that are active on a few samples alone are no reason to revive. The other preparations
        are tried on clones.
        """
        return frozenset(
            name
            for name in PREPARATIONS
            if (self._revives() if name == REVIVE else self._has_effect(name))
        )

    def _revives(self) -> bool:
        found = find_dead_units(self._original, self._samples, threshold=0.0)
        return any(site.revivable for site in found)

    def _has_effect(self, name: str) -> bool:
        alone = Recipe(name="", summary="", preparations=(name,))
        try:
            return bool(self.prepare(alone).effective)
        except ConversionError:  # Such as no graph to reset, or a layer without an initializer.
            return False

    def prepare(self, recipe: Recipe) -> PreparedModel:
        """Prepare a clone of the original for fine-tuning by a recipe.

        A recipe that does not convert, and whose preparations change nothing, gives the original.

        Raises:
            ConversionError, CalibrationError, DataError: As in `revive`, `reset_norms` and
                `convert`.
        """
        prepared = PreparedModel(recipe=recipe, model=self._original)
        if recipe.preparations:
            model = rewrite(self._original)
            records = tuple(
                PREPARATIONS[name](model, self._samples, self._seed) for name in recipe.preparations
            )
            prepared = replace(prepared, records=records)
            if prepared.effective:
                prepared = replace(prepared, model=model)
        if recipe.slopes is not None:
            prepared = replace(prepared, model=self._converted(prepared.model, recipe.slopes))
        return prepared

    def _converted(self, model: keras.Model, slopes: RecipeSlopes) -> keras.Model:
        calibrates = slopes.alpha > 0
        converted = convert(
            model,
            alpha=slopes.alpha,
            parameterization=slopes.parameterization,
            # Keras's L2(λ) is λΣβ², whose gradient is 2λβ.
            beta_regularizer=keras.regularizers.L2(slopes.decay / 2) if slopes.decay else None,
            rescale="calibrated" if calibrates else "none",
            calibration_data=self._calibration_samples if calibrates else None,
            include=self._sites.include,
            exclude=self._sites.exclude,
        )
        if slopes.learn == FIXED:
            freeze_slopes(converted)
        return converted
