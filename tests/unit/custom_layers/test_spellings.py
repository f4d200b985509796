"""Rectifiers as selections and products, in dicts, and where no call of a layer comes."""

import threading

import keras
import numpy as np
import pytest
from keras import ops

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import spelled

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


def built(cls):
    keras.utils.set_random_seed(0)
    model = cls()
    model(X)
    return model


def outputs(model, *args, **kwargs):
    return ops.convert_to_numpy(model(X, *args, **kwargs))


def line_of(cls, text):
    with open(spelled.__file__) as file:
        lines = file.read().splitlines()
    start = lines.index(f"class {cls.__name__}(keras.Model):")
    return next(number for number in range(start, len(lines)) if text in lines[number]) + 1


def test_selections_are_rectifiers():
    model = built(spelled.Selected)
    sites = [site for site in kp.find_sites(model) if site.convertible]
    assert [site.negative_slope for site in sites] == [0.0, 0.1, 0.0, 0.3]
    expected = outputs(model)
    converted = kp.convert(model)
    np.testing.assert_array_equal(outputs(converted), expected)
    assert len(list(prelu_layers(converted))) == 4
    flat = kp.convert(model, alpha=0.999, rescale="none", keep_slopes=False)
    layers = [(ops.convert_to_numpy(a), ops.convert_to_numpy(b)) for a, b in weights(model)]
    x = X.astype("float64")
    for kernel, bias in layers[:4]:
        x = x @ kernel + bias
        x = np.where(x > 0, x, 0.999 * x)
    x = x @ layers[4][0] + layers[4][1]
    x = np.where(x > 0, 0, x)
    x = np.where(x > 0.5, x, 0)
    x = np.where(x > 0, x + 1, 0) @ layers[5][0] + layers[5][1]
    np.testing.assert_allclose(outputs(flat), x, rtol=1e-4, atol=1e-5)


def weights(model):
    return [layer.weights for layer in (*model.hidden, model.head)]


def test_a_product_is_listed_with_its_line():
    sites = kp.find_sites(built(spelled.Product))
    (product,) = [site for site in sites if not site.convertible]
    line = line_of(spelled.Product, "ops.cast(")
    assert product.source == f"spelled.py:{line} in Product.call"
    assert "written as a product" in product.reason
    assert len(sites) == 2


@pytest.mark.filterwarnings("ignore:`build")
def test_calls_that_no_trace_takes_are_listed():
    model = built(spelled.Optional)
    variables = len(model.variables)
    sites = kp.find_sites(model)
    assert len(model.variables) == variables  # A call for training would have built a layer.
    assert [site.convertible for site in sites] == [True, False, False, False]
    unseen = {site.source: site for site in sites if not site.convertible}
    assert set(unseen) == {
        f"spelled.py:{line_of(spelled.Optional, text)} in Optional.call"
        for text in ("self.other(x)", "relu6(extra)")
    }
    assert all("no call of the layer" in site.reason for site in unseen.values())
    expected = outputs(model)
    converted = kp.convert(model)
    np.testing.assert_array_equal(outputs(converted), expected)
    again = kp.find_sites(converted)
    assert {site.source for site in again if site.source} == set(unseen)


def test_functions_in_a_dict_are_followed():
    model = built(spelled.FromDict)
    expected = outputs(model)
    converted = kp.convert(model)
    np.testing.assert_array_equal(outputs(converted), expected)
    slopes = [ops.convert_to_numpy(layer.alpha)[0] for _, layer in prelu_layers(converted)]
    np.testing.assert_allclose(slopes, [0.0, 0.3])


def test_passes_of_a_lambda_that_vary_are_refused():
    converted = kp.convert(built(spelled.Varying))
    assert len(list(prelu_layers(converted))) == 3
    converted.count = 2
    with pytest.raises(Exception, match=r"3 passes through .*this run made 2"):
        outputs(converted)
    converted.count = 3
    outputs(converted)


def test_sites_are_found_while_another_thread_calls_the_model():
    model = built(spelled.FromDict)
    expected, reference = kp.find_sites(model), outputs(model)
    stop, errors, results = threading.Event(), [], []

    def call():
        while not stop.is_set():
            try:
                results.append(outputs(model))
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=call)
    thread.start()
    try:
        for _ in range(5):
            assert kp.find_sites(model) == expected
    finally:
        stop.set()
        thread.join()
    assert not errors
    for result in results:
        np.testing.assert_allclose(result, reference, rtol=1e-5, atol=1e-6)
