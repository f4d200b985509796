"""The functions of TensorFlow, JAX and PyTorch as activations: measured, and kept as they are."""

import functools

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.measurement import Measurement, measure
from keras_prelu.graph.rectifier_recognition import recognize_function
from tests.helpers import models

BACKEND = keras.backend.backend()
L, ops = keras.layers, keras.ops
partial = functools.partial
EXACT = {"alpha": 0.0, "parameterization": "identity", "rescale": "none"}


def functions_of_torch():
    import torch

    functional = torch.nn.functional
    return {
        "relu": (functional.relu, 0.0, None),
        "torch.relu": (torch.relu, 0.0, None),
        "relu6": (functional.relu6, 0.0, 6.0),
        "leaky_relu": (functional.leaky_relu, 0.01, None),
        "in place": (partial(functional.leaky_relu, negative_slope=0.3, inplace=True), 0.3, None),
        "module": (torch.nn.LeakyReLU(0.02), 0.02, None),
        "hardtanh": (partial(functional.hardtanh, min_val=0.0, max_val=3.0), 0.0, 3.0),
    }


def functions_of_jax():
    import jax

    return {
        "relu": (jax.nn.relu, 0.0, None),
        "relu6": (jax.nn.relu6, 0.0, 6.0),
        "leaky_relu": (jax.nn.leaky_relu, 0.01, None),
        "partial": (partial(jax.nn.leaky_relu, negative_slope=0.3), 0.3, None),
        "compiled": (jax.jit(lambda x: jax.numpy.where(x > 0, x, 0.2 * x)), 0.2, None),
    }


def functions_of_tensorflow():
    import tensorflow as tf

    return {
        "relu": (tf.nn.relu, 0.0, None),
        "relu6": (tf.nn.relu6, 0.0, 6.0),
        "leaky_relu": (tf.nn.leaky_relu, 0.2, None),
        "partial": (partial(tf.nn.leaky_relu, alpha=0.3), 0.3, None),
        "compiled": (tf.function(lambda x: tf.maximum(x, 0.1 * x)), 0.1, None),
    }


FUNCTIONS = {
    "torch": functions_of_torch,
    "jax": functions_of_jax,
    "tensorflow": functions_of_tensorflow,
}[BACKEND]()


@pytest.mark.parametrize(("function", "slope", "cap"), FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_activations_of_the_backend(function, slope, cap):
    inputs = keras.Input((6,))
    x = L.Dense(5, activation=function, name="first")(inputs)
    model = models.live_in(keras.Model(inputs, L.Dense(4, activation="relu", name="last")(x)))
    x = models.samples(model, 8)
    expected = ops.convert_to_numpy(model(x))
    site = kp.find_sites(model)[0]
    assert (site.path, site.max_value, site.convertible) == ("first", cap, True)
    assert site.negative_slope == pytest.approx(slope, rel=1e-6)
    for copy in (
        kp.convert(model, **EXACT),
        kp.convert(model, **EXACT, include="last"),
        kp.bake(model),
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(copy(x)), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["gelu", "silu", "elu", "selu", "celu", "softplus"])
def test_smooth_functions_of_the_backend_go_by_their_names(name):
    library = {"torch": "torch.nn.functional", "jax": "jax.nn", "tensorflow": "tensorflow.nn"}
    module = pytest.importorskip(library[BACKEND].split(".")[0])
    for part in library[BACKEND].split(".")[1:]:
        module = getattr(module, part)
    if not hasattr(module, name):
        pytest.skip(f"{library[BACKEND]} has no {name}")
    function = getattr(module, name)
    assert recognize_function(function).smooth == name
    assert recognize_function(partial(function)).smooth == name


def test_it_measures_while_the_backend_traces():
    found = []

    def traced(inputs):
        found.append(measure(lambda x: ops.maximum(x, 0.1 * x)))
        return inputs

    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.function(traced, autograph=False)(tf.zeros((2, 3)))
    elif BACKEND == "jax":
        import jax

        jax.jit(traced)(np.zeros((2, 3), "float32"))
    else:
        import torch

        traced(torch.zeros((2, 3), device="meta"))
        with keras.device("meta"):
            traced(None)

    class Operation(keras.Operation):
        def call(self, inputs):
            return traced(inputs)

    Operation()(keras.KerasTensor((None, 3)))
    assert len(found) > 1
    assert set(found) == {Measurement(0.1, None, 0.0)}
