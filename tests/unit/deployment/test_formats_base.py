"""keras_prelu.deployment.formats.base: inputs and outputs go by the model's names."""

import keras
import numpy as np
import pytest

from keras_prelu.deployment.formats.base import Interface
from keras_prelu.deployment.inputs import as_model_inputs

L = keras.layers
A, B = np.zeros((2, 3), "float32"), np.ones((2, 3), "float32")


def model(inputs=lambda a, b: [a, b], outputs=lambda a, b: [a, b], names=("b", "a")):
    """Return a model whose first input is named "b" and whose second one is named "a"."""
    first, second = (keras.Input((3,), name=name) for name in names)
    results = L.Dense(2, name="y")(first), L.Dense(2, name="x")(second)
    return keras.Model(inputs(first, second), outputs(*results))


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize(
    ("inputs", "samples", "expected"),
    [
        (lambda a, b: [a, b], [A, B], {"b": A, "a": B}),
        (lambda a, b: [a, b], {"b": A, "a": B}, {"b": A, "a": B}),
        (lambda a, b: {"q": a, "p": b}, {"q": A, "p": B}, {"b": A, "a": B}),
        (lambda a, b: {"b": a, "a": b}, {"a": B, "b": A}, {"b": A, "a": B}),
        (lambda a, b: {"a": a, "b": b}, {"a": A, "b": B}, {"b": A, "a": B}),  # Keys of the others.
        (lambda a, b: (a, {"z": b}), (A, {"z": B}), {"b": A, "a": B}),
    ],
    ids=["list", "names for a list", "keys", "names as keys", "swapped keys", "nested"],
)
@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_inputs_get_the_names_of_their_tensors(inputs, samples, expected, order):
    built = model(inputs)
    given = as_model_inputs(built, samples)
    found = Interface.of_model(built).inputs_by_name(given, order)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize(
    ("inputs", "samples"),
    [
        (lambda a, b: {"q": a, "p": b}, {"q": A, "p": B}),
        (lambda a, b: {"b": b, "a": a}, {"b": B, "a": A}),
    ],
)
def test_a_runtime_that_prefers_keys_gets_inputs_by_key(inputs, samples):
    found = Interface.of_model(model(inputs)).inputs_by_key(samples, list(samples))
    assert all(np.array_equal(found[key], samples[key]) for key in samples)


def test_inputs_without_names_have_those_of_their_layers():
    built = model(names=(None, None))
    names = [layer.name for layer in built.layers if isinstance(layer, L.InputLayer)]
    found = Interface.of_model(built).inputs_by_name([A, B], names[::-1])
    assert list(found) == names
    assert np.array_equal(found[names[1]], B)


def test_names_that_the_runtime_made_up_are_taken_in_order():
    found = Interface.of_model(model()).inputs_by_name([A, B], ["args_0", "args_1"])
    assert np.array_equal(found["args_1"], B)


@pytest.mark.parametrize(
    ("outputs", "named", "expected"),
    [
        (lambda a, b: [a, b], {"output_10": 10, "output_9": 9}, [9, 10]),
        (lambda a, b: {"output_10": a, "output_9": b}, {"output_9": 9, "output_10": 10}, [10, 9]),
        (lambda a, b: {"b": a, "a": b}, {"b": 2, "a": 1}, [1, 2]),
    ],
    ids=["numbered", "keys like numbers", "keys"],
)
def test_outputs_are_in_the_order_in_which_keras_flattens_them(outputs, named, expected):
    built = model(outputs=outputs)
    assert Interface.of_model(built).outputs_in_order(named) == expected


def test_a_model_without_a_graph_declares_no_names():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    interface = Interface.of_model(Subclassed())
    assert interface == Interface(inputs=(), keys=(), outputs=())
    assert list(interface.inputs_by_name({"b": A, "a": B}, ["a", "b"])) == ["a", "b"]
    assert np.array_equal(interface.inputs_by_name({"b": A, "a": B}, ["b", "a"])["b"], A)


@pytest.mark.parametrize(
    ("given", "declared"), [((2,), (2, 1)), ((2, 1), (2, 1)), ((2, 3, 1), (2, 3))]
)
def test_inputs_get_the_declared_rank_as_keras_gives_it(given, declared):
    inputs = keras.Input(declared[1:])
    built = keras.Model(inputs, L.Dense(2)(inputs))
    samples = np.arange(np.prod(given), dtype="float64").reshape(given)
    found = as_model_inputs(built, samples)
    assert (found.shape, found.dtype) == (declared, "float32")
    np.testing.assert_array_equal(found.ravel(), samples.ravel())
