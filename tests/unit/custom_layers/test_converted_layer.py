"""keras_prelu.custom_layers.converted_layer: custom layers and subclassed models are converted
exactly, and come back from a file."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import coded, custom, models
from tests.helpers.custom import L


def convertible(model):
    return [site.path for site in kp.find_sites(model) if site.convertible]


def predict(model, x):
    return keras.ops.convert_to_numpy(model(x))


def built(model, *inputs):
    model(*inputs)
    return models.live_in(model)


def assert_converts(model, *x, sites, tmp_path):
    """Exact at slope 0, different at 0.25, the same again from a file, and nothing of the
    original's changed."""
    before = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    expected = keras.ops.convert_to_numpy(model(*x))
    at_zero = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none", include="*")
    assert keras.ops.convert_to_numpy(at_zero(*x)).tobytes() == expected.tobytes()
    converted = kp.convert(model, rescale="none", include="*")
    assert len(list(prelu_layers(converted))) == sites
    outputs = keras.ops.convert_to_numpy(converted(*x))
    assert not np.allclose(outputs, expected)
    kp.save_model(converted, tmp_path / "converted.keras")
    loaded = kp.load_model(tmp_path / "converted.keras")
    assert keras.ops.convert_to_numpy(loaded(*x)).tobytes() == outputs.tobytes()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(*x)), expected)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    return converted


IMAGES = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
ROWS = IMAGES[:, 0, 0]


FEATURES = IMAGES[:, 0, :4, 0]


@pytest.mark.filterwarnings(
    "ignore:.*does not have a `build:UserWarning"
)  # Keras's about the user's class, converted or not
@pytest.mark.parametrize(
    ("layer", "shape", "x", "sites"),
    [
        (custom.Block, (8, 8, 3), IMAGES, 7),
        (custom.BuildsLate, (3,), ROWS, 2),
        (custom.Outer, (3,), ROWS, 6),
        (custom.SqueezeExcite, (8, 8, 3), IMAGES, 2),
        (custom.CallsFunctions, (3,), ROWS, 3),
    ],
)
def test_custom_layers_convert_exactly_and_are_saved(layer, shape, x, sites, tmp_path):
    model = models.live_in(custom.around(layer(name="custom"), L.Dense(2), shape=shape))
    converted = assert_converts(model, x, sites=sites, tmp_path=tmp_path)
    assert isinstance(converted.get_layer("custom"), layer)
    assert type(converted.get_layer("custom")).__name__ == layer.__name__
    assert {site.target for site in kp.find_sites(model) if site.convertible} == {
        path for path, _ in prelu_layers(converted)
    }


def test_the_first_call_applies_the_slopes():
    """Also where the layers inside are created by that very call."""
    converted = kp.convert(custom.around(custom.Outer(name="custom"), shape=(3,)), rescale="none")
    layer = converted.get_layer("custom")
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(predict(again, ROWS), predict(again, ROWS))


def test_a_rectifier_gets_slopes_for_each_number_of_channels():
    converted = kp.convert(custom.around(custom.Block(name="block")), rescale="none")
    sizes = {path: layer.beta.shape[-1] for path, layer in prelu_layers(converted)}
    assert (sizes["block/relu_prelu"], sizes["block/relu_2_prelu"]) == (4, 8)
    with pytest.raises(kp.KerasPReLUError, match=r"'relu'.*\(2, 5\)"):
        converted.get_layer("block").relu(np.zeros((2, 5), "float32"))


def test_a_subclassed_model(tmp_path):
    model = built(custom.Classifier(name="classifier"), IMAGES)
    assert convertible(model)[:2] == ["features[0]/first", "features[0]/relu"]
    converted = assert_converts(model, IMAGES, sites=9, tmp_path=tmp_path)
    assert isinstance(converted, custom.Classifier)
    assert not np.allclose(predict(converted.encode, IMAGES), predict(model.encode, IMAGES))


def test_a_model_whose_build_leaves_layers_to_the_first_call():
    model = coded.built(coded.WithOwnWeight)
    expected = coded.outputs(model)
    converted = kp.convert(model)
    np.testing.assert_array_equal(coded.outputs(converted), expected)
    assert isinstance(converted, coded.WithOwnWeight)
    assert len(list(prelu_layers(converted))) == len(coded.SITES)
    assert not {id(each) for each in converted.variables} & {id(each) for each in model.variables}
    converted.shift.assign(converted.shift + 1)
    np.testing.assert_array_equal(coded.outputs(model), expected)


def test_a_subclassed_model_is_trained(tmp_path):
    model = built(custom.Classifier(), IMAGES)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    converted = kp.convert(model, rescale="none")
    slopes = [keras.ops.convert_to_numpy(layer.beta) for _, layer in prelu_layers(converted)]
    converted.fit(IMAGES, np.ones((3, 3)), verbose=0)
    assert any(
        not np.array_equal(before, keras.ops.convert_to_numpy(layer.beta))
        for before, (_, layer) in zip(slopes, prelu_layers(converted), strict=True)
    )


def test_a_subclassed_model_of_two_arguments(tmp_path):
    tokens, features = (
        np.array([[1, 2], [3, 4]]),
        np.random.default_rng(0).normal(size=(2, 2, 5)).astype("float32"),
    )
    features = features[..., :4]
    model = built(custom.TwoInputs(), tokens, features)
    (site,) = kp.find_sites(model)
    assert (site.path, site.channels, site.convertible) == ("dense", 4, True)
    conversion = kp.run_conversion(
        model, alpha=0.0, parameterization="identity", rescale="none", include="*"
    )
    assert (conversion.verification.samples, conversion.verification.obstacle) == (4, "")
    converted = conversion.model
    assert (
        predict(lambda _: converted(tokens, features), None).tobytes()
        == predict(lambda _: model(tokens, features), None).tobytes()
    )


def test_a_model_that_is_a_leaf_module(tmp_path):
    model = models.live_in(custom.Backbone())
    assert convertible(model) == ["stem", "odd/relu", "last"]
    converted = assert_converts(model, IMAGES, sites=3, tmp_path=tmp_path)
    assert isinstance(converted, custom.Backbone)


def test_a_leaf_module_inside_another_model(tmp_path):
    model = models.live_in(
        custom.around(
            custom.Backbone(name="backbone"),
            L.Flatten(),
            L.Dense(2, activation="relu", name="head"),
        )
    )
    assert convertible(model) == ["backbone/stem", "backbone/odd/relu", "backbone/last", "head"]
    assert_converts(model, IMAGES, sites=4, tmp_path=tmp_path)


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_a_registered_model_of_unregistered_layers_is_a_leaf_module(tmp_path):
    model = models.live_in(custom.KnownByItsClass())
    assert isinstance(
        assert_converts(model, FEATURES, sites=2, tmp_path=tmp_path), custom.KnownByItsClass
    )


@pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning")
def test_what_users_change_after_the_conversion_is_saved(tmp_path):
    """What a user changes after the conversion is saved: a flag, and slopes that were trained."""
    model = custom.around(custom.Block(name="block"))
    converted = kp.convert(model, rescale="none")
    converted.get_layer("block").trainable = False
    dict(prelu_layers(converted))["block/act_prelu"].beta.assign(np.full((1, 1, 8), -3.0))
    converted.save(tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    assert not loaded.get_layer("block").trainable
    np.testing.assert_allclose(
        dict(prelu_layers(loaded))["block/act_prelu"].alpha, np.exp(-3.0), rtol=1e-6
    )
    assert keras.models.clone_model(loaded).get_layer("block").act.layers[0].name == "act_prelu"


def test_the_remaining_sites_are_converted_later():
    model = models.live_in(custom.around(custom.Block(name="block")))
    some = kp.convert(model, rescale="none", include="block/relu*")
    assert convertible(some) == [
        "block/first",
        "block/stack[1]",
        "block/act",
        "block/by_name[out]",
        "block/_hidden",
    ]
    rest = kp.convert(some, rescale="none")
    assert len(list(prelu_layers(rest))) == 7
    np.testing.assert_allclose(
        predict(rest, IMAGES),
        predict(kp.convert(model, rescale="none"), IMAGES),
        rtol=1e-5,
        atol=1e-6,
    )


def test_slopes_for_each_position_need_one_shape():
    model = custom.around(L.Conv2D(4, 3), custom.Block(name="block"))
    converted = kp.convert(model, rescale="none", shared_axes=None, include="block/act")
    assert dict(prelu_layers(converted))["block/act_prelu"].beta.shape == (6, 6, 8)


def test_wrapper_layers_of_keras(tmp_path):
    inputs = keras.Input((5, 3))
    x = L.TimeDistributed(L.Dense(4, activation="relu"), name="time")(inputs)
    x = L.Bidirectional(L.LSTM(3, activation="relu", return_sequences=True), name="both")(x)
    x = L.SpectralNormalization(L.Dense(4, activation="relu"), name="spectral")(x)
    model = keras.Model(inputs, x)
    sites = {site.path: site for site in kp.find_sites(model)}
    assert [path for path, site in sites.items() if site.convertible] == [
        "time/layer",
        "spectral/layer",
    ]
    assert all("loop" in site.reason for path, site in sites.items() if path.startswith("both"))
    x = np.random.default_rng(0).normal(size=(3, 5, 3)).astype("float32")
    assert_converts(model, x, sites=2, tmp_path=tmp_path)


def test_layer_names_are_kept_if_a_constructor_appends_to_them(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Appends(L.Layer):
        def __init__(self, name="block", **kwargs):
            super().__init__(name=f"{name}_0", **kwargs)
            self.relu = L.ReLU()

        def call(self, inputs):
            return self.relu(inputs)

        def compute_output_shape(self, shape):
            return shape

    model = custom.around(Appends(), L.Dense(2), shape=(3,))
    converted = kp.convert(model, rescale="none")
    assert [layer.name for layer in converted.layers] == [layer.name for layer in model.layers]
    kp.save_model(converted, tmp_path / "model.keras")
    assert [layer.name for layer in kp.load_model(tmp_path / "model.keras").layers] == [
        layer.name for layer in model.layers
    ]
