"""Scores of models with labels and outputs of every kind, against Keras's own `evaluate`."""

import functools

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.samples import as_samples
from keras_prelu.diagnostics.evaluation import evaluate
from keras_prelu.diagnostics.predictions import losses_by_sample, predict
from keras_prelu.diagnostics.scores import measure_scores
from keras_prelu.errors import DataError, InvalidArgumentError
from tests.helpers.marks import slow_except

L = keras.layers
RNG = np.random.default_rng(0)
COUNT = 90
X = RNG.normal(size=(COUNT, 5)).astype("float32")
CLASSES = np.arange(COUNT) % 3
VALUES = RNG.normal(size=(COUNT, 2)).astype("float32")
TAGS = RNG.integers(0, 2, (COUNT, 4)).astype("float32")
WEIGHTS = RNG.uniform(0.2, 2.0, COUNT).astype("float32")
SPARSE = "sparse_categorical_crossentropy"


class MaxError(keras.metrics.Metric):
    """A metric of the user's own, of one output."""

    def __init__(self, name="max_error", **kwargs):
        super().__init__(name=name, **kwargs)
        self.largest = self.add_variable((), "zeros", name="largest")

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = keras.ops.max(keras.ops.abs(y_true - y_pred))
        self.largest.assign(keras.ops.maximum(self.largest, error))

    def result(self):
        return keras.ops.convert_to_tensor(self.largest)


def trunk():
    inputs = keras.Input((5,), name="x")
    return inputs, L.Dense(8, activation="relu", name="hidden")(inputs)


def two_outputs(as_dict=False):
    inputs, x = trunk()
    outputs = {
        "kind": L.Dense(3, activation="softmax", name="kind")(x),
        "size": L.Dense(2, name="size")(x),
    }
    return keras.Model(inputs, outputs if as_dict else list(outputs.values()))


def one_output(units, activation=None):
    inputs, x = trunk()
    return keras.Model(inputs, L.Dense(units, activation=activation, name="out")(x))


def masked_sequence():
    inputs = keras.Input((6,), dtype="int32")
    x = L.Embedding(10, 4, mask_zero=True)(inputs)
    x = L.Dense(8, activation="relu")(x)
    return keras.Model(inputs, L.Dense(3, activation="softmax")(x))


def segmentation():
    inputs = keras.Input((6, 6, 1))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    return keras.Model(inputs, L.Conv2D(2, 1)(x))


TOKENS = RNG.integers(0, 10, (COUNT, 6)) * (np.arange(6) < RNG.integers(1, 7, (COUNT, 1)))
IMAGES = RNG.normal(size=(COUNT, 6, 6, 1)).astype("float32")
BOTH = {"kind": SPARSE, "size": "mse"}
KINDS = {
    "outputs in a list": (
        two_outputs,
        {"loss": [SPARSE, "mse"], "metrics": [["accuracy"], ["mae"]]},
        (X, [CLASSES, VALUES]),
    ),
    "outputs by name": (
        two_outputs,
        {"loss": BOTH, "loss_weights": {"kind": 0.3, "size": 2.0}, "metrics": {"size": ["mae"]}},
        (X, {"kind": CLASSES, "size": VALUES}),
    ),
    "list of labels, losses by name": (
        two_outputs,
        {"loss": BOTH, "loss_weights": {"kind": 0.3, "size": 2.0}},
        (X, [CLASSES, VALUES]),
    ),
    "dict of outputs": (
        functools.partial(two_outputs, as_dict=True),
        {"loss": BOTH, "metrics": {"kind": ["accuracy"], "size": [MaxError()]}},
        (X, {"kind": CLASSES, "size": VALUES}),
    ),
    "one loss for all": (two_outputs, {"loss": "mse"}, (X, [np.eye(3)[CLASSES], VALUES])),
    "loss of one output": (
        two_outputs,
        {"loss": {"kind": SPARSE, "size": None}},
        (X, {"kind": CLASSES, "size": VALUES}),
    ),
    "weights by output": (
        two_outputs,
        {"loss": BOTH, "weighted_metrics": {"kind": ["accuracy"]}},
        (
            X,
            {"kind": CLASSES, "size": VALUES},
            {"kind": WEIGHTS, "size": WEIGHTS[::-1].copy()},
        ),
    ),
    "weights": (
        functools.partial(one_output, 2),
        {"loss": "mae", "metrics": ["mse"], "weighted_metrics": ["mse"]},
        (X, VALUES, WEIGHTS),
    ),
    "mean by weights": (
        functools.partial(one_output, 2),
        {"loss": keras.losses.MeanAbsoluteError(reduction="mean_with_sample_weight")},
        (X, VALUES, WEIGHTS),
    ),
    "multi-label": (
        functools.partial(one_output, 4, "sigmoid"),
        {
            "loss": "binary_crossentropy",
            "metrics": ["binary_accuracy", keras.metrics.AUC(multi_label=True, name="auc")],
        },
        (X, TAGS),
    ),
    "crossentropy": (
        functools.partial(one_output, 4, "softmax"),
        {"loss": "crossentropy", "metrics": ["mae"]},
        (X, TAGS),
    ),
    "regression": (
        functools.partial(one_output, 1),
        {"loss": "mse", "metrics": [keras.metrics.R2Score(), keras.metrics.MeanAbsoluteError()]},
        (X, VALUES[:, 0]),
    ),
    "sequence with a mask": (
        masked_sequence,
        {"loss": SPARSE, "weighted_metrics": ["accuracy"]},
        (TOKENS, (TOKENS + 1) % 3),
    ),
    "masks": (
        segmentation,
        {
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "metrics": ["accuracy"],
        },
        (IMAGES, (IMAGES[..., 0] > 0).astype("int32")),
    ),
    "ignored class": (
        segmentation,
        {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)},
        (IMAGES, np.where(IMAGES[..., 0] > 1, -1, IMAGES[..., 0] > 0).astype("int32")),
    ),
    "weights of time steps": (
        masked_sequence,
        {"loss": SPARSE},
        (TOKENS, (TOKENS + 1) % 3, RNG.uniform(0.5, 1.5, (COUNT, 6)).astype("float32")),
    ),
}


@functools.cache
def prepared(kind):
    """Return a model that was trained a little, and its data."""
    make, settings, data = KINDS[kind]
    keras.utils.set_random_seed(0)
    model = make()
    # Metric objects belong to one model.
    model.compile(keras.optimizers.Adam(0.01), **settings, run_eagerly=False)
    return model, data


def evaluated(model, data):
    """Return what Keras says of all samples as one batch, as their masks need."""
    x, y, weights = (*data, None)[:3]
    if isinstance(weights, dict):  # Keras wants them in the structure of the outputs.
        y, weights = list(y.values()), list(weights.values())
    return model.evaluate(
        x, y, batch_size=COUNT, sample_weight=weights, verbose=0, return_dict=True
    )


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_metrics_are_keras_own(kind):
    model, data = prepared(kind)
    expected = evaluated(model, data)
    predictions = predict(model, as_samples(data, model=model, labels="required"))
    found = losses_by_sample(predictions, model.loss, KINDS[kind][1].get("loss_weights"))
    np.testing.assert_allclose(found["loss"].mean(), expected["loss"], rtol=2e-5)
    scores = measure_scores(model, data)
    assert scores.metric == "loss"
    np.testing.assert_allclose(scores.value, expected["loss"], rtol=2e-5)
    for name, value in scores.by_name.items():
        name = name.removeprefix("compiled_")
        np.testing.assert_allclose(value, expected[name], rtol=2e-5, err_msg=name)
    left_out = set(expected) - set(scores.by_name)
    for name in left_out:  # What equals the loss, or the loss of an output that has a metric.
        assert name.endswith("_loss") or np.isclose(expected[name], expected["loss"]), name


FAST = ("outputs by name", "multi-label", "sequence with a mask")


# Keras's, of an output without a loss.
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables:UserWarning")
@pytest.mark.parametrize("kind", slow_except(FAST, {kind: kind for kind in KINDS}))
def test_all_that_is_done_with_labels(kind):
    model, data = prepared(kind)
    converted = kp.convert(model)
    assert kp.compare(converted, model, data).gain == pytest.approx(0.0, abs=1e-6)
    found = evaluate(model, data)
    assert found.metrics["loss"] > 0
    assert kp.diagnostics.diagnose(converted, data).noise.scale > 0
    result = kp.finetune(
        model, data, data, recipe="identity", epochs=2, batch_size=30, selection=data
    )
    assert set(result.prelu.metrics_before) == set(measure_scores(model, data).by_name)
    assert result.prelu.metrics_before["loss"] > result.prelu.metrics_after["loss"]
    assert result.verdict


def test_the_gradient_is_that_of_the_loss_that_is_trained():
    """One group of all samples has the gradient of one step of plain gradient descent."""
    for kind in ("outputs by name", "weights by output", "sequence with a mask"):
        model, data = prepared(kind)
        stepped = keras.models.clone_model(model)
        stepped.set_weights(model.get_weights())
        stepped.compile(
            keras.optimizers.SGD(1.0),
            loss=model.loss,
            loss_weights=KINDS[kind][1].get("loss_weights"),
        )
        both = tuple(
            keras.tree.map_structure(lambda part: np.concatenate([part, part]), part)
            for part in data
        )
        x, y, weights = (*data, None)[:3]
        if isinstance(weights, dict):
            y, weights = list(y.values()), list(weights.values())
        stepped.train_on_batch(x, y, sample_weight=weights)
        squares = sum(
            float(np.sum((one - other) ** 2))
            for one, other in zip(model.get_weights(), stepped.get_weights(), strict=True)
        )
        noise = kp.diagnostics.gradient_noise(model, both, group=1, seed=0)
        # ‖G‖² + tr(Σ)/n is the squared norm of the mean gradient of the samples.
        found = noise.squared_norm + noise.variance / noise.samples
        if kind != "sequence with a mask":  # There, samples have unlike numbers of time steps.
            np.testing.assert_allclose(found, squares, rtol=1e-3)
        else:
            assert np.isfinite(found)


def test_a_metric_is_chosen():
    model, data = prepared("multi-label")
    better = keras.models.clone_model(model)
    better.set_weights(model.get_weights())
    better.compile("adam", "binary_crossentropy", metrics=["binary_accuracy"])
    better.fit(*data, epochs=60, verbose=0)
    for metric in ("loss", "binary_accuracy"):
        result = kp.compare(better, model, data, metric=metric)
        assert (result.metric, result.is_chosen) == (metric, True)
        assert result.gain > 0
        assert result.verdict != "worse"
        assert result.samples == COUNT
        assert metric not in [other.name for other in result.metrics]
    auc = kp.compare(model, better, data, metric="auc")
    np.testing.assert_allclose(auc.a, evaluated(model, data)["auc"], rtol=1e-5)
    assert (auc.direction, auc.gain < 0, auc.needed) == (1, True, None)
    by_name = kp.compare(better, model, data, metric="mean_absolute_error")
    by_object = kp.compare(better, model, data, metric=keras.metrics.MeanAbsoluteError())
    expected = [np.abs(m.predict(data[0], verbose=0) - TAGS).mean() for m in (better, model)]
    np.testing.assert_allclose((by_name.a, by_name.b), expected, rtol=1e-5)
    np.testing.assert_allclose(by_name.gain, expected[1] - expected[0], rtol=1e-4)
    assert by_object.gain == by_name.gain
    assert by_name.direction == -1
    found = evaluate(model, data, metric="mean_absolute_error").metrics
    assert next(iter(found)) == "mean_absolute_error"
    np.testing.assert_allclose(found["mean_absolute_error"], expected[1], rtol=1e-5)
    assert list(found)[1:] == list(evaluate(model, data).metrics)


def test_the_chosen_metric_alone_decides():
    """A model with the better accuracy and the worse loss: confident, and right more often."""
    n = 400
    inputs = keras.Input((1,))
    truth = np.arange(n) % 2
    right = np.arange(n) % 10 < 8
    logit = np.where(right, 1.0, -1.0) * (2 * truth - 1)
    model = keras.Model(inputs, L.Dense(1, activation="sigmoid", use_bias=False)(inputs))
    model.compile("adam", "binary_crossentropy", metrics=[keras.metrics.BinaryCrossentropy()])
    timid, bold = (keras.models.clone_model(model) for _ in range(2))
    timid.set_weights([np.array([[-0.01]])])
    bold.set_weights([np.array([[9.0]])])
    for one in (timid, bold):
        one.compile("adam", "binary_crossentropy", metrics=[keras.metrics.BinaryCrossentropy()])
    data = (logit[:, None].astype("float32"), truth[:, None])
    assert kp.compare(bold, timid, data).verdict == "mixed"
    assert kp.compare(bold, timid, data, metric="accuracy").verdict == "better"
    assert kp.compare(bold, timid, data, metric="loss").verdict == "worse"
    assert kp.compare(bold, timid, data, metric="binary_crossentropy").verdict == "worse"


def test_fine_tuning_by_a_metric(monkeypatch):
    model, data = prepared("outputs by name")
    arguments = {"recipe": "identity", "selection": data, "epochs": 1}
    result = kp.finetune(model, data, data, metric="size_mae", **arguments)
    assert result.comparison.metric == result.incoming_comparison.metric == "size_mae"
    assert result.prelu.score_after == result.prelu.metrics_after["size_mae"]
    assert "size_mae" in result.verdict
    runs = kp.finetune(model, data, data, metric="size_mae", runs=2, **arguments)
    over = runs.over_runs.comparison
    assert over.over_samples.samples == COUNT
    np.testing.assert_allclose(
        over.gains, [run.control_score - run.score for run in runs.over_runs.runs], atol=2e-2
    )
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(
        InvalidArgumentError, match=r"must be one of 'loss', 'size_mae', 'kind_loss'"
    ):
        kp.finetune(model, data, data, metric="accuracy", **arguments)


def test_metrics_that_can_not_be_chosen():
    model, data = prepared("regression")
    for metric, message in (
        ("nonsense", "There is no metric 'nonsense'"),
        (
            keras.metrics.MeanMetricWrapper(lambda y, p: p, name="spread"),
            "higher values are better",
        ),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            kp.compare(model, model, data, metric=metric)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([CLASSES], "2 outputs .*have 1"),
        (CLASSES, "2 outputs .*have 1"),
        ({"kind": CLASSES, "weight": VALUES}, "output 'weight'"),
        ({"kind": CLASSES}, "no labels for the model's output 'size'"),
        ({"kind": CLASSES + 1, "size": VALUES}, "none of the model's 3 classes"),
        ({"kind": CLASSES, "size": VALUES[:, :1].repeat(3, 1)}, "of output 'size' can't be"),
    ],
)
def test_labels_of_other_outputs(labels, message):
    model, _ = prepared("outputs by name")
    for use in (evaluate, kp.diagnostics.gradient_noise):
        with pytest.raises(DataError, match=message):
            use(model, (X, labels))
    with pytest.raises(DataError, match=message):
        kp.finetune(model, (X, labels), (X, labels), recipe="identity", selection=(X, labels))
