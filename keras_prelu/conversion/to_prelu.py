"""The conversion of a model to a new model with PReLU layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.conversion.arguments import RESCALES_ON_SAMPLES, ConversionArguments
from keras_prelu.conversion.model_checks import warn_of_lost_classes
from keras_prelu.conversion.prelu_factory import keeps_slopes
from keras_prelu.conversion.preparation import prepare_conversion
from keras_prelu.conversion.rescaling import Conversion, SampleUse, measured, rescaled_on_samples
from keras_prelu.conversion.site_exchange import exchange_rectifiers, train_new_slopes
from keras_prelu.conversion.verification import (
    refuse_nonfinite,
    verify_conversion,
    warn_of_no_verification,
)
from keras_prelu.scaling.analytic import rescale_analytic
from keras_prelu.scaling.moments import rescale_moments
from keras_prelu.sites.finder import locate_sites

__all__ = ["convert_to_prelu"]

_RESCALERS = {"analytic": rescale_analytic, "moments": rescale_moments}
"""The functions that rescale a converted model in place, by the name of the method."""


def convert_to_prelu(
    model: keras.Model,
    arguments: ConversionArguments,
    calibration_data: Any,
    use: SampleUse,
) -> Conversion:
    """Return a copy of a model with PReLU layers at its sites, and the record of the conversion.

    Args:
        model: `keras.Model`. It is not changed.
        arguments: `ConversionArguments`.
        calibration_data: As in `convert`.
        use: `SampleUse`.

    Raises:
        InvalidArgumentError, ConversionError, CalibrationError, DataError: As in `convert`.
    """
    prepared = prepare_conversion(model, arguments, locate_sites, calibration_data, use)
    factory, selected_sites = prepared.factory, prepared.selected_sites
    new_layers, samples = prepared.new_layers, prepared.samples
    converted = exchange_rectifiers(model, selected_sites, factory)
    warn_of_lost_classes(model)
    verification = None
    if arguments.verify:
        verification = verify_conversion(
            model, converted, selected_sites, new_layers, prepared.structure
        )
        warn_of_no_verification(verification)
    caps = prepared.caps(model)
    uncapped = frozenset(cap.path for cap in caps if cap.removed)
    if uncapped:  # Only now, since the verification compares what both models compute.
        converted = exchange_rectifiers(model, selected_sites, replace(factory, uncapped=uncapped))
    if arguments.train_frozen_slopes:
        train_new_slopes(converted, selected_sites)
    method = prepared.method
    conversion = Conversion(
        model=converted,
        sites=tuple(located.site for located in selected_sites),
        verification=verification,
        caps=caps,
        is_exact=method == "none" and not uncapped and keeps_slopes(converted, selected_sites),
    )
    if samples is not None and method in RESCALES_ON_SAMPLES:
        return rescaled_on_samples(
            conversion,
            ModelPair(model, converted, samples, prepared.sites),
            samples,
            selected_sites,
            prepared.rescaling_settings(use),
        )
    if method in _RESCALERS:
        _RESCALERS[method](converted, new_layers)
    if samples is not None:
        return measured(conversion, model, samples, use.config.batch_size)
    if arguments.verify and any(factory.slope_change(site) for site in conversion.sites):
        refuse_nonfinite(model, converted, method)
    return conversion
