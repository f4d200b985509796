"""Data sets of TensorFlow Datasets that stay on disk: the same samples, read when needed."""

import functools
import io

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
    """Rows by position, which counts what is read."""

    def __init__(self):
        self.read = 0

    def rows(self, positions):
        self.read += len(positions)
        return IMAGES[positions], LABELS[positions]


def test_rows_are_read_when_they_are_needed():
    source = Source()
    samples = random_access_samples(source.rows, 50, "images", as_stored=False)
    assert (samples.x.shape, samples.x.dtype) == ((50, 6, 6, 1), "float32")
    source.read = 0
    part = samples.take([40, 3, 3, 17])
    assert source.read == 0
    np.testing.assert_allclose(part.x[:], IMAGES[[40, 3, 3, 17]] / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(part.y[:], LABELS[[40, 3, 3, 17]])
    assert source.read == 3  # x and y of the same rows at once
    stored = random_access_samples(source.rows, 50, "images", as_stored=True)
    np.testing.assert_array_equal(stored.x[:], IMAGES)


TEXTS = (b"a", b"much longer", "ä".encode() * 9)
"""The first of them is the shortest."""


def test_texts_longer_than_the_first_are_whole():
    def rows(positions):
        return np.array([TEXTS[row] for row in positions]), np.array(positions)

    samples = random_access_samples(rows, 3, "texts", as_stored=False)
    assert np.asarray(samples.x).tolist() == list(TEXTS)
    assert samples.take([2, 0]).x.tolist() == [TEXTS[2], TEXTS[0]]
    assert np.asarray(samples.y).tolist() == [0, 1, 2]


def test_rows_that_can_not_be_read():
    def rows(positions):
        raise OSError(f"row {positions[0]} is damaged")

    with pytest.raises(DataError, match="Rows of 'images' can't be read: row 0 is damaged"):
        random_access_samples(rows, 3, "images", as_stored=True)


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
    lazy = random_access_samples(Source().rows, 50, "images", as_stored=False)
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


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_images_and_texts_are_decoded_alike_in_all_formats(tmp_path, monkeypatch, file_format):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("array_record")
    assert tfds is not None
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for builder in builders():
        made = builder(data_dir=str(tmp_path), file_format=file_format)
        made.download_and_prepare()
    pictures = load("tfds:pictures_of_noise", memory_limit=1.0).train
    assert pictures.on_disk
    in_memory = load("tfds:pictures_of_noise").train
    assert not in_memory.on_disk
    np.testing.assert_array_equal(np.sort(in_memory.y), np.sort(pictures.y[:]))
    part = load("tfds:pictures_of_noise:train[25%:75%]", memory_limit=1.0).train
    np.testing.assert_array_equal(part.x[:], pictures.x[:][3:9])
    order = np.argsort(np.asarray(pictures.y))
    expected = [tf_pixels(jpeg_of(row)) for row in range(12)]
    np.testing.assert_array_equal(np.asarray(pictures.x)[order] * 255.0, expected)
    words = load("tfds:words_of_letters", memory_limit=1.0).train
    assert sorted(np.asarray(words.x).tolist()) == [b"ab" * row for row in range(1, 13)]


def jpeg_of(row):
    """Return a picture in which decoders of JPEG differ by a few levels."""
    import tensorflow as tf

    pixels = np.random.default_rng(row).integers(0, 256, (8, 9, 3)).astype("uint8")
    return tf.io.encode_jpeg(pixels).numpy()


def tf_pixels(jpeg):
    import tensorflow as tf

    return tf.io.decode_jpeg(jpeg).numpy()


@functools.cache
def builders():
    """Return builders of data sets of pictures and of words; TFDS registers each class once."""
    import tensorflow_datasets as tfds

    def pictures():
        for row in range(12):
            yield row, {"unused": str(row), "image": io.BytesIO(jpeg_of(row)), "number": row}

    def words():
        for row in range(12):
            yield row, {"text": b"ab" * (row + 1), "number": row}

    image = tfds.features.Image(shape=(8, 9, 3), encoding_format="jpeg")
    text = tfds.features.Text()
    return (
        _builder("PicturesOfNoise", {"image": image, "unused": text}, pictures, "image"),
        _builder("WordsOfLetters", {"text": text}, words, "text"),
    )


def _builder(name, features, rows, x):
    import tensorflow_datasets as tfds

    def info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({**features, "number": np.int64}),
            supervised_keys=(x, "number"),
        )

    members = {
        "VERSION": tfds.core.Version("1.0.0"),
        "__module__": __name__,
        "_info": info,
        "_split_generators": lambda self, _: {"train": rows()},
        "_generate_examples": lambda self: rows(),
    }
    return type(name, (tfds.core.GeneratorBasedBuilder,), members)
