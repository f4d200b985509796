"""keras_prelu.sites.finder: what find_sites lists."""

import keras
import numpy as np
import pytest

from keras_prelu import KerasPReLUError, PReLU, convert, find_sites
from tests.helpers import models

L = keras.layers


def paths(model, convertible=True):
    return [site.path for site in find_sites(model) if site.convertible == convertible]


def test_an_inline_site():
    (first, *_) = find_sites(models.mlp())
    assert (first.path, first.layer, first.kind, first.channels) == ("first", "Dense", "inline", 8)
    assert (first.convertible, first.reason, first.negative_slope, first.max_value) == (
        True,
        "",
        0.0,
        None,
    )
    assert first.target == "first_prelu"


def test_kinds_slopes_and_caps():
    assert [site.kind for site in find_sites(models.leaky())] == [
        "leaky_relu",
        "relu",
        "prelu",
        "inline",
    ]
    assert [site.negative_slope for site in find_sites(models.leaky())] == pytest.approx(
        [0.2, 0.1, None, 0.0]
    )
    assert [(site.kind, site.max_value) for site in find_sites(models.operations())] == [
        ("op", None),
        ("op", 6.0),
        ("op", 4.0),
    ]
    assert [site.max_value for site in find_sites(models.capped())] == [6.0, 6.0]


def test_the_function_of_a_lambda_layer():
    inputs = keras.Input((4,))
    x = L.Lambda(lambda x: (x + abs(x)) / 2, name="half")(L.Dense(4)(inputs))
    x = L.Lambda(lambda x: 2 * keras.ops.relu(x), name="doubled")(L.Dense(4)(x))
    model = keras.Model(inputs, L.Dense(4)(x))
    assert paths(model) == ["half/function"]
    converted = convert(model, alpha=0.25, parameterization="identity", rescale="none")
    x = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
    h = model.layers[1](x)
    expected = L.LeakyReLU(0.25)(h)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(converted.get_layer("half")(h)),
        keras.ops.convert_to_numpy(expected),
        rtol=1e-6,
    )


def test_one_object_at_several_places():
    sites = find_sites(models.shared_relu())
    assert {(site.path, site.target, site.channels) for site in sites} == {
        ("act", "act", 8),
        ("act#2", "act_2", 5),
        ("twice", "twice_prelu", 6),
    }


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

    inputs = keras.Input((None, 6))
    x = L.ReLU(threshold=1.0, name="threshold")(inputs)
    x = PReLU(name="done")(x)
    x = L.SimpleRNN(4, activation="relu", return_sequences=True, name="rnn")(x)
    x = L.RNN(L.GRUCell(4, activation="relu"), return_sequences=True, name="cells")(x)
    x = Custom(name="custom")(x)
    reasons = {site.path: site.reason for site in find_sites(keras.Model(inputs, x))}
    assert set(reasons) == {"threshold", "done", "rnn", "cells"}
    assert all(reasons.values())


def test_a_subclass_that_changes_nothing_is_what_it_inherits():
    class Mine(L.ReLU):
        pass

    inputs = keras.Input((6,))
    (site,) = find_sites(keras.Model(inputs, Mine(max_value=4.0, name="mine")(inputs)))
    assert (site.path, site.layer, site.convertible, site.max_value) == ("mine", "Mine", True, 4.0)


def test_a_function_of_the_users_own_is_not_mistaken_for_keras():
    def relu(x):
        return x + 1.0

    inputs = keras.Input((6,))
    assert (
        find_sites(keras.Model(inputs, L.Dense(3, activation=relu)(L.Activation(relu)(inputs))))
        == []
    )


def check_exact_conversion(model, x, **sites):
    converted = convert(model, alpha=0.0, parameterization="identity", rescale="none", **sites)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(converted(x)), keras.ops.convert_to_numpy(model(x))
    )


@pytest.mark.parametrize("max_value", [None, 6.0])
@pytest.mark.parametrize("negative_slope", [0.0, 0.1])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_every_configuration_of_relu(max_value, negative_slope, threshold):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.ReLU(max_value, negative_slope, threshold)(inputs))
    (site,) = find_sites(model)
    assert (site.negative_slope, site.max_value, site.convertible) == (
        negative_slope,
        max_value,
        threshold == 0.0,
    )
    if site.convertible:
        x = np.linspace(-9, 9, 60).reshape(10, 6).astype("float32")
        check_exact_conversion(model, x, include="*")


def test_smooth_activations_are_listed_and_converted_on_request():
    inputs = keras.Input((6,))
    x = L.Dense(4, activation="gelu", name="gelu")(L.ELU(name="elu")(inputs))
    model = keras.Model(inputs, keras.ops.silu(L.Activation("swish", name="swish")(x)))
    sites = find_sites(model)
    assert [(site.convertible, site.on_request, site.reason.split()[0]) for site in sites] == [
        (True, True, name) for name in ("elu", "gelu", "silu", "silu")
    ]
    with pytest.raises(
        KerasPReLUError,
        match=r"no ReLU, but smooth activations \(elu and gelu and silu; the first is 'elu'\)",
    ):
        convert(model, rescale="none")
    assert [type(layer).__name__ for layer in convert(model, rescale="none", include="elu").layers][
        1
    ] == "PReLU"
    assert (
        sum(
            isinstance(layer, PReLU)
            for layer in convert(model, rescale="none", include=lambda site: True).layers
        )
        == 4
    )


def test_functions_as_nodes_of_a_graph():
    inputs = keras.Input((6,))
    x = keras.ops.maximum(L.Dense(4)(inputs), 0.0)
    x = keras.ops.clip(0.1 + x, 0.0, 2.0)
    x = keras.ops.maximum(0, L.Dense(4)(x))
    model = models.live_in(keras.Model(inputs, keras.ops.maximum(x, 0.5)))
    assert [(site.kind, site.max_value) for site in find_sites(model)] == [
        ("op", None),
        ("op", 2.0),
        ("op", None),
    ]
    check_exact_conversion(model, models.samples(model), exclude="clip*")


def test_the_names_of_new_layers_are_not_taken():
    inputs = keras.Input((4,))
    x = L.Dense(4, activation="relu", name="d")(L.Dense(4, name="d_prelu")(inputs))
    assert [site.target for site in find_sites(keras.Model(inputs, x))] == ["d_prelu_2"]


def test_models_without_a_graph():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(KerasPReLUError, match="Call it once on data"):
        find_sites(Subclassed())
    with pytest.raises(KerasPReLUError, match=r"keras\.Input"):
        find_sites(keras.Sequential([L.Dense(3, activation="relu")]))
    with pytest.raises(KerasPReLUError, match="No such file"):
        find_sites("model.keras")


def test_find_sites_leaves_the_graph_unchanged():
    model = models.residual()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    find_sites(model)
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
