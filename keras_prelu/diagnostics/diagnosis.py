"""The diagnosis of a network: several measures together, with findings and advice in words.

The sentences of the findings are defined only here; the command line and the report print them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import as_samples
from keras_prelu.diagnostics.batch_norm import BatchNormGamma, batch_norm_gammas
from keras_prelu.diagnostics.dead_units import SiteUnits, dead_units
from keras_prelu.diagnostics.gradient_noise import GradientNoise, gradient_noise
from keras_prelu.diagnostics.signal import LayerSignal, signal_by_depth
from keras_prelu.graph.model_state import keeps_state

__all__ = ["MEASURES", "Diagnosis", "Finding", "diagnose"]

MEASURES = {
    "dead": "share of units that are dead",
    "nearly-dead": "share of other units that are active on at most 1 % of the samples",
    "one-sided": "share of PReLU units whose negative side carries nothing",
    "signal": "largest over smallest second moment of the linear layers' outputs",
    "gradient": "largest over smallest second moment of the gradients there",
    "noise": "simple noise scale, in samples",
}
"""The measures of a diagnosis, by name."""

_FEW = 0.05
"""The share of one-sided units up to which they are not worth a finding."""
_LARGE_RANGE = 1e4
"""The ratio of second moments up to which a signal is not worth a finding."""


@dataclass(frozen=True)
class Finding:
    """Something that stands out in a network.

    Attributes:
        measure: String. A name of `MEASURES`.
        text: String. What stands out, a sentence.
        advice: String. What to do about it, a sentence.
    """

    measure: str
    text: str
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """The measurements of a network and what stands out.

    Attributes:
        samples: Integer. The number of samples.
        units: Tuple of `SiteUnits`, one for each site.
        signal: Tuple of `LayerSignal`, one for each call of a linear layer or rectifier.
        normalizations: Tuple of `BatchNormGamma`, one for each BatchNormalization after a
            rectifier.
        noise: `GradientNoise`, or None without labels or a loss.
        measures: Mapping from a name of `MEASURES` to its value. Measures that don't apply are left
            out.
        findings: Tuple of `Finding`.
    """

    samples: int
    units: tuple[SiteUnits, ...]
    signal: tuple[LayerSignal, ...]
    normalizations: tuple[BatchNormGamma, ...]
    noise: GradientNoise | None
    measures: Mapping[str, float]
    findings: tuple[Finding, ...]


@keeps_state("model")
def diagnose(
    model: keras.Model, samples: Any, *, loss: Any = None, batch_size: int = 128, seed: int = 0
) -> Diagnosis:
    """Measure units, signal, normalization and gradient noise, and report what stands out.

    Args:
        model: Keras model with ReLU or PReLU. Nested models are included.
        samples: `Samples`, a pair (x, y), or unlabeled samples: an array, or a list or dict of
            arrays; or a data set of batches, with or without labels. With labels, the gradient
            noise is measured too.
        loss: Keras loss for the gradient noise. Defaults to the loss the model is compiled with.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.
        seed: Integer. Seed of all random draws. Defaults to 0.

    Returns:
        A `Diagnosis`.

    Raises:
        DataError: If the samples do not fit the model.

    Example:

    >>> for finding in keras_prelu.diagnostics.diagnose(model, x_test).findings:
    ...     print(finding.text, finding.advice)

    References:
        Claims 2 to 4, 8 and 9.
    """
    data = as_samples(samples, model=model)
    units = dead_units(model, data, batch_size=batch_size)
    signal = signal_by_depth(model, data, batch_size=batch_size, seed=seed)
    normalizations = batch_norm_gammas(model, data, batch_size=batch_size)
    noise = None
    if data.y is not None and (loss is not None or getattr(model, "loss", None) is not None):
        noise = gradient_noise(model, data, loss=loss, seed=seed)
    measures = {
        **_unit_measures(units),
        **_signal_measures(signal),
        **({} if noise is None else {"noise": noise.scale}),
    }
    findings = (
        *_dead_findings(units),
        *_one_sided_findings(measures),
        *_signal_findings(signal, measures),
        *([] if noise is None else [_noise_finding(noise)]),
    )
    return Diagnosis(
        samples=len(data),
        units=units,
        signal=signal,
        normalizations=normalizations,
        noise=noise,
        measures=measures,
        findings=findings,
    )


def _unit_measures(units: Sequence[SiteUnits]) -> dict[str, float]:
    measures = {}
    count = sum(site.units for site in units)
    if count:
        measures["dead"] = sum(site.dead for site in units) / count
        measures["nearly-dead"] = sum(site.nearly_dead for site in units) / count
    prelu_units = sum(site.units for site in units if site.one_sided is not None)
    if prelu_units:
        measures["one-sided"] = sum(site.one_sided or 0 for site in units) / prelu_units
    return measures


def _signal_measures(signal: Sequence[LayerSignal]) -> dict[str, float]:
    linear = _linear(signal)
    if len(linear) < 2:
        return {}
    return {
        "signal": _range([layer.moment for layer in linear]),
        "gradient": _range([layer.gradient for layer in linear]),
    }


def _linear(signal: Sequence[LayerSignal]) -> list[LayerSignal]:
    return [layer for layer in signal if "linear" in layer.kind]


def _range(values: list[float]) -> float:
    return max(values) / min(values) if min(values) > 0 else float("inf")


def _dead_findings(units: Sequence[SiteUnits]) -> Iterator[Finding]:
    for attribute, name in (("dead", "dead"), ("nearly_dead", "nearly dead")):
        counts = [getattr(site, attribute) for site in units]
        if any(counts):
            worst, count = max(
                zip(units, counts, strict=True), key=lambda pair: pair[1] / max(pair[0].units, 1)
            )
            yield Finding(
                measure=attribute.replace("_", "-"),
                text=(
                    f"{sum(counts)} of {sum(site.units for site in units)} units are {name}, most"
                    f" at '{worst.path}' ({count} of {worst.units})."
                ),
                advice=(
                    "keras_prelu.revive gives such units fresh weights and keeps the function; or"
                    " fine-tune with --recipe identity-revived."
                ),
            )


def _one_sided_findings(measures: Mapping[str, float]) -> Iterator[Finding]:
    share = measures.get("one-sided", 0.0)
    if share > _FEW:
        yield Finding(
            measure="one-sided",
            text=f"The negative sides of {share:.0%} of the PReLU units carry nothing.",
            advice=(
                "keras-prelu bake --prune turns layers that consist of such units into ReLUs, which"
                " cost less."
            ),
        )


def _signal_findings(
    signal: Sequence[LayerSignal], measures: Mapping[str, float]
) -> Iterator[Finding]:
    linear = _linear(signal)
    for measure, attribute, quantity in (
        ("signal", "moment", "outputs"),
        ("gradient", "gradient", "gradients"),
    ):
        if measures.get(measure, 1.0) > _LARGE_RANGE:
            values = [getattr(layer, attribute) for layer in linear]
            low, high = linear[int(np.argmin(values))].path, linear[int(np.argmax(values))].path
            yield Finding(
                measure=measure,
                text=(
                    f"The second moments of the {quantity} differ {measures[measure]:.1g}-fold,"
                    f" from '{low}' to '{high}'."
                ),
                advice=(
                    "Initialize with initializers.PReLUHeNormal at the slope of the activations, or"
                    " insert BatchNormalization."
                ),
            )


def _noise_finding(noise: GradientNoise) -> Finding:
    if not np.isfinite(noise.scale):
        return Finding(
            measure="noise",
            text=(
                f"The mean gradient can't be told from 0 on {noise.samples} samples, so"
                " the network is at a stationary point of the loss, or close to one."
            ),
            advice="Measure on more samples to estimate the noise scale.",
        )
    return Finding(
        measure="noise",
        text=f"The simple noise scale of the gradient is {noise.scale:.3g} samples.",
        advice="Much larger batches gain little per step.",
    )
