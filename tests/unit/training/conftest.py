"""Samples and networks of the tests of fine-tuning, made once: `finetune` trains clones."""

import keras
import pytest

import keras_prelu as kp

L = keras.layers


@pytest.fixture(scope="session")
def digits():
    """Few digits to train with, and others to validate with."""
    data = kp.data.load("digits", input_shape=(64,))
    return data.train.take(slice(0, 160)), data.test.take(slice(0, 80))


def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((64,)), L.Dense(16, activation="relu", name="hidden"), L.Dense(10)]
    )
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


@pytest.fixture(scope="session")
def original():
    """A ReLU network with fresh weights. Tests must not change it."""
    return network()


@pytest.fixture(scope="session")
def converted(original, digits):
    """The PReLU network made from it, calibrated. Tests must not change it."""
    return kp.convert(original, calibration_data=digits[0].x)


@pytest.fixture(scope="session")
def dead():
    """The ReLU network with three units of its hidden layer that no sample activates."""
    model = network()
    kernel, bias = model.layers[0].get_weights()
    bias[:3] = -1000.0
    model.layers[0].set_weights([kernel, bias])
    return model
