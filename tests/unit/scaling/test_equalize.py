"""keras_prelu.scaling.equalize: channels alike in size, the function unchanged, and what that is
good for."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

L = keras.layers


def numbers(model, x):
    return np.concatenate(
        [
            keras.ops.convert_to_numpy(part).reshape(len(part), -1)
            for part in keras.tree.flatten(model(x))
        ],
        axis=1,
    )


def badly_scaled(model, seed=0):
    """Channels of very different size, as training with BatchNormalization or weight decay leaves
    them."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, (L.Conv2D, L.Dense)):
            layer.kernel.assign(
                keras.ops.convert_to_numpy(layer.kernel)
                * 10.0 ** rng.uniform(-1.5, 1.5, layer.kernel.shape[-1])
            )
    return model


def converted(build):
    return kp.convert(badly_scaled(models.live_in(build())), rescale="none")


def mobile():
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU(name="a")(
        L.BatchNormalization(name="bn")(L.Conv2D(8, 3, padding="same", use_bias=False)(inputs))
    )
    x = L.ReLU(name="b")(L.DepthwiseConv2D(3, padding="same")(L.MaxPooling2D()(x)))
    return keras.Model(
        inputs, L.Dense(3)(L.GlobalAveragePooling2D()(L.Conv2D(6, 1, activation="relu")(x)))
    )


@pytest.mark.parametrize(
    "build",
    [models.mlp, models.residual, models.pre_activation, models.two_outputs, models.nested, mobile],
)
def test_the_function_is_unchanged_and_channels_are_alike(build):
    model = converted(build)
    x = models.samples(model, 16)
    before = numbers(model, x)
    records = kp.equalize(model)
    np.testing.assert_allclose(numbers(model, x), before, rtol=0, atol=1e-5 * np.abs(before).max())
    done = [record for record in records if record.action == "equalized"]
    assert done
    worst = max(record.spread_before for record in done)
    assert worst > 10
    assert max(record.spread_after for record in done) < 0.7 * worst


def test_two_layers_against_the_closed_form():
    """s_c = √(‖consumer_c‖/‖producer_c‖): afterwards both have √(‖consumer_c‖·‖producer_c‖)."""
    model = kp.convert(badly_scaled(models.live_in(models.mlp())), rescale="none", include="first")
    first, second = model.layers[0], model.layers[2]
    made, used = (
        np.abs(first.get_weights()[0]).max(axis=0),
        np.abs(second.get_weights()[0]).max(axis=1),
    )
    kp.equalize(model, passes=1)
    middle = np.sqrt(made * used)
    np.testing.assert_allclose(np.abs(first.get_weights()[0]).max(axis=0), middle, rtol=1e-4)
    record = kp.equalize(model)[0]
    assert (record.producers, record.consumers, record.channels) == (("first",), (second.name,), 8)


def test_groups_without_the_symmetry_are_kept_with_the_reason():
    capped = {record.action for record in kp.equalize(converted(models.capped))}
    assert any("has a cap" in action for action in capped)
    shared = {record.action for record in kp.equalize(converted(models.shared_relu))}
    assert any("'twice' is called at several places" in action for action in shared)
    flat = {record.action for record in kp.equalize(converted(models.convolutional))}
    assert any(
        "'flatten" in action and "no weights that scale its input" in action for action in flat
    )
    (*_, last) = kp.equalize(converted(models.mlp))
    assert last.action == "kept: it is an input or output of the model"
    with pytest.raises(ValueError, match="passes"):
        kp.equalize(converted(models.mlp), passes=0)


def quantized(model):
    """Each kernel rounded to 8 bits with one scale for the whole tensor, as per-tensor int8
    does."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if hasattr(layer, "kernel"):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            step = np.abs(kernel).max() / 127
            layer.kernel.assign(np.round(kernel / step) * step)
    return copy


def test_per_tensor_rounding_loses_less():
    model = converted(models.mlp)
    x = models.samples(model, 200)
    expected = numbers(model, x)
    before = np.mean((numbers(quantized(model), x) - expected) ** 2)
    kp.equalize(model)
    after = np.mean((numbers(quantized(model), x) - expected) ** 2)
    assert after < 0.1 * before


def test_dead_channels_are_not_scaled():
    model = converted(models.mlp)
    kernel = model.layers[0].get_weights()[0]
    kernel[:, 2] = 0.0
    model.layers[0].kernel.assign(kernel)
    x = models.samples(model, 16)
    before = numbers(model, x)
    kp.equalize(model)
    np.testing.assert_allclose(numbers(model, x), before, rtol=0, atol=1e-5 * np.abs(before).max())
