"""keras_prelu.data.labels: what a beginner gives as labels, told before anything is trained."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import Samples
from keras_prelu.data.labels import check_labels
from keras_prelu.diagnostics.evaluation import evaluate
from keras_prelu.errors import DataError

RNG = np.random.default_rng(0)
X, CLASSES = RNG.normal(size=(12, 4)).astype("float32"), np.arange(12) % 3
SPARSE, ONE_HOT = (
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    keras.losses.CategoricalCrossentropy(from_logits=True),
)


@pytest.fixture
def model():
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, activation="relu"), keras.layers.Dense(3)]
    )


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        (CLASSES, SPARSE),
        (CLASSES[:, None], SPARSE),
        (CLASSES, "sparse_categorical_crossentropy"),
        (np.eye(3)[CLASSES], ONE_HOT),
        (RNG.normal(size=(12, 3)), "mse"),
        (
            np.where(CLASSES == 2, -1, CLASSES),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1),
        ),
        (CLASSES, None),
        (CLASSES[:1], SPARSE),
        (
            np.full((12, 3), np.nan),
            lambda y, p: keras.ops.mean(keras.ops.where(keras.ops.isnan(y), 0.0, y - p), axis=-1),
        ),
        (CLASSES.astype("float32"), SPARSE),
    ],
)
def test_labels_that_are_right(model, labels, loss):
    check_labels(model, Samples(X[: len(labels)], labels), loss)


@pytest.mark.parametrize(
    ("labels", "loss", "message"),
    [
        (np.array(list("abc"))[CLASSES], SPARSE, r"text or objects, such as .*'a'.*numpy\.unique"),
        (np.array(list("abc"))[CLASSES], None, "text or objects"),
        (CLASSES + 1, SPARSE, "The label 3 is none of the model's 3 classes, which are 0 to 2"),
        (CLASSES - 1, SPARSE, "The label -1 is none"),
        (CLASSES + 1.0, SPARSE, r"The label 3\.0 is none"),
        (CLASSES / 2, SPARSE, r"The label 0\.5 is none"),
        (np.where(CLASSES == 1, np.nan, CLASSES), SPARSE, "NaN or infinite.* of sample 1"),
        (
            np.eye(3)[CLASSES],
            SPARSE,
            r"sparse_categorical_crossentropy can't be .*shape \(3,\).*y\.argmax\(-1\)",
        ),
        (np.where(np.eye(3)[CLASSES] == 1, np.inf, 0.0), "mse", "NaN or infinite.* of sample 0"),
        (np.where(CLASSES == 2, np.nan, CLASSES)[:, None], ["mae"], "NaN .* of sample 2"),
        (CLASSES, ONE_HOT, r"categorical_crossentropy can't be .*shape \(\).*to_categorical"),
        (
            RNG.normal(size=(12, 7)),
            "mse",
            r"mean_squared_error can't be .*\(7,\) and outputs of shape \(3,\)",
        ),
    ],
)
def test_labels_that_are_wrong(model, labels, loss, message):
    with pytest.raises(DataError, match=message) as caught:
        check_labels(model, Samples(X, labels), loss)
    assert "\n" not in str(caught.value)


def test_whoever_needs_labels_looks_at_them(model):
    model.compile("adam", SPARSE)
    converted, wrong = kp.convert(model, alpha=0.1, rescale="none"), (X, CLASSES + 1)
    for use in (
        lambda: kp.finetune(converted, wrong, (X, CLASSES), original=model, epochs=1),
        lambda: kp.finetune(converted, (X, CLASSES), wrong, original=model, epochs=1),
        lambda: evaluate(model, Samples(*wrong)),
        lambda: kp.diagnostics.gradient_noise(model, wrong, group=4),
    ):
        with pytest.raises(DataError, match="none of the model's 3 classes"):
            use()
    with pytest.raises(DataError, match="text"):
        kp.compare(model, converted, (X, np.array(list("abc"))[CLASSES]))


def test_outputs_of_unknown_size():
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(3)])
    x = RNG.normal(size=(6, 5, 4)).astype("float32")
    check_labels(model, Samples(x, np.ones((6, 5), int)), SPARSE)
    with pytest.raises(DataError, match=r"shape \(5, 3\) and outputs of shape \(5, 3\)"):
        check_labels(model, Samples(x, np.ones((6, 5, 3))), SPARSE)
    with pytest.raises(DataError, match="label 3"):
        check_labels(model, Samples(x, np.full((6, 5), 3)), SPARSE)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(12,), (12, 1)])
@pytest.mark.parametrize(
    "loss",
    [
        *("binary_crossentropy", "binary_focal_crossentropy", "mse", "mae", "hinge", "huber"),
        keras.losses.BinaryCrossentropy(),
        keras.losses.mean_squared_error,
        lambda y, outputs: keras.ops.mean(keras.ops.square(y - outputs), axis=-1),
    ],
    ids=lambda loss: loss if isinstance(loss, str) else getattr(loss, "__name__", "object"),
)
def test_one_label_a_sample_fits_one_output(loss, shape, dtype):
    """Whether labels have a last axis makes no difference, as in Keras."""
    labels = (np.arange(12) % 2).reshape(shape).astype(dtype)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", loss)
    expected = model.evaluate(X, labels.reshape(12, 1).astype("float32"), verbose=0)
    # On TensorFlow, a model that was evaluated with both shapes in turn is compiled for neither.
    model.compile("sgd", loss)
    measured = evaluate(model, (X, labels))
    assert measured.metrics["loss"] == pytest.approx(expected, rel=1e-5)
