"""keras_prelu.diagnostics.comparison: scores, intervals and the verdict."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import keras_prelu as kp
from keras_prelu.diagnostics.comparison import compare_scores
from keras_prelu.diagnostics.compiled_metrics import MetricValues
from keras_prelu.diagnostics.scores import sample_scores
from keras_prelu.errors import DataError


def outcomes(both, only_a, only_b, neither):
    a = np.repeat([1.0, 1.0, 0.0, 0.0], [both, only_a, only_b, neither])
    b = np.repeat([1.0, 0.0, 1.0, 0.0], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((300, 30, 5, 25), "better"),
        ((300, 5, 30, 25), "worse"),
        ((300, 12, 8, 40), "can't tell"),
        ((300, 3, 0, 57), "can't tell"),
        ((3000, 12, 10, 400), "as good"),
    ],
)
def test_verdicts_on_accuracy(counts, verdict):
    a, b = outcomes(*counts)
    result = compare_scores("accuracy", a, b)
    assert result.verdict == verdict
    np.testing.assert_allclose(result.gain, (counts[1] - counts[2]) / sum(counts))
    assert result.low <= result.gain <= result.high


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_the_binomial_tail(only_a, only_b):
    result = compare_scores("accuracy", *outcomes(10, only_a, only_b, 10))
    n, k = only_a + only_b, min(only_a, only_b)
    expected = min(1.0, 2 * stats.binom.cdf(k, n, 0.5)) if n else 1.0
    np.testing.assert_allclose(result.p_value, expected, rtol=1e-9)


def test_lower_losses_are_better():
    rng = np.random.default_rng(0)
    b = rng.gamma(2.0, 1.0, 200)
    assert compare_scores("loss", b - 0.1 - rng.normal(0, 0.05, 200), b).verdict == "better"
    assert compare_scores("loss", b + 0.1, b).verdict == "worse"
    assert compare_scores("loss", b, b).verdict == "can't tell"  # below 299 samples
    assert compare_scores("loss", np.tile(b, 2), np.tile(b, 2)).verdict == "as good"


def at_the_rates_of(counts, samples):
    """Return outcomes of another number of samples, as near to these rates as whole numbers are."""
    before = sum(counts)
    only_a, only_b = (round(samples * number / before) for number in counts[1:3])
    return outcomes(samples - only_a - only_b, only_a, only_b, 0)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((359, 0, 1, 0), "as good"),  # One more sample than 360 would not be enough.
        ((18, 0, 0, 0), "as good"),
        ((0, 1, 1, 0), "as good"),
        ((408, 3, 1, 0), "as good"),
        ((300, 12, 6, 40), "better"),
        ((117, 1, 2, 0), "worse"),
        ((4, 1, 0, 0), "better"),
        ((860, 44, 56, 40), "worse"),
    ],
)
def test_as_many_samples_as_are_said_to_be_needed_have_that_verdict(counts, verdict):
    """By the exact intervals, at the same rates. Half as many have none."""
    result = compare_scores("accuracy", *outcomes(*counts))
    assert (result.verdict, result.needed_for) == ("can't tell", verdict)
    needed = compare_scores("accuracy", *at_the_rates_of(counts, result.needed))
    assert needed.verdict == verdict
    if result.needed > 2 * result.samples:
        half = compare_scores("accuracy", *at_the_rates_of(counts, result.needed // 2))
        assert half.verdict == "can't tell"


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, "better"), (-0.02, "worse"), (0, "as good")])
@pytest.mark.parametrize("count", [30, 200])
def test_as_many_losses_as_are_said_to_be_needed_have_that_verdict(gain, verdict, count):
    noise = np.random.default_rng(0).normal(0.0, 0.2, count // 2)
    gains = np.append(noise, -noise) + gain
    result = compare_scores("loss", 1.0 - gains, np.ones(count))
    assert (result.verdict, result.needed_for) == ("can't tell", verdict)
    for samples, expected in ((result.needed, verdict), (result.needed // 2, "can't tell")):
        # The noise of any number is scaled to the scatter of these: all else is the same.
        more = np.resize(gains - gain, 2 * (samples // 2))
        more = gain + (more - more.mean()) * np.std(noise) / np.std(more)
        found = compare_scores("loss", 1.0 - more, np.ones(len(more)))
        assert found.verdict == expected or found.samples <= count


def test_no_number_is_said_where_none_is_known():
    """A gain as large as the margin of 0 is none; infinite losses have no scatter."""
    equal = compare_scores("accuracy", *outcomes(30, 0, 0, 0), margin=0.0)
    infinite = compare_scores("loss", np.append(np.ones(29), np.inf), np.full(30, 2.0))
    for result in (equal, infinite):
        assert (result.verdict, result.needed, result.needed_for) == ("can't tell", None, "")
        assert "with this much data: " in result.sentence("A", "B")


def test_no_number_is_said_where_another_metric_leaves_it_open():
    other = [(metric("auc", 0.5 + 10 * NOISE), metric("auc", np.full(40, 0.5)))]
    open_by_other = compare_scores("accuracy", *outcomes(400, 0, 0, 0), metrics=other)
    assert (open_by_other.verdict, open_by_other.needed) == ("can't tell", None)
    open_by_itself = compare_scores("accuracy", *outcomes(40, 0, 0, 0), metrics=other)
    assert (
        "(about 300 samples are needed to tell whether it is as good in accuracy within 0.01)"
        in (open_by_itself.sentence("A", "B"))
    )


def test_the_margin_is_an_argument():
    a, b = outcomes(3000, 40, 42, 100)
    assert compare_scores("accuracy", a, b, margin=0.02).verdict == "as good"
    assert compare_scores("accuracy", a, b, margin=0.001).verdict == "can't tell"


def test_equal_models_are_rarely_called_better():
    rng = np.random.default_rng(0)
    better = sum(
        compare_scores("accuracy", *(rng.random((2, 200)) < 0.8).astype(float)).verdict == "better"
        for _ in range(100)
    )
    assert better <= 6  # 2.5 % are expected at most


def test_the_interval_covers_the_true_gain():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        b = rng.exponential(1.0, 100)
        result = compare_scores("loss", b - rng.normal(0.3, 1.0, 100), b)
        covered += result.low <= 0.3 <= result.high
    assert covered >= 88


def test_the_sentence_of_a_verdict():
    few = compare_scores("accuracy", *outcomes(300, 12, 8, 40)).sentence("PReLU", "the control")
    assert few.startswith("Can't tell PReLU from the control with this much data (about ")
    assert " samples are needed to tell whether it is better): accuracy 0.8667 against " in few
    assert "0.8556, gain +0.0111 (95 % " in few
    clear = compare_scores("accuracy", *outcomes(300, 30, 5, 25)).sentence("PReLU", "the control")
    assert clear.startswith("PReLU is better than the control: accuracy 0.9167 against 0.8472, ")
    assert clear.endswith(", n = 360, one run).")
    averaged = compare_scores("accuracy", *outcomes(300, 30, 5, 25), runs=3)
    assert averaged.sentence("PReLU", "the control").endswith(", n = 360, 3 runs).")
    skewed = compare_scores("loss", np.ones(50), np.append(np.full(49, 1.1), 90.0))
    assert skewed.verdict == "can't tell"
    assert "(no interval, n = 50, one run; a few samples make up most of the" in skewed.sentence(
        "A", "B"
    )


def constant(values):
    """A model with the same outputs for every sample."""
    inputs = keras.Input((1,))
    layer = keras.layers.Dense(len(values), kernel_initializer="zeros")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.zeros((1, len(values))), np.array(values)])
    return model


def test_scores_of_classifiers():
    x = np.zeros((3, 1), "float32")
    for labels in (
        np.array([0, 1, 1]),
        np.array([[0], [1], [1]]),
        np.eye(2)[[0, 1, 1]],
        np.array([0.0, 1.0, 1.0]),
    ):
        metric, scores = sample_scores(constant([0.2, 0.8]), (x, labels))
        assert metric == "accuracy"
        np.testing.assert_array_equal(scores, [0, 1, 1])
    for output, expected in (
        (0.7, [0, 1, 1]),
        (0.3, [1, 0, 0]),
        (-2.0, [1, 0, 0]),
        (3.0, [0, 1, 1]),
    ):  # probabilities, then logits
        np.testing.assert_array_equal(
            sample_scores(constant([output]), (x, np.array([0, 1, 1])))[1], expected
        )


def test_scores_of_regressors():
    model = constant([1.0, 2.0])
    x, y = np.zeros((2, 1), "float32"), np.array([[1.0, 2.0], [0.0, 0.0]])
    metric, scores = sample_scores(model, (x, y), loss="mse")
    assert metric == "loss"
    np.testing.assert_allclose(scores, [0.0, 2.5])
    model.compile("sgd", keras.losses.MeanAbsoluteError())
    np.testing.assert_allclose(sample_scores(model, (x, y))[1], [0.0, 1.5])
    assert kp.compare(model, constant([3.0, 3.0]), (x, y)).metric == "loss"


def test_labels_without_an_axis_are_those_of_one_output():
    """Else each label would be compared with each output."""
    x, y = np.zeros((3, 1), "float32"), np.array([1.5, 2.5, 4.5])
    _, scores = sample_scores(constant([1.5]), (x, y), loss="mse")
    np.testing.assert_allclose(scores, [0.0, 1.0, 9.0])


def metric(name, values, direction=1):
    values = np.asarray(values)
    return MetricValues(
        name=name, direction=direction, value=float(values.mean()), pseudo_values=values
    )


NOISE = np.random.default_rng(0).normal(0, 0.01, 40)


@pytest.mark.parametrize(
    ("primary", "others", "verdict", "words"),
    [
        (0.0, {"iou": -0.3}, "worse", "A is worse than B in iou: loss 1.0000"),
        (0.1, {"iou": -0.3}, "mixed", "A is better than B in loss but worse in iou: "),
        (-0.1, {"iou": 0.3}, "mixed", "A is better than B in iou but worse in loss: "),
        (-0.1, {"iou": -0.3}, "worse", "A is worse than B in loss and iou: "),
        (0.1, {"iou": 0.3, "dice": 0.0}, "better", "A is better than B: "),
        (0.0, {"iou": 0.3}, "as good", "A is as good as B: "),
        (0.0, {"iou": 0.0}, "as good", "A is as good as B: "),
        (0.0, {"iou": None}, "can't tell", "Can't tell A from B"),
    ],
)
def test_every_metric_counts(primary, others, verdict, words):
    b = np.ones(400)
    pairs = []
    for name, gain in others.items():
        noise = 0.1 * NOISE if gain is not None else 10 * NOISE
        pairs.append((metric(name, 0.5 + (gain or 0.0) + noise), metric(name, np.full(40, 0.5))))
    result = compare_scores("loss", b - primary, b, metrics=pairs)
    assert result.verdict == verdict
    sentence = result.sentence("A", "B")
    assert sentence.startswith(words)
    for name in others:
        assert f" {name}: " in sentence


def test_lower_errors_are_better_and_unknown_directions_are_not_judged():
    b, higher = np.ones(400), metric("mae", 0.8 + 0.1 * NOISE)
    for direction, verdict, overall in ((-1, "worse", "worse"), (0, "different", "can't tell")):
        pair = replace(higher, direction=direction), metric("mae", np.full(40, 0.5), direction)
        result = compare_scores("loss", b, b, metrics=[pair])
        assert (result.metrics[0].verdict, result.verdict) == (verdict, overall)


# Keras's metrics of overlap ask JAX for int64, which it has not.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")
def test_models_are_compared_by_their_compiled_metrics():
    """The same loss, and another overlap."""
    x = np.zeros((400, 1), "float32")
    y = np.random.default_rng(0).integers(0, 2, (400, 4)).astype("float32")
    good, bad = constant([0.9] * 4), constant([0.1] * 4)
    loss = keras.losses.MeanSquaredError()
    good.compile("sgd", loss, metrics=[keras.metrics.BinaryIoU([1], name="iou"), "mse"])
    result = kp.compare(bad, good, (x, y))
    assert [other.name for other in result.metrics] == ["iou"]
    np.testing.assert_allclose(
        [result.metrics[0].a, result.metrics[0].b], [0.0, y.mean()], rtol=1e-5
    )
    assert "worse" in result.verdict or result.verdict == "mixed"
    assert "iou: worse" in result.sentence("A", "B")


def test_scores_need_labels_and_a_loss():
    x = np.zeros((2, 1), "float32")
    with pytest.raises(DataError, match="labels"):
        sample_scores(constant([1.0]), kp.data.Samples(x))
    with pytest.raises(ValueError, match="give a `loss`"):
        sample_scores(constant([1.0]), (x, np.array([0.3, 0.4])))


@pytest.mark.parametrize("count", [19, 20, 1000])
def test_differences_of_rounding_are_none(count):
    """Losses that differ in the last places of float32 are as good, and needed samples make sense."""
    b = np.linspace(0.5, 2.0, 1000)
    a = b.copy()
    a[:count] *= 1 - 1e-7
    found = compare_scores("loss", a, b)
    assert found.verdict == "as good"
    assert (found.low, found.high) == (0.0, 0.0)
