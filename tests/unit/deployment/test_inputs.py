"""keras_prelu.deployment.inputs: samples are checked, and those that are made up fit the model."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.deployment.inputs import as_model_inputs, random_inputs
from keras_prelu.errors import DataError

L = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(10, 6, 6, 3)).astype("float32")


def network(*layers):
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            *layers,
            L.Conv2D(4, 3, activation="relu"),
            L.Flatten(),
            L.Dense(2),
        ]
    )


def reader():
    """A network that takes text."""
    words = L.TextVectorization(output_sequence_length=3, vocabulary=["the", "word"])
    inputs = keras.Input((), dtype="string")
    h = L.Dense(4, activation="relu")(L.Flatten()(L.Embedding(6, 3)(words(inputs))))
    return keras.Model(inputs, L.Dense(2)(h))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (IMAGES[:, :5], r"shape \(10, 5, 6, 3\)"),
        (IMAGES[:0], "no samples"),
        (np.where(np.arange(10)[:, None, None, None] == 4, np.nan, IMAGES), "sample 4"),
        (IMAGES.astype("complex64"), "not an array of numbers"),
        ([IMAGES, IMAGES], "input"),
        (IMAGES.astype(object).astype(str), "text"),
    ],
)
def test_samples_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, samples, message):
    with pytest.raises(DataError, match=message):
        kp.export(network(), tmp_path / "model.keras", samples=samples)
    assert list(tmp_path.iterdir()) == []


def test_samples_get_the_types_that_the_model_declares():
    given = as_model_inputs(network(), np.abs(4 * IMAGES).astype("uint8"))
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, np.abs(4 * IMAGES).astype("uint8"))


@pytest.mark.tensorflow
@pytest.mark.parametrize("samples", [None, np.array(["the word", "a word", "text"])])
def test_models_that_take_text_are_exported(tmp_path, samples):
    model = reader()
    assert random_inputs(model).dtype.kind == "U"
    assert kp.export(model, tmp_path / "model", samples=samples).difference < 1e-6


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "path",
    ["model.tflite", pytest.param("model", marks=pytest.mark.slow), "model.onnx"],
)
def test_augmentation_in_a_model_is_off_in_its_file(tmp_path, path):
    """Called without `training`, as exporters do, Keras's augmentation layers augment."""
    model = network(L.RandomFlip(), L.Dropout(0.5), L.RandomRotation(0.2))
    record = kp.export(kp.convert(model), tmp_path / path, samples=IMAGES)
    assert record.difference < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("forked_readers")
def test_training_that_is_pinned_stays_pinned(tmp_path):
    inputs = keras.Input((4,))
    h = L.BatchNormalization()(L.Dense(5, activation="relu")(inputs), training=True)
    model = keras.Model(inputs, L.Dense(2)(h))
    x = 3.0 + np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    assert kp.export(model, tmp_path / "model.keras", samples=x).difference < 1e-5
