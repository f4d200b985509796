"""keras_prelu.training.recipes: how each prepares a model, how its slopes learn, and what "auto"
tries."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion.fresh_copies import fresh_copy
from keras_prelu.data.samples import as_samples
from keras_prelu.training.candidates import candidates
from keras_prelu.training.fit import lowest_selection_loss
from keras_prelu.training.preparation import PREPARATIONS, ModelPreparer
from keras_prelu.training.recipes import FAST as LEARNS_FAST
from keras_prelu.training.recipes import FIXED, RECIPES, REVIVE, control_of, get_recipe
from keras_prelu.training.setup import TrainingSetup
from tests.helpers import models

L = keras.layers
UNREVIVED = set(PREPARATIONS) - {REVIVE}


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_a_recipe_by_name_costs_one_training_and_its_controls(name, dead, digits):
    recipe = get_recipe(name)
    result = kp.finetune(dead, *digits, recipe=name, epochs=1)
    assert result.recipe == name
    assert result.trials == ()
    assert bool(result.slopes_after) == recipe.converts
    assert (result.revival is not None) == recipe.revives
    assert result.control.model.count_params() == dead.count_params()
    assert (result.prepared_control is None) == (control_of(recipe) is None)
    assert (result.revived_control is not None) == (recipe.converts and recipe.revives)
    if recipe.revives:
        assert result.revival.revived >= 3
    if recipe.converts and recipe.slopes.alpha == 0 and not recipe.preparations:
        assert result.slopes_before[0].mean == 0.0
        assert result.prelu.score_before == result.control.score_before
    learns_fast = recipe.converts and recipe.slopes.learn == LEARNS_FAST
    if recipe.converts:
        assert result.slope_multiplier == result.model.optimizer.multiplier
        assert result.slope_multiplier == (10.0 if learns_fast else 1.0)
        are_fixed = recipe.slopes.learn == FIXED
        assert (result.slopes_after == result.slopes_before) == are_fixed
    else:
        assert result.slope_multiplier is None
    assert ("the same with its dead units revived" in result.verdict) == (
        recipe.converts and recipe.revives
    )


def test_norms_are_reset_with_the_same_decisions_in_model_and_control():
    model = models.live_in(models.convolutional())
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = models.samples(model, 96)
    y = np.arange(96) % 5
    result = kp.finetune(
        model, (x[:64], y[:64]), (x[64:], y[64:]), recipe="reset-identity", epochs=1
    )
    assert result.slope_multiplier == 3.0
    assert any(layer.action == "reset" for layer in result.norm_reset.layers)
    assert "the same with its norms reset" in result.verdict
    preparer = ModelPreparer(model, as_samples(x, model=model), seed=0)
    decisions = model.predict(x, verbose=0).argmax(-1)
    for name in ("reset-identity", "relu-reset"):
        prepared = preparer.prepare(get_recipe(name)).model
        np.testing.assert_array_equal(prepared.predict(x, verbose=0).argmax(-1), decisions)
        kernels = [each.layers[0].get_weights()[0] for each in (prepared, model)]
        assert not np.allclose(*kernels)


def test_weight_decay_on_raw_parameters_pulls_slopes_to_one(original, digits):
    """Claim 5: under exp the slope at β = 0 is 1. Nothing else moves slopes without a loss."""
    settings = {"epochs": 3, "control": False, "loss": zero_loss, "selection": digits[1]}
    plain = kp.finetune(original, *digits, recipe="exp", **settings)
    decayed = kp.finetune(original, *digits, recipe="exp-decay", **settings)
    assert plain.slopes_after == plain.slopes_before
    assert decayed.slopes_before[0].mean == pytest.approx(0.25)
    assert 0.25 < decayed.slopes_after[0].minimum < 1.0
    layer = next(layer for layer in decayed.model.layers if isinstance(layer, kp.PReLU))
    beta = keras.ops.convert_to_tensor(np.float32([2.0, -1.0]))
    penalty = keras.ops.convert_to_numpy(layer.beta_regularizer(beta))
    np.testing.assert_allclose(penalty, 0.5e-3 * 5.0, rtol=1e-6)  # Its gradient is 0.001 β.


def zero_loss(labels, outputs):
    return keras.ops.zeros_like(outputs[:, 0]) * keras.ops.sum(outputs)


def test_penalties_on_slopes_do_not_count_in_a_trial(original, digits):
    """The losses of all recipes compare: what remains is the data's loss."""
    data = as_samples(digits[0], model=original)
    converted = kp.convert(
        original,
        alpha=0.25,
        parameterization="exp",
        beta_regularizer=keras.regularizers.L2(10.0),
        rescale="none",
    )
    setup = TrainingSetup(
        train=data,
        selection=data,
        fit=kp.FitConfig(epochs=1, optimizer=keras.optimizers.SGD(1e-12)),
        slopes=kp.SlopeConfig(),
    )
    labels = keras.ops.convert_to_tensor(data.y)
    expected = keras.losses.get(original.loss)(labels, converted.predict(data.x, verbose=0))
    assert lowest_selection_loss(converted, setup) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "parameterization", "multiplier"),
    [
        (None, "identity", 10.0),
        ("sgd", "identity", 0.1),
        ("rmsprop", "identity", 1.0),
        (None, "exp", 1.0),
    ],
)
def test_the_rate_of_the_slopes_of_a_converted_model(
    optimizer, parameterization, multiplier, original, digits
):
    alpha = 0.0 if parameterization == "identity" else 1e-3
    model = kp.convert(original, alpha=alpha, parameterization=parameterization)
    result = kp.finetune(model, *digits, epochs=1, optimizer=optimizer, control=False)
    assert result.slope_multiplier == result.model.optimizer.multiplier == multiplier


def test_candidates_follow_the_model_and_the_optimizer():
    def tried(model, optimizer, **settings):
        return [
            (each.recipe.name, each.multiplier) for each in candidates(model, optimizer, **settings)
        ]

    plain, normalized = models.mlp(), models.convolutional()
    assert tried(plain, "adam", effective=UNREVIVED) == [
        ("relu", 1.0),
        ("identity", 10.0),
        ("identity", 30.0),
        ("reset-identity", 10.0),
        ("shrink-identity", 10.0),
    ]
    assert tried(plain, "sgd", effective=PREPARATIONS) == [
        ("relu", 1.0),
        ("identity-revived", 0.1),
        ("relu-revived", 1.0),
        ("identity", 0.1),
        ("reset-identity", 0.1),
        ("shrink-identity", 0.1),
    ]
    adam = keras.optimizers.AdamW()
    assert tried(normalized, adam, effective=UNREVIVED) == [
        ("relu", 1.0),
        ("reset-identity", 3.0),
        ("relu-reset", 1.0),
        ("reset-identity", 10.0),
        ("identity", 3.0),
    ]
    names = {name for name, _ in tried(normalized, adam, effective=PREPARATIONS)}
    assert {"identity", "identity-revived", "relu-revived"} <= names
    assert not names & {"exp-decay", "leaky-revived", "exp", "shrink-identity"}
    rates = tried(normalized, adam, effective=UNREVIVED, tries_rates=False)
    assert {rate for name, rate in rates if "identity" in name} == {3.0}


def test_shrink_and_perturb_is_halfway_to_a_fresh_network(original, digits):
    samples = as_samples(digits[0], model=original)
    prepared = ModelPreparer(original, samples, seed=3).prepare(get_recipe("shrink-perturb"))
    for old, new, drawn in zip(
        original.get_weights(),
        prepared.model.get_weights(),
        fresh_copy(original, seed=3).get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(new, (old + drawn) / 2, rtol=1e-6)


def test_the_documentation_lists_all_recipes():
    page = Path(__file__).parents[3] / "docs" / "how_to" / "new_data.md"
    listed = re.findall(r'^\| `"([\w-]+)"` \|', page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(["auto", *(recipe.name for recipe in RECIPES)])
