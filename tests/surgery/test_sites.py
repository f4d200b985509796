"""keras_prelu.surgery.sites: what find_sites lists."""

import keras
import pytest

from keras_prelu import KerasPReLUError, PReLU, find_sites
from tests import models

L = keras.layers


def paths(model, convertible=True):
    return [site.path for site in find_sites(model) if site.convertible == convertible]


def test_an_inline_site():
    (first, *_) = find_sites(models.mlp())
    assert (first.path, first.layer, first.kind, first.channels) == ("first", "Dense", "inline", 8)
    assert (first.convertible, first.reason, first.negative_slope, first.max_value) == (True, "", 0.0, None)
    assert first.target == "first_prelu"


def test_kinds():
    assert [site.kind for site in find_sites(models.leaky())] == ["leaky_relu", "relu", "prelu", "inline"]
    assert [site.negative_slope for site in find_sites(models.leaky())] == pytest.approx([0.2, 0.1, None, 0.0])
    assert [(site.kind, site.max_value) for site in find_sites(models.operations())] == [("op", None), ("op", 6.0), ("op", 4.0)]
    assert [site.max_value for site in find_sites(models.capped())] == [6.0, 6.0]


def test_one_object_at_several_places():
    sites = find_sites(models.shared_relu())
    assert {(site.path, site.target, site.channels) for site in sites} == {
        ("act", "act", 8), ("act#2", "act_2", 5), ("twice", "twice_prelu", 6),
    }  # fmt: skip


def test_nested_models_are_entered_once():
    assert paths(models.nested()) == ["backbone/relu", "backbone/innermost/deep"]
    assert len(paths(models.siamese())) == 1


def test_channels_first():
    inputs = keras.Input((3, 8, 9))
    x = L.ReLU(name="before")(L.Conv2D(5, 3, data_format="channels_first", padding="same")(inputs))
    x = L.ReLU(name="after")(L.Permute((2, 3, 1))(x))
    x = L.ReLU(name="dense")(L.Dense(7)(x))
    channels = {site.path: site.channels for site in find_sites(keras.Model(inputs, x))}
    assert channels == {"before": 5, "after": 5, "dense": 7}


def test_what_cannot_be_converted_is_listed_with_its_reason():
    class Custom(L.ReLU):
        def call(self, inputs):
            return super().call(inputs) + 1.0

    class Block(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = L.ReLU(name="inner")

        def call(self, inputs):
            return self.inner(inputs)

    inputs = keras.Input((None, 6))
    x = L.ReLU(threshold=1.0, name="threshold")(inputs)
    x = PReLU(name="done")(x)
    x = L.SimpleRNN(4, activation="relu", return_sequences=True, name="rnn")(x)
    x = L.TimeDistributed(L.Dense(4, activation="relu", name="dense"), name="wrapped")(x)
    x = Block(name="block")(Custom(name="custom")(x))
    reasons = {site.path: site.reason for site in find_sites(keras.Model(inputs, x))}
    assert set(reasons) == {"threshold", "done", "rnn", "wrapped/dense", "block/inner"}
    assert all(reasons.values())
    assert "'block' (Block)" in reasons["block/inner"]


def test_the_names_of_new_layers_are_not_taken():
    inputs = keras.Input((4,))
    x = L.Dense(4, activation="relu", name="d")(L.Dense(4, name="d_prelu")(inputs))
    assert [site.target for site in find_sites(keras.Model(inputs, x))] == ["d_prelu_2"]


def test_models_without_a_graph():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(KerasPReLUError, match="subclassed model"):
        find_sites(Subclassed())
    with pytest.raises(KerasPReLUError, match=r"keras\.Input"):
        find_sites(keras.Sequential([L.Dense(3, activation="relu")]))
    with pytest.raises(KerasPReLUError, match="str"):
        find_sites("model.keras")


def test_finding_leaves_no_trace():
    model = models.residual()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    find_sites(model)
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
