"""Functional models with a `call` of their own: their class has a graph, which `call` runs."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.samples import as_samples
from tests.helpers import models

L = keras.layers
X = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(200, 1)).astype("float32")


@keras.saving.register_keras_serializable("keras_prelu_tests")
class Doubled(keras.Model):
    def __init__(self, **kwargs):
        inputs = keras.Input((6,))
        h = L.Dense(16, activation="relu", name="first")(inputs)
        h = L.ReLU(name="relu")(L.Dense(16, name="second")(h))
        super().__init__(inputs, L.Dense(3, name="third")(h), **kwargs)

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs)[:, :1] * 2.0

    def get_config(self):
        return {"name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _model():
    keras.utils.set_random_seed(0)
    return models.live_in(Doubled())


def _written_out(model, slope):
    """Return what a model with one slope computes, by NumPy."""
    h = X
    for name in ("first", "second"):
        kernel, bias = model.get_layer(name).get_weights()[:2]
        h = h @ kernel + bias
        h = np.where(h > 0, h, slope * h)
    kernel, bias = model.get_layer("third").get_weights()
    return 2.0 * (h @ kernel + bias)[:, :1]


def test_conversion_and_reloading(tmp_path):
    model = _model()
    converted = kp.convert(model)
    np.testing.assert_array_equal(
        converted.predict(X, verbose=0), model.predict(X, verbose=0), strict=True
    )
    sloped = kp.convert(model, alpha=0.25, rescale="none", in_place=False)
    expected = _written_out(model, 0.25)
    np.testing.assert_allclose(sloped.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-5)
    sloped.save(tmp_path / "sloped.keras")
    loaded = keras.models.load_model(tmp_path / "sloped.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-5)
    with pytest.warns(kp.errors.KerasPReLUWarning, match="Baked as a graph"):
        baked = kp.bake(sloped)
    np.testing.assert_allclose(baked.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_in_place():
    model = _model()
    expected = _written_out(model, 0.25)
    changed = kp.convert(model, alpha=0.25, rescale="none", in_place=True)
    np.testing.assert_allclose(changed.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_calibration():
    model = _model()
    conversion = kp.run_conversion(model, alpha=0.25, calibration_data=X)
    after, before = conversion.model.predict(X, verbose=0), model.predict(X, verbose=0)
    assert kp.theory.relative_error(after, before) == pytest.approx(
        conversion.calibration.error_after, rel=0.5
    )
    assert conversion.calibration.error_after < 0.3 * conversion.calibration.error_before


def test_labels_diagnosis_and_training():
    model = _model()
    model.compile("adam", "mse")
    assert kp.diagnose(model, as_samples((X, Y), model=model)).gradient is not None
    trained = kp.finetune(model, (X, Y), (X, Y), epochs=1, control=False)
    np.testing.assert_allclose(
        trained.prelu.score_before, np.mean((_written_out(model, 0.0) - Y) ** 2), rtol=1e-4
    )
