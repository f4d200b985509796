"""What a report says, measured on the models themselves."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.records import Calibration
from keras_prelu.data.samples import Samples, as_samples, model_inputs
from keras_prelu.diagnostics.comparison import Comparison, compare_scores, sample_scores
from keras_prelu.diagnostics.diagnosis import Diagnosis, diagnose
from keras_prelu.diagnostics.similarity import LayerSimilarity, layer_similarity
from keras_prelu.diagnostics.slopes import LayerSlopes, layer_slopes
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.utils.timing import Ratio, compare
from keras_prelu.version import __version__

__all__ = ["Network", "Report", "gather"]

_MEASURED, _TIMED = 1000, 32


@dataclass(frozen=True)
class Network:
    """One of the networks that a report compares.

    Attributes:
        name: What the report calls it.
        parameters: Their number.
        score: Accuracy or loss on the samples that judge; None without labels.
        diagnosis: Its units, signal and noise.
        time: Of a prediction of `_TIMED` samples, over the original's, both in turn.
    """

    name: str
    parameters: int
    score: float | None
    diagnosis: Diagnosis
    time: Ratio


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Attributes:
        title: Of the page.
        networks: The converted network first, then the original, then the control where there is
            one.
        metric: "accuracy", "loss", or None without labels.
        verdicts: The converted network against each of the others, in the order of `networks`;
            empty without labels.
        slopes: Of the converted network.
        similarity: What reaches each layer in the original and in the converted network.
        calibration: Its record, or None.
        made: How it was made: pairs of what and how.
        limits: What can't be concluded from it.
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

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdicts, a sentence each."""
        return tuple(
            verdict.sentence("PReLU", f"the {other.name}")
            for verdict, other in zip(self.verdicts, self.networks[1:], strict=False)
        )


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
    seed: int = 0,
) -> Report:
    """Measure a converted network beside its original for a report.

    Args:
        converted: The PReLU network, fine-tuned or not.
        original: The ReLU network that it was made from.
        samples: `Samples` or a pair (x, y) that no training and no choice has seen, or unlabeled
            samples alone: then there is no verdict.
        control: The original fine-tuned with the same budget.
        loss: Keras loss, for networks that are no classifiers and not compiled.
        calibration: The record of the conversion's calibration.
        title: Of the page.
        made: Further lines on how the networks were made, by what they are about.
        seed: Of what is drawn.

    Returns:
        What `keras_prelu.report.html.write` and `keras_prelu.report.figures` show.

    Raises:
        InvalidArgumentError: A ValueError; the converted network has no PReLU layers.
        ConversionError: A network has no graph.
        DataError: The samples do not fit.

    Example:

    >>> report = keras_prelu.report.gather(converted, original, (x_test, y_test))
    """
    learned = layer_slopes(converted)
    if not learned:
        raise InvalidArgumentError(
            f"Model '{converted.name}' has no PReLU layers: there is no conversion to report on."
        )
    data = as_samples(samples)
    named = {
        "PReLU": converted,
        "ReLU original": original,
        **({} if control is None else {"ReLU control": control}),
    }
    loss = (
        loss
        if loss is not None
        else next((found for found in map(_loss, named.values()) if found is not None), None)
    )
    metric, scores = _scores(named.values(), data, loss)
    measured = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:_MEASURED]))
    times = _times(named, measured)
    networks = tuple(
        Network(
            name,
            model.count_params(),
            float(scores[index].mean()) if scores else None,
            diagnose(model, measured, loss=loss, seed=seed),
            times[name],
        )
        for index, (name, model) in enumerate(named.items())
    )
    verdicts = tuple(
        compare_scores(str(metric), scores[0], other, seed=seed) for other in scores[1:]
    )
    return Report(
        title,
        networks,
        metric,
        verdicts,
        learned,
        layer_similarity(original, converted, measured),
        calibration,
        (*(made or {}).items(), *_versions(seed, len(data), len(measured))),
        tuple(_limits(data, control, verdicts)),
    )


def _loss(model: keras.Model) -> Any:
    return getattr(model, "loss", None)


def _scores(models: Any, data: Samples, loss: Any) -> tuple[str | None, list[np.ndarray]]:
    if data.y is None:
        return None, []
    found = [sample_scores(model, data, loss=loss) for model in models]
    return found[0][0], [scores for _, scores in found]


def _times(named: Mapping[str, keras.Model], data: Samples) -> dict[str, Ratio]:
    def predict(model: keras.Model) -> Any:
        batch = [np.asarray(array[:_TIMED]) for array in model_inputs(model, data)]
        return lambda: model.predict_on_batch(batch if len(batch) > 1 else batch[0])

    return compare(
        {name: predict(model) for name, model in named.items()},
        "ReLU original",
        rounds=40,
        seconds=10.0,
    )


def _versions(seed: int, samples: int, measured: int) -> list[tuple[str, str]]:
    backend = keras.backend.backend()
    return [
        ("Samples", f"{samples:,} for scores, {measured:,} of them for all else"),
        ("Seed", str(seed)),
        (
            "Versions",
            (
                f"keras_prelu {__version__}, Keras {keras.__version__}, {backend}"
                f" {metadata.version(backend)}"
            ),
        ),
        ("Machine", f"Python {platform.python_version()} on {platform.machine()}"),
    ]


def _limits(data: Samples, control: Any, verdicts: Sequence[Comparison]) -> list[str]:
    found = [
        "Times are of Keras in this process; what an exported file costs in its runtime is measured"
        " by keras-prelu export --measure."
    ]
    if data.y is None:
        found.append(
            "The samples have no labels: nothing is known about accuracy, only about what the"
            " network computes."
        )
    else:
        found.append(
            "Scores are of one training each. Other seeds of the training may give others."
        )
    if control is None:
        found.append(
            "There is no ReLU control that was trained as long: a gain may come from training"
            " alone."
        )
    if any(verdict.verdict == "can't tell" for verdict in verdicts):
        found.append("These samples are too few to tell all networks apart.")
    return found
