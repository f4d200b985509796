"""keras_prelu.diagnostics.scale_symmetry: rescaling keeps the function and influences (claim 6)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import (
    channel_influences,
    channel_scales,
    rescale_channels,
    signal_by_depth,
)
from tests.helpers import models

L = keras.layers


@pytest.mark.parametrize("build", [models.mlp, models.residual, models.nested])
def test_rescaled_networks_compute_the_same(build):
    model = kp.convert(models.live_in(build()), rescale="none")
    x = models.samples(model, 8)
    expected, before = keras.ops.convert_to_numpy(model(x)), channel_scales(model)
    assert before
    for seed in range(3):
        other = rescale_channels(model, seed=seed)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(other(x)),
            expected,
            rtol=0,
            atol=1e-4 * np.abs(expected).max(),
        )
        assert not all(
            np.allclose(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True)
        )
        for one, two in zip(before, channel_scales(other), strict=True):
            assert one.producers == two.producers
            assert not np.allclose(one.balance, two.balance, rtol=0.1)


def test_equalizing_makes_the_balance_one():
    model = rescale_channels(kp.convert(models.live_in(models.mlp()), rescale="none"))
    kp.equalize(model)
    for group in channel_scales(model):
        np.testing.assert_allclose(group.balance, 1.0, rtol=0.01)


def test_the_balance_equals_one_by_hand_and_capped_channels_are_left_out():
    model = keras.Sequential([keras.Input((1,)), L.Dense(3), L.ReLU(), L.Dense(1)])
    model.layers[0].set_weights([np.array([[1.0, -4.0, 1.0]]), np.zeros(3)])
    model.layers[2].set_weights([np.array([[1.0], [2.0], [0.0]]), np.zeros(1)])
    (group,) = channel_scales(model)
    assert group.channels == 3
    np.testing.assert_allclose(group.balance, [1.0, 2.0, np.inf])
    assert (
        channel_scales(keras.Sequential([keras.Input((1,)), L.Dense(2), L.ReLU(6.0), L.Dense(1)]))
        == ()
    )


@pytest.mark.parametrize("build", [models.mlp, models.residual, models.nested])
def test_influences_do_not_change_with_the_scales(build):
    model = kp.convert(models.live_in(build()), rescale="none")
    x, other = models.samples(model, 40), rescale_channels(model, seed=1)
    for one, two in zip(channel_influences(model, x), channel_influences(other, x), strict=True):
        assert one.path == two.path
        np.testing.assert_allclose(
            one.influence, two.influence, rtol=1e-3, atol=1e-5 * one.influence.max()
        )
    moments = [[layer.moment for layer in signal_by_depth(each, x)] for each in (model, other)]
    assert not np.allclose(*moments, rtol=0.1)


def test_influences_equal_those_by_hand():
    model = models.live_in(keras.Sequential([keras.Input((6,)), L.Dense(4), L.ReLU(), L.Dense(3)]))
    x = models.samples(model, 20)
    (w, b), (v, _) = (layer.get_weights() for layer in model.layers[::2])
    projection = np.random.default_rng([0, 0]).normal(size=(20, 3))
    h = x @ w + b
    layers = channel_influences(model, x)
    assert [layer.path for layer in layers] == [layer.name for layer in model.layers]
    expected = np.sqrt(np.mean(np.square(np.maximum(h, 0) * (projection @ v.T)), axis=0))
    for layer in layers[
        :2
    ]:  # the derivatives by a ReLU's input and by its output, times them, are the same
        np.testing.assert_allclose(layer.influence, expected, rtol=1e-4)
    with pytest.raises(kp.errors.InvalidArgumentError, match="probes"):
        channel_influences(model, x, probes=0)
