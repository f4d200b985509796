"""keras_prelu.graph.rectifier_recognition: the rectifier that a live operation or function applies."""

import functools

import keras
import numpy as np
import pytest

from keras_prelu import PReLU
from keras_prelu.graph.functional import calls
from keras_prelu.graph.rectifier_recognition import recognize, recognize_call, recognize_function
from keras_prelu.graph.rectifiers import Rectifier

A, L, ops = keras.activations, keras.layers, keras.ops
partial = functools.partial


class Maximum(L.Layer):
    """An activation without variables, which is no class of Keras's."""

    def call(self, inputs):
        return ops.maximum(inputs, 0.0)


class Noisy(L.Layer):
    """Computes something else in training."""

    def call(self, inputs, training=False):
        return ops.relu(inputs) * (2.0 if training else 1.0)


class Trained(L.Layer):
    def build(self, shape):
        self.slope = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return ops.maximum(inputs, 0.5 * self.slope * inputs)


@pytest.mark.parametrize(
    ("activation", "slope", "cap", "smooth"),
    [
        ("relu", 0.0, None, ""),
        ("relu6", 0.0, 6.0, ""),
        ("leaky_relu", 0.2, None, ""),
        ("swish", 0.0, None, "silu"),
        (partial(A.relu, max_value=6, negative_slope=0.1), 0.1, 6.0, ""),
        (partial(A.elu, alpha=0.5), 0.0, None, "elu"),
        (lambda x: ops.maximum(x, 0.1 * x), 0.1, None, ""),
        (L.LeakyReLU(0.3), 0.3, None, ""),
        (L.ReLU(4.0, 0.1), 0.1, 4.0, ""),
        (L.ELU(), 0.0, None, "elu"),
        (L.Activation("relu6"), 0.0, 6.0, ""),
        (Maximum(), 0.0, None, ""),
    ],
)
def test_activations(activation, slope, cap, smooth):
    inputs = keras.Input((4,))
    for layer, kind in (
        (L.Dense(3, activation=activation), "inline"),
        (L.Activation(activation), "activation"),
    ):
        layer(inputs)
        assert recognize(layer) == Rectifier(kind, slope, cap, smooth=smooth)


@pytest.mark.parametrize(
    "activation",
    [
        None,
        "sigmoid",
        lambda x: ops.relu(x) + 1.0,
        lambda x: 1 / 0 if ops.is_tensor(x) else x,
        L.Softmax(),
        L.Dropout(0.5),
        L.Dense(3),
        Noisy(),
        Trained(),
    ],
)
def test_other_activations(activation):
    if isinstance(activation, L.Layer):
        activation(keras.Input((3,)))
    layer = L.Dense(3, activation=activation)
    assert recognize(layer) is None


@pytest.mark.parametrize(
    ("activation", "reason"),
    [
        (partial(A.relu, threshold=1.0), "threshold of 1,"),
        (L.PReLU(), "inside"),
        (PReLU(), "already"),
    ],
)
def test_activations_with_a_reason(activation, reason):
    layer = L.Dense(3, activation=activation)
    layer(keras.Input((4,)))
    assert reason in recognize(layer).reason


def test_a_recurrent_layer_with_a_function_of_the_users():
    layer = L.SimpleRNN(3, activation=lambda x: ops.maximum(x, 0.0))
    assert "loop" in recognize(layer).reason


@pytest.mark.parametrize(
    ("function", "cap"),
    [
        (lambda x: ops.maximum(x, np.float32(0)), None),
        (lambda x: ops.maximum(np.float32(0), x), None),
        (lambda x: ops.maximum(x1=x, x2=0), None),
        (lambda x: ops.maximum(x, ops.convert_to_tensor(0.0)), None),
        (lambda x: ops.maximum(x, np.zeros(4, "float32")), None),
        (lambda x: ops.clip(x, np.float32(0), np.float32(4)), 4.0),
        (lambda x: ops.relu6(x), 6.0),
        (lambda x: A.relu(x, max_value=np.float32(3)), 3.0),
        (lambda x: ops.threshold(x, 0, 0), None),
    ],
)
def test_operations(function, cap):
    inputs = keras.Input((4,))
    (call,) = calls(keras.Model(inputs, function(inputs)))
    assert recognize_call(call) == Rectifier("op", 0.0, cap)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.maximum(x, np.ones(4, "float32")),
        lambda x: ops.maximum(x, np.zeros((1, 1, 4), "float32")),  # Another shape.
        lambda x: ops.maximum(ops.cast(x, "float16"), np.zeros(4, "float64")),  # Another dtype.
        lambda x: ops.maximum(x, 2 * x),
        lambda x: ops.clip(x, 0, np.arange(4, dtype="float32")),
    ],
)
def test_other_operations(function):
    inputs = keras.Input((4,))
    *_, call = calls(keras.Model(inputs, function(inputs)))
    assert recognize_call(call) is None


def test_what_is_no_function_is_no_rectifier():
    for value in (None, 3, "relu", L.ReLU, L.ReLU(), keras.initializers.Ones()):
        assert recognize_function(value) is None
