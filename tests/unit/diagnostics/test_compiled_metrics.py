"""keras_prelu.diagnostics.compiled_metrics: values, pseudo-values, directions, and kept state."""

import keras
import numpy as np
import pytest

from keras_prelu.data.output_losses import OutputStructure
from keras_prelu.diagnostics.compiled_metrics import metric_values
from keras_prelu.diagnostics.predictions import Predictions

# Keras's metrics of overlap ask JAX for int64, which it has not.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, (100, 6)).astype("float32")
OUTPUTS = np.clip(LABELS + RNG.normal(0, 0.4, LABELS.shape), 0.01, 0.99).astype("float32")
SCORES = np.zeros(100)


def own_overlap(y_true, y_pred):
    return keras.ops.mean(y_true * y_pred, axis=-1)


def predictions(labels=LABELS, outputs=OUTPUTS, weights=None):
    return Predictions(
        structure=OutputStructure(positions=0, names=("output",)),
        outputs=(outputs,),
        labels=(labels,),
        weights=(weights,),
        masks=(None,),
    )


def compiled(*metrics):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    model.compile("sgd", "mse", metrics=list(metrics))
    return model


def test_values_are_those_of_the_metrics():
    model = compiled(keras.metrics.BinaryIoU([1], name="iou"), keras.metrics.AUC(name="auc"), "mae")
    values = {
        metric.name: metric
        for metric in metric_values(model, predictions(), besides={"loss": SCORES})
    }
    predicted = OUTPUTS >= 0.5
    overlap = np.sum(predicted & (LABELS == 1)) / np.sum(predicted | (LABELS == 1))
    np.testing.assert_allclose(values["iou"].value, overlap, rtol=1e-5)
    np.testing.assert_allclose(values["mae"].value, np.abs(LABELS - OUTPUTS).mean(), rtol=1e-5)
    assert 0.9 < values["auc"].value <= 1.0
    assert {name: metric.direction for name, metric in values.items()} == {
        "iou": 1,
        "auc": 1,
        "mae": -1,
    }


def test_pseudo_values_of_a_mean_are_the_means_of_groups():
    (mae,) = metric_values(
        compiled("mae"), predictions(LABELS[:80], OUTPUTS[:80]), besides={"loss": SCORES[:80]}
    )
    assert len(mae.pseudo_values) == 40
    by_sample = np.abs(LABELS[:80] - OUTPUTS[:80]).mean(axis=1)
    groups = np.array_split(np.random.default_rng(0).permutation(80), 40)
    expected = [by_sample[group].mean() for group in groups]
    np.testing.assert_allclose(mae.pseudo_values, expected, atol=1e-4)


class Largest(keras.metrics.Metric):
    """A metric whose state is no sum over samples."""

    def __init__(self, name="largest", **kwargs):
        super().__init__(name=name, **kwargs)
        self.largest = self.add_variable((), "zeros", name="largest")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))

    def result(self):
        return keras.ops.convert_to_tensor(self.largest)


def test_metrics_of_any_kind_are_computed_without_each_group():
    iou = keras.metrics.BinaryIoU([1], name="iou")
    by_sums = metric_values(compiled(iou), predictions(), besides={"loss": SCORES})
    by_passes = metric_values(compiled(iou, Largest()), predictions(), besides={"loss": SCORES})
    assert [metric.name for metric in by_passes] == ["iou", "largest"]
    np.testing.assert_allclose(by_sums[0].pseudo_values, by_passes[0].pseudo_values, atol=1e-4)
    groups = np.array_split(np.random.default_rng(0).permutation(100), 40)
    others = [np.delete(OUTPUTS, group, axis=0).max() for group in groups]
    np.testing.assert_allclose(
        by_passes[1].pseudo_values, 40 * OUTPUTS.max() - 39 * np.array(others), rtol=1e-5
    )


def test_the_metric_that_scores_are_the_values_of_is_left_out():
    by_sample = np.square(LABELS - OUTPUTS).mean(axis=1)
    values = metric_values(compiled("mse", "mae"), predictions(), besides={"loss": by_sample})
    assert [metric.name for metric in values] == ["mae"]


@pytest.mark.parametrize(
    ("name", "direction"),
    [("mean_iou_coef", 1), ("dice", 1), ("my_loss", -1), ("rmse_of_depth", -1), ("spread", 0)],
)
def test_a_users_function_is_judged_by_its_name(name, direction):
    def metric(y_true, y_pred):
        return own_overlap(y_true, y_pred)

    metric.__name__ = name
    (value,) = metric_values(compiled(metric), predictions(), besides={"loss": SCORES})
    assert (value.name, value.direction) == (name, direction)


def test_the_state_of_metrics_is_kept():
    model = compiled("mae")
    model.evaluate(np.zeros((5, 2)), np.ones((5, 6)), verbose=0)
    before = [float(metric.result()) for metric in model.metrics if metric.name == "loss"]
    state = [keras.ops.convert_to_numpy(v) for v in model.metrics_variables]
    metric_values(model, predictions(), besides={"loss": SCORES})
    for one, other in zip(state, model.metrics_variables, strict=True):
        np.testing.assert_array_equal(one, keras.ops.convert_to_numpy(other))
    assert before == [float(metric.result()) for metric in model.metrics if metric.name == "loss"]


def test_models_without_metrics_have_none():
    plain = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6)])
    assert metric_values(plain, predictions(), besides={"loss": SCORES}) == ()
    assert metric_values(compiled(), predictions(), besides={"loss": SCORES}) == ()


def test_one_sample_has_a_value_and_no_variation():
    (mae,) = metric_values(
        compiled("mae"), predictions(LABELS[:1], OUTPUTS[:1]), besides={"loss": SCORES[:1]}
    )
    np.testing.assert_allclose(mae.value, np.abs(LABELS[0] - OUTPUTS[0]).mean(), rtol=1e-5)
    assert np.isnan(mae.pseudo_values).all()
