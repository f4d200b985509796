"""Calibration runs the layers of both models as `predict` does: arguments, masks and states."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 8)).astype("float32")
NEW = RNG.normal(size=(300, 8)).astype("float32")


def _error(converted, model, x, batch_size=32):
    before, after = (
        each.predict(x, batch_size=batch_size, verbose=0) for each in (model, converted)
    )
    return kp.theory.relative_error(after, before)


def _with(operation):
    def build():
        inputs = keras.Input((8,))
        h = operation(L.Dense(32)(inputs))
        return keras.Model(inputs, L.Dense(3)(h))

    return build


def _pinned_training():
    inputs = keras.Input((8,))
    h = L.Dense(32, activation="relu")(inputs)
    h = L.BatchNormalization()(h, training=True)
    h = L.Dropout(0.5)(h, training=True)
    h = L.GaussianNoise(1.0)(h, training=True)
    return keras.Model(inputs, L.Dense(3)(L.Dense(32, activation="relu")(h)))


class TrainsByDefault(L.Layer):
    def call(self, inputs, training=True):
        return inputs * 3.0 if training else inputs


def _training_by_default():
    inputs = keras.Input((8,))
    h = TrainsByDefault()(L.Dense(32, activation="relu")(inputs))
    return keras.Model(inputs, L.Dense(3)(h))


@pytest.mark.parametrize(
    "build",
    [
        _pinned_training,
        _training_by_default,
        _with(lambda h: keras.ops.maximum(h, 0)),
        _with(lambda h: keras.ops.maximum(0.0, h)),
        _with(lambda h: keras.ops.maximum(x1=h, x2=0.0)),
        _with(lambda h: keras.ops.clip(h, 0, 6)),
        _with(keras.ops.relu),
        _with(keras.ops.relu6),
        _with(lambda h: keras.ops.relu(keras.ops.minimum(h, 2.0))),
        _with(lambda h: keras.ops.where(h > -2.0, keras.ops.relu(h), h)),
    ],
)
def test_the_recorded_error_is_that_of_predict(build):
    model = models.live_in(build())
    uncalibrated = kp.convert(model, alpha=0.25, rescale="none")
    conversion = kp.run_conversion(model, alpha=0.25, calibration_data=X)
    error = _error(conversion.model, model, NEW)
    assert error < 3 * conversion.calibration.error_after + 1e-6
    assert error < _error(uncalibrated, model, NEW)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras keeps no states there.")
def test_a_stateful_model():
    inputs = keras.Input((6, 8), batch_size=20)
    h = L.LSTM(12, stateful=True, return_sequences=True)(inputs)
    h = L.GlobalAveragePooling1D()(L.Dense(32, activation="relu")(h))
    model = models.live_in(keras.Model(inputs, L.Dense(3)(h)))
    x = RNG.normal(size=(200, 6, 8)).astype("float32")
    model.predict(x[:40], batch_size=20, verbose=0)  # It now carries states.
    conversion = kp.run_conversion(model, alpha=0.25, calibration_data=x)
    assert conversion.verification.obstacle == ""
    error = _error(conversion.model, model, x, batch_size=20)
    assert error < 3 * conversion.calibration.error_after + 1e-6


class WithoutSecond(keras.Model):
    """Leaves out an optional input, as the message on None among the samples says."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner([x, None])


class Sum(L.Layer):
    def call(self, first, second=None):
        return first if second is None else first + second


def test_a_model_without_its_optional_input():
    first, second = keras.Input((8,)), keras.Input((32,), optional=True)
    h = L.Dense(32, activation="relu")(first)
    h = L.Dense(32, activation="relu")(Sum()(h, second))
    inner = models.live_in(keras.Model([first, second], L.Dense(3)(h)))
    model = WithoutSecond(inner)
    model.predict(X[:4], verbose=0)
    conversion = kp.run_conversion(model, alpha=0.25, calibration_data=X)
    after, before = conversion.model.predict(NEW, verbose=0), inner.predict([NEW, None], verbose=0)
    assert kp.theory.relative_error(after, before) < 3 * conversion.calibration.error_after + 1e-6
    assert conversion.calibration.error_after < conversion.calibration.error_before
