"""keras_prelu.calibration.activation_store: what is held, what is written, and that it comes
back."""

import keras
import ml_dtypes
import numpy as np
import pytest

from keras_prelu.calibration.activation_store import Activations, ActivationStore, Recipe


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16, "int32", "bool"])
@pytest.mark.parametrize("shape", [(3, 4), (3,), (3, 0, 2), (2, 1, 3, 5)])
def test_a_batch_comes_back_from_its_file(folder, dtype, shape):
    batch = np.random.default_rng(0).normal(size=shape).astype(dtype)
    with ActivationStore(limit=0) as store:
        kept = Activations()
        store.add(kept, keras.ops.convert_to_tensor(batch))
        result = kept[0]
        assert keras.backend.standardize_dtype(result.dtype) == np.dtype(dtype).name
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(result), batch)
        assert kept.samples == shape[0]
        assert store.held_bytes == 0
        assert store.written_bytes == batch.nbytes
    assert list(folder.iterdir()) == []


def test_bytes_are_counted_and_the_limit_is_held(folder):
    batch = keras.ops.ones((10, 25))  # 1,000 bytes
    with ActivationStore(limit=2500) as store:
        first, second = Activations(), Activations()
        for _ in range(2):
            store.add(first, batch)
            store.add(second, batch)
        assert (store.held_bytes, store.written_bytes, store.peak_bytes) == (2000, 2000, 2000)
        assert len(list(next(folder.iterdir()).iterdir())) == 2
        store.discard(first)
        store.discard(first)
        assert store.held_bytes == 1000
        store.discard(second)
        assert (store.held_bytes, store.peak_bytes) == (0, 2000)
        assert list(next(folder.iterdir()).iterdir()) == []


def test_samples_are_viewed_and_not_counted():
    with ActivationStore(limit=0) as store:
        samples = store.wrap([np.ones((4, 2), "float32"), np.zeros((3, 2), "float32")])
        assert samples.samples == 7
        assert len(samples) == 2
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(samples[1]), np.zeros((3, 2)))
        store.discard(samples)
        assert store.held_bytes == 0


def test_strings_stay_in_memory(folder):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Only TensorFlow has tensors of strings.")
    with ActivationStore(limit=0) as store:
        kept = Activations()
        store.add(kept, keras.ops.convert_to_tensor(np.array(["a", "b"])))
        assert kept[0].shape == (2,)
    assert list(folder.iterdir()) == []


def test_room_is_made_by_moving_batches_to_files(folder):
    batches = [keras.ops.full((10, 25), float(number)) for number in range(4)]  # 1,000 bytes each
    with ActivationStore(limit=4000) as store:
        kept = Activations()
        for batch in batches:
            store.add(kept, batch)
        assert store.has_room(0)
        assert not store.has_room(1)
        store.make_room(2500)
        assert (store.held_bytes, store.written_bytes) == (1000, 3000)
        store.make_room(1e9)
        assert (store.held_bytes, store.written_bytes) == (0, 4000)
        for batch, result in zip(batches, kept, strict=True):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(result), keras.ops.convert_to_numpy(batch)
            )
        store.discard(kept)
        assert list(next(folder.iterdir()).iterdir()) == []


def test_activations_are_computed_from_others_until_nothing_reads_them():
    with ActivationStore(limit=4000) as store:
        source = Activations()
        for number in range(3):
            store.add(source, keras.ops.full((10, 25), float(number)))
        doubled = store.computed(
            Recipe(
                compute=lambda index: 2 * source[index], sources=(source,), steps=1, heavy_steps=0
            )
        )
        store.discard(source)
        assert store.held_bytes == 3000
        assert (len(doubled), doubled.samples) == (3, 30)
        assert [float(batch[0, 0]) for batch in doubled] == [0.0, 2.0, 4.0]
        store.discard(doubled)
        assert store.held_bytes == 0
