"""Rewriting, calibration, files, fine-tuning and baking on the active backend: each once on a
network of each kind."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import custom, models

L = keras.layers
SAMPLES, TOLERANCE = 96, 1e-5


def convolutions():
    layers = [
        keras.Input((8, 8, 3)),
        L.Conv2D(6, 3, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.Conv2D(6, 3, activation="relu"),
        L.Flatten(),
        L.Dense(3),
    ]
    return keras.Sequential(layers, name="convolutions")


def residual():
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(L.Conv2D(6, 3, padding="same")(inputs))
    y = L.BatchNormalization()(L.Conv2D(6, 3, padding="same")(x))
    x = L.ReLU()(L.Add()([x, y]))
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)), name="residual")


def with_python_code():
    inputs = keras.Input((8, 8, 3))
    x = custom.BuildsLate(6)(L.Conv2D(6, 3)(inputs))
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)), name="with_python_code")


@pytest.fixture(params=[convolutions, residual, with_python_code], ids=lambda build: build.__name__)
def original(request):
    return models.live_in(request.param())


def outputs(model, x):
    return np.asarray(model.predict(x, verbose=0))


def test_a_conversion_with_slope_0_is_exact(original):
    x = models.samples(original, SAMPLES)
    converted = kp.convert(original, alpha=0.0, parameterization="identity", rescale="none")
    assert len(kp.diagnostics.layer_slopes(converted)) == 2
    np.testing.assert_allclose(outputs(converted, x), outputs(original, x), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("failing", [32, 8])
def test_weights_outlast_an_error_within_keras(failing):
    """On JAX, Keras takes the values of the variables away while it evaluates."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, "relu"), L.BatchNormalization()])

    def loss(labels, outputs):
        if outputs.shape[0] in (failing, None):
            raise RuntimeError("this batch")
        return keras.losses.mean_squared_error(labels, outputs)

    model.compile("sgd", loss)
    x, y = np.ones((40, 4), "float32"), np.ones((40, 3), "float32")
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="this batch"):
        kp.evaluate(model, (x, y), batch_size=32)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_calibrated_model_is_near_its_original_and_comes_back_from_a_file(original, tmp_path):
    x = models.samples(original, SAMPLES)
    converted = kp.convert(original, alpha=0.1, calibration_data=x)
    targets = outputs(original, x)
    uncalibrated = outputs(kp.convert(original, alpha=0.1, rescale="none"), x)
    error = kp.theory.relative_error(outputs(converted, x), targets)
    assert error < 0.1
    assert error < 0.5 * kp.theory.relative_error(uncalibrated, targets)

    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs(loaded, x), outputs(converted, x), rtol=0, atol=TOLERANCE)


def test_an_epoch_of_fine_tuning_moves_slopes_and_baking_keeps_the_function(original):
    x = models.samples(original, SAMPLES)
    y = np.random.default_rng(0).integers(0, 3, SAMPLES)
    original.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    converted = kp.convert(original, alpha=0.1, rescale="none")
    before = [layer.mean for layer in kp.diagnostics.layer_slopes(converted)]
    tuned = kp.finetune(
        converted,
        (x[:64], y[:64]),
        (x[64:], y[64:]),
        original=original,
        epochs=1,
        control=False,
    ).model
    after = [layer.mean for layer in kp.diagnostics.layer_slopes(tuned)]
    assert all(abs(a - b) > 1e-6 for a, b in zip(before, after, strict=True))
    baked = kp.bake(tuned)
    assert not any(isinstance(layer, kp.PReLU) for layer in baked._flatten_layers())
    np.testing.assert_allclose(outputs(baked, x), outputs(tuned, x), rtol=0, atol=TOLERANCE)
