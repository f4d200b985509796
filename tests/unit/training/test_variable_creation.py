"""keras_prelu.training.variable_creation: what Keras makes within its first step of training is there before,
and nothing else changes."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import Samples
from keras_prelu.training.variable_creation import build_for_training

pytestmark = pytest.mark.tensorflow  # elsewhere there is nothing to do

RNG = np.random.default_rng(0)


def network():
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    x = kp.PReLU()(keras.layers.Dense(6)(keras.layers.Concatenate()([first, second])))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    model = keras.Model(
        [first, second],
        {"one": keras.layers.Dense(3, name="one")(x), "two": keras.layers.Dense(1, name="two")(x)},
    )
    losses = {"one": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "two": "mse"}
    model.compile("adam", losses, metrics={"one": ["accuracy"], "two": ["mae"]})
    return model


def samples(count):
    x = {name: RNG.normal(size=(count, 4)).astype("float32") for name in ("first", "second")}
    return Samples(
        x, {"one": np.arange(count) % 3, "two": RNG.normal(size=(count, 1)).astype("float32")}
    )


def test_a_step_is_traced_once():
    model, given, traced = network(), samples(8), []
    weights, train_step = model.get_weights(), model.train_step
    model.train_step = lambda data: traced.append(data) or train_step(data)
    build_for_training(model, given)
    assert model.optimizer.built
    assert len(model.optimizer.variables) > 2 * len(model.trainable_variables)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert all(value == 0 for value in model.get_metrics_result().values())
    model.fit(given.x, given.y, verbose=0)
    assert len(traced) == 1


def test_training_is_the_same():
    given, histories = samples(32), []
    for builds in (False, True):
        keras.utils.set_random_seed(0)
        model = network()
        if builds:
            build_for_training(model, given)
        keras.utils.set_random_seed(1)
        histories.append(
            model.fit(given.x, given.y, epochs=3, batch_size=8, shuffle=False, verbose=0).history
        )
    assert {"loss", "one_loss", "one_accuracy", "two_mae"} <= set(histories[0]) == set(histories[1])
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-6)
