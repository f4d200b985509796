"""The facts of a report, measured on the models themselves.

Each sentence is defined in one place: what can't be concluded, in `_limits`; how two models
compare, in `diagnostics.comparison.Comparison.sentence`; findings and advice, in
`diagnostics.diagnosis`; captions and column headings, in `report.sections`; the rest of the page,
in its template.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.records import Calibration
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.samples import Samples, as_samples, model_inputs
from keras_prelu.data.signature import input_signature
from keras_prelu.data.value_range import warn_of_range
from keras_prelu.diagnostics.comparison import Comparison, compare_measured
from keras_prelu.diagnostics.diagnosis import Diagnosis, diagnose
from keras_prelu.diagnostics.scores import Scores, measure_scores
from keras_prelu.diagnostics.similarity import LayerSimilarity, layer_similarity
from keras_prelu.diagnostics.slopes import LayerSlopes, layer_slopes
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.report.changes import (
    ChangedSample,
    ClassAccuracy,
    changed_samples,
    class_accuracies,
)
from keras_prelu.utils.timing import Ratio, compare
from keras_prelu.version import __version__

__all__ = ["Network", "Report", "gather"]

_MEASURED_SAMPLES = 1000
"""The largest number of samples that everything but scores is measured on."""
_TIMED_SAMPLES = 32
"""The number of samples in the prediction that is timed."""


@dataclass(frozen=True)
class Network:
    """One of the networks that a report compares.

    Attributes:
        name: String. The name of the network in the report.
        parameters: Integer. The number of its parameters.
        score: Float, or None without labels. The accuracy or loss on the samples.
        diagnosis: `Diagnosis`. The units, signal and gradient noise of the network.
        time: `Ratio`. The time of a prediction of 32 samples over the original's; the two are timed
            in turn.
    """

    name: str
    parameters: int
    score: float | None
    diagnosis: Diagnosis
    time: Ratio


@dataclass(frozen=True)
class Report:
    """The facts of a report.

    Attributes:
        title: String. The title of the page.
        networks: Tuple of `Network`: the converted network, the original, and the control if there
            is one.
        metric: String, or None without labels. "accuracy" or "loss".
        verdicts: Tuple of `Comparison` of the converted network with each of the others, in the
            order of `networks`; empty without labels.
        slopes: Tuple of `LayerSlopes` of the converted network.
        similarity: Tuple of `LayerSimilarity` of the original and the converted network.
        calibration: `Calibration`, or None. The record of the conversion's calibration.
        made: Tuple of pairs of strings. A subject, and how the networks were made in that respect.
        limits: Tuple of strings. Sentences on what can't be concluded.
        cautions: Tuple of strings. Sentences on the samples, to be read with the verdicts.
        histories: Mapping from the name of a network to the metrics of its fine-tuning by epoch.
        classes: Tuple of `ClassAccuracy` of the original and the converted network; empty for other
            than classifiers.
        changed: Tuple of `ChangedSample`, of which only one of these two is right.
    """

    title: str
    networks: tuple[Network, ...]
    metric: str | None
    verdicts: tuple[Comparison, ...]
    slopes: tuple[LayerSlopes, ...]
    similarity: tuple[LayerSimilarity, ...]
    calibration: Calibration | None
    made: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    histories: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    classes: tuple[ClassAccuracy, ...] = ()
    changed: tuple[ChangedSample, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdicts in words, one sentence each."""
        return tuple(
            verdict.sentence("PReLU", f"the {other.name}")
            for verdict, other in zip(self.verdicts, self.networks[1:], strict=False)
        )


@keeps_state("converted", "original", "control")
def gather(
    converted: keras.Model,
    original: keras.Model,
    samples: Any,
    *,
    control: keras.Model | None = None,
    loss: Any = None,
    calibration: Calibration | None = None,
    title: str = "From ReLU to PReLU",
    made: Mapping[str, str] | None = None,
    cautions: Sequence[str] = (),
    histories: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    seed: int = 0,
) -> Report:
    """Measure a converted network and its original for a report.

    Args:
        converted: Keras model. The PReLU network, fine-tuned or not.
        original: Keras model. The ReLU network from which `converted` was converted.
        samples: `Samples` or a pair (x, y) that was not used for training or for any choice; or
            unlabeled samples alone, for a report without a verdict.
        control: Keras model, or None. The original fine-tuned with the same budget.
        loss: Keras loss, for networks that are neither classifiers nor compiled.
        calibration: `Calibration`, or None. The record of the conversion's calibration.
        title: String. The title of the page. Defaults to "From ReLU to PReLU".
        made: Mapping, or None. Maps a subject to how the networks were made in that respect. It is
            shown on the page next to the versions and the machine.
        cautions: Sequence of strings. Sentences on the samples, shown below the verdicts, such as
            that some were left out since a network was trained on them. Defaults to none.
        histories: Mapping from the name of a network to its history, as `model.fit` returns it, for
            the learning curves. Defaults to None.
        seed: Integer. Seed of all random draws. Defaults to 0.

    Returns:
        A `Report`, which `keras_prelu.report.html.write` and `keras_prelu.report.figures` show.

    Raises:
        InvalidArgumentError: If the converted network has no PReLU layers. A `ValueError`.
        DataError: If the samples do not fit.

    Example:

    >>> report = keras_prelu.report.gather(converted, model, (x_test, y_test))
    """
    slopes = layer_slopes(converted)
    if not slopes:
        raise InvalidArgumentError(
            f"Model '{converted.name}' has no PReLU layers: there is no conversion to report on."
            " Two networks are compared by keras-prelu compare MODEL ORIGINAL --data DATA."
        )
    data = as_samples(samples, read_for=converted)
    warn_of_range(original, data.x)
    models = {
        "PReLU": converted,
        "ReLU original": original,
        **({} if control is None else {"ReLU control": control}),
    }
    if loss is None:
        loss = _compiled_loss(models.values())
    scores = _scores(models, data, loss)
    order = np.random.default_rng(seed).permutation(len(data))
    measured = data.take(np.sort(order[:_MEASURED_SAMPLES]))
    times = _times(models, measured)
    verdicts = tuple(
        compare_measured(scores["PReLU"], scores[name]) for name in scores if name != "PReLU"
    )
    classes, changed = _changes(original, converted, data, scores)
    return Report(
        title=title,
        networks=tuple(
            Network(
                name=name,
                parameters=model.count_params(),
                score=float(scores[name].values.mean()) if scores else None,
                diagnosis=diagnose(model, measured, loss=loss, seed=seed),
                time=times[name],
            )
            for name, model in models.items()
        ),
        metric=scores["PReLU"].metric if scores else None,
        verdicts=verdicts,
        slopes=slopes,
        similarity=layer_similarity(original, converted, measured),
        calibration=calibration,
        made=(*(made or {}).items(), *_circumstances(seed, len(data), len(measured))),
        limits=tuple(
            _limits(labeled=data.y is not None, controlled=control is not None, verdicts=verdicts)
        ),
        cautions=tuple(cautions),
        histories=dict(histories or {}),
        classes=tuple(classes),
        changed=tuple(changed),
    )


def _compiled_loss(models: Iterable[keras.Model]) -> Any:
    """Return the first loss that one of the models is compiled with; None if there is none."""
    losses = (getattr(model, "loss", None) for model in models)
    return next((loss for loss in losses if loss is not None), None)


def _scores(models: Mapping[str, keras.Model], data: Samples, loss: Any) -> dict[str, Scores]:
    """Return the scores of each model on the samples; empty without labels."""
    if data.y is None:
        return {}
    compiled = next((model for model in models.values() if model.compiled), None)
    return {
        name: measure_scores(model, data, loss=loss, metrics_of=compiled)
        for name, model in models.items()
    }


def _changes(
    original: keras.Model, converted: keras.Model, data: Samples, scores: Mapping[str, Scores]
) -> tuple[list[ClassAccuracy], list[ChangedSample]]:
    """Return the accuracies by class and the samples that are decided otherwise, if any."""
    if not scores or scores["PReLU"].metric != "accuracy":
        return [], []
    before, after = scores["ReLU original"].values, scores["PReLU"].values
    if len(before) != len(data):  # One score for each position of a sample.
        return [], []
    return (
        class_accuracies(data.y, before, after),
        changed_samples([original, converted], data, before, after),
    )


def _times(models: Mapping[str, keras.Model], data: Samples) -> dict[str, Ratio]:
    def prediction(model: keras.Model) -> Any:
        batch = [np.asarray(array[:_TIMED_SAMPLES]) for array in model_inputs(model, data)]
        x = keras_arrays(input_signature(model, data.x).pack(batch))
        return lambda: model.predict_on_batch(x)

    return compare(
        {name: prediction(model) for name, model in models.items()},
        "ReLU original",
        rounds=40,
        seconds=10.0,
    )


def _circumstances(seed: int, samples: int, measured: int) -> list[tuple[str, str]]:
    backend = keras.backend.backend()
    versions = (
        f"keras_prelu {__version__}, Keras {keras.__version__},"
        f" {backend} {metadata.version(backend)}"
    )
    return [
        ("Samples", f"{samples:,} for scores, {measured:,} of them for all else"),
        ("Seed", str(seed)),
        ("Versions", versions),
        ("Machine", f"Python {platform.python_version()} on {platform.machine()}"),
    ]


def _limits(*, labeled: bool, controlled: bool, verdicts: Sequence[Comparison]) -> list[str]:
    limits = [
        "Times are those of Keras in this process. What an exported file costs in its runtime is"
        " measured by keras-prelu export MODEL -o OUTPUT --measure."
    ]
    if labeled:
        limits.append(
            "Scores are of one run: the intervals cover other samples, not other trainings of the"
            " same networks, which may give other scores."
        )
    else:
        limits.append(
            "The samples have no labels, so the report says nothing about accuracy, only about"
            " what the network computes."
        )
    if not controlled:
        limits.append(
            "There is no ReLU control that was trained equally long, so a gain may come from the"
            " training alone."
        )
    if any(verdict.verdict == "can't tell" for verdict in verdicts):
        limits.append("These samples are too few to tell all networks apart.")
    return limits
