"""keras_prelu.data.samples: what fits a model, and what is said of what doesn't."""

import keras
import numpy as np
import pytest

from keras_prelu.data.samples import Samples, batches, model_inputs
from keras_prelu.errors import DataError
from tests.helpers import models


def test_inputs_in_the_models_order():
    model = models.siamese()
    left, right = np.zeros((3, 6)), np.ones((3, 6))
    for samples in (
        {"right": right, "left": left},
        [left, right],
        (left, right),
        Samples({"right": right, "left": left}),
    ):
        arrays = model_inputs(model, samples)
        np.testing.assert_array_equal(arrays, [left, right])
        assert all(array.dtype == np.float32 for array in arrays)


def test_tensors_lists_and_unknown_sizes_are_accepted():
    model = models.sequence()
    for samples in (np.ones((4, 9), "int64"), keras.ops.ones((4, 9), "int32"), [[1, 2], [3, 4]]):
        assert len(model_inputs(model, samples)) == 1


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"left": np.zeros((3, 6))}, "'right'"),
        (np.zeros((3, 6)), "2 inputs"),
        ([np.zeros((3, 6)), np.zeros((4, 6))], r"different numbers of samples: \[3, 4\]"),
        ([np.zeros((3, 6)), np.zeros((3, 5))], r"input 'right' takes \('batch', 6\)"),
        ([np.zeros((3, 6)), np.full((3, 6), np.inf)], "sample 0"),
        ([np.zeros((3, 6)), np.array([None] * 3)], "numbers"),
    ],
)
def test_what_does_not_fit(samples, message):
    with pytest.raises(DataError, match=message):
        model_inputs(models.siamese(), samples)


def test_batches_cover_everything_in_order():
    x = np.arange(10)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches([x], 4)]), x)


def test_take():
    samples = Samples({"a": np.arange(5)}, np.arange(5) * 2).take([3, 1])
    np.testing.assert_array_equal(samples.x["a"], [3, 1])
    np.testing.assert_array_equal(samples.y, [6, 2])
    assert len(samples) == 2
