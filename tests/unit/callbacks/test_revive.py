"""keras_prelu.callbacks.Revive: dead units come alive during `fit`, and training goes on with the
fresh weights and a fresh state of the optimizer for them alone."""

import copy

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.revival.reviver import Reviver
from keras_prelu.training.slope_optimizer import SlopeOptimizer
from tests.helpers import models
from tests.unit.test_revival import convolutions, dense, kill

DEAD = [1, 4, 5]


def values(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def optimizers():
    return {
        "adam": lambda: keras.optimizers.Adam(0.01),
        "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
        "wrapped": lambda: keras.optimizers.LossScaleOptimizer(
            SlopeOptimizer(keras.optimizers.Adam(0.01), multiplier=10.0)
        ),
    }


class Seen(keras.callbacks.Callback):
    """The weights and the optimizer's state at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.states = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([values(variable) for variable in self.model.variables])
        self.states.append([values(variable) for variable in self.model.optimizer.variables])


def network():
    """A network in which three units are dead, and stay so: their bias is far below 0."""
    layers = [
        keras.layers.Dense(12, "relu", name="first"),
        keras.layers.Dense(10, "relu", name="second"),
        keras.layers.Dense(3, name="last"),
    ]
    model = models.live_in(keras.Sequential([keras.Input((6,)), *layers]))
    kill(model.layers[0], DEAD)
    return model


def fit(model, epochs, *callbacks, initial_epoch=0):
    x = models.samples(model, 64)
    y = np.tanh(x.reshape(64, -1)[:, :3])
    model.fit(
        x,
        y,
        batch_size=16,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        callbacks=list(callbacks),
        verbose=0,
    )
    return x


def masks(model):
    """The entries of each variable that a revival of the dead units assigns."""
    found = {variable.path: np.zeros(variable.shape, bool) for variable in model.variables}
    first, second = model.layers[:2]
    found[first.kernel.path][:, DEAD] = True
    found[first.bias.path][DEAD] = True
    found[second.kernel.path][DEAD] = True
    return found


@pytest.mark.backends
@pytest.mark.parametrize(
    "name", ["adam", pytest.param("momentum", marks=pytest.mark.slow), "wrapped"]
)
@pytest.mark.parametrize(
    "jit", [False, pytest.param(True, marks=[pytest.mark.tensorflow, pytest.mark.slow])]
)
def test_training_goes_on_from_the_fresh_weights_and_a_fresh_state(name, jit):
    """A reference: the same training in two calls of `fit`, with the weights that the revival drew
    and a state of the optimizer that NumPy resets in between."""
    options = {"jit_compile": True} if jit else {}
    model, reference = network(), network()
    reference.set_weights(model.get_weights())
    for each in (model, reference):
        each.compile(optimizers()[name](), "mse", **options)
    before, after = Seen(), Seen()
    x = models.samples(model, 64)
    revive = kp.callbacks.Revive(x, every=2, threshold=0.0)
    fit(model, 3, before, revive, after)
    assert [(record.epoch, record.revival.revived) for record in revive.records] == [(1, 3)]

    fit(reference, 2)
    for variable, old, drawn in zip(
        reference.variables, before.weights[1], after.weights[1], strict=True
    ):
        mask = masks(reference)[variable.path]
        np.testing.assert_array_equal(values(variable), old)
        np.testing.assert_array_equal(drawn[~mask], old[~mask])
        assert (drawn[mask] != old[mask]).any() or not mask.any()
        variable.assign(drawn)
    reset = 0
    for state in reference.optimizer.variables:
        for variable in reference.trainable_variables:
            if variable.path.replace("/", "_") in state.path:
                mask = masks(reference)[variable.path]
                state.assign(np.where(mask, np.float32(0), values(state)))
                reset += int(mask.any())
    assert reset >= 3
    for state, expected in zip(reference.optimizer.variables, after.states[1], strict=True):
        np.testing.assert_array_equal(values(state), expected, err_msg=state.path)

    fit(reference, 3, initial_epoch=2)
    for one, other in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    assert kp.diagnostics.dead_units(model, x)[0].dead == 0


@pytest.mark.backends
def test_fresh_weights_stay_with_a_rate_of_0_and_validation():
    """What the callback assigned is what all later epochs and evaluations have."""
    model = network()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    before, after = Seen(), Seen()
    x = models.samples(model, 64)
    y = np.tanh(x[:, :3])
    revive = kp.callbacks.Revive(x)
    model.fit(
        x,
        y,
        epochs=3,
        validation_data=(x, y),
        callbacks=[before, revive, after],
        verbose=0,
    )
    assert [record.revival.revived for record in revive.records] == [3, 0, 0]
    for old, drawn, last in zip(
        before.weights[0], after.weights[0], model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(drawn, last)
        assert old.shape == last.shape
    assert not np.array_equal(before.weights[0][0], model.get_weights()[0])


@pytest.mark.parametrize("build", [dense, convolutions])
def test_the_entries_are_those_that_change(build):
    model = build()
    first = model.get_layer("norm") if build is convolutions else model.layers[0]
    kill(first, DEAD)
    kill(model.get_layer("second"), [0])
    x = models.samples(model, 100)
    before = {variable.path: values(variable) for variable in model.variables}
    changed = {
        entries.variable.path: entries.mask
        for entries in Reviver(model, x, threshold=0.0)(seed=3).changed
    }
    for variable in model.variables:
        mask = changed.get(variable.path, np.zeros(variable.shape, bool))
        assert mask.shape == tuple(variable.shape)
        differs = values(variable) != before[variable.path]
        assert not (differs & ~mask).any(), variable.path
    reads = changed[model.get_layer("second").kernel.path]
    units = [*DEAD]
    rows = np.zeros(reads.shape, bool)
    rows[..., units, :] = True
    rows[..., 0] = True  # what the other revived unit reads
    np.testing.assert_array_equal(reads, rows)


def test_another_revival_draws_other_weights_and_the_same_training_the_same():
    drawn = []
    for _ in range(2):
        model = network()
        model.set_weights(
            [np.random.default_rng(0).normal(size=each.shape) for each in model.get_weights()]
        )
        kill(model.layers[0], DEAD)
        model.compile(keras.optimizers.SGD(0.0), "mse")

        class Kill(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                kill(self.model.layers[0], DEAD)

        seen = Seen()
        fit(model, 2, Kill(), kp.callbacks.Revive(models.samples(model, 64)), seen)
        drawn.append([weights[0] for weights in seen.weights])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0][0], drawn[0][1])


def test_finetune_trains_with_it_and_the_best_epoch_is_that_of_the_losses():
    model = network()
    x = models.samples(model, 120)
    y = model.predict(x, verbose=0)
    # A revival of units that are active on up to 40 % of the samples changes what it computes.
    revive = kp.callbacks.Revive(x, threshold=0.4)
    result = kp.finetune(
        model,
        (x[:80], y[:80]),
        (x[80:], y[80:]),
        selection=(x[:80], y[:80]),
        recipe="relu",
        epochs=2,
        loss="mse",
        learning_rate=1e-9,
        callbacks=[revive],
        control=False,
    )
    assert revive.records[0].revival.loss > 0.01
    first, second = result.prelu.history["val_loss"]
    assert first < 1e-6 < second
    np.testing.assert_allclose(result.prelu.model.predict(x, verbose=0), y, atol=1e-4)


def test_a_copy_shares_the_records_and_the_samples():
    revive = kp.callbacks.Revive(np.zeros((4, 6), "float32"), every=3, seed=5)
    assert copy.deepcopy(revive).records is revive.records


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"every": 0}, "every"), ({"threshold": 1.0}, "threshold"), ({"seed": -1}, "seed")],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(kp.errors.InvalidArgumentError, match=name):
        kp.callbacks.Revive(np.zeros((4, 6), "float32"), **arguments)


def test_samples_that_do_not_fit_are_refused_before_the_first_step():
    model = network()
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(kp.errors.DataError):
        fit(model, 1, kp.callbacks.Revive(np.zeros((4, 5), "float32")))
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
