"""keras_prelu.deployment.forms: each form computes what NumPy does, and uses the operations that it
is for."""

import keras
import numpy as np
import pytest

from keras_prelu.deployment import forms
from keras_prelu.deployment.forms import Activation, capped_before, clamped, general, largest_of_two

X = np.random.default_rng(0).normal(0, 4, (64, 3)).astype("float32")
SLOPES = {
    "zero": [0.0, 0.0, 0.0],
    "one value": [0.3, 0.3, 0.3],
    "ones": [1.0, 1.0, 1.0],
    "one value above 1": [2.0, 2.0, 2.0],
    "one negative value": [-0.5, -0.5, -0.5],
    "from 0 to 1": [0.0, 0.25, 1.0],
    "above 1": [0.5, 1.0, 1.5],
    "below 0": [-0.5, 0.1, 0.2],
}


def reference(slopes, cap):
    """max(x, 0) + a·min(x, 0) in float64, and then the minimum with the cap."""
    x = X.astype("float64")
    outputs = np.where(x > 0, x, np.float32(slopes).astype("float64") * x)
    return outputs if cap is None else np.minimum(outputs, cap)


@pytest.mark.parametrize("form", [general, capped_before, clamped, largest_of_two])
@pytest.mark.parametrize("cap", [None, 1.5, 6.0])
@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES)
def test_every_form_computes_the_activation(form, cap, slopes):
    activation = Activation(slopes=np.float32(slopes), cap=cap)
    outputs = form(activation, keras.ops.convert_to_tensor(X))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(outputs), reference(slopes, cap), rtol=1e-6
    )


def called(monkeypatch, form, slopes, cap):
    """Return the operations of keras.ops that a form calls, in order."""
    names = []

    class Ops:
        def __getattr__(self, name):
            if name not in ("cast", "convert_to_tensor"):
                names.append(name)
            return getattr(keras.ops, name)

    class Keras:
        ops, activations = Ops(), keras.activations

    monkeypatch.setattr(forms, "keras", Keras)
    form(Activation(slopes=np.float32(slopes), cap=cap), keras.ops.convert_to_tensor(X))
    return names


@pytest.mark.parametrize(
    ("form", "slopes", "operations"),
    [
        (general, "from 0 to 1", ["relu", "relu", "minimum"]),
        (general, "one value", ["leaky_relu", "minimum"]),
        (general, "ones", ["minimum"]),
        (capped_before, "from 0 to 1", ["minimum", "maximum", "relu", "relu"]),
        (capped_before, "above 1", ["minimum", "maximum", "relu", "relu"]),
        (capped_before, "below 0", ["relu", "relu", "minimum"]),
        (capped_before, "one value", ["minimum", "leaky_relu"]),
        (largest_of_two, "from 0 to 1", ["maximum", "minimum"]),
        (largest_of_two, "above 1", ["relu", "relu", "minimum"]),
        (largest_of_two, "below 0", ["relu", "relu", "minimum"]),
        (largest_of_two, "one value", ["leaky_relu", "minimum"]),
        (clamped, "one value", ["leaky_relu", "clip"]),
        (clamped, "ones", ["clip"]),
        (clamped, "one negative value", ["relu", "relu", "minimum"]),
        (clamped, "from 0 to 1", ["maximum", "minimum"]),
    ],
)
def test_forms_use_the_operations_that_they_are_for(monkeypatch, form, slopes, operations):
    assert called(monkeypatch, form, SLOPES[slopes], 6.0) == operations


def test_the_largest_of_two_is_bit_identical_to_the_definition():
    slopes = np.float32([0.1, 0.3, 0.7])
    outputs = largest_of_two(Activation(slopes=slopes, cap=None), keras.ops.convert_to_tensor(X))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(outputs), np.where(X > 0, X, slopes * X)
    )
