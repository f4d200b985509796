"""Converting PReLU to ReLU or LeakyReLU, for hardware that has no PReLU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.memory_plan import plan_memory
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.calibration.shared_slopes import shared_slope, shared_slopes
from keras_prelu.calibration.threshold_search import set_slope
from keras_prelu.calibration.verification import check_steps
from keras_prelu.conversion.arguments import ConversionArguments, NewSlopes, check_target
from keras_prelu.conversion.bake import (
    compile_with_stock_optimizer,
    with_stock_activations,
)
from keras_prelu.conversion.model_checks import (
    NEARLY_EXACT_CHANGE,
    refuse_quantized_layers,
    warn_of_lost_classes,
    warn_of_nonfinite_weights,
)
from keras_prelu.conversion.prelu_factory import PReLUFactory, has_own_slope
from keras_prelu.conversion.rescaling import Conversion, SampleUse, calibrated, distilled, measured
from keras_prelu.conversion.site_exchange import exchange_rectifiers
from keras_prelu.conversion.verification import verify_conversion, warn_of_no_verification
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph.arrays import to_float64
from keras_prelu.layers import PReLU
from keras_prelu.parameterizations import Identity
from keras_prelu.sites.finder import locate_sites
from keras_prelu.sites.prelu_layers import layers_at
from keras_prelu.sites.selection import select
from keras_prelu.sites.site import LocatedSite
from keras_prelu.utils.user_warnings import warn
from keras_prelu.verification.agreement import SAME_OPERATIONS
from keras_prelu.verification.same_function import FunctionCheck

__all__ = ["replace_prelus"]


def replace_prelus(
    model: keras.Model,
    arguments: ConversionArguments,
    calibration_data: Any,
    use: SampleUse,
) -> Conversion:
    """Return a copy of a model with stock ReLU or LeakyReLU layers in place of PReLUs.

    The slopes of a copy are set and its layers refitted; then its PReLU layers, which have one
    slope each, become stock layers of the same function. Python code applies its own rectifiers
    again where they have the new slope; elsewhere it applies PReLU layers with one frozen slope.

    Args:
        model: `keras.Model`. It is not changed.
        arguments: `ConversionArguments`, `to` of which is "relu" or "leaky_relu".
        calibration_data: As in `convert`.
        use: `SampleUse`.

    Raises:
        ConversionError, InvalidArgumentError, CalibrationError, DataError: As in `convert`.
    """
    has_samples = calibration_data is not None
    check_target(arguments, has_samples=has_samples)
    to, verify, method = arguments.to, arguments.verify, arguments.rescale
    if method == "auto" and has_samples:
        method = "calibrated"
    sites = locate_sites(model)
    selected = select(_replaceable(sites, model, to), model, arguments.include, arguments.exclude)
    refuse_quantized_layers(model)
    warn_of_nonfinite_weights(model)
    checked = use.checked(model, calibration_data)
    copy, layers = _copy_with_free_slopes(model, selected)
    warn_of_lost_classes(model)
    verification = None
    if verify:
        structure = None if checked is None else checked.structure
        verification = verify_conversion(model, copy, selected, [], structure)
        warn_of_no_verification(verification)
    pair = None
    if checked is not None:
        pair = ModelPair(model, copy, checked, sites)
        if verify:
            check_steps(pair, checked)
    slopes = _new_slopes(to, layers, pair, checked, use.config)
    if method == "auto":
        _refuse_change(selected, layers, slopes, to)
    for path, slope in slopes.items():
        set_slope(layers[path], slope)
    conversion = Conversion(
        model=copy,
        sites=tuple(located.site for located in selected),
        verification=verification,
        fitted_slopes=slopes,
    )
    if pair is not None and checked is not None and method != "none":
        conversion = calibrated(conversion, pair, checked, use)
        if method == "distilled":
            conversion = distilled(conversion, pair, checked, use)
        if conversion.note:
            warn(conversion.note)
    elif checked is not None:
        conversion = measured(conversion, model, checked, use.config.batch_size)
    return replace(conversion, model=_as_stock(model, copy, layers))


def _replaceable(sites: Sequence[LocatedSite], model: keras.Model, to: str) -> list[LocatedSite]:
    """Return the sites with slopes that have to be replaced, as convertible ones.

    Raises:
        ConversionError: There are none.
    """
    replaceable = [
        replace(located, site=replace(located.site, convertible=True, reason="", on_request=False))
        for located in sites
        if (_is_own(located) and located.site.channels != 0)
        or (
            located.site.convertible
            and (
                located.site.negative_slope is None
                or (to == "relu" and has_own_slope(located.site))
            )
        )
    ]
    if not replaceable:
        kinds = "PReLU or LeakyReLU" if to == "relu" else "PReLU"
        raise ConversionError(f"Model '{model.name}' has no {kinds} to convert to {to!r}.")
    return replaceable


def _is_own(located: LocatedSite) -> bool:
    """Return whether a site applies a PReLU layer of this package."""
    return located.prelu is not None or isinstance(located.operation, PReLU)


def _copy_with_free_slopes(
    model: keras.Model, selected: Sequence[LocatedSite]
) -> tuple[keras.Model, dict[str, PReLU]]:
    """Return a copy that applies a `PReLU` with any slopes at each site, and these layers.

    Their slopes are those of the model.
    """
    factory = PReLUFactory(
        new_slopes=NewSlopes(
            slope=0.0,
            parameterization=Identity(),
            constraint=None,
            are_searched=False,
            are_fitted=False,
        ),
        shared_axes="channel_wise",
        alpha_regularizer=None,
        beta_regularizer=None,
        keep_slopes=True,
    )
    foreign = [located for located in selected if not _is_own(located)]
    copy = exchange_rectifiers(model, foreign, factory)
    layers = layers_at(copy, (located.site.target for located in selected))
    for layer in layers.values():
        slopes = to_float64(layer.alpha)
        layer.parameterization = Identity()
        layer.alpha_constraint = layer.beta.constraint = None
        layer.beta.assign(slopes)
    return copy, layers


def _new_slopes(
    to: str,
    layers: Mapping[str, PReLU],
    pair: ModelPair | None,
    samples: CalibrationSamples | None,
    config: CalibrationConfig,
) -> dict[str, float]:
    """Return the slope of each layer."""
    if to == "relu":
        return dict.fromkeys(layers, 0.0)
    if pair is None or samples is None:
        return {path: shared_slope(layer) for path, layer in layers.items()}
    batch_size = plan_memory(pair, samples.arrays, config).batch_size
    return shared_slopes(pair.plan, samples.arrays, layers, batch_size=batch_size)


def _refuse_change(
    selected: Sequence[LocatedSite],
    layers: Mapping[str, PReLU],
    slopes: Mapping[str, float],
    to: str,
) -> None:
    """Check that no slope changes by more than `NEARLY_EXACT_CHANGE`.

    Raises:
        InvalidArgumentError: A slope changes by more.
    """
    for located in selected:
        path = located.site.target
        change = float(np.abs(to_float64(layers[path].alpha) - slopes[path]).max())
        if change > NEARLY_EXACT_CHANGE:
            raise InvalidArgumentError(
                f"Without the slopes of '{located.site.path}' the model's outputs change: a slope"
                f" changes by {change:.2g} with to={to!r}. Give unlabeled samples"
                " (calibration_data, --data), so that layers are refitted, or do without by naming"
                ' rescale="none" (--rescale none).'
            )


def _as_stock(model: keras.Model, copy: keras.Model, layers: Mapping[str, PReLU]) -> keras.Model:
    """Return a copy with stock layers in place of PReLU layers with one slope each."""
    check = FunctionCheck(copy)
    chosen = {id(layer) for layer in layers.values()}
    stock = with_stock_activations(copy, 0.0, chosen)
    check.refuse(stock, SAME_OPERATIONS, "Conversion")
    compile_with_stock_optimizer(model, stock)
    return stock
