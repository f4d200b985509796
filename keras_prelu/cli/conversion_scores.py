"""The metrics of a model before and after its conversion, where the samples have labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.io.model_names import ModelName
from keras_prelu.utils.user_warnings import warn

__all__ = ["ConversionScores", "conversion_scores"]

_MOST_SAMPLES = 2000
_LEAST_UNUSED = 20


@dataclass(frozen=True, kw_only=True)
class ConversionScores:
    """The metrics that a model is compiled with, of the model and of what was made from it.

    Attributes:
        samples: Integer. The number of samples.
        used_to_calibrate: Boolean. Whether the calibration used some of them, without their labels.
        original: Mapping from the name of a metric to its value before the conversion.
        converted: Mapping from the name of a metric to its value after it.
        caution: String. What is to be said of samples that the model was trained on, or "".
    """

    samples: int
    used_to_calibrate: bool
    original: Mapping[str, float]
    converted: Mapping[str, float]
    caution: str

    def print(self, source: str, original: str, converted: str) -> None:
        """Print a table of the metrics.

        Args:
            source: String. Name of the data set.
            original: String. Name of the model before the conversion.
            converted: String. Its name after it.
        """
        from keras_prelu.cli.output import echo
        from keras_prelu.cli.tables import number, print_table

        use = "some used to calibrate" if self.used_to_calibrate else "none used to calibrate"
        print_table(
            f"Scores on {self.samples:,} samples of {source}, {use}",
            ["metric", original, converted],
            [
                [name, number(value), number(self.converted.get(name))]
                for name, value in self.original.items()
            ],
            right=[original, converted],
        )
        if self.caution:
            echo(self.caution)


def conversion_scores(
    name: ModelName, original: Any, converted: Any, dataset: Any, *, calibrated_with: int, seed: int
) -> ConversionScores | None:
    """Return the metrics of a model and of what was made from it.

    They are measured on the test samples, without any on samples that the calibration did not use,
    and without these on all. Samples that the model was trained on are left out, by the record
    beside it. Labels that do not fit the model are a warning: a conversion needs none.

    Args:
        name: `ModelName` of the original.
        original: `keras.Model`.
        converted: `keras.Model`.
        dataset: `Dataset`.
        calibrated_with: Integer. Largest number of samples that the calibration drew.
        seed: Integer. Seed of its draw.

    Returns:
        `ConversionScores`, or None without labels or if the model is not compiled.
    """
    from keras_prelu.cli.drawn_samples import random_indices
    from keras_prelu.cli.sample_records import unseen_samples
    from keras_prelu.diagnostics.evaluation import evaluate

    samples, used = _not_used(dataset, calibrated_with, seed)
    if samples.y is None or not (original.compiled and converted.compiled):
        return None
    unseen, caution = unseen_samples(samples, [name])
    chosen = unseen.take(random_indices(unseen, _MOST_SAMPLES, seed))
    try:
        before, after = (evaluate(model, chosen).metrics for model in (original, converted))
    except (DataError, InvalidArgumentError) as error:
        warn(f"Scores were not measured: {error}")
        return None
    return ConversionScores(
        samples=len(chosen),
        used_to_calibrate=used,
        original=before,
        converted=after,
        caution=caution,
    )


def _not_used(dataset: Any, calibrated_with: int, seed: int) -> tuple[Any, bool]:
    """Return samples that the calibration did not use, or all, and whether it used some."""
    import numpy as np

    from keras_prelu.cli.drawn_samples import random_indices

    if dataset.test is not None and dataset.test.y is not None:
        return dataset.test, False
    train = dataset.train
    unused = np.setdiff1d(np.arange(len(train)), random_indices(train, calibrated_with, seed))
    if len(unused) < _LEAST_UNUSED:
        return train, True
    return train.take(unused), False
