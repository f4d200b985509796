"""keras_prelu.graph.leaves: which models are leaf modules, decided once for each model."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.graph.leaves import is_taken_apart, rebuild_failure
from tests.helpers import custom

L = keras.layers


@pytest.fixture
def constructions(monkeypatch):
    """Counts the constructor calls of the classes below, by class name."""
    counts = {"OfTensors": 0, "OfSize": 0}
    monkeypatch.setattr(OfTensors, "counts", counts, raising=False)
    monkeypatch.setattr(OfSize, "counts", counts, raising=False)
    return counts


@keras.saving.register_keras_serializable("tests")
class OfTensors(keras.Model):
    """A functional model with a method of its own, made from inputs and outputs."""

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs, outputs, name=name, **kwargs)
        self.counts["OfTensors"] += 1


@keras.saving.register_keras_serializable("tests")
class OfSize(keras.Model):
    """A functional model whose constructor builds a layer that no configuration describes."""

    def __init__(self, size=4, **kwargs):
        inputs = keras.Input((3,))
        outputs = custom.Unconfigured(L.Dense(size), lambda x: x, name="odd")(inputs)
        super().__init__(inputs, L.ReLU(name="last")(outputs), **kwargs)
        self.size = size
        self.counts["OfSize"] += 1

    def get_config(self):
        return {"size": self.size, "name": self.name}


def of_tensors(name="model"):
    inputs = keras.Input((3,))
    return OfTensors(inputs, L.Dense(4, activation="relu")(inputs), name=name)


def test_which_models_are_taken_apart(constructions):
    assert is_taken_apart(of_tensors())
    assert is_taken_apart(keras.Sequential([keras.Input((3,)), L.Dense(2)]))
    assert not is_taken_apart(OfSize())
    assert not is_taken_apart(L.Dense(2))
    assert not is_taken_apart(custom.Classifier())


@pytest.mark.parametrize("make", [of_tensors, OfSize])
def test_a_check_constructs_a_model_once(constructions, make):
    model = make()
    name = type(model).__name__
    is_taken_apart(model)
    rebuild_failure(model)
    once = constructions[name]
    assert once <= 3  # The model, a trial of its constructor and one of its configuration.
    for _ in range(3):
        is_taken_apart(model)
        rebuild_failure(model)
        kp.find_sites(model)
    assert constructions[name] == once


@pytest.mark.parametrize("make", [of_tensors, OfSize])
def test_a_conversion_constructs_a_model_for_its_trial_and_its_copy(constructions, make):
    model = make(name="inner")
    name = type(model).__name__
    outer = custom.around(model, L.Dense(2), shape=(3,))
    before = constructions[name]
    kp.convert(outer, rescale="none")
    assert constructions[name] - before == 2
    kp.convert(outer, calibration_data=np.random.default_rng(0).normal(size=(40, 3)))
    # Another copy, and a trial of that copy where it is a plain model of the class.
    assert constructions[name] - before == (4 if make is of_tensors else 3)
