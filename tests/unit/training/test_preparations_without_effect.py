"""Recipes whose preparations change nothing: no second control, no trial, and a note that says so."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.samples import as_samples
from keras_prelu.training.preparation import PREPARATIONS, ModelPreparer
from keras_prelu.training.recipes import RESET_NORMS, REVIVE, SHRINK_AND_PERTURB

L = keras.layers
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable("without_effect")
class InCode(keras.Model):
    """Its rectifier, and the weights around it, are in code."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = L.Dense(16), L.Dense(10)

    def call(self, inputs):
        return self.head(keras.ops.relu(self.hidden(inputs)))


@pytest.fixture(scope="module")
def in_code():
    """A subclassed model with a dead unit."""
    keras.utils.set_random_seed(0)
    model = InCode()
    model(np.zeros((1, 64)))
    model.hidden.bias.assign([-1000.0] + [2.0] * 15)
    model.compile("adam", LOGITS, metrics=["accuracy"])
    return model


def fixed_norms():
    """A network none of whose layers can be scaled: a cap between them, outputs to be kept."""
    layers = [L.Dense(16), L.ReLU(max_value=6.0), L.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile("adam", "mse")
    return model


KEPT = (
    "Nothing was revived: 1 dead unit was kept at 'relu()' (it is inside a layer with Python code"
    " of its own)."
)


def check_without_effect(result, note):
    assert result.notes == (note,)
    assert result.sentences() == (note, result.verdict)
    assert result.preparations == ()
    assert result.prepared_control is result.prepared_comparison is None
    assert "the same with" not in result.verdict
    assert not any("prepared alike" in row for table in result.tables() for row in table.rows)


def test_no_control_is_trained_twice_where_nothing_is_revived(in_code, digits):
    result = kp.finetune(in_code, *digits, recipe="identity-revived", epochs=1)
    check_without_effect(result, KEPT)
    assert result.control is not None
    assert result.slopes_after


def test_a_control_by_name_is_the_relu_control_where_nothing_is_revived(in_code, digits):
    result = kp.finetune(in_code, *digits, recipe="relu-revived", epochs=1)
    check_without_effect(result, KEPT)
    assert result.control is result.prelu
    assert result.verdict.startswith(
        "Recipe relu-revived changed nothing: the model is the ReLU control."
    )


def test_no_control_is_trained_twice_where_no_norm_is_reset(digits):
    train, validation = ((data.x, np.eye(10)[data.y]) for data in digits)
    result = kp.finetune(fixed_norms(), train, validation, recipe="reset-identity", epochs=1)
    reason = result.norm_reset.layers[0].action.removeprefix("kept: ")
    check_without_effect(
        result,
        "No norm was reset: all 2 linear layers were kept, such as"
        f" '{result.norm_reset.layers[0].path}' ({reason}).",
    )


def test_norms_in_code_are_refused_with_other_recipes(in_code, digits):
    with pytest.raises(kp.errors.ConversionError, match=r"'in_code' \(InCode\).*'shrink-identity'"):
        kp.finetune(in_code, *digits, recipe="reset-identity", epochs=1)


def test_the_preparations_that_would_change_a_model(in_code, original, dead, digits):
    def effective(model):
        return ModelPreparer(model, as_samples(digits[0], model=model), 0).effective_preparations()

    weights = dead.get_weights()
    assert effective(in_code) == {SHRINK_AND_PERTURB}
    assert RESET_NORMS not in effective(fixed_norms())
    assert effective(dead) == set(PREPARATIONS)
    assert REVIVE not in effective(original)
    assert RESET_NORMS in effective(original)
    for old, new in zip(weights, dead.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_search_tries_no_preparation_without_effect(in_code, digits):
    result = kp.finetune(in_code, *digits, epochs=2, control=False)
    assert {trial.recipe for trial in result.trials} <= {"relu", "identity", "shrink-identity"}
    assert all(np.isfinite(trial.loss) for trial in result.trials)
