"""keras_prelu.diagnostics.units: dead units, counted exactly (claim 2)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import dead_units
from tests import models
from tests.gradients import gradients

L = keras.layers


def with_dead_units(build, name, dead):
    model = models.live_in(build())
    layer = kp.surgery.paths.layer_at(model, name)
    kernel, bias = layer.get_weights()
    bias[:dead] = -1e3
    layer.set_weights([kernel, bias])
    return model


@pytest.mark.parametrize("converted", [False, True])
def test_inline_and_layers(converted):
    model = with_dead_units(models.mlp, "first", 3)
    x = models.samples(model, 500)
    if converted:
        model = kp.convert(model, rescale="none")
    first, second = dead_units(model, x, batch_size=64)
    assert (first.units, first.dead, second.units) == (8, 3, 8)
    assert first.path == ("first_prelu" if converted else "first")


@pytest.mark.parametrize("converted", [False, True])
def test_nested_models(converted):
    model = with_dead_units(models.nested, "backbone/conv", 5)
    x = models.samples(model, 40)
    if converted:
        model = kp.convert(model, rescale="none")
    outer, inner = dead_units(model, x)
    assert (outer.units, outer.dead, inner.units) == (8, 5, 4)


def test_equal_to_a_count_by_hand():
    model = keras.Sequential([keras.Input((2,)), L.Dense(200), L.ReLU()])
    x = models.samples(model, 5)
    kernel, bias = models.live_in(model).layers[0].get_weights()
    (site,) = dead_units(model, x)
    assert site.dead == int(np.sum(np.all(x @ kernel + bias <= 0, axis=0)))
    assert 0 < site.dead < 200


def test_a_dead_relu_unit_gets_no_gradient_and_a_prelu_unit_alpha_times_it():
    x = np.float32([[-1.0], [-2.0]])
    for layer, expected in ((L.ReLU(), 0.0), (kp.PReLU(0.25), 0.25)):
        layer(x)
        (gradient,) = gradients(lambda x, layer=layer: keras.ops.sum(layer(x)), x)
        np.testing.assert_array_equal(gradient, np.full((2, 1), expected, "float32"))


@pytest.mark.parametrize("batch_size", [64, 1000])
def test_nearly_dead_units_and_sides_that_carry_nothing(batch_size):
    """Units that are active on 0, 1, 10, 11 and all of 1000 samples; slopes 0, 0.01, 1, 0.25 and 0.25."""
    thresholds = np.float32([1000, 999, 990, 989, -1])
    model = keras.Sequential([keras.Input((5,)), kp.PReLU([0.0, 0.01, 1.0, 0.25, 0.25], parameterization="identity")])
    x = (np.arange(1000, dtype="float32")[:, None] - thresholds + 0.5) / 1000
    x[:, 0] -= 0.001
    (site,) = dead_units(model, x, batch_size=batch_size)
    assert (site.units, site.dead, site.nearly_dead) == (5, 1, 2)
    assert site.negative == pytest.approx(np.mean(x <= 0))
    y = np.where(x > 0, x, x * [0.0, 0.01, 1.0, 0.25, 0.25])
    shares = np.square(np.minimum(y, 0)).sum(axis=0) / np.maximum(np.square(y).sum(axis=0), 1e-30)
    assert site.one_sided == np.sum(shares <= 0.001) == 2
    relu = keras.Sequential([keras.Input((5,)), L.ReLU()])
    assert dead_units(relu, x)[0].one_sided is None


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_channels_of_images_in_both_layouts(data_format):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3, 4, 5)).astype("float32")
    x[:, 1] = -np.abs(x[:, 1])
    layer = kp.PReLU(np.reshape([0.0, 0.5, 0.5], (3, 1, 1)), parameterization="identity", data_format="channels_first", shared_axes=(2, 3))
    if data_format == "channels_last":
        x, layer = np.moveaxis(x, 1, -1), kp.PReLU([0.0, 0.5, 0.5], parameterization="identity")
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    (site,) = dead_units(model, x)
    assert (site.units, site.dead, site.one_sided) == (3, 1, 1)
    assert site.negative == pytest.approx(np.mean(x <= 0))
