"""Warnings of samples that stand in two sets."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import overlap
from keras_prelu.data.overlap import warn_of_overlap
from keras_prelu.data.samples import Samples
from keras_prelu.errors import KerasPReLUWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype("float32")


@pytest.mark.parametrize(
    ("validation", "others", "count"),
    [
        (X, X, 300),
        (X[:100], X[50:], 50),
        (X[:100].astype("float64"), X[98:], 2),
        ({"b": X[:100], "a": X[100:200]}, {"a": X[100:], "b": X[:200]}, 100),
        ([X[:100], X[100:200]], [X[:200], X[100:]], 100),
        (np.array([["a"], ["b"]]), np.array([["b"], ["c"]]), 1),
    ],
)
def test_a_warning_counts_the_samples(validation, others, count):
    with pytest.warns(KerasPReLUWarning, match=f"^{count} of the .* among the training samples"):
        warn_of_overlap(Samples(validation), Samples(others), "training", "training")


@pytest.mark.parametrize(
    ("validation", "others"),
    [
        (X[:100], X[100:]),
        (X[:100], X[99:]),
        ({"a": X[:9], "b": X[9:18]}, {"b": X[:9], "a": X[9:18]}),
    ],
)
def test_no_warning_of_other_samples(validation, others, recwarn):
    warn_of_overlap(Samples(validation), Samples(others), "training", "training")
    assert not recwarn


def test_a_large_set_is_read_in_part(monkeypatch):
    monkeypatch.setattr(overlap, "_MOST_BYTES", 16 * 60)
    taken = []
    take = Samples.take
    monkeypatch.setattr(Samples, "take", lambda *args: taken.append(len(args[1])) or take(*args))
    with pytest.warns(KerasPReLUWarning, match="^60 of the 300 validation samples"):
        warn_of_overlap(Samples(X), Samples(X), "training", "training")
    assert taken == [60]


@pytest.mark.parametrize(
    ("train", "selection", "role"),
    [
        ((X, X[:, :1]), None, "training"),
        ((X[100:], X[100:, :1]), (X[:50], X[:50, :1]), "selection"),
    ],
)
def test_finetune_says_that_it_judges_on_samples_it_used(train, selection, role):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    validation = (X[:100], X[:100, :1])
    with pytest.warns(KerasPReLUWarning, match=f"are among the {role} samples"):
        kp.finetune(model, train, validation, selection=selection, recipe="identity", epochs=1)
