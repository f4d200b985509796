"""keras_prelu.data on disk: the same rows as in memory, read when they are needed and no sooner."""

import sys
import textwrap

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_prelu as kp
from keras_prelu.data.batches import Batches
from keras_prelu.data.lazy import LazyArray, as_lazy, is_lazy, loaded
from keras_prelu.data.npz import read_arrays
from keras_prelu.data.samples import Samples, model_inputs
from keras_prelu.diagnostics.evaluation import evaluate
from keras_prelu.errors import DataError
from keras_prelu.training.data_order import ShuffledBatches
from tests.helpers import models
from tests.helpers.processes import run_python


def counted(array):
    """An array on disk, as it were, and the numbers of rows of each reading."""
    reads = []

    def read(rows):
        assert np.all(np.diff(rows) > 0)
        reads.append(len(rows))
        return array[rows]

    return LazyArray(read, array.shape, array.dtype), reads


@given(st.lists(st.integers(-7, 6), max_size=20), st.lists(st.integers(0, 30), max_size=10))
def test_rows_are_those_of_the_array_in_memory(rows, again):
    array = np.random.default_rng(0).normal(size=(7, 2))
    lazy, _ = counted(array)
    rows = np.array(rows, dtype=int)
    np.testing.assert_array_equal(lazy[rows], array[rows])
    view = lazy.take(rows)
    assert (view.shape, view.dtype, len(view), view.ndim) == (
        (len(rows), 2),
        array.dtype,
        len(rows),
        2,
    )
    again = np.array([item for item in again if item < len(rows)], dtype=int)
    np.testing.assert_array_equal(view[again], array[rows][again])
    np.testing.assert_array_equal(np.asarray(view), array[rows])


def test_views_and_functions_read_nothing_before_they_must():
    array = np.arange(20.0).reshape(10, 2)
    lazy, reads = counted(array)
    view = lazy.take(np.arange(9, 1, -1)).take(slice(2, 6))
    assert reads == []
    doubled = view.map(lambda rows: 2 * rows[:, :1])
    assert reads == [1]
    np.testing.assert_array_equal(doubled[:], 2 * array[[7, 6, 5, 4], :1])
    assert reads == [1, 4]
    with pytest.raises(kp.KerasPReLUError, match="one sample must return one"):
        view.map(lambda rows: np.concatenate([rows, rows]))


def test_what_is_on_disk(tmp_path):
    array = np.random.default_rng(0).normal(size=(9, 3)).astype("float32")
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    rows = np.array([5, 5, 0, 8, 1])
    with h5py.File(tmp_path / "array.h5", "w") as file:
        file["x"] = array
        for lazy in (mapped, file["x"], as_lazy(mapped)):
            assert is_lazy(lazy)
            np.testing.assert_array_equal(as_lazy(lazy)[rows], array[rows])
            np.testing.assert_array_equal(loaded([lazy])[0], array)
    with pytest.raises(kp.KerasPReLUError, match="can't be read from Closed: closed"):
        as_lazy(Closed())[:2]
    for memory in (array, [1.0, 2.0], keras.ops.ones((2,)), None):
        assert not is_lazy(memory)


class Closed:
    shape, dtype = (9, 3), np.float32

    def __len__(self):
        return 9

    def __getitem__(self, rows):
        raise OSError("closed")


def test_batches_are_the_same_from_disk_and_from_memory():
    samples = Samples(np.arange(22.0).reshape(11, 2), np.arange(11))
    lazy, reads = counted(samples.x)
    for kind, arguments in (
        (Batches, (4,)),
        (ShuffledBatches, (4, 3)),
        (ShuffledBatches, (4, 3, 2)),
    ):
        memory, disk = kind(samples, *arguments), kind(Samples(lazy, samples.y), *arguments)
        assert len(memory) == len(disk)
        for epoch in range(2):
            if isinstance(disk, ShuffledBatches):
                memory.begin(epoch)
                disk.begin(epoch)
            for index in (*range(len(disk)), 0, 1):
                for a, b in zip(memory[index], disk[index], strict=True):
                    np.testing.assert_array_equal(a, b)
    assert max(reads) <= 4


def test_inputs_are_checked_when_they_are_read():
    model = models.mlp()
    array = np.ones((9, *model.inputs[0].shape[1:]))
    array[7, 0] = np.nan
    (inputs,) = model_inputs(model, counted(array)[0])
    assert inputs[:2].dtype == np.float32
    with pytest.raises(
        kp.KerasPReLUError, match="of a batch hold NaN or infinite values; the first is in sample 2"
    ):
        inputs[5:]
    with pytest.raises(kp.KerasPReLUError, match="shape"):
        model_inputs(model, counted(np.ones((9, 1, 2, 3)))[0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_of_npz_files_are_mapped(tmp_path, order):
    x, y = np.random.default_rng(0).normal(size=(50, 4, 3)), np.arange(50)
    np.savez(tmp_path / "plain.npz", x=np.asarray(x, order=order), y=y)
    np.savez_compressed(tmp_path / "compressed.npz", x=x, y=y)
    found = read_arrays(tmp_path / "plain.npz", 1000)
    assert isinstance(found["x"], np.memmap)
    assert not isinstance(found["y"], np.memmap)
    for arrays in (
        found,
        read_arrays(tmp_path / "plain.npz", 1e9),
        read_arrays(tmp_path / "compressed.npz", 1000),
    ):
        np.testing.assert_array_equal(arrays["x"], x)
        np.testing.assert_array_equal(arrays["y"], y)
    np.savez(tmp_path / "objects.npz", x=np.array([{}] * 500))
    with pytest.raises(ValueError, match="pickle"):
        read_arrays(tmp_path / "objects.npz", 1)


def test_all_that_is_done_with_samples_is_the_same_from_disk(tmp_path):
    model = models.live_in(models.mlp())
    x = models.samples(model, 80)
    y = np.tanh(x[:, :3])
    np.savez(tmp_path / "data.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    memory, disk = (
        kp.data.load(str(tmp_path / "data.npz"), memory_limit=limit) for limit in (1e9, 100)
    )
    assert disk.train.on_disk
    assert disk.test.on_disk
    assert kp.diagnostics.dead_units(model, memory.train.x) == kp.diagnostics.dead_units(
        model, disk.train.x
    )
    results = [
        kp.finetune(
            model,
            data.train,
            data.test,
            recipe="exp-revived",
            epochs=1,
            loss="mse",
            checkpoints=tmp_path / name,
        )
        for name, data in (("memory", memory), ("disk", disk))
    ]
    for a, b in zip(*(result.model.get_weights() for result in results), strict=True):
        np.testing.assert_array_equal(a, b)
    assert results[0].comparison == results[1].comparison
    assert evaluate(results[0].model, memory.test) == evaluate(results[0].model, disk.test)


UNDER_A_CAP = """
import resource, sys
import keras, numpy as np
import keras_prelu as kp
rng = np.random.default_rng(0)
model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=4, activation="relu"), keras.layers.Flatten(),
    keras.layers.Dense(4)])
model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
def tuned(train, test):
    return kp.finetune(model, train, test, recipe="exp", epochs=1, batch_size=500)
small = [kp.data.Samples(rng.normal(size=(600, 32, 32, 3)).astype("float32"), np.arange(600) % 4) for _ in range(2)]
tuned(*small)
status = dict(line.split(":") for line in open("/proc/self/status"))
cap = int(status["VmData"].split()[0]) * 1024 + 300_000_000
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
data = kp.data.load(sys.argv[1], memory_limit=1e8)
if sys.argv[2] == "load":
    np.asarray(data.train.x).astype("float32", copy=True)
print(tuned(data.train, small[1]).verdict)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="The limit is Linux's.")
@pytest.mark.tensorflow
def test_a_data_set_of_twice_the_memory_there_is(tmp_path):
    count = 50_000  # 614 MB, and 300 MB are left
    np.savez(
        tmp_path / "large.npz",
        x=np.zeros((count, 32, 32, 3), dtype=np.float32),
        y=np.arange(count) % 4,
    )

    def run(how):
        return run_python("-c", textwrap.dedent(UNDER_A_CAP), tmp_path / "large.npz", how)

    assert "MemoryError" in run("load").stderr  # the cap is one
    streamed = run("stream")
    assert streamed.returncode == 0, streamed.stderr[-2000:]
    assert "PReLU" in streamed.stdout


def test_rows_of_another_type_than_the_first_are_not_cut():
    texts, mixed = np.array(["a", "longer"]), np.array([1.0, np.nan])
    lazy = LazyArray(lambda rows: texts[rows], (2,), "U1")
    assert np.asarray(lazy).tolist() == ["a", "longer"]
    assert np.asarray(lazy.map(np.char.upper)).tolist() == ["A", "LONGER"]
    with pytest.raises(DataError, match="first row on disk is int64, but others are float64"):
        np.asarray(LazyArray(lambda rows: mixed[rows], (2,), "int64"))
