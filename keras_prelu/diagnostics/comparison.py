"""Whether one model is better than another on the same samples, with the uncertainty of having only
so many of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import scipy.stats

from keras_prelu.data.labels import check_labels
from keras_prelu.data.samples import Samples, as_samples, batches, model_inputs
from keras_prelu.errors import InvalidArgumentError

__all__ = ["CONFIDENCE", "MARGIN", "Comparison", "compare", "compare_scores", "sample_scores"]

CONFIDENCE = 0.95
MARGIN = 0.01
"""What difference does not matter: a point of accuracy, a hundredth of a loss."""
_RESAMPLES = 9999


@dataclass(frozen=True)
class Comparison:
    """Model a against model b, paired by sample.

    Attributes:
        metric: "accuracy" (higher is better) or "loss" (lower is better).
        samples: Number of samples.
        a, b: Mean score of each model.
        gain: By how much a is better: a − b for accuracy, b − a for loss.
        low, high: 95 % confidence interval of the gain (paired bootstrap over samples).
        p_value: For accuracies of single models, McNemar's exact test of no difference; else None.
        verdict: Of a against b: "better", "worse", "as good" (the whole interval within the
            margin), or "can't tell".
        needed: Where it can't tell: about how many samples would show a gain of this size, if it is
            real; None where there is none.
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
        """The verdict in words, with the names of the two models, the interval, and what it would
        take to tell."""
        meaning = {
            "better": f"{a} is better than {b}",
            "worse": f"{a} is worse than {b}",
            "as good": f"{a} is as good as {b}",
            "can't tell": (
                f"Can't tell {a} from {b} with this much data"
                + (f" (about {self.needed:,} samples are needed)" if self.needed else "")
            ),
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
    """Compare two models on labelled samples that neither of them was trained or selected on.

    Classifiers (class numbers or one-hot labels) are compared by accuracy, other models by their
    loss.

    Args:
        a: The model that may be better.
        b: What it is compared with.
        data: `Samples` or a pair (x, y).
        loss: Keras loss, for models that are no classifiers; by default the one `a` is compiled
            with.
        margin: How little a difference does not matter: of accuracies in absolute terms, of losses
            relative to b's. Defaults to 0.01.
        seed: Seed of the bootstrap.

    Returns:
        The comparison. It says "better" only where the whole interval is above zero and, for
        accuracies, McNemar's exact test rejects equality at 5 %.

    Raises:
        DataError: The samples have no labels, or do not fit.
        InvalidArgumentError: A ValueError; there is no loss to compare by.

    Example:

    >>> keras_prelu.compare(tuned, control, (x_test, y_test)).verdict
    """
    data = as_samples(data, labels="required")
    metric, scores_a = sample_scores(a, data, loss=loss)
    _, scores_b = sample_scores(
        b, data, loss=loss if loss is not None else getattr(a, "loss", None)
    )
    return compare_scores(metric, scores_a, scores_b, margin=margin, seed=seed)


def compare_scores(
    metric: str, a: np.ndarray, b: np.ndarray, *, margin: float = MARGIN, seed: int = 0
) -> Comparison:
    """Compare two models by the scores of each sample: 0 or 1 or their mean over runs for
    "accuracy", the loss for "loss"."""
    gains = (a - b) if metric == "accuracy" else (b - a)
    low, high = _interval(gains, seed)
    p_value = _mcnemar(a, b) if metric == "accuracy" and _binary(a) and _binary(b) else None
    near = margin if metric == "accuracy" else margin * abs(float(b.mean()))
    verdict = "as good" if -near <= low and high <= near else "can't tell"
    if p_value is None or p_value < 1.0 - CONFIDENCE:
        verdict = "better" if low > 0 else "worse" if high < 0 else verdict
    needed = _needed(gains) if verdict == "can't tell" else None
    return Comparison(
        metric,
        len(a),
        float(a.mean()),
        float(b.mean()),
        float(gains.mean()),
        low,
        high,
        p_value,
        verdict,
        needed,
    )


def sample_scores(model: keras.Model, data: Any, *, loss: Any = None) -> tuple[str, np.ndarray]:
    """The metric's name, and its value for each sample: whether it is classified correctly, or its
    loss."""
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    labels, outputs = np.asarray(data.y), _predict(model, data)
    predicted = _classes(labels, outputs)
    if predicted is not None:
        truth = labels.reshape(len(labels), -1)
        truth = truth.argmax(-1) if truth.shape[1] > 1 else truth[:, 0]
        return "accuracy", (predicted == truth).astype(np.float64)
    loss = keras.losses.get(loss if loss is not None else getattr(model, "loss", None))
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
            "The loss gives no value for each sample, so that models can't be compared by it."
        )
    return "loss", losses.reshape(len(labels), -1).mean(axis=1).astype(np.float64)


def _predict(model: keras.Model, data: Samples) -> np.ndarray:
    inputs = model_inputs(model, data)
    chunks = []
    for batch in batches(inputs, model.inputs[0].shape[0] or 256):
        output = model(batch if len(batch) > 1 else batch[0], training=False)
        if len(keras.tree.flatten(output)) != 1:
            raise InvalidArgumentError(
                "Models with several outputs can't be compared by one score; evaluate them with"
                " model.evaluate."
            )
        chunks.append(keras.ops.convert_to_numpy(keras.tree.flatten(output)[0]))
    return np.concatenate(chunks)


def _classes(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray | None:
    """The predicted classes if labels and outputs are a classifier's, else None."""
    if outputs.ndim != 2:
        return None
    classes = outputs.shape[1]
    numbers = labels.dtype.kind in "iub" or (
        classes > 1 and bool(np.all(np.isin(labels, np.arange(classes))))
    )
    integer = numbers and labels.reshape(len(labels), -1).shape[1] == 1
    one_hot = (
        labels.shape == outputs.shape
        and classes > 1
        and bool(np.all(np.isin(labels, (0, 1))))
        and bool(np.all(labels.sum(1) == 1))
    )
    if classes > 1 and (integer or one_hot):
        return outputs.argmax(-1)
    if classes == 1 and integer and bool(np.all(np.isin(labels, (0, 1)))):
        probabilities = bool(np.all((outputs >= 0) & (outputs <= 1)))
        return (outputs[:, 0] > (0.5 if probabilities else 0.0)).astype(labels.dtype)
    return None


def _needed(gains: np.ndarray) -> int | None:
    """The samples at which an interval around this mean would end at 0."""
    mean = float(gains.mean())
    quantile = float(scipy.stats.norm.ppf(0.5 + CONFIDENCE / 2))
    return (
        None
        if mean == 0
        else max(len(gains) + 1, int(np.ceil((quantile * float(gains.std()) / mean) ** 2)))
    )


def _interval(gains: np.ndarray, seed: int) -> tuple[float, float]:
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
    """Exact: of the samples that only one model gets right, is it each model's half?"""
    only_a, only_b = int(np.sum((a == 1) & (b == 0))), int(np.sum((a == 0) & (b == 1)))
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
