"""Fine-tuning a converted model and, with the same budget, its control: the ReLU model that it came from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import Samples, model_inputs
from keras_prelu.diagnostics.comparison import Comparison, compare_scores, sample_scores
from keras_prelu.diagnostics.slopes import LayerSlopes, slopes
from keras_prelu.diagnostics.units import SiteUnits, dead_units
from keras_prelu.errors import DataError, FineTuningError, InvalidArgumentError
from keras_prelu.surgery.rewrite import rewrite
from keras_prelu.training.batches import ShuffledBatches
from keras_prelu.training.slopes import SlopeOptimizer

__all__ = ["DEFAULT_LEARNING_RATE", "FineTuning", "Run", "finetune"]

DEFAULT_LEARNING_RATE = 3e-3
"""Of Adam, decayed to 0 along a cosine. At 10⁻³ most of what fine-tuning can gain stays hidden on the networks of THEORY's last table."""


@dataclass(frozen=True)
class Run:
    """One fine-tuned model.

    Attributes:
        model: A new model, fine-tuned; the model it was made from is unchanged.
        history: What `model.fit` recorded, by epoch.
        score_before, score_after: Accuracy (for classifiers) or loss on the validation samples.
        dead_before, dead_after: Dead units at each site, on the validation samples.
    """

    model: keras.Model
    history: dict[str, list[float]]
    score_before: float
    score_after: float
    dead_before: tuple[SiteUnits, ...]
    dead_after: tuple[SiteUnits, ...]


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuned PReLU model beside its control.

    Attributes:
        prelu: The converted model's run.
        control: The ReLU original's run, or None where none was asked for.
        slopes_before, slopes_after: The PReLU model's slopes.
        scores: The PReLU model's score of each validation sample.
        control_scores: The control's, or None.
        comparison: PReLU against the control, or None without one.
    """

    prelu: Run
    control: Run | None
    slopes_before: tuple[LayerSlopes, ...]
    slopes_after: tuple[LayerSlopes, ...]
    scores: np.ndarray
    control_scores: np.ndarray | None
    comparison: Comparison | None

    @property
    def model(self) -> keras.Model:
        """The fine-tuned PReLU model."""
        return self.prelu.model

    @property
    def verdict(self) -> str:
        """One sentence: whether the conversion was worth it, compared with fine-tuning the original."""
        if self.comparison is None:
            return "No control was trained, so nothing can be said about PReLU."
        result = self.comparison
        numbers = (
            f"{result.metric} {result.a:.4f} against {result.b:.4f}, gain {result.gain:+.4f} "
            f"(95 % interval {result.low:+.4f} to {result.high:+.4f}, n = {result.samples})"
        )
        if result.verdict == "better":
            return f"PReLU is better than the equally fine-tuned ReLU model: {numbers}."
        if result.verdict == "worse":
            return f"PReLU is worse than the equally fine-tuned ReLU model; keep ReLU: {numbers}."
        return f"No difference shown between PReLU and the equally fine-tuned ReLU model: {numbers}."


def finetune(
    converted: keras.Model,
    original: keras.Model | None,
    train: Any,
    validation: Any,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Any = None,
    learning_rate: float | None = None,
    slope_multiplier: float = 1.0,
    loss: Any = None,
    metrics: Any = None,
    callbacks: Sequence[Any] | Callable[[], Sequence[Any]] | None = None,
    control: bool = True,
    seed: int = 0,
    verbose: Any = 0,
) -> FineTuning:
    """Fine-tune a converted model and, unless told not to, the original with the same budget, data order and schedule.

    Args:
        converted: A PReLU model, as `convert` returns it. Not changed: a copy is trained.
        original: The ReLU model it was made from, for the control; may be None with `control=False`. Not changed.
        train: `Samples` or a pair (x, y), which both models see in the same order; or what `model.fit` takes as data (`tf.data.Dataset`,
            `keras.utils.PyDataset`), whose order is its own: it must start anew, and the same, for each model.
        validation: `Samples` or a pair (x, y): labelled samples that were used neither for training nor for choosing anything. All
            scores and the verdict come from them.
        epochs: Passes over the training data. The last epoch's weights are kept.
        batch_size: For `train` given as arrays.
        optimizer: Keras optimizer or its name; a copy with fresh state is used for each model. Defaults to Adam.
        learning_rate: Of the default optimizer, decayed to 0 along a cosine. Defaults to 3e-3. Not together with `optimizer`.
        slope_multiplier: The slopes' learning rate over the weights'. Slopes get no weight decay. Defaults to 1.
        loss: Keras loss; defaults to the one the model is compiled with.
        metrics: Keras metrics; default to those the model is compiled with.
        callbacks: Keras callbacks, deep-copied for each model, or a function that returns new ones.
        control: Whether to train the control. Defaults to True.
        seed: Of the data order and of everything random in training.
        verbose: As in `model.fit`.

    Returns:
        Both runs, the slopes, and the verdict; see `FineTuning`.

    Raises:
        InvalidArgumentError: A ValueError; an argument is out of range, or there is no loss.
        DataError: Samples have no labels, do not fit the model, or hold NaN.
        FineTuningError: The loss became NaN.

    Example:

    >>> result = keras_prelu.finetune(converted, model, (x_train, y_train), (x_val, y_val), epochs=5)
    >>> print(result.verdict)

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852 (no weight decay on slopes). Claim 2; THEORY's section after fine-tuning.
    """
    if epochs < 1 or batch_size < 1:
        raise InvalidArgumentError(f"`epochs` and `batch_size` must be at least 1. Received: epochs={epochs}, batch_size={batch_size}")
    if optimizer is not None and learning_rate is not None:
        raise InvalidArgumentError("`learning_rate` is that of the default optimizer. Set it on your own optimizer instead.")
    if control and original is None:
        raise InvalidArgumentError("The control needs the `original` ReLU model. Give it, or say control=False.")
    validation = _samples(validation, "validation")
    _check_arrays(converted, validation, "validation samples")
    if isinstance(train, (tuple, Samples)):
        train = _samples(train, "training")
        _check_arrays(converted, train, "training samples")
    budget = _Budget(train, epochs, batch_size, optimizer, learning_rate, slope_multiplier, loss, metrics, callbacks, seed, verbose)

    slopes_before = slopes(converted)
    prelu, scores, metric = _run(converted, budget, validation)
    control_run, control_scores, comparison = None, None, None
    if control:
        control_run, control_scores, _ = _run(original, budget, validation)
        comparison = compare_scores(metric, scores, control_scores, seed=seed)
    return FineTuning(prelu, control_run, slopes_before, slopes(prelu.model), scores, control_scores, comparison)


@dataclass(frozen=True)
class _Budget:
    """What both models get alike."""

    train: Any
    epochs: int
    batch_size: int
    optimizer: Any
    learning_rate: float | None
    slope_multiplier: float
    loss: Any
    metrics: Any
    callbacks: Any
    seed: int
    verbose: Any

    def data(self) -> Any:
        if isinstance(self.train, Samples):
            return ShuffledBatches(self.train, self.batch_size, self.seed)
        return self.train

    def make_optimizer(self) -> Any:
        if self.optimizer is not None:
            optimizer = keras.optimizers.get(self.optimizer)
            return type(optimizer).from_config(optimizer.get_config())
        rate = DEFAULT_LEARNING_RATE if self.learning_rate is None else float(self.learning_rate)
        steps = _steps(self.data())
        return keras.optimizers.Adam(rate if steps is None else keras.optimizers.schedules.CosineDecay(rate, steps * self.epochs))

    def make_callbacks(self) -> list[Any]:
        if callable(self.callbacks):
            return list(self.callbacks())
        return [copy.deepcopy(callback) for callback in self.callbacks or ()]


def _run(source: keras.Model, budget: _Budget, validation: Samples) -> tuple[Run, np.ndarray, str]:
    model = rewrite(source)
    _compile(model, budget)
    _, before = sample_scores(model, validation)
    dead_before = dead_units(model, validation.x)
    keras.utils.set_random_seed(budget.seed)
    history = model.fit(
        budget.data(),
        epochs=budget.epochs,
        validation_data=(validation.x, validation.y),
        callbacks=budget.make_callbacks(),
        shuffle=False,
        verbose=budget.verbose,
    ).history
    if not math.isfinite(history["loss"][-1]):
        raise FineTuningError(
            f"The loss of '{source.name}' became {history['loss'][-1]} in epoch {len(history['loss'])}. Lower the learning rate."
        )
    metric, after = sample_scores(model, validation)
    run = Run(model, history, float(before.mean()), float(after.mean()), dead_before, dead_units(model, validation.x))
    return run, after, metric


def _compile(model: keras.Model, budget: _Budget) -> None:
    settings: dict[str, Any] = {}
    if model.compiled:
        settings = keras.saving.deserialize_keras_object(model.get_compile_config() or {})
    if budget.loss is not None:
        settings["loss"] = budget.loss
    if budget.metrics is not None:
        settings["metrics"] = [_fresh(metric) for metric in budget.metrics]
    if settings.get("loss") is None:
        raise InvalidArgumentError(f"Model '{model.name}' is not compiled with a loss: give `loss`.")
    optimizer = budget.make_optimizer()
    settings["optimizer"] = SlopeOptimizer(optimizer, budget.slope_multiplier) if slopes(model) else optimizer
    model.compile(**settings)


def _fresh(metric: Any) -> Any:
    """A metric object keeps a count; each model needs its own."""
    return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric


def _samples(data: Any, name: str) -> Samples:
    samples = data if isinstance(data, Samples) else Samples(*data) if isinstance(data, tuple) and len(data) == 2 else None
    if samples is None or samples.y is None:
        raise DataError(
            f"The {name} samples must be a pair (x, y) or keras_prelu.data.Samples with labels. Received: {type(data).__name__}"
        )
    return samples


def _check_arrays(model: keras.Model, samples: Samples, name: str) -> None:
    count = len(model_inputs(model, samples, name)[0])
    for labels in keras.tree.flatten(samples.y):
        if len(labels) != count:
            raise DataError(f"The {name} are {count}, their labels {len(labels)}.")


def _steps(data: Any) -> int | None:
    """Batches in an epoch, where they can be counted."""
    try:
        count = len(data)
    except TypeError:
        return None
    return count if count > 0 else None
