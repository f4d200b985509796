"""keras_prelu.diagnostics.scores: what a model is scored by is what Keras's `evaluate` computes."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics.scores import measure_scores
from keras_prelu.errors import DataError, InvalidArgumentError

L, losses = keras.layers, keras.losses
RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 8)).astype("float32")
CLASSES = (X[:, 0] + np.abs(X[:, 1]) > 0.5).astype("int32")
TOKENS = RNG.integers(1, 20, (64, 6)) * (np.arange(6) < RNG.integers(2, 7, (64, 1)))


def tagger(loss, units, **options):
    """A network whose output has a mask: time steps after the end of a sequence don't count."""
    inputs = keras.Input((6,), dtype="int32")
    h = L.Embedding(20, 8, mask_zero=True)(inputs)
    h = L.TimeDistributed(L.Dense(8, activation="relu"))(h)
    activation = "softmax" if units > 1 else None
    model = keras.Model(inputs, L.Dense(units, activation=activation)(h))
    model.compile("adam", loss, **options)
    return model


def network(units=1, *, loss="mse", shift=0.0, **options):
    model = keras.Sequential(
        [keras.Input((8,)), L.Dense(8, activation="relu"), L.Dense(units, bias_initializer="ones")]
    )
    model.set_weights([*model.get_weights()[:-1], np.full(units, shift, "float32")])
    model.compile("adam", loss, **options)
    return model


@pytest.mark.parametrize(
    ("loss", "units", "labels"),
    [
        ("sparse_categorical_crossentropy", 3, TOKENS % 3),
        ("mse", 1, (TOKENS % 3)[..., None].astype("float32")),
        (losses.CategoricalCrossentropy(), 3, np.eye(3, dtype="float32")[TOKENS % 3]),
        (losses.MeanSquaredError(), 2, np.stack([TOKENS, -TOKENS], -1).astype("float32")),
    ],
)
def test_masked_entries_do_not_count(loss, units, labels):
    keras.utils.set_random_seed(0)
    metrics = ["accuracy"] if units == 3 else ["mse"]
    model = tagger(loss, units, metrics=metrics)
    expected = model.evaluate(TOKENS, labels, batch_size=64, verbose=0, return_dict=True)
    scores = measure_scores(model, (TOKENS, labels))
    np.testing.assert_allclose(scores.values.mean(), expected["loss"], rtol=1e-5)
    for metric in scores.metrics:
        np.testing.assert_allclose(metric.value, expected[metric.name], rtol=1e-5)
    # The samples' shares of the loss are those of a loop in NumPy.
    one = model.evaluate(TOKENS[:1], labels[:1], verbose=0, return_dict=True)["loss"]
    kept = (TOKENS != 0).sum(1)
    np.testing.assert_allclose(scores.values[0], one * kept[0] / kept.mean(), rtol=1e-4)


def test_a_sample_without_entries_has_no_loss():
    model = tagger("mse", 1)
    tokens = np.concatenate([TOKENS[:9], np.zeros((1, 6), TOKENS.dtype)])
    values = measure_scores(model, (tokens, np.ones((10, 6, 1), "float32"))).values
    assert values[-1] == 0.0
    assert (values[:-1] > 0.0).all()


@pytest.mark.parametrize(
    ("loss", "threshold"),
    [
        ("mse", 0.5),
        ("mae", 0.5),
        ("binary_crossentropy", 0.5),
        (losses.BinaryCrossentropy(from_logits=True), 0.0),
        (losses.BinaryFocalCrossentropy(from_logits=True, apply_class_balancing=True), 0.0),
        (losses.BinaryFocalCrossentropy(), 0.5),
        ("hinge", 0.0),
        (lambda y, p: losses.binary_crossentropy(y, p, from_logits=True), 0.0),
        (lambda y, p: keras.ops.square(y - p), 0.5),
    ],
)
@pytest.mark.parametrize("shift", [0.25, 1.5, -0.25])
def test_the_loss_says_which_outputs_mean_class_1(loss, threshold, shift):
    """Outputs around the shift: all logits may lie from 0 to 1, and values of a regression not."""
    keras.utils.set_random_seed(1)
    model = network(loss=loss, shift=shift)
    model.set_weights([0.05 * weight for weight in model.get_weights()[:-1]] + [np.array([shift])])
    outputs = model.predict(X, verbose=0)[:, 0]
    scores = measure_scores(model, (X, CLASSES))
    assert scores.metric == "accuracy"
    np.testing.assert_array_equal(scores.values, (outputs > threshold) == CLASSES)


@pytest.mark.parametrize(
    ("a", "b", "labels", "message"),
    [
        (network(1), network(2), X[:, :1], "shapes"),
        (network(3), network(1), CLASSES * 2, "scored by"),
        (
            network(1, loss="sparse_categorical_crossentropy"),
            network(1),
            CLASSES * 2,
            "sparse_categorical_crossentropy can't be computed",
        ),
        (
            network(2, metrics=[keras.metrics.TopKCategoricalAccuracy(k=9, name="top")]),
            network(2),
            np.eye(2, dtype="float32")[CLASSES],
            "metrics",
        ),
    ],
)
def test_what_can_not_be_compared_is_refused(a, b, labels, message):
    with pytest.raises(InvalidArgumentError, match=message):
        kp.compare(a, b, (X, labels))


def test_labels_of_no_class_are_refused():
    """Not counted as errors of both models."""
    with pytest.raises(DataError, match="label 2 is none of the model's 2 classes"):
        kp.compare(network(2), network(2), (X, np.where(CLASSES == 1, 2, 0)))


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("which", [0, 1])
def test_scores_that_are_not_finite_show_nothing(number, which):
    x = np.tile(X, (4, 1))
    metrics = None if number == 1e30 else ["mae"]  # The mean absolute error of 1e30 is finite.
    models = [network(shift=0.1, metrics=metrics) for _ in range(2)]
    weights = models[which].get_weights()
    models[which].set_weights([*weights[:-1], np.full_like(weights[-1], number)])
    comparison = kp.compare(*models, (x, np.ones((len(x), 1), "float32")))
    assert comparison.verdict == "can't tell"
    assert "some scores are not finite" in comparison.sentence("a", "b")
    assert comparison.needed is None


def test_a_metric_with_a_value_for_each_class_counts_with_their_mean():
    keras.utils.set_random_seed(0)
    labels = np.eye(2, dtype="float32")[CLASSES]
    model = network(2, loss="mse", metrics=[keras.metrics.F1Score()])
    scores = measure_scores(model, (X, labels))
    expected = model.evaluate(X, labels, verbose=0, return_dict=True)["f1_score"]
    assert [metric.name for metric in scores.metrics] == ["f1_score"]
    np.testing.assert_allclose(scores.metrics[0].value, np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("recipe", ["auto", "identity"])
def test_what_can_not_be_scored_is_refused_before_any_training(recipe):
    def refuse(*arguments):
        raise AssertionError("a training was started")

    model = network(loss=lambda y, p: keras.ops.mean(keras.ops.square(y - p)))
    samples = (X, X[:, :1])
    with pytest.raises(InvalidArgumentError, match="a value for each sample"):
        kp.finetune(model, samples, samples, recipe=recipe, callbacks=refuse, on_trial=refuse)
