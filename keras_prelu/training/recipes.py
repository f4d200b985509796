"""Recipes: ways to prepare a trained ReLU model for fine-tuning, by name.

A recipe is a composition of three parts: what is done to the ReLU model first (a tuple of names of
`keras_prelu.training.preparation.PREPARATIONS`, applied in order), the slopes that it is converted
with, and how these learn. The command line repeats the names (`cli.options.training`).
"""

from __future__ import annotations

from dataclasses import dataclass

from keras_prelu.errors import InvalidArgumentError

__all__ = [
    "AUTO",
    "CONTROL",
    "EQUALLY",
    "FAST",
    "FIXED",
    "RECIPES",
    "REPLACED",
    "RESET_NORMS",
    "REVIVE",
    "SHRINK_AND_PERTURB",
    "Recipe",
    "RecipeSlopes",
    "control_of",
    "described",
    "get_recipe",
]

AUTO = "auto"

REVIVE, RESET_NORMS, SHRINK_AND_PERTURB = "revive", "reset-norms", "shrink-and-perturb"
"""Names of preparations."""

FAST, EQUALLY, FIXED = "fast", "equally", "fixed"
"""How slopes learn: at the multiple of the weights' rate that suits the optimizer and the network,
at the weights' rate, or not at all."""


@dataclass(frozen=True, kw_only=True)
class RecipeSlopes:
    """The slopes that a recipe converts with, and how they learn.

    Positive slopes change what the network computes, so its layers are calibrated then.

    Attributes:
        parameterization: Str. Name of the slopes' map.
        alpha: Float. The initial slope.
        learn: Str. `FAST`, `EQUALLY` or `FIXED`.
        decay: Float. What is added to the gradient of the raw parameter β, as a multiple of β: it
            pulls the slope to the value of the map at 0 (claim 5).
    """

    parameterization: str
    alpha: float
    learn: str
    decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A way to prepare a trained ReLU model for fine-tuning.

    Attributes:
        name: Str. Name by which users select the recipe.
        summary: Str. Description for people.
        preparations: Tuple of str. Names of what is done to the ReLU model first, in order.
        slopes: `RecipeSlopes`, or None for a control, which stays ReLU.
    """

    name: str
    summary: str
    preparations: tuple[str, ...] = ()
    slopes: RecipeSlopes | None = None

    @property
    def converts(self) -> bool:
        """Whether the recipe makes a PReLU model."""
        return self.slopes is not None

    @property
    def revives(self) -> bool:
        """Whether dead units get fresh weights first."""
        return REVIVE in self.preparations


_DESCRIPTIONS = {
    REVIVE: "its dead units revived",
    RESET_NORMS: "its norms reset",
    SHRINK_AND_PERTURB: "its weights shrunk and perturbed",
}


def described(preparations: tuple[str, ...]) -> str:
    """Return what preparations do to a network, as part of a sentence: "its norms reset"."""
    return " and ".join(_DESCRIPTIONS[name] for name in preparations)


_FREE = RecipeSlopes(parameterization="identity", alpha=0.0, learn=FAST)

CONTROL = Recipe(name="relu", summary="the ReLU model as it is: the control")

RECIPES = (
    CONTROL,
    Recipe(
        name="identity-revived",
        summary="dead units revived on the new data, then free slopes that start at 0 and learn"
        " fast",
        preparations=(REVIVE,),
        slopes=_FREE,
    ),
    Recipe(
        name="identity",
        summary="free slopes that start at 0 and learn fast: exact from the start",
        slopes=_FREE,
    ),
    Recipe(
        name="reset-identity",
        summary="each layer scaled back to the norm of its initial weights, with the same"
        " decisions, then free slopes that start at 0 and learn fast; above all for networks with"
        " BatchNormalization",
        preparations=(RESET_NORMS,),
        slopes=_FREE,
    ),
    Recipe(
        name="shrink-identity",
        summary="weights halfway between the trained and fresh ones, then free slopes that start at"
        " 0 and learn fast; where the network may forget what it knew",
        preparations=(SHRINK_AND_PERTURB,),
        slopes=_FREE,
    ),
    Recipe(
        name="relu-revived",
        summary="the ReLU model with its dead units revived: another control",
        preparations=(REVIVE,),
    ),
    Recipe(
        name="relu-reset",
        summary="the ReLU model with each layer scaled back to its initial norm: another control",
        preparations=(RESET_NORMS,),
    ),
    Recipe(
        name="exp-decay",
        summary="slopes 0.25 under exp, calibrated, with weight decay on β, which pulls the slopes"
        " to 1 (claim 5)",
        slopes=RecipeSlopes(parameterization="exp", alpha=0.25, learn=EQUALLY, decay=1e-3),
    ),
    Recipe(
        name="leaky-revived",
        summary="dead units revived, then slopes 0.25 that do not learn, calibrated",
        preparations=(REVIVE,),
        slopes=RecipeSlopes(parameterization="exp", alpha=0.25, learn=FIXED),
    ),
    Recipe(
        name="exp",
        summary="slopes 0.25 under exp, calibrated",
        slopes=RecipeSlopes(parameterization="exp", alpha=0.25, learn=EQUALLY),
    ),
    Recipe(
        name="exp-revived",
        summary="dead units revived, then slopes 0.25 under exp, calibrated",
        preparations=(REVIVE,),
        slopes=RecipeSlopes(parameterization="exp", alpha=0.25, learn=EQUALLY),
    ),
    Recipe(
        name="shrink-perturb",
        summary="the ReLU model with its weights halfway between the trained and fresh ones: a"
        " control where the network may forget what it knew",
        preparations=(SHRINK_AND_PERTURB,),
    ),
)
"""The recipes, the most promising first.

Two other methods were tried and left out. Distillation from the original's outputs was worse than
the same recipe without it on most tasks. High rates of slopes under exp were harmful with shortcuts
or in deep networks (docs/explanation/results.md).
"""

REPLACED = {
    "exp-fast": "exp-decay",
    "exp-fast-revived": "identity-revived",
    "exp-half": "exp-decay",
}
"""The recipes of earlier versions, and what takes their place."""


def get_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        InvalidArgumentError: A ValueError; there is no such recipe.
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    if name in REPLACED:
        raise InvalidArgumentError(
            f"The recipe {name!r} was removed: {REPLACED[name]!r} takes its place. Received:"
            f" recipe={name!r}"
        )
    raise InvalidArgumentError(
        f"`recipe` must be {AUTO!r} or one of"
        f" {', '.join(repr(recipe.name) for recipe in RECIPES)}. Received: recipe={name!r}"
    )


def control_of(recipe: Recipe) -> Recipe | None:
    """Return the recipe that prepares the ReLU model alike and does not convert it.

    Returns:
        `Recipe`, or None if nothing is done to the model before its conversion, so that `CONTROL`
        is its control, or if the recipe does not convert.
    """
    if not recipe.converts or not recipe.preparations:
        return None
    return next(
        other
        for other in RECIPES
        if not other.converts and other.preparations == recipe.preparations
    )
