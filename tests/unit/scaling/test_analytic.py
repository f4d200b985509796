"""keras_prelu.scaling.analytic: the analytic rule (claims 4 and 6)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.scaling.analytic import rescale_analytic
from tests.helpers import models

L = keras.layers


def actions(model, **kwargs):
    converted = kp.convert(model, rescale="none", **kwargs)
    return {
        record.path: record.action
        for record in rescale_analytic(
            converted, [s.path for s in kp.diagnostics.layer_slopes(converted)]
        )
    }


def test_every_activation_has_the_second_moment_of_relu():
    """In a fresh network with symmetric pre-activations, in the mean over many units."""
    width = 1500
    model = keras.Sequential(
        [
            keras.Input((width,)),
            *(L.Dense(width, activation="relu", use_bias=False) for _ in range(3)),
        ]
    )
    x = np.random.default_rng(0).normal(size=(64, width)).astype("float32")
    relu = np.mean(model.predict(x, verbose=0) ** 2)
    for rescale, expected in (("none", 1.0625**3), ("analytic", 1.0)):
        prelu = np.mean(kp.convert(model, rescale=rescale, include="*").predict(x, verbose=0) ** 2)
        np.testing.assert_allclose(prelu / relu, expected, rtol=0.06)


@pytest.mark.parametrize("normalized", [True, False])
def test_producers_are_scaled_and_nothing_else(normalized):
    inputs = keras.Input((12, 12, 3))
    x = L.Conv2D(4, 3, name="conv")(inputs)
    x = L.BatchNormalization(name="norm")(x) if normalized else x
    model = models.live_in(keras.Model(inputs, L.Conv2D(2, 3, name="last")(L.ReLU()(x))))
    converted = kp.convert(model, alpha=0.5, rescale="analytic")
    factors = (
        {"conv": [1.0, 1.0], "norm": [1 / 1.25**0.5] * 2 + [1.0, 1.0], "last": [1.0, 1.0]}
        if normalized
        else {"conv": [1 / 1.25**0.5] * 2}
    )
    for name, expected in factors.items():
        for before, after, factor in zip(
            model.get_layer(name).get_weights(),
            converted.get_layer(name).get_weights(),
            expected,
            strict=True,
        ):
            np.testing.assert_allclose(after, before * factor, rtol=1e-5)


def test_scaling_a_producer_scales_the_activation():
    """φ(s·x) = s·φ(x): scaling the producer scales the activation (claim 6), for every kind of
    producer."""
    model = models.live_in(models.autoencoder())
    x = models.samples(model, 4)
    plain, scaled = kp.convert(model, rescale="none"), kp.convert(model, rescale="analytic")
    name = model.layers[0].name
    for after in (f"{name}_prelu",):
        a, b = (
            keras.Model(m.inputs, m.get_layer(after).output).predict(x, verbose=0)
            for m in (plain, scaled)
        )
        np.testing.assert_allclose(b, a / np.sqrt(1.0625), rtol=1e-4, atol=1e-6)


def test_sites_without_a_producer_of_their_own_are_kept_with_the_reason():
    assert set(actions(models.autoencoder()).values()) == {"scaled"}
    assert any(
        "called at several places" in action for action in actions(models.shared_relu()).values()
    )
    assert all("not homogeneous" in action for action in actions(models.capped()).values())
    reasons = list(actions(models.residual()).values())
    assert sum("'add" in reason for reason in reasons) == 2
    assert sum(reason == "scaled" for reason in reasons) == 3
    assert any(
        "not one for each channel" in action
        for action in actions(models.convolutional(), shared_axes=None).values()
    )


def test_a_producer_that_is_an_output_of_the_model_is_kept():
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, name="dense")(inputs)
    model = keras.Model(inputs, [dense, keras.layers.ReLU(name="relu")(dense)])
    converted = kp.convert(model, rescale="none", include="*")
    (record,) = rescale_analytic(converted, ["relu"])
    assert "output of the model" in record.action
    np.testing.assert_array_equal(
        converted.get_layer("dense").kernel, model.get_layer("dense").kernel
    )


def test_slopes_that_were_kept_are_not_rescaled_for():
    model = models.live_in(models.leaky())
    converted = kp.convert(model, rescale="analytic")
    first = model.layers[1].name
    np.testing.assert_array_equal(
        converted.get_layer(first).get_weights()[0], model.get_layer(first).get_weights()[0]
    )
