"""keras_prelu.graph.layer_kinds: a layer is known by what it computes, not by its name."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.hooks import HookTarget, hook_calls
from keras_prelu.graph.layer_kinds import (
    computes_as,
    is_plain_call,
    is_sum,
    keeps_channels,
    keras_class,
)
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import compile_plan
from tests.helpers import channel_chains as chains

L = keras.layers


@keras.saving.register_keras_serializable("tests")
class Registered(L.Dense):
    """A registered subclass with a configuration, a build and a method of its own."""

    def __init__(self, units, note="", **kwargs):
        super().__init__(units, **kwargs)
        self.note = note

    def build(self, input_shape):
        super().build(input_shape)
        self.seen = input_shape

    def get_config(self):
        return {**super().get_config(), "note": self.note}

    def __repr__(self):
        return "Registered"

    def describe(self):
        return self.note


class Mixin:
    def call(self, x):
        return x * 2.0


class Mixed(Mixin, L.Dense):
    pass


class WithMask(L.Dropout):
    def compute_mask(self, inputs, previous_mask):
        return None


class Outer(L.Dense):
    def __call__(self, x):
        return super().__call__(x) + 1.0


class OwnConvolution(L.Conv1D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel * 2.0)


@pytest.mark.parametrize(
    ("layer", "cls"),
    [
        (L.Dense(3), L.Dense),
        (Registered(3), L.Dense),
        (chains.PlainDense(3), L.Dense),
        (chains.PlainReLU(), L.ReLU),
        (L.Convolution2D(3, 3), L.Conv2D),
        (chains.SquaredDense(3), None),
        (chains.NormalizedDense(3), None),
        (chains.Dropout(), None),
        (chains.BatchNormalization(), None),
        (chains.BentBatchNormalization(), None),
        (Mixed(3), None),
        (WithMask(0.5), None),
        (Outer(3), None),
        (OwnConvolution(3, 3), None),
        (chains.bent(L.ReLU()), None),
    ],
    ids=repr,
)
def test_the_class_whose_computation_a_layer_has(layer, cls):
    assert keras_class(layer) is cls


def test_a_hook_is_no_change_and_a_replaced_call_is_one():
    layer = L.Dense(3)
    layer(np.ones((1, 2)))
    with (
        hook_calls([HookTarget(layer)], lambda call: None),
        hook_calls([HookTarget(layer)], lambda call: None),
    ):
        assert linear_view(layer) is not None
    layer.call = layer.call
    assert linear_view(layer) is not None
    layer.call = lambda x: x
    assert linear_view(layer) is None


def test_layers_of_this_package_are_known_by_their_class():
    assert computes_as(kp.PReLU(), kp.PReLU)
    assert not computes_as(chains.BentPReLU(), kp.PReLU)
    assert not computes_as(L.PReLU(), kp.PReLU)


def test_what_keeps_channels():
    assert keeps_channels(L.MaxPooling1D(data_format="channels_last"))
    assert not keeps_channels(L.MaxPooling1D(data_format="channels_first"))
    assert keeps_channels(L.Activation("linear"))
    assert not keeps_channels(L.Activation("relu"))
    assert not keeps_channels(chains.Dropout())


def last_step(apply):
    inputs = keras.Input((4, 4))
    return compile_plan(keras.Model(inputs, apply(inputs))).steps[-1]


@pytest.mark.parametrize(
    ("apply", "plain", "is_addition"),
    [
        (lambda x: L.Dropout(0.5)(x), True, False),
        (lambda x: L.Dropout(0.5)(x, training=False), True, False),
        (lambda x: L.Dropout(0.5)(x, training=True), False, False),
        (lambda x: L.BatchNormalization()(x, training=True), False, False),
        (lambda x: L.GlobalAveragePooling1D()(x, mask=x[..., 0] > 0), False, False),
        (lambda x: L.Add()([x, x]), True, True),
        (lambda x: x + x, False, True),
        (lambda x: keras.ops.add(x1=x, x2=x), False, True),
        (lambda x: x + 1.0, False, False),
        (lambda x: x + np.ones((4, 4), "float32"), False, False),
        (lambda x: keras.ops.add(np.ones((4, 4), "float32"), x), False, False),
        (lambda x: x - x, False, False),
    ],
)
def test_calls_on_tensors_alone_and_sums(apply, plain, is_addition):
    step = last_step(apply)
    assert is_sum(step) == is_addition
    if isinstance(step.operation, L.Layer):
        assert is_plain_call(step) == plain
