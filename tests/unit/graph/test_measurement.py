"""keras_prelu.graph.measurement: what a function computes, found from its values."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_prelu.graph.measurement import Measurement, compute_the_same, measure

A = keras.activations
ops = keras.ops
partial = functools.partial


class Scales:
    """A callable object with a state, which counts its calls."""

    def __init__(self, slope):
        self.slope, self.calls = slope, []

    def __call__(self, inputs):
        self.calls.append(1)
        return ops.where(inputs > 0, inputs, self.slope * inputs)

    def method(self, inputs):
        return ops.maximum(inputs, self.slope * inputs)


def only_for_images(inputs):
    return ops.relu(inputs) + 0 * inputs[:, :1, :1, :1]


def only_in_half_precision(inputs):
    if keras.backend.standardize_dtype(inputs.dtype) != "float16":
        raise TypeError("float16 only")
    return ops.relu(inputs)


def printing(inputs):
    print("called")
    return ops.relu(inputs)


def pooling_images(inputs):
    outputs = ops.relu(inputs)
    return ops.max_pool(outputs, 2, 1, "same") if len(inputs.shape) == 4 else outputs


def failing(inputs):
    raise RuntimeError("never works")


@pytest.mark.parametrize(
    ("function", "slope", "cap", "threshold"),
    [
        (A.relu, 0.0, None, 0.0),
        (A.relu6, 0.0, 6.0, 0.0),
        (A.leaky_relu, 0.2, None, 0.0),
        (partial(A.leaky_relu, negative_slope=0.05), 0.05, None, 0.0),
        (partial(A.relu, max_value=3), 0.0, 3.0, 0.0),
        (partial(A.relu, max_value=1e5), 0.0, 1e5, 0.0),
        (partial(A.relu, max_value=np.float32(2.3), negative_slope=np.float32(0.1)), 0.1, 2.3, 0.0),
        (partial(A.relu, threshold=0.37), 0.0, None, 0.37),
        (partial(A.relu, threshold=1.0, negative_slope=0.1, max_value=4.0), 0.1, 4.0, 1.0),
        (lambda x: ops.maximum(x, 0.0), 0.0, None, 0.0),
        (lambda x: ops.clip(x, 0.0, 5.0), 0.0, 5.0, 0.0),
        (lambda x: 0.5 * (x + ops.abs(x)), 0.0, None, 0.0),
        (lambda x: ops.maximum(x, 0.03 * x), 0.03, None, 0.0),
        (lambda x: x * ops.cast(x > 0, x.dtype), 0.0, None, 0.0),
        (Scales(0.3), 0.3, None, 0.0),
        (Scales(0.4).method, 0.4, None, 0.0),
        (partial(Scales(0.6)), 0.6, None, 0.0),
        (only_for_images, 0.0, None, 0.0),
        (only_in_half_precision, 0.0, None, 0.0),
        (printing, 0.0, None, 0.0),
    ],
)
def test_rectifiers(function, slope, cap, threshold):
    assert measure(function) == Measurement(slope, cap, pytest.approx(threshold, rel=1e-3))


@pytest.mark.parametrize(
    "function",
    [
        *(A.linear, A.gelu, A.silu, A.softplus, A.hard_silu, A.elu, A.selu, A.celu, A.mish),
        *(A.sigmoid, A.hard_sigmoid, A.tanh, A.hard_tanh, A.hard_shrink, A.soft_shrink),
        *(A.softmax, A.glu, A.squareplus, A.sparse_plus),
        lambda x: 2.0 * ops.relu(x),
        lambda x: ops.relu(x) + 0.1,
        lambda x: ops.relu(x - 0.1),
        lambda x: ops.abs(x),
        lambda x: ops.clip(x, -0.5, 6.0),
        lambda x: ops.where(x > 0.005, ops.relu(x), 0.0) - 1e-3,
        lambda x: ops.max(x, axis=-1),
        lambda x: ops.relu(x - ops.mean(x, axis=-1, keepdims=True)),
        lambda x: ops.maximum(x, ops.mean(x)),
        lambda x: ops.minimum(ops.relu(x), ops.mean(ops.abs(x))),
        lambda x: ops.concatenate([ops.relu(x[..., :1]), x[..., 1:]], axis=-1),
        lambda x: ops.relu(x) * keras.random.uniform(ops.shape(x), seed=1),
        lambda x: ops.cast(ops.relu(x), "float16"),
        lambda x: ops.relu(x)[..., None],
        lambda x: None,
        lambda x, y: ops.relu(x),
        pooling_images,
        failing,
        keras.initializers.Zeros(),
    ],
)
def test_other_functions(function):
    assert measure(function) is None


@given(
    slope=st.floats(0.0, 0.984375, width=32),
    cap=st.none() | st.floats(0.125, 1000.0, width=32),
)
def test_any_slope_and_cap(slope, cap):
    found = measure(partial(A.relu, negative_slope=slope, max_value=cap))
    assert (found.negative_slope, found.threshold) == (pytest.approx(slope, rel=1e-6), 0.0)
    assert found.max_value == (None if cap is None else pytest.approx(cap, rel=1e-6))


def test_measuring_leaves_no_traces(capsys):
    function = Scales(0.3)
    for callable_object in (function, partial(function), function.method):
        measure(callable_object)
    measure(printing)
    assert function.calls == []
    assert capsys.readouterr().out == ""


def test_the_present_values_count():
    function = Scales(0.3)
    assert measure(function).negative_slope == 0.3
    function.slope = 0.1
    assert measure(function).negative_slope == 0.1


def test_functions_whose_values_are_trained_are_not_measured():
    layer = keras.layers.Dense(3)
    variable = keras.Variable(0.1)
    negative = keras.layers.LeakyReLU(0.1)

    class Owner(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.slope = self.add_weight(shape=())
            self.constant = 0.5

        def trained(self, inputs):
            return ops.maximum(inputs, self.slope * inputs)

        def constantly(self, inputs):
            return ops.maximum(inputs, self.constant * inputs)

    owner = Owner()
    assert measure(lambda x: ops.maximum(x, variable * x)) is None
    assert measure(lambda x: layer(x)) is None
    assert not layer.built
    assert measure(owner.trained) is None
    assert measure(lambda x: owner.trained(x)) is None
    assert measure(owner.constantly).negative_slope == 0.5
    assert measure(lambda x: ops.maximum(x, owner.constant * x)).negative_slope == 0.5
    assert measure(lambda x: negative(x)).negative_slope == 0.1


def test_functions_are_compared_by_their_values():
    assert compute_the_same(A.relu, lambda x: ops.maximum(x, 0.0))
    assert compute_the_same(A.leaky_relu, partial(A.leaky_relu, negative_slope=0.1)) is False
    assert compute_the_same(A.relu, failing) is False
    assert compute_the_same(failing, failing) is None
    noisy = [lambda x: x + keras.random.normal(ops.shape(x)) for _ in range(2)]
    assert compute_the_same(*noisy) is None


def test_it_measures_while_keras_infers_shapes():
    measured = []

    class Traced(keras.Operation):
        def call(self, inputs):
            measured.append(measure(A.leaky_relu))
            return inputs

    Traced()(keras.KerasTensor((None, 3)))
    assert measured
    assert all(found == Measurement(0.2, None, 0.0) for found in measured)
