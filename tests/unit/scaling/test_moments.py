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
    variance = to_float64(norm.moving_variance)
    scales = to_float64(norm.gamma) * np.sqrt(variance / (variance + norm.epsilon))
    for mean, scale, factor in zip(to_float64(norm.beta), scales, factors, strict=True):
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


def dead_network(seed):
    """A network whose BatchNormalization layers have dead, constant and huge channels, in all
    combinations."""
    inputs = keras.Input((8, 8, 6))
    x = L.ReLU(6.0 if seed % 2 else None)(L.BatchNormalization()(L.Conv2D(12, 3)(inputs)))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = L.ReLU()(L.BatchNormalization(scale=seed % 3 > 0)(y))
    y = L.BatchNormalization(center=seed % 5 > 0)(L.Conv2D(12, 1, use_bias=False)(y))
    x = L.ReLU()(L.Add()([x, y]))
    model = models.live_in(
        keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))), seed=seed
    )
    rng = np.random.default_rng(seed)
    extremes = {
        "gamma": [0.0, 1e-30, 1e-12, -1e-3, 1e3],
        "beta": [0.0, -1e-30, -1e4, 1e4],
        "moving_variance": [0.0, 1e-38, 1e-12, 1e10],
        "moving_mean": [0.0, 1e-20, 1e4, -1e4],
    }
    for variable in model.weights:
        choices = extremes.get(variable.path.rsplit("/", 1)[-1])
        if choices:
            values, shape = to_float64(variable), variable.shape
            variable.assign(np.where(rng.random(shape) < 0.6, rng.choice(choices, shape), values))
    return model


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("alpha", [1e-3, 0.25, 0.9])
def test_dead_and_constant_channels_never_give_nan(seed, alpha):
    model = dead_network(seed)
    x = models.samples(model, 4)
    converted = kp.convert(model, alpha=alpha, parameterization="identity", rescale="moments")
    for variable in converted.weights:
        assert np.isfinite(to_float64(variable)).all(), variable.path
    assert np.isfinite(to_float64(converted(x))).all()


def inverted_residuals(dead, kind, x):
    """Blocks of expansion, depthwise convolution and projection with dead channels, as trained
    mobile networks have: γ is next to 0, or the producer has no weights and its output no
    variance."""
    rng, inputs = np.random.default_rng(0), keras.Input((8, 8, 4))
    outputs = inputs
    for block in range(3):
        y = L.Conv2D(16, 1, use_bias=False, name=f"expand{block}")(outputs)
        y = L.ReLU(6.0)(L.BatchNormalization(name=f"expand_bn{block}")(y))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"dw{block}")(y)
        y = L.ReLU(6.0)(L.BatchNormalization(name=f"dw_bn{block}")(y))
        y = L.BatchNormalization()(L.Conv2D(4, 1, use_bias=False)(y))
        outputs = L.Add()([outputs, y])
    outputs = L.Dense(3)(L.GlobalAveragePooling2D()(outputs))
    model = models.live_in(keras.Model(inputs, outputs))
    for block in range(3):
        for name in ("expand", "dw"):
            producer, norm = (model.get_layer(f"{name}{part}{block}") for part in ("", "_bn"))
            is_dead = rng.random(16) < dead
            norm.beta.assign(np.where(is_dead, -1e-3, to_float64(norm.beta)))
            if kind == "gamma":
                norm.gamma.assign(np.where(is_dead, 1e-9, to_float64(norm.gamma)))
            else:
                mask = is_dead[:, None] if name == "dw" else is_dead
                producer.kernel.assign(np.where(mask, 0.0, to_float64(producer.kernel)))
    return settled(model, x)


@pytest.mark.parametrize("kind", ["gamma", "producer"])
@pytest.mark.parametrize("dead", [0.5, 1.0])
def test_mobile_networks_with_dead_channels(kind, dead):
    x = np.random.default_rng(1).normal(size=(64, 8, 8, 4)).astype("float32")
    model = inverted_residuals(dead, kind, x)
    none, moments = (
        kp.convert(model, alpha=0.05, rescale=rescale) for rescale in ("none", "moments")
    )
    for variable in moments.weights:
        assert np.isfinite(to_float64(variable)).all(), variable.path
    assert error(moments, model, x) < error(none, model, x)
    exact = kp.convert(model)
    assert to_float64(exact(x)).tobytes() == to_float64(model(x)).tobytes()


def test_a_constant_channel_keeps_its_scale_and_gets_its_offset_back():
    """γ = 0 and β < 0: φ(β) = αβ is added to everything that reads it, and nothing else changes."""
    model = models.live_in(
        keras.Sequential(
            [keras.Input((4,)), L.BatchNormalization(name="norm"), L.ReLU(), L.Dense(3)]
        )
    )
    norm = model.get_layer("norm")
    norm.gamma.assign(np.zeros(4))
    norm.beta.assign([-1.0, -3.0, 2.0, 0.0])
    converted = kp.convert(model, alpha=ALPHA, rescale="moments")
    np.testing.assert_array_equal(
        to_float64(converted.get_layer("norm").beta), to_float64(norm.beta)
    )
    x = models.samples(model, 5)
    np.testing.assert_allclose(to_float64(converted(x)), to_float64(model(x)), atol=1e-6)


def test_a_number_that_is_added_is_not_mistaken_for_a_sum_of_tensors():
    inputs = keras.Input((4,))
    x = L.BatchNormalization(name="norm")(inputs)
    outputs = L.Dense(3, name="last")(L.ReLU()(x + 5.0))
    model = models.live_in(keras.Model(inputs, outputs))
    converted = kp.convert(model, alpha=ALPHA, rescale="none")
    (prelu,) = [layer.name for layer in converted.layers if isinstance(layer, kp.PReLU)]
    assert [record.action for record in rescale_moments(converted, [prelu])] == [UNKNOWN]
