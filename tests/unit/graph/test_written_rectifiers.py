"""keras_prelu.graph.written_rectifiers: several operations of a functional graph are one site."""

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras import ops

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(300, 6)).astype("float32")
WRITTEN = {
    "maximum": (lambda x: ops.maximum(x, ops.zeros_like(x)), 0.0),
    "zeros first": (lambda x: ops.maximum(ops.zeros_like(x), x), 0.0),
    "where": (lambda x: ops.where(x > 0, x, 0), 0.0),
    "where not": (lambda x: ops.where(x <= 0, ops.zeros_like(x), x), 0.0),
    "leaky": (lambda x: ops.where(ops.greater(x, 0), x, 0.1 * x), 0.1),
    "mask": (lambda x: x * ops.cast(x > 0, x.dtype), 0.0),
    "mask first": (lambda x: ops.multiply(ops.cast(ops.less(0, x), "float32"), x), 0.0),
    "condition": (lambda x: x * (x > 0), 0.0),
    "half": (lambda x: (x + ops.abs(x)) / 2, 0.0),
    "half of": (lambda x: 0.5 * (ops.absolute(x) + x), 0.0),
}
OTHERS = {
    "negative part": lambda x: x * ops.cast(x < 0, x.dtype),
    "threshold": lambda x: x * ops.cast(x > 0.5, x.dtype),
    "other mask": lambda x: (x + 1) * ops.cast(x > 0, x.dtype),
    "broadcast": lambda x: ops.maximum(x[:, :1], ops.zeros_like(x)),
    "other zeros": lambda x: ops.maximum(x, ops.ones_like(x)),
    "third": lambda x: (x + ops.abs(x)) / 3,
    "difference": lambda x: (x - ops.abs(x)) / 2,
    "other half": lambda x: ops.where(x > 0, 0, x),
    "steep": lambda x: ops.where(x > 0, x, 2 * x),
}


def network(functions):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((6,))
    for function in functions:
        x = function(L.Dense(6)(x))
    return keras.Model(inputs, L.Dense(3)(x))


def outputs(model):
    return ops.convert_to_numpy(model(X))


def test_each_is_a_site_that_converts_exactly():
    functions, slopes = zip(*WRITTEN.values(), strict=True)
    model = network(functions)
    expected = outputs(model)
    sites = kp.find_sites(model)
    assert [site.negative_slope for site in sites] == list(slopes)
    assert all(site.convertible and site.channels == 6 for site in sites)
    converted = kp.convert(model)
    np.testing.assert_array_equal(outputs(converted), expected)
    layers = [layer for _, layer in prelu_layers(converted)]
    assert len(layers) == len(WRITTEN)
    left = {type(operation).__name__ for operation in converted.operations}
    assert left == {"InputLayer", "Dense", "PReLU"}

    new = np.linspace(0.1, 0.9, len(layers))
    for layer, slope in zip(layers, new, strict=True):
        layer.beta.assign(np.full(layer.beta.shape, slope))
    x = X.astype("float64")
    dense = [layer for layer in model.layers if isinstance(layer, L.Dense)]
    for layer, slope in zip(dense, [*new, 1.0], strict=True):
        kernel, bias = (ops.convert_to_numpy(weight) for weight in layer.weights)
        x = x @ kernel + bias
        x = np.where(x > 0, x, slope * x)
    np.testing.assert_allclose(outputs(converted), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_no_sites(name):
    model = network([OTHERS[name], ops.relu])
    (site,) = kp.find_sites(model)
    assert site.layer == "Relu"


def test_it_is_calibrated_and_diagnosed_like_a_relu():
    functions, slopes = zip(*WRITTEN.values(), strict=True)
    model = network(functions[:4])
    plain = network([ops.relu] * 4)
    assert not any(slopes[:4])
    plain.set_weights(model.get_weights())
    errors = [
        kp.run_conversion(each, alpha=0.25, calibration_data=X).calibration.error_after
        for each in (model, plain)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    units = [[site.dead for site in kp.diagnostics.dead_units(each, X)] for each in (model, plain)]
    assert units[0] == units[1]
    back = kp.convert(kp.convert(model), to="relu")
    np.testing.assert_array_equal(outputs(back), outputs(model))


def test_a_mask_that_something_else_uses_stays():
    inputs = keras.Input((6,))
    x = L.Dense(6)(inputs)
    mask = ops.cast(x > 0, x.dtype)
    model = keras.Model(inputs, [L.Dense(3)(x * mask), L.Dense(2)(mask)])
    converted = kp.convert(model)
    for one, other in zip(converted(X), model(X), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    assert len(list(prelu_layers(converted))) == 1
