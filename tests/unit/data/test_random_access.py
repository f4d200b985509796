"""Data sets of TensorFlow Datasets that stay on disk: the same samples, read when needed."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import load
from keras_prelu.data.random_access import random_access_samples
from keras_prelu.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 6, 6, 1)).astype("uint8")
LABELS = RNG.integers(0, 3, 50)


class Source:
    """Rows by position, as those of `tfds.data_source`, which counts what is read."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return len(IMAGES)

    def __getitems__(self, positions):
        self.read += len(positions)
        return [{"image": IMAGES[row], "label": LABELS[row]} for row in positions]


def test_rows_are_read_when_they_are_needed():
    source = Source()
    samples = random_access_samples(source, ("image", "label"), "images", as_stored=False)
    assert (samples.x.shape, samples.x.dtype) == ((50, 6, 6, 1), "float32")
    source.read = 0
    part = samples.take([40, 3, 3, 17])
    assert source.read == 0
    np.testing.assert_allclose(part.x[:], IMAGES[[40, 3, 3, 17]] / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(part.y[:], LABELS[[40, 3, 3, 17]])
    assert source.read == 3  # x and y of the same rows at once
    stored = random_access_samples(source, ("image", "label"), "images", as_stored=True)
    np.testing.assert_array_equal(stored.x[:], IMAGES)


class Texts:
    """Rows of a text and a label, the first of them the shortest."""

    texts = (b"a", b"much longer", "ä".encode() * 9)

    def __len__(self):
        return len(self.texts)

    def __getitems__(self, positions):
        return [{"text": self.texts[row], "label": row} for row in positions]


def test_texts_longer_than_the_first_are_whole():
    samples = random_access_samples(Texts(), ("text", "label"), "texts", as_stored=False)
    assert np.asarray(samples.x).tolist() == list(Texts.texts)
    assert samples.take([2, 0]).x.tolist() == [Texts.texts[2], Texts.texts[0]]
    assert np.asarray(samples.y).tolist() == [0, 1, 2]


def test_rows_that_can_not_be_read():
    with pytest.raises(DataError, match="Rows of 'images' can't be read"):
        random_access_samples(Source(), ("image", "name"), "images", as_stored=True)


def network():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, activation="relu")]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers, keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize("recipe", ["auto", "identity-revived"])
def test_trainings_on_disk_are_those_in_memory(recipe):
    """The order is global, and drawn from the seed: the same for every training."""
    lazy = random_access_samples(Source(), ("image", "label"), "images", as_stored=False)
    arrays = (IMAGES / np.float32(255.0), LABELS)
    results = [
        kp.finetune(network(), data, arrays, recipe=recipe, epochs=2, batch_size=8)
        for data in (lazy, arrays)
    ]
    assert results[0].recipe == results[1].recipe
    for one, other in zip(*(result.model.get_weights() for result in results), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_array_record_files_above_the_limit_stay_on_disk(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    from keras_prelu.data.digits_tfds import SklearnDigits

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    builder = SklearnDigits(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    assert tfds is not None
    expected = load("digits").train
    large = load("tfds:sklearn_digits", memory_limit=1000)
    assert large.train.on_disk
    small = load("tfds:sklearn_digits")
    assert not small.train.on_disk
    for data in (large, small):
        # TFDS shuffles what a builder yields.
        for one, other in ((data.train, expected), (data.test, load("digits").test)):
            found = np.sort(np.asarray(one.x).reshape(len(one), -1).sum(axis=1))
            wanted = np.sort(other.x.reshape(len(other), -1).sum(axis=1))
            np.testing.assert_allclose(found, wanted, atol=0.2)
    np.testing.assert_array_equal(large.train.x[:50], small.train.x[:50])
    np.testing.assert_array_equal(large.train.y[:], small.train.y)
