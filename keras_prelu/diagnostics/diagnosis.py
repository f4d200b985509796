"""What is wrong with a network, and what to do about it: several measures together, with findings
in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import as_samples
from keras_prelu.diagnostics.batch_norm import BatchNormGamma, batch_norm_gammas
from keras_prelu.diagnostics.dead_units import SiteUnits, dead_units
from keras_prelu.diagnostics.gradient_noise import GradientNoise, gradient_noise
from keras_prelu.diagnostics.signal import LayerSignal, signal_by_depth

__all__ = ["MEASURES", "Diagnosis", "Finding", "diagnose"]

MEASURES = {
    "dead": "share of units that are dead",
    "nearly-dead": "share of other units that are active on at most 1 % of the samples",
    "one-sided": "share of PReLU units whose negative side carries nothing",
    "signal": "largest over smallest second moment of the linear layers' outputs",
    "gradient": "largest over smallest second moment of the gradients there",
    "noise": "simple noise scale, in samples",
}
"""What a diagnosis measures, by name."""

_FEW, _ORDERS = 0.05, 1e4


@dataclass(frozen=True)
class Finding:
    """Something to know about a network.

    Attributes:
        measure: A name of `MEASURES`.
        text: What was found.
        advice: What to do about it.
    """

    measure: str
    text: str
    advice: str


@dataclass(frozen=True)
class Diagnosis:
    """What was measured.

    Attributes:
        samples: How many samples there were.
        units: Of each rectifier.
        signal: Of each linear layer and rectifier.
        normalizations: Of each BatchNormalization that reads a rectifier.
        noise: Of the gradient; None without labels or a loss.
        measures: By name of `MEASURES`; those that don't apply are left out.
        findings: What stands out.
    """

    samples: int
    units: tuple[SiteUnits, ...]
    signal: tuple[LayerSignal, ...]
    normalizations: tuple[BatchNormGamma, ...]
    noise: GradientNoise | None
    measures: Mapping[str, float]
    findings: tuple[Finding, ...]


def diagnose(
    model: keras.Model, samples: Any, *, loss: Any = None, batch_size: int = 128, seed: int = 0
) -> Diagnosis:
    """Measure units, signal, normalization and gradient noise of a network, and say what stands
    out.

    Args:
        model: Sequential or Functional, nested models included; ReLU or PReLU.
        samples: `Samples`, or unlabeled samples: an array, or a list or dict of arrays. With labels
            the gradient noise is measured too.
        loss: Keras loss, for the noise. Defaults to the one that the model is compiled with.
        batch_size: Samples that go through the model at once. Defaults to 128.
        seed: Of what is drawn.

    Returns:
        The measures and the findings.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.

    Example:

    >>> for finding in keras_prelu.diagnostics.diagnose(model, x).findings:
    ...     print(finding.text, finding.advice)

    References:
        Claims 2 to 4, 8 and 9.
    """
    data = as_samples(samples, model=model)
    units = dead_units(model, data, batch_size=batch_size)
    layers = signal_by_depth(model, data, batch_size=batch_size, seed=seed)
    normalized = batch_norm_gammas(model, data, batch_size=batch_size)
    noisy = data.y is not None and (loss is not None or getattr(model, "loss", None) is not None)
    found = gradient_noise(model, data, loss=loss, seed=seed) if noisy else None
    measures = dict(_measures(units, layers, found))
    return Diagnosis(
        len(data),
        units,
        layers,
        normalized,
        found,
        measures,
        tuple(_findings(units, layers, found, measures)),
    )


def _measures(
    units: tuple[SiteUnits, ...], layers: tuple[LayerSignal, ...], found: GradientNoise | None
) -> Iterator[tuple[str, float]]:
    count = sum(site.units for site in units)
    if count:
        yield "dead", sum(site.dead for site in units) / count
        yield "nearly-dead", sum(site.nearly_dead for site in units) / count
    prelus = [site for site in units if site.one_sided is not None]
    if prelus:
        yield (
            "one-sided",
            sum(site.one_sided or 0 for site in prelus) / sum(site.units for site in prelus),
        )
    linear = [layer for layer in layers if "linear" in layer.kind]
    if len(linear) > 1:
        yield "signal", _spread([layer.moment for layer in linear])
        yield "gradient", _spread([layer.gradient for layer in linear])
    if found is not None:
        yield "noise", found.scale


def _spread(values: list[float]) -> float:
    return max(values) / min(values) if min(values) > 0 else float("inf")


def _findings(
    units: tuple[SiteUnits, ...],
    layers: tuple[LayerSignal, ...],
    found: GradientNoise | None,
    measures: Mapping[str, float],
) -> Iterator[Finding]:
    revive = (
        "Units get fresh weights, and the function is kept, with keras_prelu.revive; or fine-tune"
        " with --recipe exp-revived."
    )
    for measure, name in (("dead", "dead"), ("nearly_dead", "nearly dead")):
        counts = [(getattr(site, measure), site) for site in units]
        if sum(count for count, _ in counts):
            worst = max(counts, key=lambda pair: pair[0] / pair[1].units)
            total, all_ = sum(count for count, _ in counts), sum(site.units for site in units)
            text = (
                f"{total} of {all_} units are {name}, most at '{worst[1].path}' ({worst[0]} of"
                f" {worst[1].units})."
            )
            yield Finding(measure.replace("_", "-"), text, revive)
    if measures.get("one-sided", 0.0) > _FEW:
        text = f"{measures['one-sided']:.0%} of the PReLU units' negative sides carry nothing."
        yield Finding(
            "one-sided",
            text,
            "Layers of such units alone become ReLUs, which cost less: keras-prelu bake --prune.",
        )
    linear = [layer for layer in layers if "linear" in layer.kind]
    for measure, attribute, what in (
        ("signal", "moment", "outputs"),
        ("gradient", "gradient", "gradients"),
    ):
        if measures.get(measure, 1.0) > _ORDERS:
            values = [getattr(layer, attribute) for layer in linear]
            low, high = linear[int(np.argmin(values))].path, linear[int(np.argmax(values))].path
            text = (
                f"The second moments of {what} differ {measures[measure]:.1g}-fold, from '{low}' to"
                f" '{high}'."
            )
            advice = (
                "Start from initializers.PReLUHeNormal with the slope of the activations, or put"
                " BatchNormalization in between."
            )
            yield Finding(measure, text, advice)
    if found is not None:
        yield _noise(found)


def _noise(found: GradientNoise) -> Finding:
    if not np.isfinite(found.scale):
        text = (
            f"The mean gradient can't be told from 0 on {found.samples} samples: the network is at"
            " rest there."
        )
        return Finding("noise", text, "More samples would tell its noise scale.")
    text = f"The simple noise scale of the gradient is {found.scale:.3g} samples."
    return Finding("noise", text, "Batches that are much larger bring little per step.")
