"""keras_prelu.verification.same_decisions: outputs that are multiplied, decisions that are kept."""

import keras
import numpy as np
import pytest

from keras_prelu.verification.same_decisions import DecisionCheck

L = keras.layers


def head(activation, factor=1.0, shift=0.0):
    """A network whose logits are a factor times those of the head without a factor, shifted."""
    dense = L.Dense(3, activation=activation)
    model = keras.Sequential([keras.Input((4,)), dense])
    kernel = np.random.default_rng(0).normal(size=(4, 3))
    model.set_weights([factor * kernel, np.array([shift, 0.0, 0.0])])
    return model


@pytest.mark.parametrize("factor", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_a_factor_of_the_logits_is_found_to_be_one(activation, factor):
    check = DecisionCheck(head(activation))
    assert check.difference(head(activation, factor), [factor], [activation or ""]) == ""


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_other_decisions_are_found(activation):
    check = DecisionCheck(head(activation))
    kinds = [activation or ""]
    assert check.difference(head(activation, 1.0, shift=100.0), [1.0], kinds)
    assert check.difference(head(activation, -1.0), [1.0], kinds)


def test_outputs_have_to_be_multiplied_by_their_own_factor():
    check = DecisionCheck(head(None))
    assert "values differ" in check.difference(head(None, 2.0), [2.1], [""])


def test_saturated_and_undecided_probabilities_are_no_other_decisions():
    """A factor separates probabilities that are all 1, and rounding decides between equal ones."""
    check = DecisionCheck(head("sigmoid", 1e4))
    assert check.difference(head("sigmoid", 1e-2), [1e-6], ["sigmoid"]) == ""
    check = DecisionCheck(head("softmax", 0.0, shift=1e-6))
    assert check.difference(head("softmax", 0.0, shift=-1e-6), [1.0], ["softmax"]) == ""
