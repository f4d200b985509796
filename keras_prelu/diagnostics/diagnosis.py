"""The diagnosis of a network: several measures together, with findings and advice in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.model_checks import first_nonfinite_weight
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.data.losses import resolved_loss
from keras_prelu.data.samples import CheckedSamples, as_samples
from keras_prelu.diagnostics.batch_norm import BatchNormGamma, batch_norm_gammas
from keras_prelu.diagnostics.diagnosis_tables import diagnosis_tables
from keras_prelu.diagnostics.findings import (
    NO_FORECAST,
    Finding,
    dead_findings,
    grown_layers,
    linear_layers,
    noise_finding,
    norm_findings,
    one_sided_findings,
    signal_findings,
)
from keras_prelu.diagnostics.gradient_noise import LEAST_SAMPLES, GradientNoise, gradient_noise
from keras_prelu.diagnostics.initialization import (
    GradientNorm,
    LayerNorm,
    gradient_beside_initial,
    gradient_sentence,
    norms_beside_initial,
)
from keras_prelu.diagnostics.ranks import SiteRanks, representation_ranks
from keras_prelu.diagnostics.signal import LayerSignal, signal_by_depth
from keras_prelu.diagnostics.unit_counts import SiteUnits, dead_units
from keras_prelu.display.figures import signal_figure
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table
from keras_prelu.errors import ConversionError, DataError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.revival import find_dead_units
from keras_prelu.scaling.norm_reset import reset_norms

__all__ = ["MEASURES", "Diagnosis", "Finding", "diagnose"]

MEASURES = {
    "dead": "share of units that are dead",
    "nearly-dead": "share of other units that are active on at most 1 % of the samples",
    "one-sided": "share of PReLU units whose negative side carries nothing",
    "signal": "largest over smallest second moment of the linear layers' outputs",
    "gradient": "largest over smallest second moment of the gradients there",
    "noise": "simple noise scale, in samples",
    "unused-rank": "largest share of its channels that the effective rank of a rectifier lacks",
    "norm-growth": "largest norm of a linear layer over that at initialization",
    "gradient-loss": "gradient norm at initialization over the present one",
}
"""The measures of a diagnosis, by name."""


@dataclass(frozen=True)
class Diagnosis(Shown):
    """The measurements of a network and what stands out.

    Attributes:
        samples: Integer. The number of samples.
        units: Tuple of `SiteUnits`, one for each site.
        signal: Tuple of `LayerSignal`, one for each call of a linear layer or rectifier.
        normalizations: Tuple of `BatchNormGamma`, one for each BatchNormalization after a
            rectifier.
        noise: `GradientNoise`, or None without labels or a loss, or with fewer than 16 samples.
        ranks: Tuple of `SiteRanks`, one for each rectifier that is seen.
        norms: Tuple of `LayerNorm`, one for each linear layer of the graph.
        gradient: `GradientNorm`, or None where `noise` is, or if the model can't be copied with
            fresh weights.
        measures: Mapping from a name of `MEASURES` to its value. Measures that don't apply are left
            out.
        findings: Tuple of `Finding`.
        note: String. What the measures can't say.
    """

    samples: int
    units: tuple[SiteUnits, ...]
    signal: tuple[LayerSignal, ...]
    normalizations: tuple[BatchNormGamma, ...]
    noise: GradientNoise | None
    ranks: tuple[SiteRanks, ...]
    norms: tuple[LayerNorm, ...]
    gradient: GradientNorm | None
    measures: Mapping[str, float]
    findings: tuple[Finding, ...]
    note: str = NO_FORECAST

    def tables(self) -> tuple[Table, ...]:
        """Return the tables of what was measured."""
        return diagnosis_tables(self)

    def sentences(self) -> tuple[str, ...]:
        """Return the findings with their advice, and what they can't say."""
        findings = [f"{finding.text} {finding.advice}" for finding in self.findings]
        gradient = self.gradient
        if gradient is not None:
            findings.insert(0, gradient_sentence(gradient))
        if not self.findings:
            findings.append("Nothing stands out.")
        return (*findings, self.note)

    def plot(self) -> Any:
        """Return a matplotlib figure of the signal and its gradient by depth."""
        return signal_figure({"network": self})


@models_by_name("model", "reference")
@keeps_state("model")
def diagnose(
    model: ModelLike,
    samples: Any,
    *,
    loss: Any = None,
    reference: ModelLike | None = None,
    batch_size: int = 128,
    seed: int = 0,
) -> Diagnosis:
    """Measure units, ranks, signal, norms, normalization and gradients, and report what stands out.

    On new data it says how to prepare a trained network to go on learning: dead units call for
    `revive`, weights that grew for `reset_norms`. It does not forecast what that gains, since
    nothing that was measured before training does (docs/explanation/results.md); short trials show
    it (`keras_prelu.try_recipes`).

    Args:
        model: Keras model with ReLU or PReLU. Nested models are included.
        samples: `Samples`, a pair (x, y), or unlabeled samples: an array, or a list or dict of
            arrays; or a data set of batches, with or without labels. With labels, of 16 samples
            or more, the gradient and its noise are measured too.
        loss: Keras loss for the gradients. Defaults to the loss the model is compiled with.
        reference: Keras model. The model before its training, whose weights and gradients are
            compared with. Defaults to None: weights are drawn from the layers' initializers.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.
        seed: Integer. Seed of all random draws. Defaults to 0.

    Returns:
        A `Diagnosis`.

    Raises:
        DataError: If the samples do not fit the model, or its weights hold NaN or infinite values.
        InvalidArgumentError: If `reference` has other linear layers, or there is no such loss. A
            `ValueError`.

    Example:

    >>> for finding in keras_prelu.diagnostics.diagnose(model, x_test).findings:
    ...     print(finding.text, finding.advice)

    References:
        Claims 2 to 4, 6, 8 and 9. Roy and Vetterli 2007 (effective rank).
    """
    resolved_loss(loss)  # A misspelled one is an error without labels, too.
    data = as_samples(samples, model=model)
    for each in (model, reference):
        if each is not None:
            _check_weights(each)
    units = dead_units(model, data, batch_size=batch_size)
    signal = signal_by_depth(model, data, batch_size=batch_size, seed=seed)
    normalizations = batch_norm_gammas(model, data, batch_size=batch_size)
    ranks = representation_ranks(model, data, batch_size=batch_size, seed=seed)
    norms = norms_beside_initial(model, data.x, reference, seed)
    loss = loss if loss is not None else getattr(model, "loss", None)
    noise = gradient = None
    if data.y is not None and loss is not None and len(data) >= LEAST_SAMPLES:
        noise = gradient_noise(model, data, loss=loss, seed=seed)
        gradient = gradient_beside_initial(model, noise, data, loss, reference, seed)
    measures = {
        **_unit_measures(units),
        **_signal_measures(signal),
        **({} if noise is None else {"noise": noise.scale}),
        **_learning_measures(ranks, norms, gradient),
    }
    findings = (
        *dead_findings(units, _kept_if_revived(model, data, units, batch_size), len(data)),
        *one_sided_findings(measures),
        *signal_findings(signal, measures),
        *norm_findings(norms, _kept_if_reset(model, norms, reference, seed)),
        *([] if noise is None else [noise_finding(noise)]),
    )
    return Diagnosis(
        samples=len(data),
        units=units,
        signal=signal,
        normalizations=normalizations,
        noise=noise,
        ranks=ranks,
        norms=norms,
        gradient=gradient,
        measures=measures,
        findings=findings,
    )


def _check_weights(model: keras.Model) -> None:
    path = first_nonfinite_weight(model)
    if path is not None:
        raise DataError(
            f"The weights '{path}' of model '{model.name}' hold NaN or infinite values, as after a"
            " training that diverged, so nothing can be measured. Diagnose weights from before."
        )


def _kept_if_revived(
    model: keras.Model, data: CheckedSamples, units: Sequence[SiteUnits], batch_size: int
) -> dict[str, str]:
    """Return the paths of sites whose dead units can't be revived, with the reason."""
    if not any(site.dead or site.nearly_dead for site in units):
        return {}
    found = find_dead_units(model, data, batch_size=batch_size)
    return {site.path: site.reason for site in found if site.reason}


def _kept_if_reset(
    model: keras.Model, norms: Sequence[LayerNorm], reference: Any, seed: int
) -> dict[str, str]:
    """Return the paths of grown layers whose norms can't be reset, with the reason.

    It is tried on a copy.
    """
    grown = grown_layers(norms)
    if not grown:
        return {}
    try:
        found = reset_norms(rewrite(model), reference=reference, seed=seed).layers
    except ConversionError as error:  # Such as no graph.
        return dict.fromkeys((layer.path for layer in grown), str(error).rstrip("."))
    actions = (layer.action.partition(": ") for layer in found)
    return {
        layer.path: reason
        for layer, (action, _, reason) in zip(found, actions, strict=True)
        if action == "kept"
    }


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
    linear = linear_layers(signal)
    if len(linear) < 2:
        return {}
    return {
        "signal": _range([layer.moment for layer in linear]),
        "gradient": _range([layer.gradient for layer in linear]),
    }


def _range(values: list[float]) -> float:
    if min(values) > 0:
        return max(values) / min(values)
    return float("inf") if any(values) else 1.0


def _learning_measures(
    ranks: Sequence[SiteRanks], norms: Sequence[LayerNorm], gradient: GradientNorm | None
) -> dict[str, float]:
    measures = {}
    if ranks:
        measures["unused-rank"] = float(
            np.max([1.0 - site.effective / site.channels for site in ranks])
        )
    growths = [layer.growth for layer in norms if layer.growth is not None]
    if growths:
        measures["norm-growth"] = max(growths)
    if gradient is not None and (gradient.norm or gradient.initial):
        measures["gradient-loss"] = (
            gradient.initial / gradient.norm if gradient.norm > 0 else float("inf")
        )
    return measures
