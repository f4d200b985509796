"""keras_prelu.simplify: one slope a layer, refitted within a tolerance."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import coded, models

L = keras.layers


def converted(build):
    return models.with_slopes(kp.convert(models.live_in(build()), rescale="none"))


def error_of(model, original, x):
    outputs, targets = (each.predict(x, verbose=0) for each in (model, original))
    return kp.theory.relative_error(outputs, targets)


def test_the_slope_is_the_nearest_to_what_passes_below_zero():
    """The PReLU is applied to the inputs; reference: least squares in NumPy."""
    slopes, x = np.array([0.1, 0.3, 0.6]), np.random.default_rng(0).normal(size=(200, 3))
    x *= [1.0, 2.0, 0.5]
    prelu = kp.PReLU(slopes, parameterization="identity", name="prelu")
    model = keras.Sequential([keras.Input((3,)), prelu, L.Dense(2)])
    simplification = kp.simplify(model, x.astype("float32"), tolerance=10.0)
    (layer,) = simplification.layers
    negative = np.minimum(x, 0)
    (expected,), *_ = np.linalg.lstsq(
        negative.reshape(-1, 1), (slopes * negative).reshape(-1), rcond=None
    )
    np.testing.assert_allclose(layer.slope, expected, rtol=1e-5)
    outputs = np.where(x > 0, x, slopes * x)
    change = np.sum(((expected - slopes) * negative) ** 2) / np.sum(outputs**2)
    np.testing.assert_allclose(layer.change, change, rtol=1e-4)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(simplification.model.layers[0].alpha), [expected], rtol=1e-5
    )


def test_every_layer_has_one_slope_and_the_outputs_stay_close():
    model, x = converted(models.residual), models.samples(models.residual(), 300)
    model.compile("sgd", "mse")
    weights = model.get_weights()
    simplification = kp.simplify(model, x)
    assert [layer.slopes for layer in simplification.layers] == [8] * 5
    assert simplification.error <= simplification.tolerance == 0.01
    assert simplification.error == simplification.calibration.error_after
    assert simplification.calibration.error_before > 10 * simplification.error
    simple = simplification.model
    prelus = [layer for layer in simple.layers if isinstance(layer, kp.PReLU)]
    assert {layer.alpha.shape[-1] for layer in prelus} == {1}
    assert [layer.name for layer in simple.layers] == [layer.name for layer in model.layers]
    assert error_of(simple, model, x) == pytest.approx(simplification.error, rel=0.5)
    assert simple.compiled
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_the_layers_that_change_most_keep_their_slopes():
    model, x = converted(models.residual), models.samples(models.residual(), 300)
    whole = kp.simplify(model, x)
    part = kp.simplify(model, x, tolerance=whole.error / 5)
    assert 0 < part.error <= whole.error / 5
    kept = [layer for layer in part.layers if layer.slope is None]
    merged = [layer for layer in part.layers if layer.slope is not None]
    assert kept
    assert merged
    assert min(layer.change for layer in kept) > max(layer.change for layer in merged)
    assert all("more than the tolerance without its slopes" in layer.reason for layer in kept)
    assert {layer.reason for layer in merged} == {""}


def test_caps_that_cut_off_next_to_nothing_are_removed():
    model, x = converted(models.capped), 0.1 * models.samples(models.capped(), 200)
    simplification = kp.simplify(model, x, tolerance=0.1)
    assert [layer.uncapped for layer in simplification.layers] == [True, True]
    prelus = [layer for layer in simplification.model.layers if isinstance(layer, kp.PReLU)]
    assert {layer.max_value for layer in prelus} == {None}


def test_caps_that_cut_off_more_are_kept():
    model, x = converted(models.capped), 10 * models.samples(models.capped(), 200)
    simplification = kp.simplify(model, x, tolerance=10.0)
    assert [layer.uncapped for layer in simplification.layers] == [False, False]
    assert all("its cap cuts off" in layer.reason for layer in simplification.layers)
    assert all(layer.max_value == 6 and layer.slope for layer in simplification.layers)


def test_what_no_simplification_keeps_is_a_copy():
    model, x = converted(models.capped), models.samples(models.capped(), 200)
    simplification = kp.simplify(model, x, tolerance=1e-9)
    assert (simplification.error, simplification.calibration) == (0.0, None)
    assert all("slopes and cap" in layer.reason for layer in simplification.layers)
    np.testing.assert_array_equal(
        simplification.model.predict(x, verbose=0), model.predict(x, verbose=0)
    )


def test_slopes_of_each_element_are_merged_too():
    slopes = np.random.default_rng(0).uniform(0.1, 0.2, (4, 4, 2))
    layers = [kp.PReLU(slopes, shared_axes=None), L.Flatten(), L.Dense(3)]
    model = keras.Sequential([keras.Input((4, 4, 2)), *layers])
    x = models.samples(model, 200)
    simplification = kp.simplify(model, x, tolerance=0.05)
    assert simplification.model.layers[0].alpha.shape == (1, 1, 1)
    assert 0.1 < simplification.layers[0].slope < 0.2


@pytest.mark.filterwarnings("ignore:`build")
@pytest.mark.parametrize("in_graph", [False, True])
def test_layers_that_python_code_applies_get_one_slope(in_graph, tmp_path):
    model = coded.built()
    if in_graph:
        inputs = keras.Input((4,))
        model = keras.Model(inputs, L.Dense(2)(coded.Branch(name="branch")(L.Dense(6)(inputs))))
    model = kp.convert(model, rescale="none", parameterization="identity")
    rng = np.random.default_rng(0)
    for _, layer in prelu_layers(model):
        layer.beta.assign(rng.uniform(0.15, 0.35, layer.beta.shape))
    expected = coded.outputs(model)
    simplification = kp.simplify(model, coded.X, tolerance=0.05)
    simple = simplification.model
    assert [layer.slopes for layer in simplification.layers] == [6] * (2 if in_graph else 5)
    assert all(0.15 < layer.slope < 0.35 for layer in simplification.layers)
    assert {layer.alpha.shape[-1] for _, layer in prelu_layers(simple)} == {1}
    error = kp.theory.relative_error(coded.outputs(simple), expected)
    assert error == pytest.approx(simplification.error, rel=0.7)
    assert 0 < error < 0.05
    np.testing.assert_array_equal(coded.outputs(model), expected)
    kp.save_model(simple, tmp_path / "simple.keras")
    loaded = kp.load_model(tmp_path / "simple.keras")
    np.testing.assert_array_equal(coded.outputs(loaded), coded.outputs(simple))


def test_caps_of_functions_in_code_are_removed():
    model = kp.convert(coded.built(), rescale="none")
    simplification = kp.simplify(model, 0.1 * coded.X, tolerance=0.1)
    assert [layer.uncapped for layer in simplification.layers] == [True, *[False] * 4]
    first, *_ = (layer for _, layer in prelu_layers(simplification.model))
    assert first.max_value is None


class WithPReLU(L.Layer):
    """Is written with a PReLU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.act = kp.PReLU([0.1, 0.2, 0.3, 0.4], parameterization="identity")

    def call(self, x):
        return self.act(x)


def test_layers_that_code_was_written_with_are_kept():
    layers = [L.Dense(4), WithPReLU(), L.Dense(4), L.ReLU(name="relu"), L.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model = kp.convert(model, rescale="none", parameterization="identity")
    model.get_layer("relu").beta.assign([0.1, 0.2, 0.3, 0.4])
    simplification = kp.simplify(model, coded.X, tolerance=1.0)
    by_path = {layer.path: layer for layer in simplification.layers}
    assert by_path.pop("relu").slope is not None
    assert {layer.reason for layer in by_path.values()} == {"it is inside a layer with Python code"}


def test_what_has_no_slopes_is_refused():
    model = models.mlp()
    with pytest.raises(ConversionError, match="has no PReLU layer to simplify"):
        kp.simplify(model, models.samples(model, 20))
    with pytest.raises(InvalidArgumentError, match="tolerance"):
        kp.simplify(converted(models.mlp), models.samples(model, 20), tolerance=0)
