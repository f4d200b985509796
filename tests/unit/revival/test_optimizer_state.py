"""keras_prelu.revival.optimizer_state: a part of an optimizer's state starts again, and the rest
stays bit for bit."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.backend.keras_internals import state_by_variable, variable_index
from keras_prelu.revival.optimizer_state import check_state, renew_copies, reset_state
from keras_prelu.revival.records import ChangedEntries
from keras_prelu.training.slope_optimizer import SlopeOptimizer
from tests.helpers import models

optimizers = keras.optimizers

SINGLE = {
    "sgd": lambda: optimizers.SGD(0.01),
    "momentum": lambda: optimizers.SGD(0.01, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "adamax": lambda: optimizers.Adamax(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "adagrad": lambda: optimizers.Adagrad(0.01, initial_accumulator_value=0.3),
    "adadelta": lambda: optimizers.Adadelta(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.01, initial_accumulator_value=0.2),
    "lion": lambda: optimizers.Lion(0.01),
    "lamb": lambda: optimizers.Lamb(0.01),
    "muon": lambda: optimizers.Muon(0.01),
    "accumulating": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=2),
}
WRAPPED = {
    "slopes": lambda: SlopeOptimizer(optimizers.Adam(0.01), multiplier=3.0),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01)),
    "both": lambda: optimizers.LossScaleOptimizer(
        SlopeOptimizer(optimizers.SGD(0.01, momentum=0.9))
    ),
    "several": lambda: optimizers.MultiOptimizer(
        optimizers.OptimizerMap(
            optimizers.Adam(0.01), {"first/.*": optimizers.SGD(0.01, momentum=0.9)}
        )
    ),
}


def values(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def trained(optimizer, steps=3):
    """A PReLU network after a few steps, each of which changes the state."""
    model = kp.convert(models.live_in(models.mlp()), rescale="none", parameterization="identity")
    x = models.samples(model, 20)
    model.compile(optimizer, "mse")
    for _ in range(steps):
        model.train_on_batch(x, np.tanh(x[:, :3]))
    return model


def half_dead(optimizer):
    """A network that was trained for an epoch, with four dead units; and its samples."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )
    model.layers[0].bias.assign(np.repeat([-100.0, 0.0], 4))
    model.compile(optimizer, "mse")
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    model.fit(x, x[:, :3], verbose=0)
    return model, x


def redrawn(model):
    """Redraw units 1 and 3 of the first layer, and zero the rows that read them."""
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    first, second = dense[:2]
    columns = np.zeros(first.kernel.shape, dtype=bool)
    columns[:, [1, 3]] = True
    bias = np.zeros(first.bias.shape, dtype=bool)
    bias[[1, 3]] = True
    rows = np.zeros(second.kernel.shape, dtype=bool)
    rows[[1, 3]] = True
    changed = [(first.kernel, columns), (first.bias, bias), (second.kernel, rows)]
    for number, (variable, mask) in enumerate(changed):
        variable.assign(np.where(mask, 7.0 + number, values(variable)))
    return [ChangedEntries(variable=variable, mask=mask) for variable, mask in changed]


@pytest.mark.parametrize("name", [*SINGLE, *WRAPPED])
def test_exactly_the_entries_start_again(name):
    model = trained({**SINGLE, **WRAPPED}[name]())
    before = [values(state) for state in model.optimizer.variables]
    weights = model.get_weights()
    changed = redrawn(model)
    fresh = {**SINGLE, **WRAPPED}[name]()
    fresh.build(model.trainable_variables)
    check_state(model.optimizer)
    reset_state(model.optimizer, changed)
    touched = 0
    pairs = zip(model.optimizer.variables, fresh.variables, before, strict=True)
    for state, initial, old in pairs:
        expected = old.copy()
        for each in changed:
            if each.variable.path.replace("/", "_") in state.path:
                expected[each.mask] = values(initial)[each.mask]
                touched += 1
        np.testing.assert_array_equal(values(state), expected, err_msg=state.path)
    assert touched or name == "sgd"
    # The weights are those that were redrawn.
    for variable, old in zip(model.variables, weights, strict=False):
        for each in changed:
            if each.variable is variable:
                np.testing.assert_array_equal(values(variable)[~each.mask], old[~each.mask])


@pytest.mark.backends
@pytest.mark.parametrize("name", ["adam", "both"])
def test_moments_of_other_weights_are_kept_on_each_backend(name):
    test_exactly_the_entries_start_again(name)


def test_adagrad_starts_from_its_initial_value_and_not_from_0():
    model = trained(SINGLE["adagrad"]())
    changed = redrawn(model)
    reset_state(model.optimizer, changed)
    accumulator = values(model.optimizer._accumulators[0])
    np.testing.assert_array_equal(accumulator[:, [1, 3]], np.float32(0.3))
    assert (accumulator[:, [0, 2, 4, 5, 6, 7]] > 0.3).any()


def test_means_over_rows_and_columns_start_again_where_all_that_they_summarize_is_fresh():
    model = trained(optimizers.Adafactor(0.01))
    optimizer = model.optimizer
    index = [variable.path for variable in optimizer._trainable_variables]
    changed = redrawn(model)
    first, second = (index.index(changed[number].variable.path) for number in (0, 2))
    old = {name: [values(one) for one in getattr(optimizer, name)] for name in ("_r", "_c", "_v")}
    check_state(optimizer)
    reset_state(optimizer, changed)
    np.testing.assert_array_equal(values(optimizer._r[first]), old["_r"][first])
    np.testing.assert_array_equal(values(optimizer._c[second]), old["_c"][second])
    for name, place in (("_c", first), ("_r", second)):
        expected = old[name][place].copy()
        assert expected.shape == (8,)
        assert expected[[1, 3]].all()
        expected[[1, 3]] = 0.0
        np.testing.assert_array_equal(values(getattr(optimizer, name)[place]), expected)


def test_moving_averages_of_weights_become_the_fresh_weights():
    model = trained(optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9))
    average = model.optimizer._model_variables_moving_average[0]
    old = values(average)
    changed = redrawn(model)
    reset_state(model.optimizer, changed)
    expected = np.where(changed[0].mask, 7.0, old)
    np.testing.assert_array_equal(values(average), expected)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    np.testing.assert_array_equal(values(changed[0].variable), expected)


def test_the_averaged_point_of_a_schedule_free_optimizer_is_the_fresh_weight():
    model = trained(optimizers.ScheduleFreeAdamW(0.01))
    old = values(model.optimizer._momentums[0])
    changed = redrawn(model)
    reset_state(model.optimizer, changed)
    np.testing.assert_array_equal(
        values(model.optimizer._momentums[0]), np.where(changed[0].mask, 7.0, old)
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (
            lambda: optimizers.SGD(0.1, momentum=0.9, use_ema=True),
            "_model_variables_moving_average",
        ),
        (lambda: optimizers.ScheduleFreeAdamW(0.01), "_momentums"),
        (lambda: optimizers.Adam(0.01), None),
    ],
)
def test_copies_of_weights_alone_are_renewed(make, name):
    model = trained(SlopeOptimizer(make()))
    optimizer = model.optimizer.inner_optimizer
    changed = redrawn(model)
    lists = state_by_variable(optimizer)
    before = {key: [*map(values, states)] for key, states in lists.items()}
    renew_copies(model.optimizer, changed)
    for entries in changed:
        place = variable_index(optimizer, entries.variable)
        for key, states in lists.items():
            new = values(entries.variable) if key == name else before[key][place]
            expected = np.where(entries.mask, new, before[key][place])
            np.testing.assert_array_equal(values(states[place]), expected)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: optimizers.SGD(1e-3, use_ema=True),
            marks=pytest.mark.skipif(
                keras.backend.backend() == "jax", reason="Keras fails at the second fit on JAX"
            ),
        ),
        lambda: optimizers.LossScaleOptimizer(optimizers.ScheduleFreeAdamW(1e-3)),
    ],
)
def test_revived_units_live_on_when_training_goes_on(make):
    model, x = half_dead(make())
    assert kp.revive(model, x).revived == 4
    model.fit(x, x[:, :3], verbose=0)
    assert kp.revive(model, x).revived == 0


def test_a_model_with_moving_averages_is_revived_after_a_prediction():
    """On JAX, Keras's prediction gives the memory of the averages away."""
    model, x = half_dead(optimizers.SGD(1e-3, use_ema=True))
    model.predict(x, verbose=0)
    assert kp.revive(model, x).revived == 4


def test_frozen_and_unknown_variables_are_skipped():
    model = trained(optimizers.Adam(0.01))
    other = keras.Variable(np.ones(3, "float32"))
    before = [values(state) for state in model.optimizer.variables]
    reset_state(model.optimizer, [ChangedEntries(variable=other, mask=np.ones(3, bool))])
    for state, old in zip(model.optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(values(state), old)


class Odd(optimizers.SGD):
    """An optimizer with state that no list assigns to weights."""

    def build(self, variables):
        super().build(variables)
        self.sketch = self.add_variable((4,), name="sketch")


def test_state_that_belongs_to_no_known_weight_is_refused():
    model = trained(Odd(0.01))
    with pytest.raises(kp.errors.InvalidArgumentError, match=r"sketch.*lists with one variable"):
        check_state(model.optimizer)
