"""keras_prelu.scaling.moments: ReLU's output restored in least squares from BatchNormalization's
statistics."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.scaling.moments import UNKNOWN, rescale_moments
from tests.helpers import models

L = keras.layers
ALPHA = 0.25


def to_float64(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), dtype=np.float64)


def settled(model, x):
    """The model with BatchNormalization statistics that are those of its inputs."""
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            part = to_float64(keras.Model(model.inputs[0], layer.input)(x))
            axes = tuple(range(part.ndim - 1))
            layer.moving_mean.assign(part.mean(axis=axes))
            layer.moving_variance.assign(part.var(axis=axes))
    return model


def error(model, original, x):
    return kp.diagnostics.relative_error(to_float64(model(x)), to_float64(original(x)))


def test_the_factor_is_that_of_a_least_squares_regression():
    """On normal pre-activations: what BatchNormalization's γ and β are multiplied by, against
    numpy's least squares."""
    model = models.live_in(
        keras.Sequential(
            [keras.Input((4,)), L.BatchNormalization(name="norm"), L.ReLU(name="relu")]
        )
    )
    norm = model.get_layer("norm")
    norm.gamma.assign([0.5, 1.0, 2.0, 1.0])
    norm.beta.assign([-0.5, 0.0, 1.0, 1.5])
    converted = kp.convert(model, alpha=ALPHA, rescale="moments", include="*")
    factors = to_float64(converted.get_layer("norm").gamma) / to_float64(norm.gamma)
    np.testing.assert_allclose(
        to_float64(converted.get_layer("norm").beta), to_float64(norm.beta) * factors, rtol=1e-5
    )
    grid = np.linspace(-9.0, 9.0, 20_001)
    weights = np.exp(-0.25 * grid**2)[:, None]  # the root of the normal density
    for mean, scale, factor in zip(
        to_float64(norm.beta), to_float64(norm.gamma), factors, strict=True
    ):
        x = mean + scale * grid
        prelu, relu = np.where(x > 0, x, ALPHA * x), np.maximum(x, 0.0)
        design = np.stack([prelu, np.ones_like(prelu)], axis=1)
        slope = np.linalg.lstsq(weights * design, weights[:, 0] * relu, rcond=None)[0][0]
        assert factor == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("follower", ["bias", "normalization", "added", "pooled"])
def test_the_offset_goes_into_what_follows(follower):
    """The mean of the output is restored, which a factor alone can't do."""
    inputs = keras.Input((8, 8, 6))
    x = L.BatchNormalization(name="norm")(inputs)
    y = L.ReLU(name="relu")(x)
    if follower == "bias":
        outputs = L.Dense(5)(y)
    elif follower == "normalization":
        outputs = L.BatchNormalization()(L.Conv2D(5, 1, use_bias=False)(y))
    elif follower == "added":
        outputs = L.Add()([y, L.BatchNormalization()(L.Conv2D(6, 1, use_bias=False)(inputs))])
    else:
        outputs = L.Dense(5)(L.Flatten()(L.AveragePooling2D(4)(L.Dropout(0.5)(y))))
    samples = np.random.default_rng(1).normal(size=(4000, 8, 8, 6)).astype("float32")
    model = settled(models.live_in(keras.Model(inputs, outputs)), samples)
    none, moments = (
        kp.convert(model, alpha=ALPHA, rescale=rescale) for rescale in ("none", "moments")
    )
    means = [to_float64(each(samples)).mean(axis=0) for each in (model, none, moments)]
    assert np.abs(means[2] - means[0]).max() < 0.05 * np.abs(means[1] - means[0]).max()
    assert error(moments, model, samples) < 0.5 * error(none, model, samples)


@pytest.mark.parametrize("build", [models.residual, models.pre_activation])
def test_networks_keep_more_of_their_function(build):
    model = models.live_in(build())
    x = models.samples(model, 300)
    model = settled(model, x)
    assert error(kp.convert(model, rescale="moments"), model, x) < 0.1 * error(
        kp.convert(model, rescale="none"), model, x
    )


def test_a_capped_activation_gives_its_factor_to_the_layer_that_reads_it():
    inputs = keras.Input((8, 8, 6))
    x = L.BatchNormalization(name="norm")(inputs)
    for layer in (
        L.ReLU(6.0, name="first"),
        L.DepthwiseConv2D(3, use_bias=False),
        L.BatchNormalization(),
        L.ReLU(6.0),
        L.Conv2D(4, 1),
    ):
        x = layer(x)
    samples = np.random.default_rng(1).normal(size=(500, 8, 8, 6)).astype("float32")
    model = settled(models.live_in(keras.Model(inputs, x)), samples)
    none, moments = (
        kp.convert(model, alpha=ALPHA, rescale=rescale) for rescale in ("none", "moments")
    )
    np.testing.assert_array_equal(
        to_float64(moments.get_layer("norm").gamma), to_float64(model.get_layer("norm").gamma)
    )
    assert error(moments, model, samples) < 0.5 * error(none, model, samples)


def test_sites_without_statistics_are_kept_with_the_reason():
    model = models.live_in(models.mlp())
    converted = kp.convert(model, rescale="none")
    before = converted.get_weights()
    records = rescale_moments(converted, ["first_prelu", converted.layers[3].name])
    assert [record.action for record in records] == [UNKNOWN, UNKNOWN]
    for old, new in zip(before, converted.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_output_of_the_model_keeps_its_scale_and_offset():
    """The BatchNormalization that feeds a site, or a sum, may also be an output of the model."""
    inputs = keras.Input((4,))
    norm = L.BatchNormalization(name="norm")(inputs)
    rectified = L.Dense(4, name="dense")(L.ReLU()(norm))
    other = L.BatchNormalization(name="other")(rectified)
    total = L.Add()([rectified, other])
    model = models.live_in(keras.Model(inputs, [norm, other, total]))
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    converted = kp.convert(model, alpha=ALPHA, rescale="moments")
    np.testing.assert_allclose(to_float64(converted(x)[0]), to_float64(model(x)[0]), rtol=1e-6)
    np.testing.assert_array_equal(
        to_float64(converted.get_layer("other").beta), to_float64(model.get_layer("other").beta)
    )


def test_at_slope_0_nothing_changes():
    model = models.live_in(models.residual())
    converted = kp.convert(model, alpha=0.0, parameterization="identity", rescale="moments")
    x = models.samples(model, 8)
    assert to_float64(converted(x)).tobytes() == to_float64(model(x)).tobytes()
