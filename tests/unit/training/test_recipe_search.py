"""keras_prelu.training.recipe_search: it stays within its budget, whatever the data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_prelu as kp
from keras_prelu.training import recipe_search as searching
from keras_prelu.training.fit import Budget
from keras_prelu.training.recipes import RECIPES
from keras_prelu.training.slope_optimizer import SlopeTraining


def budget(samples, epochs, batch_size):
    data = kp.data.Samples(np.zeros((samples, 1), "float32"), np.zeros(samples))
    return Budget(data, epochs, batch_size, None, None, "mse", None, None, 0, 0, data)


@given(
    st.integers(1, 500),
    st.integers(1, 12),
    st.integers(1, 64),
    st.floats(1.5, 6.0),
    st.integers(2, len(RECIPES)),
    st.integers(0, 99),
)
def test_all_trainings_together_are_within_the_budget(
    samples, epochs, batch_size, times, recipes, seed
):
    """With losses drawn at random, of trainings that aren't done."""
    given_budget, rng, steps = budget(samples, epochs, batch_size), np.random.default_rng(seed), []
    whole = given_budget.steps()

    def loss(_prepared, short, _slope_training):
        steps.append(short.steps())
        return float(rng.random())

    def searched():
        return searching.search(
            RECIPES[:recipes], lambda recipe: None, given_budget, times, SlopeTraining()
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_trained_loss", loss)
        if (times - 1.0) * whole < 4:
            with pytest.raises(kp.errors.InvalidArgumentError, match="give more epochs"):
                searched()
            assert not steps
            return
        best, trials = searched()
    assert sum(steps) + whole <= times * whole
    assert min(steps) >= 1
    assert [trial.steps for trial in trials] == steps
    last = {trial.recipe: trial.loss for trial in trials if trial.round == 2}
    assert best.name == min(last, key=last.get)
