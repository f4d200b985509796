"""Layers whose code converts tensors to NumPy arrays, which PyTorch refuses while it records what
gradients need. Everything else is as with the same layer in `keras.ops`."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models

L = keras.layers
X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(96, 3)).astype("float32")

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="The others predict in graphs, without NumPy."
)


class InOps(L.Layer):
    def call(self, inputs):
        return inputs / (1.0 + keras.ops.max(keras.ops.abs(inputs), axis=-1, keepdims=True))


class InNumpy(L.Layer):
    def call(self, inputs):
        largest = np.abs(np.asarray(inputs)).max(axis=-1, keepdims=True)
        return inputs / (1.0 + keras.ops.convert_to_tensor(largest))

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def _network(layer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    h = L.Dense(12, activation="relu", name="first")(layer(L.Dense(6, name="zeroth")(inputs)))
    model = keras.Model(
        inputs, L.Dense(3, name="third")(L.ReLU(name="relu")(L.Dense(12, name="second")(h)))
    )
    model.get_layer("first").bias.assign([-50.0, *np.linspace(-0.5, 0.5, 11)])  # One dead unit.
    model.compile("adam", "mse")
    return model


def _calibrated(model, **settings):
    return kp.convert(model, calibration_data=X, **settings)


def _simplified(model):
    return kp.simplify(_calibrated(model, alpha=0.2), X, tolerance=0.1).model


def _revived(model):
    converted = kp.convert(model)
    assert kp.revive(converted, X).sites[0].revived == 1
    return converted


@pytest.mark.parametrize(
    "make",
    [
        lambda model: _calibrated(model, alpha=0.2),
        lambda model: _calibrated(model, alpha="auto"),
        lambda model: _calibrated(model, alpha=0.2, parameterization="exp"),
        _simplified,
        _revived,
    ],
)
def test_passes_without_gradients(make):
    expected, made = make(_network(InOps())), make(_network(InNumpy()))
    np.testing.assert_allclose(
        made.predict(X, verbose=0), expected.predict(X, verbose=0), rtol=1e-3, atol=1e-4
    )


def test_measures_without_gradients():
    pairs = [(model, kp.convert(model)) for model in (_network(InOps()), _network(InNumpy()))]
    expected, measured = (
        (
            kp.compare(*pair, (X, Y)),
            kp.diagnostics.dead_units(pair[0], X),
            kp.diagnostics.representation_ranks(pair[0], X),
        )
        for pair in pairs
    )
    assert repr(measured) == repr(expected)


def test_gradients_are_refused_with_the_layer():
    with pytest.raises(kp.errors.ConversionError, match=r"no gradients .* InNumpy\.call\(\)"):
        kp.diagnose(_network(InNumpy()), (X, Y))


def test_gradients_beside_the_state_of_a_recurrent_layer():
    """Assigning the state leaves the gradients of a first batch those of a stateless layer."""
    signals = []
    for stateful in (True, False):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((5, 3), batch_size=8)
        h = L.LSTM(4, stateful=stateful)(L.Dense(6, activation="relu")(inputs))
        model = models.live_in(keras.Model(inputs, L.Dense(2)(L.Dense(6, activation="relu")(h))))
        for layer in model.layers:
            if isinstance(layer, L.LSTM) and stateful:
                layer.reset_states()
        x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32")
        kp.diagnose(model, x)
        assert not any(np.any(state) for state in getattr(model.layers[2], "states", None) or [])
        signals.append(kp.diagnostics.signal_by_depth(model, x, probes=8))
    stateful, stateless = (
        [(layer.moment, layer.gradient) for layer in signal] for signal in signals
    )
    np.testing.assert_allclose(stateful, stateless, rtol=1e-5)
