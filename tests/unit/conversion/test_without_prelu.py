"""keras_prelu.conversion.without_prelu: PReLU to ReLU and LeakyReLU."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import coded, custom, models

L = keras.layers
STOCK = {"ReLU", "LeakyReLU"}


def converted(build, low=0.05, high=0.4):
    """Return a converted network with slopes as training leaves them."""
    model = kp.convert(models.live_in(build()))
    rng = np.random.default_rng(0)
    for _, layer in prelu_layers(model):
        layer.beta.assign(rng.uniform(low, high, layer.beta.shape))
    return model


def predict(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))


def activations(model):
    """Return the activation layers of a model and of the models inside."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += activations(layer)
        elif type(layer).__name__ in (*STOCK, "PReLU"):
            found.append(layer)
    return found


@pytest.mark.filterwarnings("ignore:The c:keras_prelu.errors.KerasPReLUWarning")  # Large errors.
@pytest.mark.parametrize("build", models.ALL)
@pytest.mark.parametrize("to", ["relu", "leaky_relu"])
def test_stock_layers_take_the_place_of_every_prelu(build, to):
    model = converted(build)
    x = models.samples(model, 100)
    plain = kp.run_conversion(model, to=to, rescale="none", calibration_data=x)
    result = kp.run_conversion(model, to=to, calibration_data=x)
    count = len(list(prelu_layers(model)))
    assert len(result.sites) == len(result.fitted_slopes) == count
    assert {type(layer).__name__ for layer in activations(result.model)} <= STOCK
    assert len(activations(result.model)) >= count
    assert not list(prelu_layers(result.model))
    assert result.calibration.error_after <= result.calibration.error_before
    assert result.error < 1.05 * plain.error
    slopes = {layer.negative_slope for layer in activations(result.model)}
    assert {round(float(slope), 6) for slope in result.fitted_slopes.values()} <= {
        round(float(slope), 6) for slope in slopes
    }
    assert (max(slopes) == 0) == (to == "relu")
    assert [output.shape for output in predict(result.model, x)] == [
        output.shape for output in predict(model, x)
    ]


def test_slopes_of_zero_become_relu_bit_for_bit_without_samples():
    original = models.live_in(models.convolutional())
    x = models.samples(original)
    for to in ("relu", "leaky_relu"):
        back = kp.convert(kp.convert(original), to=to)
        np.testing.assert_array_equal(predict(back, x)[0], predict(original, x)[0])
        assert {type(layer).__name__ for layer in activations(back)} == {"ReLU"}


def test_equal_slopes_become_leaky_relu_without_samples():
    original = models.live_in(models.convolutional())
    model = kp.convert(original, alpha=0.1, rescale="none")
    x = models.samples(model)
    back = kp.convert(model, to="leaky_relu")
    np.testing.assert_allclose(predict(back, x)[0], predict(model, x)[0], rtol=1e-5, atol=1e-6)
    assert [layer.negative_slope for layer in activations(back)] == pytest.approx([0.1, 0.1])


def test_the_slope_without_samples_is_the_mean():
    model = converted(models.mlp)
    back = kp.convert(model, to="leaky_relu", rescale="none")
    expected = [
        float(np.mean(keras.ops.convert_to_numpy(layer.alpha))) for _, layer in prelu_layers(model)
    ]
    assert [layer.negative_slope for layer in activations(back)] == pytest.approx(expected)


@pytest.mark.parametrize("to", ["relu", "leaky_relu"])
def test_a_change_without_samples_is_refused_unless_a_rescaling_is_named(to):
    model = converted(models.mlp)
    with pytest.raises(ValueError, match=rf"'first_prelu'.*to='{to}'.*calibration_data.*none"):
        kp.convert(model, to=to)
    kp.convert(model, to=to, rescale="none")
    nearly = converted(models.mlp, 0.0, 0.0005)
    kp.convert(nearly, to=to)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "elu"}, "`to` must be one of"),
        ({"to": "relu", "alpha": 0.1}, "`alpha` is for PReLU layers"),
        ({"to": "relu", "parameterization": "exp"}, "`parameterization`"),
        ({"to": "relu", "rescale": "moments"}, "`rescale` must be"),
        ({"to": "relu", "rescale": "calibrated"}, "needs `calibration_data`"),
        ({"to": "relu", "include": "nothing", "rescale": "none"}, "names no site"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(kp.errors.InvalidArgumentError, match=message):
        kp.convert(converted(models.mlp), **options)


def test_a_model_without_prelu_is_refused():
    with pytest.raises(kp.errors.ConversionError, match="no PReLU to convert to 'leaky_relu'"):
        kp.convert(models.live_in(models.mlp()), to="leaky_relu")


def test_caps_are_kept():
    model = converted(models.capped)
    x = models.samples(model, 100)
    caps = [layer.max_value for _, layer in prelu_layers(model)]
    for to in ("relu", "leaky_relu"):
        result = kp.convert(model, to=to, calibration_data=x)
        assert [layer.max_value for layer in activations(result)] == caps


def test_stock_prelu_and_leaky_relu_are_replaced():
    inputs = keras.Input((6,))
    x = L.LeakyReLU(0.2, name="leaky")(L.Dense(8)(inputs))
    x = L.PReLU(name="own")(L.Dense(8)(x))
    x = L.Dense(8, activation="relu")(x)
    model = models.live_in(keras.Model(inputs, L.Dense(3)(x)))
    x = models.samples(model, 200)
    model.get_layer("own").alpha.assign(np.linspace(0.1, 0.5, 8))
    to_relu = kp.run_conversion(model, to="relu", calibration_data=x)
    assert set(to_relu.fitted_slopes) == {"leaky", "own"}
    assert [type(layer).__name__ for layer in activations(to_relu.model)] == ["ReLU", "ReLU"]
    to_leaky = kp.run_conversion(model, to="leaky_relu", calibration_data=x)
    assert set(to_leaky.fitted_slopes) == {"own"}
    kinds = [type(layer).__name__ for layer in activations(to_leaky.model)]
    assert kinds == ["LeakyReLU", "LeakyReLU"]


def test_sites_that_are_left_out_stay_prelu():
    model = converted(models.mlp)
    x = models.samples(model, 100)
    result = kp.convert(model, to="relu", exclude="first_prelu", calibration_data=x)
    assert [path for path, _ in prelu_layers(result)] == ["first_prelu"]
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(result.get_layer("first_prelu").alpha),
        keras.ops.convert_to_numpy(model.get_layer("first_prelu").alpha),
    )
    assert [type(layer).__name__ for layer in result.layers].count("ReLU") == 1


def test_positive_maps_can_be_set_to_zero_and_the_model_is_not_changed():
    model = kp.convert(models.live_in(models.mlp()), alpha=0.2, rescale="none")
    x = models.samples(model, 100)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    result = kp.convert(model, to="relu", calibration_data=x)
    assert {type(layer).__name__ for layer in activations(result)} == {"ReLU"}
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, keras.ops.convert_to_numpy(other))
    assert {layer.parameterization.name for _, layer in prelu_layers(model)} == {"exp"}


def test_code_with_relu_gets_its_own_class_back():
    inputs = keras.Input((6,))
    model = models.live_in(
        keras.Model(inputs, L.Dense(3)(custom.BuildsLate(16, name="late")(inputs)))
    )
    changed = kp.convert(model)
    for _, layer in prelu_layers(changed):
        layer.beta.assign(np.full(layer.beta.shape, 0.2))
    x = models.samples(model, 200)
    result = kp.run_conversion(changed, to="relu", calibration_data=x)
    assert type(result.model.get_layer("late")) is custom.BuildsLate
    assert result.error < 0.1
    leaky = kp.convert(changed, to="leaky_relu", calibration_data=x)
    assert isinstance(leaky.get_layer("late"), custom.BuildsLate)
    np.testing.assert_allclose(predict(leaky, x)[0], predict(changed, x)[0], rtol=1e-5, atol=1e-6)


def sloped(model, low=0.05, high=0.4):
    """Give the PReLU layers of a model slopes, and return them in the order of execution."""
    rng = np.random.default_rng(0)
    for _, layer in prelu_layers(model):
        layer.beta.assign(rng.uniform(low, high, layer.beta.shape))
    return [keras.ops.convert_to_numpy(layer.beta) for _, layer in prelu_layers(model)]


@pytest.mark.backends
@pytest.mark.filterwarnings("ignore:The converted model differs")  # Without a calibration.
@pytest.mark.parametrize(
    "make", [coded.built, lambda: coded.built(coded.Unconfigured, keras.ops.abs)]
)
def test_subclassed_models_get_their_own_class_back(make):
    original = make()
    expected = coded.outputs(original)
    model = kp.convert(original)
    back = kp.convert(model, to="relu")
    assert type(back) is type(original)
    np.testing.assert_array_equal(coded.outputs(back), expected)
    sloped(model)
    before = coded.outputs(model)
    result = kp.run_conversion(model, to="relu", calibration_data=coded.X)
    assert type(result.model) is type(original)
    assert not list(prelu_layers(result.model))
    assert result.fitted_slopes.keys() == {path for path, _ in prelu_layers(model)}
    plain = kp.run_conversion(model, to="relu", rescale="none", calibration_data=coded.X)
    np.testing.assert_allclose(coded.outputs(plain.model), expected, rtol=1e-5, atol=1e-6)
    assert result.error < plain.error
    np.testing.assert_array_equal(coded.outputs(model), before)


@pytest.mark.backends
def test_code_without_the_slope_applies_one_that_is_frozen(tmp_path):
    model = kp.convert(coded.built())
    slopes = sloped(model)
    result = kp.run_conversion(model, to="leaky_relu", rescale="none", calibration_data=coded.X)
    assert isinstance(result.model, coded.Coded)
    layers = dict(prelu_layers(result.model))
    assert list(result.fitted_slopes) == list(layers) == [path for path, _ in prelu_layers(model)]
    assert [layer.beta.shape for layer in layers.values()] == [(1,)] * len(coded.SITES)
    assert not any(variable.trainable for layer in layers.values() for variable in layer.variables)
    assert all(
        slope.min() < fitted < slope.max()
        for slope, fitted in zip(slopes, result.fitted_slopes.values(), strict=True)
    )
    expected = coded.reference(model, result.fitted_slopes.values())
    np.testing.assert_allclose(coded.outputs(result.model), expected, rtol=1e-5, atol=1e-5)
    kp.save_model(result.model, tmp_path / "leaky.keras")
    loaded = kp.load_model(tmp_path / "leaky.keras")
    np.testing.assert_array_equal(coded.outputs(loaded), coded.outputs(result.model))
    assert not any(layer.trainable for _, layer in prelu_layers(loaded))
    calibrated = kp.run_conversion(model, to="leaky_relu", calibration_data=coded.X)
    assert calibrated.error < result.error


def test_sites_in_code_that_are_left_out_keep_their_slopes():
    model = kp.convert(coded.built())
    slopes = sloped(model)
    left_out = ["relu6()", "blocks[1]/first"]
    result = kp.convert(
        model, to="relu", rescale="none", exclude=["relu6_prelu", "blocks_1__first_prelu"]
    )
    assert [path for path, _ in prelu_layers(result)] == ["relu6_prelu", "blocks_1__first_prelu"]
    assert all(layer.trainable for _, layer in prelu_layers(result))
    kept = [
        slope if site in left_out else 0.0 for site, slope in zip(coded.SITES, slopes, strict=True)
    ]
    np.testing.assert_allclose(
        coded.outputs(result), coded.reference(model, kept), rtol=1e-5, atol=1e-5
    )
    again = kp.convert(result)  # The others are sites again.
    np.testing.assert_array_equal(coded.outputs(again), coded.outputs(result))
    assert len(list(prelu_layers(again))) == len(coded.SITES)


def test_the_recorded_error_and_the_distillation():
    model = converted(models.convolutional, 0.2, 0.4)
    x = models.samples(model, 200)
    result = kp.run_conversion(
        model, to="relu", rescale="distilled", distillation_epochs=2, calibration_data=x
    )
    assert result.distillation.error_after <= result.calibration.error_after * (1 + 1e-4)
    held_out = x[np.random.default_rng(0).permutation(200)[:40]]
    error = kp.diagnostics.relative_error(
        predict(result.model, held_out)[0], predict(model, held_out)[0]
    )
    assert result.error == pytest.approx(error, rel=1e-3)


def test_compile_settings_and_files(tmp_path):
    model = converted(models.mlp)
    optimizer = kp.SlopeOptimizer(keras.optimizers.Adam(1e-3))
    model.compile(optimizer, "mse", metrics=["mae"])
    result = kp.convert(model, to="relu", calibration_data=models.samples(model, 100))
    assert type(result.optimizer).__name__ == "Adam"
    result.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = models.samples(model, 20)
    np.testing.assert_array_equal(predict(loaded, x)[0], predict(result, x)[0])
