"""keras_prelu.sites.recurrent: recurrent layers with slopes for each unit."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import models

L = keras.layers
LAYERS = {
    "SimpleRNN": lambda: L.SimpleRNN(4, activation="relu", name="rnn"),
    "LSTM": lambda: L.LSTM(4, activation="relu", return_sequences=True, name="rnn"),
    "GRU": lambda: L.GRU(4, activation="leaky_relu", name="rnn"),
    "RNN": lambda: L.RNN(L.GRUCell(4, activation="relu"), name="rnn"),
    "ConvLSTM1D": lambda: L.ConvLSTM1D(4, 3, activation="relu6", name="rnn"),
}


def network(make):
    layer = make()
    shape = (5, 6, 3) if type(layer).__name__.startswith("Conv") else (5, 3)
    inputs = keras.Input(shape)
    hidden = L.Dense(6, activation="relu", name="hidden")(L.Flatten()(layer(inputs)))
    return models.live_in(keras.Model(inputs, L.Dense(2)(hidden)))


def predict(model, x):
    return model.predict(x, verbose=0)


def with_slopes(model):
    """Give each unit of a converted model's recurrent layer another slope."""
    layer = dict(prelu_layers(model))["rnn/cell_prelu"]
    slopes = np.linspace(-0.2, 0.4, 4)
    layer.beta.assign(slopes.reshape(layer.beta.shape))
    return slopes


@pytest.mark.backends
@pytest.mark.parametrize(
    "kind",
    [kind if kind == "GRU" else pytest.param(kind, marks=pytest.mark.slow) for kind in LAYERS],
)
def test_converted_on_request_exact_trained_saved_and_loaded(kind, tmp_path):
    model = network(LAYERS[kind])
    x = models.samples(model, 40)
    site = kp.find_sites(model)[0]
    assert (site.path, site.layer, site.channels) == ("rnn", kind, 4)
    assert site.on_request
    assert "every time step" in site.reason
    assert [path for path, _ in prelu_layers(kp.convert(model))] == ["hidden_prelu"]
    result = kp.run_conversion(model, include="*")
    assert result.verification.samples > 0
    converted = result.model
    np.testing.assert_allclose(predict(converted, x), predict(model, x), rtol=1e-5, atol=1e-6)
    slopes = dict(prelu_layers(converted))["rnn/cell_prelu"]
    assert int(np.prod(slopes.alpha.shape)) == 4
    before = keras.ops.convert_to_numpy(slopes.alpha)
    converted.compile("sgd", "mse")
    converted.fit(x, np.ones((40, 2)), epochs=2, verbose=0)
    assert (keras.ops.convert_to_numpy(slopes.alpha) != before).any()
    with_slopes(converted)
    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predict(loaded, x), predict(converted, x))
    assert not any(site.convertible for site in kp.find_sites(loaded))


def test_a_unit_applies_its_slope_at_every_time_step():
    inputs = keras.Input((5, 3))
    model = models.live_in(
        keras.Model(
            inputs, L.SimpleRNN(4, activation="relu", return_sequences=True, name="rnn")(inputs)
        )
    )
    x = models.samples(model, 10)
    converted = kp.convert(model, include="rnn")
    slopes = with_slopes(converted)
    kernel, recurrent, bias = (
        keras.ops.convert_to_numpy(weight).astype(np.float64)
        for weight in converted.get_layer("rnn").cell.weights[:3]
    )
    state, expected = np.zeros((10, 4)), []
    for step in range(5):
        before = x[:, step].astype(np.float64) @ kernel + bias + state @ recurrent
        state = np.where(before > 0, before, slopes * before)
        expected.append(state)
    np.testing.assert_allclose(
        predict(converted, x), np.stack(expected, axis=1), rtol=1e-4, atol=1e-5
    )


def test_later_layers_are_calibrated_and_the_cell_is_left_as_it_is():
    model = network(LAYERS["LSTM"])
    x = models.samples(model, 600)
    result = kp.run_conversion(model, include="rnn", alpha=0.25, calibration_data=x)
    actions = {layer.path: layer.action for layer in result.calibration.layers}
    assert actions["hidden"] == "refitted"
    assert result.calibration.error_after < result.calibration.error_before
    for one, other in zip(
        model.get_layer("rnn").cell.weights, result.model.get_layer("rnn").cell.weights, strict=True
    ):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )


def test_converted_back():
    model = network(LAYERS["LSTM"])
    x = models.samples(model, 100)
    converted = kp.convert(model, include="*")
    restored = kp.convert(converted, to="relu")
    assert type(restored.get_layer("rnn")) is L.LSTM
    assert restored.get_layer("rnn").activation is keras.activations.relu
    np.testing.assert_array_equal(predict(restored, x), predict(model, x))
    assert type(kp.bake(converted).get_layer("rnn")) is L.LSTM


def test_masks_sequential_and_nested_models(tmp_path):
    layers = [
        keras.Input((7,), dtype="int32"),
        L.Embedding(10, 4, mask_zero=True),
        L.LSTM(4, activation="relu", return_sequences=True, go_backwards=True, name="rnn"),
        L.GRU(4, activation="relu", name="last"),
        L.Dense(2),
    ]
    inner = models.live_in(keras.Sequential(layers, name="inner"))
    inputs = keras.Input((7,), dtype="int32")
    for model in (inner, keras.Model(inputs, inner(inputs))):
        x = np.random.default_rng(0).integers(0, 4, (20, 7)).astype("int32")
        converted = kp.convert(model, include="*")
        assert len(list(prelu_layers(converted))) == 2
        np.testing.assert_allclose(predict(converted, x), predict(model, x), rtol=1e-5, atol=1e-6)
        converted.save(tmp_path / "model.keras")
        loaded = kp.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(predict(loaded, x), predict(converted, x))


class OwnCell(L.Layer):
    """Applies a ReLU that it holds as its `activation`, and has no `units`."""

    state_size = output_size = 4

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.relu
        self.dense = L.Dense(4)

    def build(self, shape):
        self.dense.build((shape[0], shape[-1] + 4))

    def call(self, inputs, states):
        both = keras.ops.concatenate([inputs, states[0]], axis=-1)
        outputs = self.activation(self.dense(both))
        return outputs, [outputs]


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.RNN(OwnCell()),
        lambda: L.LSTM(4, activation="elu"),
        lambda: L.LSTM(4, activation=L.ReLU(threshold=1.0)),
        lambda: L.SimpleRNN(4, activation=L.PReLU(shared_axes=None)),
        lambda: L.Bidirectional(L.LSTM(4, activation="relu")),
        lambda: L.RNN([L.LSTMCell(4, activation="relu"), L.LSTMCell(4, activation="relu")]),
    ],
)
def test_other_cells_are_left_alone_with_the_reason(make):
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, make()(inputs))
    sites = kp.find_sites(model)
    assert not any(site.convertible for site in sites)
    assert all("loop" in site.reason for site in sites)


def test_gates_are_no_sites():
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, L.LSTM(4, recurrent_activation="relu")(inputs))
    assert not any(site.convertible for site in kp.find_sites(model))
