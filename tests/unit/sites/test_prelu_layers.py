"""keras_prelu.sites.prelu_layers: every PReLU of a model is found by its path, wherever it is."""

import keras
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import has_prelu_layers, layers_at, prelu_layers
from tests.helpers import custom, models

L = keras.layers


class Holder(L.Layer):
    """A custom layer that was written with PReLUs, one of them in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = kp.PReLU(0.1, name="first")
        self.others = [kp.PReLU(0.2, name="second")]

    def call(self, inputs):
        return self.others[0](self.first(inputs))


def sequential(*layers):
    return keras.Sequential([keras.Input((4, 3)), *layers])


def wrapped():
    return sequential(L.TimeDistributed(kp.PReLU(name="slopes"), name="each")), ["each/slopes"]


def held():
    return sequential(Holder(name="holder")), ["holder/first", "holder/second"]


def nested():
    model = sequential(sequential(kp.PReLU(name="slopes")), kp.PReLU(name="last"))
    return model, [f"{model.layers[0].name}/slopes", "last"]


def bidirectional():
    cells = L.Bidirectional(L.LSTM(2, return_sequences=True), name="both")
    return sequential(cells, L.TimeDistributed(kp.PReLU(name="slopes"), name="each")), [
        "each/slopes"
    ]


@pytest.mark.parametrize("build", [wrapped, held, nested, bidirectional])
def test_each_is_found_once_and_by_its_path(build):
    model, paths = build()
    found = list(prelu_layers(model))
    assert [path for path, _ in found] == paths
    for path, layer in found:
        assert layers_at(model, [path]) == {path: layer}
    assert [slopes.path for slopes in kp.diagnostics.layer_slopes(model)] == paths


@pytest.mark.parametrize("build", [models.residual, lambda: custom.around(custom.Block(4))])
def test_a_converted_model_has_them_at_the_targets_of_its_sites(build):
    model = build()
    assert not has_prelu_layers(model)
    conversion = kp.run_conversion(model, rescale="none")
    assert {path for path, _ in prelu_layers(conversion.model)} == {
        site.target for site in conversion.sites
    }


def test_without_any():
    model = sequential(L.PReLU(), L.ReLU(), L.TimeDistributed(L.Dense(2, activation="relu")))
    assert not has_prelu_layers(model)
    assert layers_at(model, ["nowhere/slopes"]) == {"nowhere/slopes": None}
