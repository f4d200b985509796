"""keras_prelu.conversion.in_place: a model that can't be rebuilt is converted as it stands."""

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras import ops

import keras_prelu as kp
from keras_prelu.conversion import in_place
from keras_prelu.sites.prelu_layers import prelu_layers

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")


class Unconfigured(keras.Model):
    """Can't be rebuilt: its constructor takes a function, and it has no get_config()."""

    def __init__(self, function, width):
        super().__init__()
        self.function = function
        self.first = L.Dense(width, activation="relu")
        self.second = L.Dense(width)
        self.leaky = L.LeakyReLU(negative_slope=0.2)
        self.head = L.Dense(2)

    def call(self, x):
        x = self.leaky(self.first(self.function(x)))
        return self.head(ops.relu(self.second(x)))


def model():
    keras.utils.set_random_seed(0)
    built = Unconfigured(lambda x: 2 * x, 8)
    built(X)
    built.compile("adam", "mse", metrics=["mae"])
    return built


def outputs(each):
    return ops.convert_to_numpy(each(X))


def test_the_model_itself_is_converted_exactly():
    original = model()
    expected, predicted = outputs(original), original.predict(X, verbose=0)
    converted = kp.convert(original, in_place=True)
    assert converted is original
    assert isinstance(converted, Unconfigured)
    np.testing.assert_array_equal(outputs(converted), expected)
    np.testing.assert_allclose(converted.predict(X, verbose=0), predicted, rtol=1e-6, atol=1e-6)
    assert [path for path, _ in prelu_layers(converted)] == [
        "first_prelu",
        "leaky_prelu",
        "relu_prelu",
    ]


def test_slopes_learn_and_predict_applies_them():
    converted = kp.convert(model(), in_place=True)
    converted.predict(X, verbose=0)
    before = [ops.convert_to_numpy(layer.beta) for _, layer in prelu_layers(converted)]
    history = converted.fit(X, np.ones((64, 2), "float32"), epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert "mae" in history
    for (_, layer), value in zip(prelu_layers(converted), before, strict=True):
        assert np.any(ops.convert_to_numpy(layer.beta) != value)
    np.testing.assert_allclose(
        converted.predict(X, verbose=0), outputs(converted), rtol=1e-4, atol=1e-5
    )


def test_positive_slopes_are_a_choice():
    converted = kp.convert(model(), in_place=True, alpha=0.3, rescale="none")
    slopes = [float(ops.convert_to_numpy(each.alpha)[0]) for _, each in prelu_layers(converted)]
    np.testing.assert_allclose(slopes, [0.3, 0.2, 0.3], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "relu"}, "`to` can't be combined with in_place=True"),
        ({"calibration_data": X[:, :4]}, "shape"),
        ({"calibration_data": np.full((9, 5), np.nan)}, "NaN"),
        ({"rescale": "moments"}, 'rescale="moments" is for a graph of layers'),
        ({"alpha": 0.3}, "changes the model's outputs"),
        ({"include": "nothing"}, "nothing"),
        ({"shared_axes": 7, "alpha": 0.3, "rescale": "none"}, "first"),
    ],
)
def test_a_refusal_leaves_the_model_as_it_was(arguments, message):
    original = model()
    expected, attributes = outputs(original), dict(vars(original))
    with pytest.raises(kp.errors.KerasPReLUError, match=message):
        kp.convert(original, in_place=True, **arguments)
    assert type(original) is Unconfigured
    assert vars(original).keys() == attributes.keys()
    np.testing.assert_array_equal(outputs(original), expected)


def test_a_graph_of_layers_is_copied_instead():
    sequential = keras.Sequential([keras.Input((5,)), L.Dense(4, activation="relu"), L.Dense(2)])
    with pytest.raises(kp.errors.InvalidArgumentError, match="leave out in_place"):
        kp.convert(sequential, in_place=True)


def test_a_calibrated_conversion_equals_that_of_a_copy():
    original = model()
    expected = outputs(original)
    copy = kp.convert(original, alpha=0.25, calibration_data=X)
    converted = kp.convert(original, alpha=0.25, calibration_data=X, in_place=True)
    assert converted is original
    np.testing.assert_allclose(outputs(converted), outputs(copy), rtol=1e-5, atol=1e-6)
    error = np.mean((outputs(converted) - expected) ** 2) / expected.var()
    uncalibrated = kp.convert(model(), alpha=0.25, rescale="none", in_place=True)
    assert error < 0.5 * np.mean((outputs(uncalibrated) - expected) ** 2) / expected.var()


def test_slopes_are_searched_and_bounded_in_place():
    converted = kp.convert(model(), alpha="auto", calibration_data=X, in_place=True)
    slopes = [float(ops.convert_to_numpy(each.alpha)[0]) for _, each in prelu_layers(converted)]
    assert slopes[1] == pytest.approx(0.2)
    assert 0 < slopes[0] <= 0.25
    deployed = kp.convert(model(), profile="deployment", in_place=True)
    assert [each.alpha.shape for _, each in prelu_layers(deployed)] == [(1,)] * 3


def test_a_failure_after_calibration_leaves_the_model_as_it_was(monkeypatch):
    original = model()
    expected, attributes = outputs(original), dict(vars(original))
    weights = [ops.convert_to_numpy(each).copy() for each in original.variables]
    run = in_place.rescaled_on_samples

    def interrupted(*args, **kwargs):
        run(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(in_place, "rescaled_on_samples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kp.convert(original, alpha=0.25, calibration_data=X, in_place=True)
    assert type(original) is Unconfigured
    assert vars(original).keys() == attributes.keys()
    assert len(original.variables) == len(weights)
    for variable, value in zip(original.variables, weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    np.testing.assert_array_equal(outputs(original), expected)
    original.fit(X, np.ones((64, 2), "float32"), verbose=0)


def test_a_second_conversion_that_fails_leaves_the_first(monkeypatch):
    original = kp.convert(model(), include="first", in_place=True)
    expected = outputs(original)

    def fails(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(in_place, "rescaled_on_samples", fails)
    with pytest.raises(MemoryError):
        kp.convert(original, alpha=0.25, calibration_data=X, in_place=True)
    np.testing.assert_array_equal(outputs(original), expected)
    assert [path for path, _ in prelu_layers(original)] == ["first_prelu"]
    monkeypatch.undo()
    kp.convert(original, in_place=True)
    assert len(list(prelu_layers(original))) == 3


def test_a_model_without_a_configuration_is_copied_too():
    original = model()
    expected = outputs(original)
    converted = kp.convert(original)
    assert isinstance(converted, Unconfigured)
    np.testing.assert_array_equal(outputs(converted), expected)
    converted.fit(X, np.ones((64, 2), "float32"), verbose=0)
    np.testing.assert_array_equal(outputs(original), expected)
    assert type(original) is Unconfigured


@pytest.mark.slow
def test_it_is_fine_tuned_beside_its_control():
    data = (X, np.ones((64, 2), "float32"))
    original = model()
    expected = outputs(original)
    result = kp.finetune(original, data, data, recipe="identity", epochs=1)
    assert result.control is not None
    for trained in (result.prelu.model, result.control.model):
        assert np.abs(outputs(trained) - expected).max() > 0
    assert len(list(prelu_layers(result.prelu.model))) == 3
    assert not list(prelu_layers(result.control.model))
    np.testing.assert_array_equal(outputs(original), expected)


def test_what_is_missing_to_save_it_is_said(tmp_path):
    converted = kp.convert(model(), in_place=True)
    with pytest.raises(kp.errors.KerasPReLUError, match="get_config"):
        kp.save_model(converted, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())
