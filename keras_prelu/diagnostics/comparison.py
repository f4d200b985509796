"""Paired comparison of two models on the same samples, with its statistical uncertainty.

`Comparison.sentence` expresses in words how two models compare. The verdict of a fine-tuning
combines such sentences and covers the cases without a comparison
(`training.result.FineTuning.verdict`); the command line, the demo and the report print the
sentences that these two return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import scipy.stats

from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.labels import check_labels
from keras_prelu.data.losses import resolved_loss
from keras_prelu.data.samples import Samples, as_samples, batches, model_inputs
from keras_prelu.data.signature import check_model, input_signature
from keras_prelu.data.value_range import warn_of_range
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.utils.checks import check_number

__all__ = ["CONFIDENCE", "MARGIN", "Comparison", "compare", "compare_scores", "sample_scores"]

CONFIDENCE = 0.95
MARGIN = 0.01
"""The difference that does not matter: a point of accuracy, or a hundredth of a loss."""
_RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """Model a compared with model b, paired by sample.

    Attributes:
        metric: String. "accuracy" (higher is better) or "loss" (lower is better).
        samples: Integer. The number of samples.
        a: Float. The mean score of model a.
        b: Float. The mean score of model b.
        gain: Float. By how much a is better: a − b for accuracy, b − a for loss.
        low: Float. Lower end of the gain's 95 % confidence interval (paired bootstrap over
            samples).
        high: Float. Upper end of that interval.
        p_value: Float, or None. McNemar's exact test of no difference; only for accuracies of
            single models.
        verdict: String. How a compares with b: "better", "worse", "as good" (the whole interval
            lies within the margin), or "can't tell".
        needed: Integer, or None. If the verdict is "can't tell": about how many samples would show
            a gain of this size, if there is one.
    """

    metric: str
    samples: int
    a: float
    b: float
    gain: float
    low: float
    high: float
    p_value: float | None
    verdict: str
    needed: int | None

    def sentence(self, a: str, b: str) -> str:
        """Return the verdict in words, with the interval and the number of samples needed.

        Args:
            a: String. The name of model a in the sentence.
            b: String. The name of model b in the sentence.
        """
        needed = f" (about {self.needed:,} samples are needed)" if self.needed else ""
        meaning = {
            "better": f"{a} is better than {b}",
            "worse": f"{a} is worse than {b}",
            "as good": f"{a} is as good as {b}",
            "can't tell": f"Can't tell {a} from {b} with this much data{needed}",
        }[self.verdict]
        return (
            f"{meaning}: {self.metric} {self.a:.4f} against {self.b:.4f}, gain {self.gain:+.4f} "
            f"(95 % interval {self.low:+.4f} to {self.high:+.4f}, n = {self.samples:,})."
        )


def compare(
    a: keras.Model,
    b: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    margin: float = MARGIN,
    seed: int = 0,
) -> Comparison:
    """Compare two models on labeled samples that neither of them was trained or selected on.

    Classifiers (class numbers or one-hot labels) are compared by accuracy, other models by their
    loss.

    Args:
        a: Keras model. The model that may be better.
        b: Keras model. The model that `a` is compared with.
        data: `Samples` or a pair (x, y).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that `a` is
            compiled with.
        margin: Float. The difference that does not matter: absolute for accuracies, relative to the
            loss of `b` for losses. Defaults to 0.01.
        seed: Integer. Seed of the bootstrap. Defaults to 0.

    Returns:
        A `Comparison`. Its verdict is "better" only if the whole interval is above zero and, for
        accuracies, McNemar's exact test rejects equality at 5 %.

    Raises:
        DataError: If the samples have no labels or do not fit.
        InvalidArgumentError: If there is no loss to compare by. A `ValueError`.

    Example:

    >>> keras_prelu.compare(tuned, control, (x_test, y_test)).verdict
    """
    check_number("margin", margin, minimum=0.0)
    check_model(a, "a")
    check_model(b, "b")
    data = as_samples(data, labels="required")
    warn_of_range(a, data.x)
    metric, scores_a = sample_scores(a, data, loss=loss)
    _, scores_b = sample_scores(
        b, data, loss=loss if loss is not None else getattr(a, "loss", None)
    )
    return compare_scores(metric, scores_a, scores_b, margin=margin, seed=seed)


def compare_scores(
    metric: str, a: np.ndarray, b: np.ndarray, *, margin: float = MARGIN, seed: int = 0
) -> Comparison:
    """Compare two models by their scores on each sample.

    Args:
        metric: String. "accuracy" or "loss".
        a: Array with the score of model a on each sample: for "accuracy" 0 or 1, or their mean over
            several trainings; for "loss" the loss.
        b: Array with the scores of model b.
        margin: Float. See `compare`. Defaults to 0.01.
        seed: Integer. Seed of the bootstrap. Defaults to 0.

    Returns:
        A `Comparison`.
    """
    gains = (a - b) if metric == "accuracy" else (b - a)
    low, high = _interval(gains, seed)
    p_value = _mcnemar(a, b) if metric == "accuracy" and _binary(a) and _binary(b) else None
    negligible = margin if metric == "accuracy" else margin * abs(float(b.mean()))
    significant = p_value is None or p_value < 1.0 - CONFIDENCE
    if significant and low > 0:
        verdict = "better"
    elif significant and high < 0:
        verdict = "worse"
    elif -negligible <= low and high <= negligible:
        verdict = "as good"
    else:
        verdict = "can't tell"
    return Comparison(
        metric=metric,
        samples=len(a),
        a=float(a.mean()),
        b=float(b.mean()),
        gain=float(gains.mean()),
        low=low,
        high=high,
        p_value=p_value,
        verdict=verdict,
        needed=_needed(gains) if verdict == "can't tell" else None,
    )


def sample_scores(model: keras.Model, data: Any, *, loss: Any = None) -> tuple[str, np.ndarray]:
    """Return the metric that fits a model and its labels, and its value on each sample.

    Args:
        model: Keras model.
        data: `Samples` or a pair (x, y).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that the model
            is compiled with.

    Returns:
        A pair of "accuracy" and an array of 0 and 1, or of "loss" and an array of losses.

    Raises:
        DataError: If the samples have no labels or do not fit.
        InvalidArgumentError: If there is no loss, if it gives no value for each sample, or if the
            model has several outputs. A `ValueError`.
    """
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    labels, outputs = np.asarray(data.y), _predict(model, data)
    predicted = _predicted_classes(labels, outputs)
    if predicted is not None:
        classes = labels.reshape(len(labels), -1)
        classes = classes.argmax(-1) if classes.shape[1] > 1 else classes[:, 0]
        return "accuracy", (predicted == classes).astype(np.float64)
    loss = resolved_loss(loss if loss is not None else getattr(model, "loss", None))
    if loss is None:
        raise InvalidArgumentError(
            "The model is no classifier for these labels and is not compiled: give a `loss` to"
            " compare by."
        )
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    losses = keras.ops.convert_to_numpy(
        function(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(outputs))
    )
    if losses.ndim == 0 or len(losses) != len(labels):
        raise InvalidArgumentError(
            "The loss must give a value for each sample, so that models can be compared by it."
            f" Received: values of shape {losses.shape} for {len(labels)} samples"
        )
    return "loss", losses.reshape(len(labels), -1).mean(axis=1).astype(np.float64)


def _predict(model: keras.Model, data: Samples) -> np.ndarray:
    inputs, signature = model_inputs(model, data), input_signature(model, data.x)
    chunks = []
    for batch in batches(inputs, signature.batch_size or 256):
        outputs = keras.tree.flatten(model(signature.pack(keras_arrays(batch)), training=False))
        if len(outputs) != 1:
            raise InvalidArgumentError(
                "Models with several outputs can't be compared by one score; evaluate them with"
                f" model.evaluate. Received: {len(outputs)} outputs"
            )
        chunks.append(keras.ops.convert_to_numpy(outputs[0]))
    return np.concatenate(chunks)


def _predicted_classes(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray | None:
    """Return the predicted classes if labels and outputs are those of a classifier, else None."""
    if outputs.ndim != 2:
        return None
    count = outputs.shape[1]
    integers = labels.dtype.kind in "iub" or (
        count > 1 and bool(np.all(np.isin(labels, np.arange(count))))
    )
    class_numbers = integers and labels.reshape(len(labels), -1).shape[1] == 1
    one_hot = (
        labels.shape == outputs.shape
        and count > 1
        and bool(np.all(np.isin(labels, (0, 1))))
        and bool(np.all(labels.sum(1) == 1))
    )
    if count > 1 and (class_numbers or one_hot):
        return outputs.argmax(-1)
    if count == 1 and class_numbers and bool(np.all(np.isin(labels, (0, 1)))):
        probabilities = bool(np.all((outputs >= 0) & (outputs <= 1)))
        return (outputs[:, 0] > (0.5 if probabilities else 0.0)).astype(labels.dtype)
    return None


def _needed(gains: np.ndarray) -> int | None:
    """Return how many samples are needed for the interval around this mean to end at 0."""
    mean = float(gains.mean())
    if mean == 0:
        return None
    quantile = float(scipy.stats.norm.ppf(0.5 + CONFIDENCE / 2))
    return max(len(gains) + 1, int(np.ceil((quantile * float(gains.std()) / mean) ** 2)))


def _interval(gains: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the lower and the upper end of the mean gain's confidence interval."""
    if np.ptp(gains) == 0 or len(gains) < 2:
        return float(gains[0]), float(gains[0])
    result = scipy.stats.bootstrap(
        (gains,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        batch=999,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _binary(scores: np.ndarray) -> bool:
    return bool(np.all(np.isin(scores, (0.0, 1.0))))


def _mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Return the exact p-value of the hypothesis that neither model is better.

    Under this hypothesis, each of the samples that only one of the models gets right is equally
    likely to be right in either model.
    """
    only_a, only_b = int(np.sum((a == 1) & (b == 0))), int(np.sum((a == 0) & (b == 1)))
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
