"""keras_prelu.data.digests: samples are recognized by what they hold."""

import numpy as np
import pytest

from keras_prelu.data import Samples
from keras_prelu.data.digests import sample_digests
from keras_prelu.data.lazy import LazyArray

X = np.random.default_rng(0).normal(size=(2500, 3)).astype("float32")


@pytest.mark.parametrize(
    "same",
    [
        X.astype("float64"),
        LazyArray(lambda rows: X[rows], X.shape, X.dtype),
        np.where(X == 0, -0.0, X),
    ],
)
def test_equal_samples_have_equal_digests(same):
    np.testing.assert_array_equal(sample_digests(Samples(X)), sample_digests(Samples(same)))


def test_different_samples_have_different_digests():
    assert len(np.unique(sample_digests(Samples(X)))) == len(X)
    changed = X.copy()
    changed[7, 2] += 1.0
    differs = sample_digests(Samples(X)) != sample_digests(Samples(changed))
    assert np.flatnonzero(differs).tolist() == [7]


def test_order_and_labels_do_not_count():
    order = np.random.default_rng(1).permutation(len(X))
    digests = sample_digests(Samples(X, np.zeros(len(X))))
    np.testing.assert_array_equal(sample_digests(Samples(X[order])), digests[order])


def test_several_inputs_and_texts():
    pair = {"b": X, "a": X[:, :1]}
    again = {"a": X[:, :1], "b": X}
    np.testing.assert_array_equal(sample_digests(Samples(pair)), sample_digests(Samples(again)))
    texts = np.array(["one", "two", "one"])
    one, two, three = sample_digests(Samples(texts))
    assert one == three != two
