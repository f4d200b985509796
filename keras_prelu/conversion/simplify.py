"""Simplifying a PReLU model for deployment: one slope a layer, no caps that hardly cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import Calibration
from keras_prelu.calibration.samples import CalibrationSamples, check_samples
from keras_prelu.calibration.verification import check_steps
from keras_prelu.conversion.activation_exchange import exchangeable_operations
from keras_prelu.conversion.replacements import Replacements
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.conversion.simpler_layers import (
    Measured,
    make_built_simpler,
    make_simpler,
    measure_layers,
)
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.errors import ConversionError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.layers import PReLU
from keras_prelu.utils.checks import check_number

__all__ = ["Simplification", "SimplifiedLayer", "simplify"]


@dataclass(frozen=True)
class SimplifiedLayer:
    """What became of one PReLU layer.

    Attributes:
        path: String. The layer's path.
        slopes: Integer. The number of its slopes before.
        slope: Float or None. The slope that replaces them; None if they were kept.
        change: Float or None. The change of the layer's outputs by one slope instead of its own,
            before anything is refitted: its mean square over that of the outputs. None if it was
            not measured.
        max_value: Float or None. The cap before, if any.
        clipped: Float or None. The share of its outputs that the cap cut off; None without a cap,
            or if it was not measured.
        uncapped: Boolean. Whether the cap was removed.
        reason: String. Why slopes or a cap were kept, or "".
    """

    path: str
    slopes: int
    slope: float | None
    change: float | None
    max_value: float | None
    clipped: float | None
    uncapped: bool
    reason: str


@dataclass(frozen=True)
class Simplification:
    """A simplified model, and what it lost.

    Attributes:
        model: `keras.Model`. The simplified model.
        layers: Tuple of `SimplifiedLayer`, in execution order.
        error: Float. The mean squared change of the model's outputs over their variance, on samples
            that were held out from the refits.
        tolerance: Float. The limit on `error`.
        calibration: `Calibration`. The record of the refits, or None if nothing was changed.
    """

    model: keras.Model
    layers: tuple[SimplifiedLayer, ...]
    error: float
    tolerance: float
    calibration: Calibration | None


@models_by_name("model")
@keeps_state("model")
def simplify(
    model: ModelLike,
    samples: Any,
    *,
    tolerance: float = 0.01,
    max_samples: int | None = None,
    memory_limit: float = 4e9,
    seed: int = 0,
) -> Simplification:
    """Return a copy of a PReLU model whose layers have one slope each, where that costs little.

    A network with a slope for each channel is more expensive in most runtimes than one with a slope
    for each layer, and a cap such as ReLU6's is more expensive than none. Each layer gets the slope
    that is nearest to its own in least squares, weighted by what its channels let pass below zero.
    Caps are removed where they cut off at most 0.2 % of the outputs. The layers in between are then
    refitted to the outputs of `model`, as in `calibrate`. If the outputs change by more than the
    tolerance, the layers that change most keep their slopes, as few as possible.

    `convert(profile="deployment")` makes such a network from the start, to be fine-tuned.

    Args:
        model: `keras.Model` with `PReLU` layers, in its graph or applied by the code of converted
            layers and subclassed models. It is not changed. PReLUs that custom layers were written
            with are kept.
        samples: Unlabeled samples, at least 5, as in `calibrate`. A few hundred suffice.
        tolerance: Float > 0. The mean squared change of the outputs over their variance that is
            allowed, on held-out samples. Defaults to 0.01.
        max_samples: Integer or None. The largest number of samples, drawn at random. Defaults to
            None, all samples.
        memory_limit: Float. Bytes that calibration may take, as in `calibrate`. Defaults to 4e9.
        seed: Integer. Seed of the drawn and the held-out samples. Defaults to 0.

    Returns:
        A `Simplification`, with the new model and the loss.

    Raises:
        ConversionError: The model has no PReLU layers.
        CalibrationError, DataError: As in `calibrate`.
        InvalidArgumentError: A ValueError; an argument is out of range.

    Example:

    >>> simplification = keras_prelu.simplify(converted, x_train[:512])
    >>> simplification.error <= simplification.tolerance
    True

    References:
        docs/how_to/deploy.md.
    """
    check_number("tolerance", tolerance, above=0.0)
    checked = check_samples(model, samples, max_samples=max_samples, seed=seed)
    measured = measure_layers(model, checked)
    if not measured:
        raise ConversionError(
            f"Model '{model.name}' has no PReLU layer to simplify: convert it first."
        )
    if not any(layer.can_be_merged or layer.can_be_uncapped for layer in measured):
        return _unchanged(model, measured, tolerance)
    config = CalibrationConfig(memory_limit=memory_limit, seed=seed)
    attempt = partial(_attempt, model, checked, config, measured)
    return _simplest_within(attempt, measured, tolerance) or _unchanged(model, measured, tolerance)


@dataclass(frozen=True)
class _Attempt:
    """A simplified and refitted model.

    Attributes:
        model: `keras.Model`.
        merged: Set of paths of the layers with one slope now.
        calibration: `Calibration`.
    """

    model: keras.Model
    merged: set[str]
    calibration: Calibration


def _simplest_within(
    attempt: Callable[[set[str]], _Attempt], measured: Sequence[Measured], tolerance: float
) -> Simplification | None:
    """Merge the slopes of as many layers as the tolerance allows, by bisection.

    Those that change least come first. Returns None if the caps alone cost more than that.
    """
    mergeable = sorted(
        (layer for layer in measured if layer.can_be_merged), key=lambda layer: layer.change or 0.0
    )
    best: _Attempt | None = None
    fewest, most, count = 0, len(mergeable), len(mergeable)
    while fewest <= most:
        result = attempt({layer.path for layer in mergeable[:count]})
        if result.calibration.error_after <= tolerance:
            best, fewest = result, count + 1
        else:
            most = count - 1
        count = (fewest + most) // 2
    if best is None:
        return None
    return Simplification(
        model=best.model,
        layers=tuple(
            _record(layer, merged=layer.path in best.merged, uncapped=layer.can_be_uncapped)
            for layer in measured
        ),
        error=best.calibration.error_after,
        tolerance=tolerance,
        calibration=best.calibration,
    )


def _attempt(
    model: keras.Model,
    samples: CalibrationSamples,
    config: CalibrationConfig,
    measured: Sequence[Measured],
    merged: set[str],
) -> _Attempt:
    """Return a copy of a model in which some layers have one slope, refitted."""
    copy = rewrite(model, _replacements(model, measured, merged))
    pair = ModelPair(model, copy, samples)
    check_steps(pair, samples)
    calibration = LayerwiseCalibrator(pair, samples, config).run()
    return _Attempt(model=copy, merged=merged, calibration=calibration)


def _replacements(
    model: keras.Model, measured: Sequence[Measured], merged: set[str]
) -> Replacements:
    """Return the exchanges of layers for simpler ones, in the graph and in converted layers."""

    def factory(make: Callable[..., PReLU], layer: Measured) -> Callable[[], PReLU]:
        return partial(make, layer, merged=layer.path in merged, uncapped=layer.can_be_uncapped)

    simpler = {
        id(layer.layer): layer
        for layer in measured
        if layer.path in merged or layer.can_be_uncapped
    }
    replacements = Replacements()
    for operation in exchangeable_operations(model):
        if id(operation) in simpler:
            replacements.replace_operation(operation, factory(make_simpler, simpler[id(operation)]))
        elif not simpler.keys().isdisjoint(map(id, prelus(operation))):
            replacements.exchange_stand_ins(
                operation,
                {
                    stand_in.address: [
                        factory(make_built_simpler, simpler[id(prelu)])
                        if id(prelu) in simpler
                        else None
                        for prelu in stand_in.layers
                    ]
                    for stand_in in operation._stand_ins
                },
            )
    return replacements


def _unchanged(
    model: keras.Model, measured: Sequence[Measured], tolerance: float
) -> Simplification:
    return Simplification(
        model=rewrite(model),
        layers=tuple(_record(layer, merged=False, uncapped=False) for layer in measured),
        error=0.0,
        tolerance=tolerance,
        calibration=None,
    )


def _record(layer: Measured, *, merged: bool, uncapped: bool) -> SimplifiedLayer:
    return SimplifiedLayer(
        path=layer.path,
        slopes=layer.slopes.size,
        slope=layer.slope if merged else None,
        change=layer.change,
        max_value=layer.layer.max_value,
        clipped=layer.clipped,
        uncapped=uncapped,
        reason=_reason(layer, merged=merged, uncapped=uncapped),
    )


def _reason(layer: Measured, *, merged: bool, uncapped: bool) -> str:
    """Return why a layer keeps slopes or a cap, or ""."""
    keeps_cap = layer.layer.max_value is not None and not uncapped
    keeps_slopes = layer.slopes.size > 1 and not merged
    if not keeps_cap and not keeps_slopes:
        return ""
    if layer.is_fixed:
        return "it is inside a layer with Python code"
    if layer.slope is None:
        return "its inputs can't be seen"
    reasons = []
    if keeps_cap and not layer.can_be_uncapped:
        share = "an unknown share" if layer.clipped is None else f"{layer.clipped:.1%}"
        reasons.append(f"its cap cuts off {share} of its outputs")
        keeps_cap = False
    kept = [name for name, keeps in (("slopes", keeps_slopes), ("cap", keeps_cap)) if keeps]
    if kept:
        reasons.append(
            f"the outputs would change by more than the tolerance without its {' and '.join(kept)}"
        )
    return ", and ".join(reasons)
