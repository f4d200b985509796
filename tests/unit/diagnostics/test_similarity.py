"""keras_prelu.diagnostics.similarity: equal, rotated and unrelated representations."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import layer_similarity
from tests.helpers import models

L = keras.layers


def test_only_a_conversion_at_slope_zero_is_equal():
    model = models.live_in(models.nested())
    x = models.samples(model, 40)
    same = layer_similarity(
        model, kp.convert(model, alpha=0.0, parameterization="identity", rescale="none"), x
    )
    assert same[-1].path == "output"
    assert all(
        layer.cka == pytest.approx(1.0) and layer.explained == pytest.approx(1.0) for layer in same
    )
    other = layer_similarity(model, kp.convert(model, rescale="none"), x)
    assert [layer.path for layer in other] == [layer.path for layer in same]
    assert other[0].explained == 1.0  # what reaches the first layer are the inputs
    assert all(0 < layer.cka < 1 and layer.explained < 1 for layer in other[-2:])


def network(kernel):
    model = keras.Sequential(
        [keras.Input((5,)), L.Dense(5, use_bias=False, name="first"), L.Dense(2, name="second")]
    )
    model.layers[0].set_weights([kernel])
    return model


def test_cka_alone_ignores_rotations_and_scales():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 5)).astype("float32")
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    (_, rotated, _) = layer_similarity(network(np.eye(5)), network(3 * rotation), x)
    assert rotated.cka == pytest.approx(1.0)
    expected = 1 - np.square(x - x @ (3 * rotation)).sum() / np.square(x - x.mean(axis=0)).sum()
    assert rotated.explained == pytest.approx(expected, rel=1e-4)
    projection = np.zeros((5, 5))
    projection[0, 0] = 1
    assert layer_similarity(network(np.eye(5)), network(projection), x)[1].cka == pytest.approx(
        1 / np.sqrt(5), rel=0.15
    )


def test_widths_may_differ_and_there_must_be_three_samples():
    narrow = keras.Sequential(
        [keras.Input((5,)), L.Dense(4, name="first"), L.Dense(2, name="second")]
    )
    x = np.random.default_rng(0).normal(size=(10, 5)).astype("float32")
    layers = layer_similarity(network(np.eye(5)), narrow, x)
    assert [layer.explained is None for layer in layers] == [False, True, False]
    with pytest.raises(kp.errors.DataError, match="three samples"):
        layer_similarity(narrow, narrow, x[:2])
