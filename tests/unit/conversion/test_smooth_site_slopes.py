"""Conversion of smooth activations: which are selected, their slopes, and the error."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import custom, models

L = keras.layers


def network(activation="silu", width=24):
    """A convolutional network with a smooth activation, and a gate as in squeeze-and-excite."""
    inputs = keras.Input((10, 10, 3))
    x = L.BatchNormalization()(L.Conv2D(width, 3, use_bias=False)(inputs))
    x = L.Activation(activation, name="first")(x)
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Conv2D(8, 1, activation=activation, name="squeeze")(gate)
    x = x * L.Conv2D(width, 1, activation="sigmoid", name="gate")(gate)
    x = L.Conv2D(width, 3, activation=activation, name="last")(x)
    return models.live_in(keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x))))


def slopes_of(model):
    return {path: keras.ops.convert_to_numpy(layer.alpha) for path, layer in prelu_layers(model)}


def predict(model, x):
    return model.predict(x, verbose=0)


def test_smooth_selects_neither_gates_nor_relus_nor_outputs():
    inputs = keras.Input((6,))
    x = L.Dense(4, activation="relu", name="relu")(inputs)
    x = L.Dense(4, activation="gelu", name="gelu")(x)
    x = x * L.Dense(4, activation="hard_sigmoid", name="gate")(x)
    x = x * keras.ops.relu6(x + 3) / 6
    x = L.ELU(name="elu")(x)
    variance = L.Dense(2, activation="softplus", name="variance")(x)
    root = keras.ops.sqrt(keras.ops.softplus(L.Dense(2)(x)))
    model = keras.Model(inputs, [variance, root])
    sites = kp.find_sites(model)
    assert [site.path for site in sites if kp.sites.SMOOTH(site)] == ["gelu", "elu"]
    smooth = {site.path for site in sites if site.is_smooth and site.range_matters}
    assert smooth == {"softplus", "variance"}
    x = models.samples(model, 40)
    converted = kp.run_conversion(model, include=kp.sites.SMOOTH, calibration_data=x)
    assert set(converted.fitted_slopes) == {"gelu_prelu", "elu"}
    np.testing.assert_array_less(0, converted.model.predict(x, verbose=0)[0])


@pytest.mark.parametrize("activation", ["silu", "hard_silu", "gelu", "elu", "mish"])
@pytest.mark.parametrize("alpha", ["auto", None])
def test_fitted_slopes_leave_less_error_than_a_fixed_one(activation, alpha, tmp_path):
    model = network(activation)
    x = models.samples(model, 200)
    options = {"include": kp.sites.SMOOTH, "calibration_data": x}
    result = kp.run_conversion(model, alpha=alpha, **options)
    fixed = kp.run_conversion(model, alpha=0.25, **options)
    assert set(result.fitted_slopes) == {"first", "squeeze_prelu", "last_prelu"}
    assert not fixed.fitted_slopes
    assert all(np.allclose(slopes, 0.25) for slopes in slopes_of(fixed.model).values())
    assert result.error < fixed.error
    assert len(np.unique(slopes_of(result.model)["first"])) > 5
    assert not [site for site in kp.find_sites(result.model) if kp.sites.SMOOTH(site)]
    assert result.model.get_layer("gate").activation is keras.activations.sigmoid
    kp.save_model(result.model, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predict(loaded, x), predict(result.model, x))


def test_the_recorded_error_is_that_of_the_outputs_on_held_out_samples():
    model = network()
    x = models.samples(model, 200)
    result = kp.run_conversion(model, include=kp.sites.SMOOTH, alpha="auto", calibration_data=x)
    held_out = x[np.random.default_rng(0).permutation(200)[:40]]
    error = kp.diagnostics.relative_error(predict(result.model, held_out), predict(model, held_out))
    assert result.error == pytest.approx(error, rel=1e-3)
    assert result.calibration.error_after < 0.3 * result.calibration.error_before
    assert result.verification.samples > 0


def test_the_slopes_are_those_for_the_inputs_in_the_original():
    inputs = keras.Input((6,))
    hidden = L.Dense(5, activation="elu", name="hidden")(inputs)
    model = models.live_in(keras.Model(inputs, L.Dense(3)(hidden)))
    x = models.samples(model, 300)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.get_layer("hidden").weights)
    before = (x.astype("float64") @ kernel + bias).T
    slopes = slopes_of(
        kp.convert(model, include=kp.sites.SMOOTH, alpha="auto", calibration_data=x)
    )["hidden_prelu"]
    for column, slope in zip(before, slopes.ravel(), strict=True):
        f = np.where(column > 0, column, np.expm1(np.minimum(column, 0)))
        design = np.stack([np.maximum(column, 0), np.minimum(column, 0), np.ones_like(f)], axis=1)
        of_positive, of_negative, _ = np.linalg.lstsq(design, f)[0]
        # A hundredth of the weight is on normal quantiles.
        assert slope == pytest.approx(of_negative / of_positive, abs=0.02)


def test_with_relus_the_search_allows_what_smooth_activations_cost():
    inputs = keras.Input((6,))
    x = L.Dense(32, activation="silu", name="smooth")(inputs)
    x = L.Dense(32, activation="relu", name="relu")(x)
    model = models.live_in(keras.Model(inputs, L.Dense(3)(x)))
    x = models.samples(model, 400)
    result = kp.run_conversion(model, include="*", alpha="auto", tolerance=0.01, calibration_data=x)
    assert set(result.fitted_slopes) == {"smooth_prelu"}
    assert set(result.slope_search.slopes) == {"relu_prelu"}
    assert result.slope_search.within
    assert result.slope_search.slopes["relu_prelu"] > 0.002
    assert result.error <= result.slope_search.tolerance
    alone = kp.run_conversion(model, include=kp.sites.SMOOTH, alpha="auto", calibration_data=x)
    assert result.slope_search.tolerance == pytest.approx(alone.error + 0.01, abs=0.003)
    np.testing.assert_allclose(
        slopes_of(result.model)["smooth_prelu"], slopes_of(alone.model)["smooth_prelu"]
    )


@custom.registered
class Smooth(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(16)
        self.activation = keras.activations.silu

    def call(self, inputs):
        return self.activation(self.dense(inputs))


def test_smooth_activations_inside_custom_layers():
    inputs = keras.Input((6,))
    model = models.live_in(keras.Model(inputs, L.Dense(3)(Smooth(name="own")(inputs))))
    x = models.samples(model, 200)
    result = kp.run_conversion(model, include=kp.sites.SMOOTH, alpha="auto", calibration_data=x)
    (slopes,) = slopes_of(result.model).values()
    assert len(np.unique(slopes)) > 10
    assert len(result.fitted_slopes) == 1
    fixed = kp.run_conversion(model, include=kp.sites.SMOOTH, alpha=0.25, calibration_data=x)
    assert result.error < fixed.error


def test_a_large_error_is_said_with_what_helps():
    inputs = keras.Input((6,))
    outputs = L.Dense(1)(L.Dense(1, activation="silu", name="narrow")(inputs))
    model = models.live_in(keras.Model(inputs, outputs))
    kernel, bias = model.get_layer("narrow").weights
    kernel.assign(np.full((6, 1), 0.1))
    bias.assign([-1.2785])  # The minimum of SiLU, where no slope fits a parabola.
    x = models.samples(model, 200)
    with pytest.warns(kp.errors.KerasPReLUWarning, match=r"Distillation \(rescale"):
        kp.convert(model, include=kp.sites.SMOOTH, alpha="auto", calibration_data=x)
