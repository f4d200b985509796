"""What equalize, revive, bake and fold promise is checked, and undone where it fails."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion import bake as bake_module
from keras_prelu.scaling import equalize as equalize_module
from tests.helpers import models

L = keras.layers


def network():
    inputs = keras.Input((8,))
    h = L.ReLU(name="relu")(L.BatchNormalization(name="bn")(L.Dense(16, name="first")(inputs)))
    h = L.ReLU(name="relu_2")(L.Dense(16, name="second")(h))
    return models.live_in(keras.Model(inputs, L.Dense(3, name="head")(h), name="net"))


def test_an_equalization_that_changes_the_function_is_undone(monkeypatch):
    scale = equalize_module.ChannelGroup.scale

    def scale_wrongly(group, scales):
        scale(group, scales)
        if any(step.path == "second" for step in group.producers):
            layer = group.producers[0].operation
            layer.bias.assign(layer.bias + 1.0)

    monkeypatch.setattr(equalize_module.ChannelGroup, "scale", scale_wrongly)
    model = network()
    weights = model.get_weights()
    with pytest.raises(kp.errors.ConversionError, match=r"'second' writes and 'head' reads"):
        kp.equalize(model)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("fold", [False, True])
def test_a_baked_copy_that_computes_something_else_is_refused(monkeypatch, fold):
    name = "fold" if fold else "with_activations"
    function = getattr(bake_module, name)

    def wrong(*args):
        copy = function(*args)
        copy.get_layer("head").bias.assign([0.0, 5.0, 0.0])
        return copy

    monkeypatch.setattr(bake_module, name, wrong)
    converted = kp.convert(network(), alpha=0.1, rescale="none")
    with pytest.raises(kp.errors.ConversionError, match="changes what 'net' computes"):
        kp.bake(converted, fold_batch_normalization=fold)


def test_pruning_is_no_difference():
    converted = kp.convert(network(), alpha=0.1, parameterization="identity", rescale="none")
    baked = kp.bake(converted, prune=0.2)
    assert type(baked.get_layer("relu")) is L.ReLU


def test_channels_that_do_not_vary_are_rescaled_to_numbers():
    model = network()
    normalization = model.get_layer("bn")
    normalization.gamma.assign([0.0, 0.0, 0.0, 1e-9, *[1.0] * 12])
    normalization.beta.assign([0.0, -1.0, 1.0, -3.0, -50.0, *[0.0] * 11])
    normalization.moving_variance.assign([1.0] * 5 + [0.0] + [1.0] * 10)
    converted = kp.convert(model, alpha=0.05, rescale="moments")
    x = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    before, after = (each.predict(x, verbose=0) for each in (model, converted))
    assert kp.theory.relative_error(after, before) < 0.05
