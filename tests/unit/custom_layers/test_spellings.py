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


def test_expressions_are_rectifiers(tmp_path):
    model = built(spelled.Written)
    sites = [site for site in kp.find_sites(model) if site.convertible]
    assert len(sites) == 11  # One for each pass of the comprehension.
    lines = [int(site.source.split(":")[1].split()[0]) for site in sites]
    first, last = (line_of(spelled.Written, text) for text in ("zeros_like(x))", "* y)(x)"))
    assert first == lines[0]
    assert last == lines[-1]
    expected = outputs(model)
    np.testing.assert_array_equal(outputs(kp.convert(model)), expected)
    slopes = iter(np.linspace(0.1, 0.6, 11))
    converted = kp.convert(model, alpha=0.5, rescale="none", parameterization="identity")
    for (_, layer), slope in zip(prelu_layers(converted), np.linspace(0.1, 0.6, 11), strict=True):
        layer.beta.assign(np.full(layer.beta.shape, slope))

    def prelu(x):
        return np.where(x > 0, x, next(slopes) * x)

    layers = [(ops.convert_to_numpy(a), ops.convert_to_numpy(b)) for a, b in weights(model)]
    x = X.astype("float64")
    for index, (kernel, bias) in enumerate(layers[:10]):
        x = x @ kernel + bias
        x = prelu(x) + prelu(x - 0.3) if index == 8 else prelu(x)
    x = x @ layers[10][0] + layers[10][1]
    x = x * (x < 0) + x * (x > 0.5) + x * (x + 1 > 0)
    x = (np.maximum(x, 0) + (x + abs(x)) / 3) @ layers[11][0] + layers[11][1]
    np.testing.assert_allclose(outputs(converted), x, rtol=1e-4, atol=1e-5)


def test_expressions_of_the_backend_are_rectifiers():
    model = built(spelled.WrittenByBackend)
    expected = outputs(model)
    conversion = kp.run_conversion(model)
    assert len(conversion.sites) == spelled.WrittenByBackend.calls
    np.testing.assert_array_equal(outputs(conversion.model), expected)
    calibrated = kp.run_conversion(model, alpha=0.25, calibration_data=X)
    assert calibrated.calibration.error_after < calibrated.calibration.error_before


def test_calls_on_single_samples_are_on_request():
    model = built(spelled.Mapped)
    (site,) = kp.find_sites(model)
    assert site.on_request
    expected = outputs(model)
    np.testing.assert_array_equal(outputs(kp.convert(model, include="*")), expected)


def test_a_function_that_is_compiled_on_its_own_is_listed_once():
    sites = kp.find_sites(built(spelled.CallsCompiled))
    is_followed = keras.backend.backend() == "torch"
    assert [site.convertible for site in sites] == [True, is_followed]
    assert "compiled on its own" in sites[1].reason or is_followed


def test_parts_with_names_of_their_own_are_listed():
    sites = kp.find_sites(built(spelled.InParts))
    assert [site.convertible for site in sites] == [False, False]
    assert all("several expressions" in site.reason for site in sites)
    with pytest.raises(kp.errors.ConversionError, match="2 found, none convertible"):
        kp.convert(built(spelled.InParts))


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
