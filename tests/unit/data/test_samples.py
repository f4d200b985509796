"""keras_prelu.data.samples: what fits a model, and what is said of what doesn't."""

import keras
import numpy as np
import pytest
from scipy import sparse

from keras_prelu.data.arrays import check_finite
from keras_prelu.data.lazy import as_lazy
from keras_prelu.data.samples import (
    CheckedSamples,
    Samples,
    as_samples,
    batches,
    model_inputs,
)
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


@pytest.mark.parametrize(
    ("samples", "what"), [([np.zeros((3, 6)), None], "number 2"), ({"left": None}, "'left'")]
)
def test_none_in_place_of_an_array(samples, what):
    for model in (models.siamese(), None):
        with pytest.raises(DataError, match=f"None for input {what}.*array for each"):
            as_samples((samples, np.zeros(3)), model=model)


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
        ([np.zeros((3, 6)), np.zeros((3, 6), "complex64")], "not an array of numbers.*complex64"),
        ([np.zeros((3, 6)), np.zeros((3, 6), [("a", "f4")])], "not an array of numbers"),
        ([np.zeros((3, 6)), sparse.csr_matrix(np.zeros((3, 6)))], r"sparse.*toarray\(\)"),
        ([np.zeros((3, 6)), sparse.coo_array(np.zeros((3, 6)))], r"sparse.*toarray\(\)"),
        ([np.zeros((3, 6)), np.ma.masked_less(np.zeros((3, 6)), 1)], r"masked.*filled\(value\)"),
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


def test_values_are_scanned_once(monkeypatch):
    scanned = []

    def counting(array, role):
        scanned.append((array.shape, role))
        return check_finite(array, role)

    monkeypatch.setattr("keras_prelu.data.arrays.check_finite", counting)
    model, x = models.siamese(), {"left": np.zeros((3, 6)), "right": np.ones((3, 6))}
    samples = as_samples((x, np.arange(3)), model=model, role="training samples", labels="required")
    assert scanned == [((3, 6), "training samples")] * 2
    assert as_samples(samples, model=model) is samples
    part = samples.take([2, 0])
    for array in model_inputs(model, part):
        assert array.dtype == np.float32
    assert isinstance(as_samples(part, model=model, labels="ignored").in_memory(), CheckedSamples)
    assert len(scanned) == 2
    np.testing.assert_array_equal(part.y, [2, 0])


def test_labels_are_required_optional_or_ignored():
    x, y = np.zeros((4, 2)), [0, 1, 0, 1]
    for data in ((x, y), Samples(x, y)):
        np.testing.assert_array_equal(as_samples(data, labels="required").y, np.array(y))
        np.testing.assert_array_equal(as_samples(data).y, np.array(y))
    assert as_samples(Samples(x, y), labels="ignored").y is None
    assert as_samples(x).y is None
    assert as_samples((x, x), labels="ignored").x[1].shape == (4, 2)
    with pytest.raises(DataError, match=r"The test samples must be a pair .* Received: ndarray"):
        as_samples(x, role="test samples", labels="required")
    with pytest.raises(DataError, match="The samples are 4, their labels 3"):
        as_samples((x, y[:3]))


def test_samples_of_lists_on_disk_and_from_batches(tmp_path):
    assert as_samples([[1.0, 2.0], [3.0, 4.0]]).x.shape == (2, 2)
    assert [array.shape for array in as_samples([np.zeros((3, 1)), np.zeros((3, 2))]).x] == [
        (3, 1),
        (3, 2),
    ]
    np.testing.assert_array_equal(
        as_samples(iter([np.zeros((2, 1)), (np.ones((3, 1)), np.zeros(3))])).x[:, 0],
        [0, 0, 1, 1, 1],
    )
    with pytest.raises(DataError, match="source of batches is empty"):
        as_samples(iter([]))
    np.save(tmp_path / "x.npy", np.array([[1.0], [np.nan]]))
    on_disk = as_samples(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert on_disk.on_disk
    with pytest.raises(DataError, match=r"test samples hold NaN .* sample 1"):
        on_disk.in_memory("test samples")


def test_inputs_that_a_model_does_not_have_are_left_out():
    x = {"left": np.zeros((3, 6)), "right": np.ones((3, 6)), "names": np.array([None] * 3)}
    assert set(as_samples(x, model=models.siamese()).x) == {"left", "right"}


@pytest.mark.parametrize("wrap", [np.asarray, np.ma.masked_array, as_lazy])
@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4", "<f4"])
def test_any_byte_order_is_read(wrap, dtype):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="relu")])
    values = np.arange(12.0).reshape(4, 3)
    samples = as_samples((wrap(values.astype(dtype)), values[:, :1].astype(dtype)), model=model)
    for array, expected in ((samples.x[:], values), (samples.y, values[:, :1])):
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, "complex64"), "no numbers.*complex64"),
        (sparse.csr_matrix(np.zeros((4, 1))), "sparse"),
        (np.ma.masked_less(np.arange(4.0), 2), "masked"),
    ],
)
def test_labels_that_are_no_plain_arrays(labels, message):
    with pytest.raises(DataError, match=f"labels.*{message}"):
        as_samples((np.zeros((4, 3)), labels))
