"""What stands out in measurements of a network, and what to do about it, in words.

The sentences are defined only here; the command line and the report print them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_prelu.diagnostics.gradient_noise import GradientNoise
from keras_prelu.diagnostics.initialization import LayerNorm
from keras_prelu.diagnostics.signal import LayerSignal
from keras_prelu.diagnostics.unit_counts import SiteUnits

__all__ = [
    "NO_FORECAST",
    "Finding",
    "dead_findings",
    "grown_layers",
    "linear_layers",
    "noise_finding",
    "norm_findings",
    "one_sided_findings",
    "signal_findings",
]

NO_FORECAST = (
    "These measures say which preparation suits the network. None of them forecasts what a"
    " preparation or a conversion gains; short trials on held-back samples show that:"
    " keras-prelu diagnose MODEL --data DATA --trial, or keras_prelu.try_recipes."
)
"""What a diagnosis can't say."""

_FEW = 0.05
"""The share of one-sided units up to which they are not worth a finding."""
_FEW_SAMPLES = 100
"""The number of samples from which a unit that is active on 1 % of them is seen to be alive."""
_LARGE_RANGE = 1e4
"""The ratio of second moments up to which a signal is not worth a finding."""
_LARGE_GROWTH = 2.0
"""The growth of a layer's norm since initialization up to which it is not worth a finding."""


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


def linear_layers(signal: Sequence[LayerSignal]) -> list[LayerSignal]:
    return [layer for layer in signal if "linear" in layer.kind]


def dead_findings(
    units: Sequence[SiteUnits], kept: Mapping[str, str], samples: int
) -> Iterator[Finding]:
    """Say where units are dead or nearly dead.

    Args:
        units: Sequence of `SiteUnits`.
        kept: Mapping from the paths of sites whose dead units `revive` keeps to the reason.
        samples: Integer. The number of samples that the units were counted on.
    """
    doubt = ""
    if samples < _FEW_SAMPLES:
        counted = "1 sample" if samples == 1 else f"{samples} samples"
        doubt = f" These are counted on {counted}; some may be active on others."
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
                    f" at '{worst.path}' ({count} of {worst.units}).{doubt}"
                ),
                advice=_advice_on_dead(units, counts, kept),
            )


def _advice_on_dead(
    units: Sequence[SiteUnits], counts: Sequence[int], kept: Mapping[str, str]
) -> str:
    """Return what to do about dead units, by their number at each site."""
    found = [(site, count) for site, count in zip(units, counts, strict=True) if count]
    lost = [(site, count) for site, count in found if site.path in kept]
    revivable = sum(count for site, count in found if site.path not in kept)
    sentences = []
    if revivable:
        sentences.append(
            f"Before the network goes on learning, keras_prelu.revive gives"
            f" {f'{revivable} of them' if lost else 'such units'} fresh weights and keeps the"
            " function; or fine-tune with keras-prelu finetune MODEL --data DATA --recipe"
            " identity-revived."
        )
    if lost:
        worst = max(lost, key=lambda pair: pair[1])[0]
        others = f"the other {sum(count for _, count in lost)}" if revivable else "such units"
        where = "most of them at" if len(lost) > 1 else "at"
        sentences.append(
            f"keras_prelu.revive leaves {others} as they are, {where} '{worst.path}'"
            f" ({kept[worst.path]})."
        )
    if lost and not revivable and all(site.one_sided is None for site, _ in lost):
        sentences.append(
            "Converted, such units get gradients through their slopes: keras-prelu finetune MODEL"
            " --data DATA --recipe identity."
        )
    return " ".join(sentences)


def one_sided_findings(measures: Mapping[str, float]) -> Iterator[Finding]:
    """Say how many PReLU units are nearly ReLUs."""
    share = measures.get("one-sided", 0.0)
    if share > _FEW:
        yield Finding(
            measure="one-sided",
            text=f"The negative sides of {share:.0%} of the PReLU units carry nothing.",
            advice=(
                "Layers whose slopes are all at most 0.01 are turned into ReLUs, which cost less,"
                " by keras-prelu bake MODEL --prune 0.01."
            ),
        )


def signal_findings(
    signal: Sequence[LayerSignal], measures: Mapping[str, float]
) -> Iterator[Finding]:
    """Say where the signal or its gradients explode or vanish with depth."""
    linear = linear_layers(signal)
    for measure, attribute, quantity in (
        ("signal", "moment", "outputs"),
        ("gradient", "gradient", "gradients"),
    ):
        if measures.get(measure, 1.0) > _LARGE_RANGE:
            values = [getattr(layer, attribute) for layer in linear]
            low, high = linear[int(np.argmin(values))].path, linear[int(np.argmax(values))].path
            difference = f"differ {measures[measure]:.1g}-fold, from '{low}' to '{high}'"
            if not np.isfinite(measures[measure]):
                difference = f"are {min(values):.1g} at '{low}' and {max(values):.1g} at '{high}'"
            yield Finding(
                measure=measure,
                text=f"The second moments of the {quantity} {difference}.",
                advice=(
                    "If the network is trained anew, initialize it with initializers.PReLUHeNormal"
                    " at the slope of the activations, or insert BatchNormalization where it has"
                    " none."
                ),
            )


def noise_finding(noise: GradientNoise) -> Finding:
    """Say how noisy the gradient is."""
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


def norm_findings(norms: Sequence[LayerNorm], kept: Mapping[str, str]) -> Iterator[Finding]:
    """Say how much the weights have grown since initialization.

    Args:
        norms: Sequence of `LayerNorm`.
        kept: Mapping from the paths of layers whose norms `reset_norms` keeps to the reason.
    """
    grown = grown_layers(norms)
    if grown:
        worst = max(grown, key=lambda layer: layer.growth or 0.0)
        yield Finding(
            measure="norm-growth",
            text=(
                f"The weights of {len(grown)} of {len(norms)} linear layers are more than"
                f" {_LARGE_GROWTH:g} times as large as at initialization, most at '{worst.path}'"
                f" ({worst.growth:.2g} times), so a step of the same size changes less."
            ),
            advice=_advice_on_grown(grown, kept),
        )


def grown_layers(norms: Sequence[LayerNorm]) -> list[LayerNorm]:
    """Return the layers whose weights have grown so much that it is worth a finding."""
    return [layer for layer in norms if (layer.growth or 0.0) > _LARGE_GROWTH]


def _advice_on_grown(grown: Sequence[LayerNorm], kept: Mapping[str, str]) -> str:
    if any(layer.path not in kept for layer in grown):
        return (
            "Before the network goes on learning, keras_prelu.reset_norms scales them back and"
            " keeps the decisions; or fine-tune with keras-prelu finetune MODEL --data DATA"
            " --recipe reset-identity, which is made for networks with BatchNormalization."
        )
    first = grown[0].path
    return (
        f"keras_prelu.reset_norms leaves them as they are, such as '{first}' ({kept[first]})."
        " Where forgetting is acceptable, all weights can be moved halfway to fresh ones:"
        " keras-prelu finetune MODEL --data DATA --recipe shrink-identity."
    )
